"""How features speak to viewers: events, states and notices, handed to the bus.

The payloads on the bus are MessagePack: an event {at_ms, name, data, sent_ms}, a state {name, key, data, staff}, a
list of notices {viewer, name, data, staff}.

Speaking never fails, because what it tells has been committed already: SQL is the truth. An event that could not
be published (the bus is away, the event is too large) makes everyone look at the truth again: the show's epoch is
rotated as soon as the bus takes it, and every viewer gets a fresh snapshot. Until then nothing of the show is tried:
each try would wait for a bus that hangs, and those who wait for an answer with it. A state or a notice that was not
sent does the same, because only the snapshot, or what is personal, knows it then.

An event that was published may still be lost: to a server that has been replaced and does not know it yet. So what was
published last is confirmed a while later (see `Bus.position`); if it is lost, everyone looks at the truth again, too.
And so they do after a worker has ended uncleanly, maybe between COMMIT and here (see `live.core.roll`).
"""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from itertools import groupby
from typing import Any, Self

from live.core.bus import Bus, BusError, Parcel, state_key
from live.core.codec import encode
from live.core.limits import (
    BUS_CALL_BYTES_MAX,
    BUS_CONFIRM_S,
    BUS_CONFIRMS_MAX,
    BUS_PAYLOAD_BYTES_MAX,
    BUS_RETRY_S_MAX,
    BUS_RETRY_S_MIN,
)
from live.core.position import Position
from live.core.roll import Roll
from live.core.tasks import end
from live.core.tracing import Span, active
from live.realtime.news import News

log = logging.getLogger(__name__)
_LIST_BYTES = 5  # of a MessagePack list's head
_TRACE_BYTES = 70  # of a traceparent, with its name


def _list(items: Sequence[bytes]) -> bytes:
    """A MessagePack list of encoded `items` (array 32)."""
    return b"\xdd" + len(items).to_bytes(4) + b"".join(items)


