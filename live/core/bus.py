"""The nervous system: events of a show to every worker that has viewers of it, over the Redis protocol.

Guarantees, per channel (a channel is a show):
- `publish` numbers events without a gap and every subscriber sees them in that order.
- A subscriber is told `gone` whenever it may have missed something: the connection was lost and is back, the
  server was restarted or replaced, or the epoch was rotated. It then asks `history` or takes a snapshot.
- `history` is complete or None, never partial.
- Who begins to listen is told by `recent` the newest events and what has no numbers: the newest of each state.
What is published while the server is away is lost here; the database is the truth and `rotate` makes everyone
look at it again.

The hand-over is bounded: handlers run inside the one reader task, so unread messages wait in the socket and then
in the server, which cuts a subscriber that falls behind (`client-output-buffer-limit`); that is a `gone` again.

One server or a cluster (`redis+cluster://`) makes no difference to callers. Sharded pub/sub, because classic PUBLISH
reaches every node of a cluster; all keys of a show share the hash tag `{show}`, so that one node has it all. Who owns
a show's slot may change at any time: that is a `gone`, and a new epoch (`publish.lua` knows by whom the head was
written, and a server that was promoted or restarted counts as another one).
"""

import math
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Literal, TypeVar

from live.core.buckets import Buckets
from live.core.cluster import Cluster
from live.core.errors import Kind, Problem
from live.core.ids import secret_token
from live.core.leases import Leases
from live.core.limits import (
    BUS_EPOCHS_KNOWN_MAX,
    BUS_EPOCHS_TRIED_MAX,
    BUS_HURRY_S,
    BUS_KEY_KEPT_S,
    BUS_PAYLOAD_BYTES_MAX,
    BUS_TIMEOUT_S,
    HISTORY_EVENTS_MAX,
    HISTORY_TTL_S,
    STATES_MAX,
)
from live.core.listener import UNNUMBERED, Handler, Message, parse
from live.core.listeners import Listeners
from live.core.marks import Marks
from live.core.parcels import Parcel, Recent, carried, kept_under, state_key
from live.core.position import Position
from live.core.servers import FAILURES, REFUSALS, Alone, NotNow, Script, Servers
from live.core.slots import CLUSTER_SCHEMES
from live.core.speakers import Speakers
from live.core.tallies import Tallies, Told

__all__ = ["Bus", "BusError", "Handler", "Message", "Parcel", "Position", "Recent", "Take", "Wire", "state_key"]

T = TypeVar("T")


Take = Callable[[str, float, float], Awaitable[float]]
"""`Bus.take`, for those who need nothing else of the bus."""

_PUBLISH = Script((Path(__file__).parent / "publish.lua").read_text())
_HISTORY = Script((Path(__file__).parent / "history.lua").read_text())
_RECENT = Script((Path(__file__).parent / "recent.lua").read_text())
_LEASE = Script((Path(__file__).parent / "lease.lua").read_text())

_TAKE = Script((Path(__file__).parent / "rate.lua").read_text())
_BEAT = Script((Path(__file__).parent / "beat.lua").read_text())


class BusError(Problem):
    """The server is out of reach or refused; whether the call took effect is not known."""

    def __init__(self, detail: str) -> None:
        super().__init__(Kind.unavailable, detail, retry_after_s=1)


