"""How features speak to viewers: events, states and notices, handed to the bus.

The payloads on the bus are MessagePack: an event {at_ms, name, data, sent_ms}, a state {name, key, data, staff}, a
list of notices {viewer, name, data, staff}.

Speaking never fails, because what it tells has been committed already: SQL is the truth. An event that could not
be published (the bus is away, the event is too large) makes everyone look at the truth again: the show's epoch is
rotated as soon as the bus takes it, and every viewer gets a fresh snapshot.
"""

import asyncio
import logging
import time
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from live.core.bus import Bus, BusError
from live.core.codec import encode
from live.core.limits import BUS_PAYLOAD_BYTES_MAX, BUS_RETRY_S_MAX, BUS_RETRY_S_MIN
from live.core.tasks import end

log = logging.getLogger(__name__)
_LIST_BYTES = 5  # of a MessagePack list's head


def _list(items: Sequence[bytes]) -> bytes:
    """A MessagePack list of encoded `items` (array 32)."""
    return b"\xdd" + len(items).to_bytes(4) + b"".join(items)


class Outlet:
    """See the module. `lost_events` counts what went by snapshot instead, for the metrics."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._behind: set[str] = set()  # shows whose viewers must take a snapshot
        self._repair: asyncio.Task[None] | None = None
        self.lost_events = 0

    async def event(self, show: str, at_ms: int, name: str, data: dict[str, Any], *, key: str | None = None) -> None:
        """Tell all viewers of `show`, in order and recoverably. `key` makes a repetition harmless."""
        payload = encode({"at_ms": at_ms, "name": name, "data": data, "sent_ms": time.time() * 1000}, "msgpack")
        try:
            if len(payload) <= BUS_PAYLOAD_BYTES_MAX:
                await self._bus.publish(show, payload, key=key)
                return
            log.warning("the event %s of %s is too large; its viewers take a snapshot", name, show)
        except BusError as error:
            log.warning("the event %s of %s was not published: %s", name, show, error)
        self.lost_events += 1
        self._behind.add(show)
        if self._repair is None or self._repair.done():
            self._repair = asyncio.create_task(self._rotate(), name="outlet repair")

    async def state(self, show: str, name: str, data: dict[str, Any], *, key: str = "", staff: bool = False) -> None:
        """Tell the newest value of `name` and `key`; `staff`: only to moderators, hosts and ops. May be lost."""
        payload = encode({"name": name, "key": key, "data": data, "staff": staff}, "msgpack")
        await self._send(show, payload, f"state {name}", "state")

    async def notice(self, show: str, viewer_id: str, name: str, data: dict[str, Any]) -> None:
        """Tell all sockets of one viewer in `show`. May be lost: what must survive is in the personal snapshot."""
        await self.notify(show, [(viewer_id, name, data)])

    async def notify(self, show: str, notices: Sequence[tuple[str, str, dict[str, Any]]]) -> None:
        """As `notice` for each (viewer id, name, data), in as few messages of the bus as they fit into."""
        batch: list[bytes] = []
        size = 0
        for viewer_id, name, data in notices:
            payload = encode({"viewer": viewer_id, "name": name, "data": data}, "msgpack")
            if len(payload) + _LIST_BYTES > BUS_PAYLOAD_BYTES_MAX:
                log.warning("the notice %s of %s is too large and was dropped", name, show)
                continue
            if size + len(payload) + _LIST_BYTES > BUS_PAYLOAD_BYTES_MAX:
                await self._send(show, _list(batch), f"{len(batch)} notices", "direct")
                batch, size = [], 0
            batch.append(payload)
            size += len(payload)
        if batch:
            await self._send(show, _list(batch), f"{len(batch)} notices", "direct")

    async def staff_notice(self, show: str, name: str, data: dict[str, Any]) -> None:
        """As `notice`, to all sockets of moderators, hosts and ops."""
        payload = encode([{"viewer": "", "name": name, "data": data, "staff": True}], "msgpack")
        await self._send(show, payload, f"staff notice {name}", "direct")

    async def count(self, show: str, name: str, member: str, counts: Mapping[str, int]) -> dict[str, int]:
        """Add to what all workers count together; the sums, which are told as the state `name` when they have grown.

        `counts` is what `member` has counted of each kind since it began, so a repetition is harmless. Raises
        `BusError`.
        """
        # A state without its data, which is the sums and the last member of the map.
        head = b"\x84" + b"".join(encode(item, "msgpack") for item in ("name", name, "key", "", "staff", False, "data"))
        return await self._bus.count(show, name, member, counts, head)

    async def close(self) -> None:
        """Stop trying to reach the bus."""
        await end(self._repair)

    async def _send(self, show: str, payload: bytes, what: str, kind: Literal["state", "direct"]) -> None:
        if len(payload) > BUS_PAYLOAD_BYTES_MAX:
            log.warning("the %s of %s is too large and was dropped", what, show)
            return
        try:
            await self._bus.send(show, payload, kind)
        except BusError as error:
            log.info("the %s of %s: not sent: %s", what, show, error)

    async def _rotate(self) -> None:
        retry_s = BUS_RETRY_S_MIN
        while self._behind:
            show = next(iter(self._behind))
            try:
                # Taken out first: an event that is lost while this call runs puts it in again.
                self._behind.discard(show)
                await self._bus.rotate(show)
                retry_s = BUS_RETRY_S_MIN
            except BusError:
                self._behind.add(show)
                await asyncio.sleep(retry_s)
                retry_s = min(retry_s * 2, BUS_RETRY_S_MAX)