class Outlet:
    """See the module. `lost_events` counts what went by snapshot instead, for the metrics."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._behind: dict[str, None] = {}  # shows whose viewers must take a snapshot, in order
        self._away: set[str] = set()  # those of which nothing is tried until they can
        self._repair: asyncio.Task[None] | None = None
        self.lost_events = 0
        self._published: dict[tuple[str, str], tuple[int, float]] = {}  # by show and epoch: the last, and since when
        self._confirming: asyncio.Task[None] | None = None
        self._roll: Roll | None = None

    @classmethod
    @asynccontextmanager
    async def open(cls, bus: Bus, followed: Callable[[], Awaitable[Iterable[str]]]) -> AsyncIterator[Self]:
        """An outlet that, until the block ends, also makes good what others left untold when they ended uncleanly.

        `followed`: ids of the shows that somebody may have on a screen. Raises `BusError`.
        """
        outlet = cls(bus)

        async def look_again() -> None:
            outlet._renew(await followed())

        try:
            async with Roll.open(bus, look_again, outlet._told) as outlet._roll:
                yield outlet
        finally:
            await outlet.close()

    @property
    def unclean_ends(self) -> int:
        """Workers that ended uncleanly and were found by this one."""
        return 0 if self._roll is None else self._roll.found

    async def event(self, show: str, at_ms: int, name: str, data: dict[str, Any], *, key: str = "") -> None:
        """Tell all viewers of `show`, in order and recoverably. `key` makes a repetition harmless."""
        await self.tell(show, [News("event", name, data, at_ms, key, around=active())])

    async def state(self, show: str, name: str, data: dict[str, Any], *, key: str = "", staff: bool = False) -> None:
        """Tell the newest value of `name` and `key`; `staff`: only to moderators, hosts and ops. May be lost."""
        await self.tell(show, [News("state", name, data, key=key, staff=staff)])

    async def tell(self, show: str, news: Sequence[News]) -> None:
        """Tell all of `news` in their order, in as few calls of the bus as they fit into.

        What must survive is in the snapshot, and what a notice tells in what is personal.
        """
        spans: list[Span] = []
        load: list[Parcel] = []
        size = 0
        try:
            for parcel in self._parcels(show, news, spans):
                if load and size + len(parcel.payload) > BUS_CALL_BYTES_MAX:
                    await self._hand_over(show, load)
                    load, size = [], 0
                load.append(parcel)
                size += len(parcel.payload)
            if load:
                await self._hand_over(show, load)
        finally:
            for span in spans:
                span.end()

    def _parcels(self, show: str, news: Sequence[News], spans: list[Span]) -> Iterator[Parcel]:
        """What of `news` fits through the bus; begins a span for each that is traced."""
        # Notices side by side leave together: a batch has one for each of its viewers.
        for are_notices, group in groupby(news, lambda one: one.kind == "notice"):
            if are_notices:
                yield from _bundles(show, list(group), spans)
                continue
            for one in group:
                if one.kind == "event":
                    told = {"at_ms": one.at_ms, "name": one.name, "data": one.data, "sent_ms": time.time() * 1000}
                    payload = encode(told | _traced(one, one.name, spans), "msgpack")
                    if len(payload) <= BUS_PAYLOAD_BYTES_MAX:
                        yield Parcel(payload, key=one.key or None)
                        continue
                    log.warning("the event %s of %s is too large; its viewers take a snapshot", one.name, show)
                    self.lost_events += 1
                    self._lose(show)
                else:
                    state = {"name": one.name, "key": one.key, "data": one.data, "staff": one.staff}
                    payload = encode(state, "msgpack")
                    if len(payload) <= BUS_PAYLOAD_BYTES_MAX:
                        yield Parcel(payload, "state", state_key(one.name, one.key))
                    else:
                        log.warning("the state %s of %s is too large and was dropped", one.name, show)

    async def _hand_over(self, show: str, parcels: Sequence[Parcel]) -> None:
        """One call of the bus; when it fails, everyone looks at the truth again."""
        events = sum(parcel.kind == "event" for parcel in parcels)
        try:
            if show in self._away:
                raise BusError("Its viewers take a snapshot when the bus is back.")
            began_s = asyncio.get_running_loop().time()
            # Lone states, too: only this way a server that stood still never tells an old one after a new epoch began.
            self._remember(show, await self._bus.publish_all(show, parcels), began_s)
        except BusError as error:
            if show not in self._away:
                log.warning("%d events and %d other news of %s: %s", events, len(parcels) - events, show, error)
            self.lost_events += events
            self._lose(show)

    def _lose(self, show: str) -> None:
        """All viewers of `show` take a snapshot, as soon as the bus can tell them."""
        self._away.add(show)
        self._renew((show,))

    def _renew(self, shows: Iterable[str]) -> None:
        """All viewers of `shows` take a snapshot."""
        self._behind |= dict.fromkeys(shows)
        if self._told():
            self._repair = asyncio.create_task(self._rotate(), name="outlet repair")

    def _told(self) -> bool:
        """Whether nobody is left who must take a snapshot and has not been told so."""
        return self._repair is None or self._repair.done()

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
        await end(self._repair, self._confirming)

    async def _rotate(self) -> None:
        retry_s = BUS_RETRY_S_MIN
        while self._behind:
            show = next(iter(self._behind))
            try:
                # Taken out first: an event that is lost while this call runs puts it in again.
                self._behind.pop(show, None)
                await self._bus.rotate(show)
                self._away.discard(show)
                retry_s = BUS_RETRY_S_MIN
            except BusError:
                self._behind[show] = None
                await asyncio.sleep(retry_s)
                retry_s = min(retry_s * 2, BUS_RETRY_S_MAX)

    def _remember(self, show: str, position: Position, began_s: float) -> None:
        """Confirm `position` later, together with all of its epoch before it. What was committed before an epoch began
        is seen by all who are in it, so it matters when publishing began (loop seconds), not when it was answered.
        """
        self._published.pop((show, position.epoch), None)
        self._published[show, position.epoch] = (position.offset, began_s)
        if len(self._published) > BUS_CONFIRMS_MAX:
            del self._published[next(iter(self._published))]
        if self._confirming is None or self._confirming.done():
            self._confirming = asyncio.create_task(self._confirm(), name="outlet confirmations")

    async def _confirm(self) -> None:
        loop = asyncio.get_running_loop()
        retry_s = BUS_RETRY_S_MIN
        while self._published:
            (show, epoch), (offset, at_s) = next(iter(self._published.items()))
            if (wait_s := at_s + BUS_CONFIRM_S - loop.time()) > 0:
                await asyncio.sleep(wait_s)
                continue
            try:
                await self._bus.position(show, Position(epoch, offset), loop.time() - at_s)
            except BusError:
                await asyncio.sleep(retry_s)
                retry_s = min(retry_s * 2, BUS_RETRY_S_MAX)
                continue
            retry_s = BUS_RETRY_S_MIN
            if self._published.get((show, epoch)) == (offset, at_s):
                del self._published[show, epoch]


def _traced(one: News, name: str, spans: list[Span]) -> dict[str, str]:
    """A span for the publication of `one`, and the member that says so in its payload; {}: it is not traced."""
    if one.around is None or not one.around.alive:
        return {}
    spans.append(one.around.child(f"publish {name}"))
    return {"trace": spans[-1].traceparent}


def _bundles(show: str, notices: Sequence[News], spans: list[Span]) -> Iterator[Parcel]:
    """`notices` in as few messages as they fit into, each of which is traced with one of its own."""
    items: list[bytes] = []
    size = _LIST_BYTES
    last = notices[0]
    for one in notices:
        item = encode(_notice(one), "msgpack")
        if len(item) + _LIST_BYTES > BUS_PAYLOAD_BYTES_MAX:
            log.warning("the notice %s of %s is too large and was dropped", one.name, show)
            continue
        if size + len(item) > BUS_PAYLOAD_BYTES_MAX:
            yield Parcel(_list(items), "direct")
            items, size = [], _LIST_BYTES
        items.append(item)
        last = one
        size += len(item)
    if not items:
        return
    if size + _TRACE_BYTES <= BUS_PAYLOAD_BYTES_MAX and (trace := _traced(last, "notices", spans)):
        items[-1] = encode(_notice(last) | trace, "msgpack")
    yield Parcel(_list(items), "direct")


def _notice(one: News) -> dict[str, Any]:
    told: dict[str, Any] = {"viewer": "" if one.staff else one.key, "name": one.name, "data": one.data}
    return told | {"staff": True} if one.staff else told
