"""How features speak to viewers: events, states and notices, handed to the bus.

The payloads on the bus are MessagePack maps: an event {at_ms, name, data}, a state {name, key, data, staff}, a
notice {viewer, name, data}.

Speaking never fails, because what it tells has been committed already: SQL is the truth. An event that could not
be published (the bus is away, the event is too large) makes everyone look at the truth again: the show's epoch is
rotated as soon as the bus takes it, and every viewer gets a fresh snapshot.
"""

import asyncio
import logging
from typing import Any, Literal

from live.core.bus import Bus, BusError
from live.core.codec import encode
from live.core.limits import BUS_PAYLOAD_BYTES_MAX, BUS_RETRY_S_MAX, BUS_RETRY_S_MIN
from live.core.tasks import end

log = logging.getLogger(__name__)


class Outlet:
    """See the module. `lost_events` counts what went by snapshot instead, for the metrics."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._behind: set[str] = set()  # shows whose viewers must take a snapshot
        self._repair: asyncio.Task[None] | None = None
        self.lost_events = 0

    async def event(self, show: str, at_ms: int, name: str, data: dict[str, Any], *, key: str | None = None) -> None:
        """Tell all viewers of `show`, in order and recoverably. `key` makes a repetition harmless."""
        payload = encode({"at_ms": at_ms, "name": name, "data": data}, "msgpack")
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
        await self._send(show, {"name": name, "key": key, "data": data, "staff": staff}, "state")

    async def notice(self, show: str, viewer_id: str, name: str, data: dict[str, Any]) -> None:
        """Tell all sockets of one viewer in `show`. May be lost: what must survive is in the personal snapshot."""
        await self._send(show, {"viewer": viewer_id, "name": name, "data": data}, "direct")

    async def close(self) -> None:
        """Stop trying to reach the bus."""
        await end(self._repair)

    async def _send(self, show: str, value: dict[str, Any], kind: Literal["state", "direct"]) -> None:
        payload = encode(value, "msgpack")
        if len(payload) > BUS_PAYLOAD_BYTES_MAX:
            log.warning("the %s %s of %s is too large and was dropped", kind, value["name"], show)
            return
        try:
            await self._bus.send(show, payload, kind)
        except BusError as error:
            log.info("the %s %s of %s was not sent: %s", kind, value["name"], show, error)

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
