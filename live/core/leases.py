"""Who may do what only one may do: a name is held by one owner, for as long as it says so again and again.

Every grant has a *fence*, a number that only grows, whatever happens to the server: who hears of a higher fence than
its own has been replaced, even when it does not know yet that its lease is over. What a holder sends carries its
fence, and receivers ignore what is older than what they have heard.
"""

from collections.abc import Awaitable, Callable
from typing import Any, Literal, NamedTuple

from live.core.limits import LEASE_REMEMBERED_S

FREE = 0
_Operation = Literal["acquire", "renew", "release", "read", "last"]


class Lease(NamedTuple):
    """A held name. `rank` and `value` are the holder's own words: who may replace it, and how to reach it."""

    fence: int
    owner: str
    rank: int
    value: bytes


class Leases:
    """Leases over the bus. `run` calls `lease.lua`; all methods raise `BusError` when the server is away.

    Nothing is known then: the holder may have been replaced or not, and decides by itself whether to go on.
    """

    def __init__(self, run: Callable[[str, list[str | bytes | int]], Awaitable[Any]]) -> None:
        self._run = run

    async def acquire(
        self, name: str, owner: str, value: bytes, *, rank: int, ttl_s: float, over: int = FREE
    ) -> tuple[Lease, bool]:
        """Take `name` when it is free, when `owner` has it already, or from a holder whose fence is at most `over`.

        `over` is FREE (from nobody) or the fence of the one holder to replace. Answers the lease as it is now and
        whether it was granted.
        """
        fence, granted, *held = await self._call("acquire", name, owner, over, ttl_s, rank, value)
        return _lease(fence, *held), granted == 1

    async def renew(self, name: str, owner: str, fence: int, ttl_s: float) -> bool:
        """Hold on for `ttl_s` from now; False: somebody else has it, or the server has lost it."""
        return bool(await self._call("renew", name, owner, fence, ttl_s))

    async def release(self, name: str, owner: str, fence: int) -> bool:
        """Give it back, so that the next one need not wait; False when it was not held any more."""
        return bool(await self._call("release", name, owner, fence))

    async def read(self, name: str) -> Lease | None:
        """Who holds `name` now; None when nobody does."""
        found = await self._call("read", name)
        return _lease(*found) if found else None

    async def last(self, name: str) -> Lease | None:
        """Who holds `name`, or held it last and has not given it back: it may be late, or dead; None: it is free."""
        found = await self._call("last", name)
        return _lease(*found) if found else None

    async def _call(
        self,
        operation: _Operation,
        name: str,
        owner: str = "",
        fence: int = 0,
        ttl_s: float = 0.0,
        rank: int = 0,
        value: bytes = b"",
    ) -> Any:
        arguments: list[str | bytes | int] = [
            operation, owner, fence, round(ttl_s * 1000), rank, value, LEASE_REMEMBERED_S,
        ]  # fmt: skip
        return await self._run(f"showcart:{{{name}}}:lease", arguments)


def _lease(fence: bytes, owner: bytes, rank: bytes, value: bytes) -> Lease:
    return Lease(int(fence), owner.decode(), int(rank), value)