class Bus:
    """See the module. Handlers are called on the event loop, one message after the other, and must not block."""

    def __init__(self, servers: Servers) -> None:
        self._servers = servers
        self._listener = Listeners(servers, FAILURES, REFUSALS)
        self.leases = Leases(self._run_lease)
        self.tallies = Tallies(self._run_tally)
        self.marks = Marks(self._run_tally)
        self._epochs: dict[str, str] = {}  # by channel, as the server said last
        self.call_s = Buckets((0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0))
        self.errors = 0  # calls that failed

    @classmethod
    async def open(cls, url: str) -> "Bus":
        """A bus on the server at `url` (redis://, rediss://, unix://) or on a cluster (redis+cluster://host:port,…).

        Raises `BusError` when it does not answer.
        """
        bus = cls(_servers(url))
        try:
            await bus._call(bus._servers.open, again=True)
            await bus._listener.start()
        except BaseException as error:
            await bus.close()
            if isinstance(error, TimeoutError):
                raise BusError("The bus did not accept a subscriber in time.") from None
            raise
        return bus

    async def publish(self, channel: str, payload: bytes, *, key: str | None = None) -> Position:
        """Number `payload`, keep it in the history and hand it to every subscriber.

        `key` makes it idempotent for a few minutes: the second call answers the first one's position.
        Raises `BusError`; then the event may or may not have been published: `rotate` when the bus is back.
        """
        return await self.publish_all(channel, [Parcel(payload, key=key)])

    async def publish_all(self, channel: str, parcels: Sequence[Parcel]) -> Position:
        """Hand `parcels` to every subscriber in their order, all in one call; the position of the last event.

        Raises `BusError`; then all of it may or may not have been published: `rotate` when the bus is back.
        """
        assert all(len(parcel.payload) <= BUS_PAYLOAD_BYTES_MAX for parcel in parcels), "the caller bounds them"
        again = all(parcel.kind != "event" or parcel.key is not None for parcel in parcels)
        for _ in range(BUS_EPOCHS_TRIED_MAX):
            if channel not in self._epochs:
                await self.position(channel)
            known = Position(self._epochs[channel], 0)
            position = await self._head("publish", channel, parcels, known=known, again=again)
            if position.offset >= 0:
                return position
        raise BusError("The show's epoch changes all the time.")

    async def send(self, channel: str, payload: bytes, kind: Literal["state", "direct"] = "state") -> int:
        """Hand `payload` to every subscriber and answer how many; it is not numbered and not kept.

        Raises `BusError`.
        """
        assert len(payload) <= BUS_PAYLOAD_BYTES_MAX, "the caller bounds what it sends"
        frame = UNNUMBERED[kind] + payload
        name = _name(channel)
        command = ("SPUBLISH", name, frame)
        return int(await self._call(lambda: self._servers.execute(name, *command, patience_s=BUS_HURRY_S), again=False))

    @asynccontextmanager
    async def subscribe(self, channel: str, handler: Handler) -> AsyncIterator[None]:
        """Within the context `handler` gets every message of `channel`; the server has confirmed on entry.

        Raises `BusError` when the server does not confirm in time.
        """
        async with _subscribed(self._listener, channel, handler):
            yield

    async def position(self, channel: str, known: Position | None = None, age_s: float | None = None) -> Position:
        """Where the channel stands; begins an epoch when there is none. Raises `BusError`.

        `known` was published on the channel, `age_s` ago (None: at no known time). A new epoch begins when the server
        has lost it, or when it was published under another epoch although the present one had begun: then it went to a
        server that had been replaced, and those who look at the present one do not have it.
        """
        return await self._head("position", channel, known=known, age_s=age_s, again=True)

    async def history(self, channel: str, since: Position, limit: int) -> list[tuple[Position, bytes]] | None:
        """All events after `since`, oldest first, or None: not all are here, or more than `limit`; take a snapshot.

        Raises `BusError`.
        """
        keys = [_head_key(channel), _history_key(channel)]
        found = await self._run(_HISTORY, keys, [f"{since.offset + 1}-0", limit + 1], again=True)
        if not found:
            return None
        epoch, newest, entries = found
        if epoch.decode() != since.epoch or len(entries) != int(newest) - since.offset or len(entries) > limit:
            return None
        events = [(Position(since.epoch, int(id_.partition(b"-")[0])), fields[1]) for id_, fields in entries]
        # The ids are unique and ascending: as many as offsets, from the first one on, means that none is missing.
        return events if not events or events[0][0].offset == since.offset + 1 else None

    async def recent(self, channel: str, limit: int) -> Recent | None:
        """The newest events, at most `limit`, and all states; None: ask for the `position` first, and again.

        With what is heard from then on, a subscriber knows as much as one that has listened since the first of these
        events. Raises `BusError`.
        """
        found = await self._run(_RECENT, [_head_key(channel), _history_key(channel)], [limit], again=True)
        if not found:
            return None
        epoch, newest, entries, states, forgot = found
        offset = int(newest)
        # Ascending without a gap from the first to the newest one, unless the server has evicted them.
        unbroken = bool(entries) and int(entries[0][0].partition(b"-")[0]) == offset - len(entries) + 1
        events = [fields[1] for _, fields in entries] if unbroken else []
        return Recent(Position(epoch.decode(), offset), events, [parse(frame) for frame in states], whole=not forgot)

    async def rotate(self, channel: str) -> None:
        """Begin a new epoch: every subscriber is told `gone` and every position is void. Raises `BusError`."""
        await self._head("rotate", channel, again=True)

    async def take(self, bucket: str, rate_per_s: float, burst: float) -> float:
        """0.0: granted, one of `burst`, refilled at `rate_per_s`. Else the seconds to wait; nothing was taken.

        Grants everything while the server is away: a shop without a rate limit beats a shop that is shut.
        """
        try:
            answer = await self._run(
                _TAKE, [f"showcart:{{{bucket}}}:rate"], [rate_per_s, burst], again=False, hurry=True
            )
        except BusError:
            return 0.0
        return float(answer)

    async def beat(self, channel: str, member: str, count: int, ttl_s: float) -> int:
        """Say that `member` (a worker) has `count` viewers; answers the sum of all members heard within their ttl.

        A count of 0 takes the member out. Raises `BusError`.
        """
        return int(await self._run(_BEAT, [f"showcart:{{{channel}}}:presence"], [member, count, ttl_s], again=True))

    async def check(self) -> None:
        """Raises `BusError` when the server, or every server of the cluster, does not answer."""
        await self._call(self._servers.check, again=True)

    @property
    def heard(self) -> Listeners:
        """The ears, for those who look after them."""
        return self._listener

    async def close(self) -> None:
        """Stop listening and close every connection."""
        await self._listener.stop()
        await self._servers.close()

    async def _run_lease(self, key: str, arguments: list[str | bytes | int]) -> Any:
        # Twice does no harm: a lease that was granted and not heard of is granted again, with a higher fence.
        return await self._run(_LEASE, [key], arguments, again=True)

    async def count(
        self, channel: str, name: str, member: str, counts: Mapping[str, int], head: bytes
    ) -> dict[str, int]:
        """`tallies.count`, telling all subscribers of `channel` the sums as the state `name`; `head`: how it begins."""
        told = Told(_name(channel), UNNUMBERED["state"] + head, _head_key(channel), kept_under(state_key(name, "")))
        return await self.tallies.count(channel, name, member, counts, told=told)

    async def _run_tally(self, script: str, keys: list[str], arguments: list[str | bytes | float]) -> Any:
        return await self._run(Script(script), keys, arguments, again=True, hurry=True)

    async def _head(
        self,
        operation: str,
        channel: str,
        parcels: Sequence[Parcel] = (),
        *,
        known: Position | None = None,
        age_s: float | None = None,
        again: bool,
    ) -> Position:
        keys = [_head_key(channel), _history_key(channel)]
        once = [parcel.key for parcel in parcels if parcel.kind == "event" and parcel.key is not None]
        keys += [f"showcart:{{{channel}}}:once:{key}" for key in once]
        age: int | str = "" if age_s is None else math.ceil(age_s * 1000)
        about: list[str | int] = ["", 0, age] if known is None else [known.epoch, known.offset, age]
        load = [part for parcel in parcels for part in carried(parcel)]

        async def call() -> Any:
            # Each try brings an epoch of its own: both may be done, long after one another, and an epoch that begins
            # twice gives out its offsets twice.
            args: list[str | bytes | int] = [
                operation, secret_token(9), _name(channel), HISTORY_EVENTS_MAX, HISTORY_TTL_S, BUS_KEY_KEPT_S, *about,
                STATES_MAX, *load,
            ]  # fmt: skip
            return await self._servers.execute(keys[0], _PUBLISH, len(keys), *keys, *args, patience_s=BUS_TIMEOUT_S)

        epoch, offset = await self._call(call, again=again)
        self._epochs.pop(channel, None)
        self._epochs[channel] = epoch.decode()
        if len(self._epochs) > BUS_EPOCHS_KNOWN_MAX:
            del self._epochs[next(iter(self._epochs))]
        return Position(epoch.decode(), int(offset))

    async def _run(
        self,
        script: Script,
        keys: list[str],
        args: Sequence[str | bytes | float],
        *,
        again: bool,
        hurry: bool = False,
    ) -> Any:
        command = (script, len(keys), *keys, *args)
        patience_s = BUS_HURRY_S if hurry else BUS_TIMEOUT_S
        return await self._call(lambda: self._servers.execute(keys[0], *command, patience_s=patience_s), again=again)

    async def _call(self, work: Callable[[], Awaitable[T]], *, again: bool) -> T:
        """What `work` answers. `again`: doing it twice does no harm, so a stale connection costs one more try."""
        began_s = time.perf_counter()
        try:
            try:
                return await work()
            except FAILURES as error:
                if not again or isinstance(error, NotNow):  # a cluster has been asked again already
                    raise
            return await work()
        except FAILURES as error:
            self.errors += 1
            raise BusError(f"The bus did not answer: {error}") from error
        finally:
            self.call_s.observe(time.perf_counter() - began_s)


