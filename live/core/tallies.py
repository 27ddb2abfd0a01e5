"""What the workers count together about one channel: rates of many askers in one call, and sums that only grow.

Everything of a channel shares its hash tag, so that one call is enough in a cluster, too.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from live.core.errors import Problem
from live.core.limits import COUNTS_KEPT_S

_TAKE = (Path(__file__).parent / "take.lua").read_text()
_TAKE_ALL = (Path(__file__).parent / "take_all.lua").read_text()
_COUNT = (Path(__file__).parent / "count.lua").read_text()

Run = Callable[[str, list[str], list[str | bytes | float]], Awaitable[Any]]


class Pace(NamedTuple):
    """How often something may be: `per_s` sustained, `burst` at once."""

    per_s: float
    burst: float


class Grant(NamedTuple):
    """`wait_s` 0.0: granted, else the seconds to wait and nothing was taken; `shared`: also one of what all share."""

    wait_s: float
    shared: bool


class Told(NamedTuple):
    """Where sums are told: on a channel, in a frame that begins with `head`, kept under `name` in the hash `kept`."""

    channel: str
    head: bytes
    kept: str
    name: str


class TakeEach(Protocol):
    """`Tallies.take_each`, for those who need nothing else of the bus."""

    async def __call__(
        self, channel: str, name: str, askers: Sequence[str], own: Pace, shared: Pace
    ) -> list[Grant]: ...


class TakeAll(Protocol):
    """`Tallies.take_all`, for those who need nothing else of the bus."""

    async def __call__(self, channel: str, buckets: Sequence[tuple[str, Pace]]) -> tuple[str, float]: ...


class Tallies:
    """See the module. `run` has the server run a script with keys and arguments, again when it did not answer."""

    def __init__(self, run: Run) -> None:
        self._run = run

    async def take_each(self, channel: str, name: str, askers: Sequence[str], own: Pace, shared: Pace) -> list[Grant]:
        """For each of `askers`, in order: one of its own bucket, and when that is granted one that all share.

        Grants everything while the server is away: a shop without a rate limit beats a shop that is shut.
        """
        bucket = f"showcart:{{{channel}}}:{name}:rate"
        keys = [bucket, *(f"{bucket}:{asker}" for asker in askers)]
        try:
            answer = await self._run(_TAKE, keys, [shared.per_s, shared.burst, own.per_s, own.burst])
        except Problem:
            return [Grant(0.0, True)] * len(askers)
        return [Grant(float(wait), granted == 1) for wait, granted in zip(answer[::2], answer[1::2], strict=True)]

    async def take_all(self, channel: str, buckets: Sequence[tuple[str, Pace]]) -> tuple[str, float]:
        """One of each bucket, or nothing: ("", 0.0), else the name of the first that refuses, and the seconds to wait.

        Grants everything while the server is away, as `take_each`.
        """
        keys = [f"showcart:{{{channel}}}:{name}:rate" for name, _ in buckets]
        try:
            number, wait = await self._run(_TAKE_ALL, keys, [value for _, pace in buckets for value in pace])
        except Problem:
            return "", 0.0
        return (buckets[number - 1][0], float(wait)) if number else ("", 0.0)

    async def count(
        self, channel: str, name: str, member: str, counts: Mapping[str, int], *, told: Told | None = None
    ) -> dict[str, int]:
        """Note that `member` has counted so much of each kind since it began; answers the sums over all members.

        A count that is not higher than the last one changes nothing, so a call that failed may be made again. `told`:
        how to tell the sums when they have grown; None: nobody is told. Sums are kept for COUNTS_KEPT_S after the last
        change. Raises `BusError`; then the counts may have been noted or not.
        """
        keys = [f"showcart:{{{channel}}}:{name}:count"]
        arguments: list[str | bytes | float] = [member, COUNTS_KEPT_S]
        if told is None:
            arguments += ["", "", ""]
        else:
            keys.append(told.kept)
            arguments += [told.channel, told.head, told.name]
        for kind, counted in counts.items():
            arguments += [kind, counted]
        sums = await self._run(_COUNT, keys, arguments)
        return dict(zip(counts, map(int, sums), strict=True))