class Wire:
    """A way for packets beside the bus: connections of its own, so that video never delays an event.

    Nothing is numbered, kept or sent again. Subscribers are told `gone` when they may have missed something.
    """

    def __init__(self, servers: Servers) -> None:
        self._servers = servers
        self._speakers = Speakers(servers, FAILURES, REFUSALS)
        self._listener = Listeners(servers, FAILURES, REFUSALS, self._speakers.settle)

    @classmethod
    async def open(cls, url: str) -> "Wire":
        """A wire over what `Bus.open` takes; raises `BusError` when it does not answer."""
        wire = cls(_servers(url))
        try:
            await wire._servers.open()
            await wire._listener.start()
            await wire._speakers.settle()
        except BaseException as error:
            await wire.close()
            if isinstance(error, FAILURES):
                raise BusError(f"The bus did not accept a subscriber: {error}") from error
            raise
        return wire

    def send(self, channel: str, payload: bytes) -> bool:
        """Hand `payload` to every subscriber, without waiting; False: the server is away or behind, it was dropped."""
        assert len(payload) <= BUS_PAYLOAD_BYTES_MAX, "the caller bounds what it sends"
        return self._speakers.send(_name(channel).encode(), UNNUMBERED["state"] + payload)

    def clear(self, channel: str) -> bool:
        """Whether the server of `channel` is there and keeps up: half of what may wait is free."""
        return self._speakers.clear(_name(channel).encode())

    @asynccontextmanager
    async def subscribe(self, channel: str, handler: Handler) -> AsyncIterator[None]:
        """As `Bus.subscribe`."""
        async with _subscribed(self._listener, channel, handler):
            yield

    async def close(self) -> None:
        """Close every connection."""
        await self._listener.stop()
        await self._speakers.stop()
        await self._servers.close()


@asynccontextmanager
async def _subscribed(listener: Listeners, channel: str, handler: Handler) -> AsyncIterator[None]:
    name = _name(channel).encode()
    try:
        await listener.add(name, handler)
    except TimeoutError:
        raise BusError("The bus did not confirm the subscription in time.") from None
    try:
        yield
    finally:
        await listener.remove(name, handler)


def _servers(url: str) -> Servers:
    return Cluster(url) if url.partition("://")[0] in CLUSTER_SCHEMES else Alone(url)


def _name(channel: str) -> str:
    return f"showcart:{{{channel}}}:events"


def _head_key(channel: str) -> str:
    return f"showcart:{{{channel}}}:head"


def _history_key(channel: str) -> str:
    return f"showcart:{{{channel}}}:history"
