"""Who listens to what: a channel for each show that has viewers here, fed by one subscription on the bus.

The hub keeps every channel without a gap: events come in the order of their offsets, one that was missed is read
from the bus's history, and when that is not possible everybody takes a fresh snapshot. Once a second it looks
after what takes time: people counts, viewers that do not drain, quiet shows, shows that nobody watches any more.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable, Iterable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import TypeVar

from live.core.bus import Bus, BusError, Message, Recent
from live.core.codec import Malformed, decode
from live.core.errors import TOO_SLOW
from live.core.ids import secret_token
from live.core.limits import (
    BATCH_EVENTS_MAX,
    BUS_RETRY_S_MAX,
    BUS_RETRY_S_MIN,
    CHANNEL_LINGER_S,
    HISTORY_EVENTS_MAX,
    POSITION_INTERVAL_S,
    PRESENCE_INTERVAL_S,
    PRESENCE_TTL_S,
    RECOVERY_EVENTS_MAX,
    SHOWS_TICKED_MAX,
    VIEWER_STALL_S_MAX,
)
from live.core.tasks import end
from live.core.tracing import Tracing
from live.realtime.channel import Channel, Viewer
from live.realtime.figures import Figures
from live.realtime.payloads import PublishedEvent, PublishedNotice, PublishedState
from live.realtime.protocol import Here, Notice, State
from live.realtime.turns import Turns

log = logging.getLogger(__name__)

TICK_S = 1.0
T = TypeVar("T")
Refresh = Callable[[Channel, Iterable[Viewer]], None]


@dataclass(slots=True)
class _Feed:
    """A channel with its subscription. `held`: messages that wait while a gap is being closed, None when none is."""

    show: str
    subscription: AsyncExitStack
    channel: Channel | None = None
    held: list[Message] | None = field(default_factory=list)
    repair: asyncio.Task[None] | None = None
    used_s: float = 0.0
    told_s: float = 0.0  # when viewers last heard the position
    counted_s: float = 0.0
    count: int = -1
    tick: asyncio.Task[None] | None = None  # what takes time, under way


class Hub:
    """See the module. `refresh` is set by the gateway: it gives viewers a fresh snapshot."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self.figures = Figures()
        self._turns = Turns(self.figures)
        self._worker = secret_token(9)
        self._feeds: dict[str, _Feed] = {}
        self._opening: dict[str, asyncio.Task[_Feed]] = {}
        self._ticker: asyncio.Task[None] | None = None
        self.refresh: Refresh = lambda channel, viewers: None
        self.repairs = 0
        self.closed_slow = 0
        self.tracing: Tracing | None = None

    def start(self) -> None:
        """Begin to look after the channels."""
        self._ticker = asyncio.create_task(self._tick_forever(), name="hub")

    async def close(self) -> None:
        """Give up every channel; the sockets are the gateway's to close."""
        await end(self._ticker, *self._opening.values())
        for feed in list(self._feeds.values()):
            await self._drop(feed)

    async def channel(self, show: str, check: Callable[[str], Awaitable[object]]) -> Channel:
        """The channel of `show`, subscribed and in place; raises `BusError`.

        `check` raises when there is no such show, before anything is made for it.
        """
        feed = self._feeds.get(show)
        if feed is None:
            opening = self._opening.get(show)
            if opening is None:
                opening = asyncio.create_task(self._open(show, check), name=f"open channel {show}")
                self._opening[show] = opening
                opening.add_done_callback(lambda task: self._opened(show, task))
            feed = await asyncio.shield(opening)
        feed.used_s = asyncio.get_running_loop().time()
        assert feed.channel is not None
        return feed.channel

    def keep(self, channel: Channel) -> None:
        """A viewer has gone: the show lingers from now on."""
        if feed := self._feeds.get(channel.show):
            feed.used_s = asyncio.get_running_loop().time()

    def has(self, channel: Channel) -> bool:
        """Whether `channel` is still fed."""
        feed = self._feeds.get(channel.show)
        return feed is not None and feed.channel is channel

    def channels(self) -> list[Channel]:
        """Every channel that is open."""
        return [feed.channel for feed in self._feeds.values() if feed.channel is not None]

    def count(self, show: str) -> int:
        """How many people watch `show` on all workers, as far as is known here."""
        feed = self._feeds.get(show)
        return max(0, feed.count) if feed is not None else 0

    # --- feeds

    def _opened(self, show: str, task: "asyncio.Task[_Feed]") -> None:
        del self._opening[show]
        if not task.cancelled():
            task.exception()  # those who wait for it have heard; nobody may be left

    async def _open(self, show: str, check: Callable[[str], Awaitable[object]]) -> _Feed:
        await check(show)
        async with AsyncExitStack() as stack:
            feed = _Feed(show, AsyncExitStack())
            # Subscribed first, asked second: what comes in between is held and sorted by offset.
            await stack.enter_async_context(self._bus.subscribe(show, lambda message: self._receive(feed, message)))
            position = await self._bus.position(show)
            recent = await self._bus.recent(show, RECOVERY_EVENTS_MAX)
            if recent is not None:
                position = recent.position
            feed.channel = Channel(show, position, lambda channel, viewers: self.refresh(channel, viewers), self._turns)
            if recent is not None:
                self._tell_of_before(feed.channel, recent)
            feed.subscription = stack.pop_all()
        feed.used_s = feed.told_s = asyncio.get_running_loop().time()
        self._feeds[show] = feed
        self._release(feed)
        return feed

    def _tell_of_before(self, channel: Channel, recent: Recent) -> None:
        """A channel that is opened knows as much as if it had been open while `recent` was told: who comes over from
        another worker goes on without a snapshot."""
        states = [_parsed(message.payload, PublishedState, channel.show) for message in recent.states]
        events = [_published(payload, channel.show) for payload in recent.events]
        channel.know(events, filter(None, states), whole=recent.whole)

    async def _drop(self, feed: _Feed) -> None:
        self._feeds.pop(feed.show, None)
        await feed.subscription.aclose()  # first, or what still comes might begin another repair
        # A show that nobody watches is given up by its own tick.
        await end(feed.repair, None if feed.tick is asyncio.current_task() else feed.tick)
        if feed.channel is not None:
            feed.channel.close()
        with contextlib.suppress(BusError):
            await self._bus.beat(feed.show, self._worker, 0, PRESENCE_TTL_S)

    def _receive(self, feed: _Feed, message: Message) -> None:
        if feed.held is not None:
            if len(feed.held) >= BATCH_EVENTS_MAX:
                feed.held = [Message("gone", None, b"")]  # more than can be kept: look again when this is closed
            feed.held.append(message)
            return
        self._take(feed, message)

    def _take(self, feed: _Feed, message: Message) -> None:
        channel = feed.channel
        assert channel is not None
        if message.kind == "event":
            assert message.position is not None
            epoch, offset = message.position.epoch, message.position.offset
            if epoch == channel.epoch and offset == channel.received + 1:
                published = _published(message.payload, feed.show)
                if published.sent_ms:  # the clock of another machine may be ahead of ours
                    self.figures.bus_lag_s.observe(max(0.0, time.time() - published.sent_ms / 1000))
                if published.trace:
                    self._trace(channel, offset, published.trace)
                channel.event(offset, published, len(message.payload))
            elif epoch != channel.epoch or offset > channel.received:
                self._mend(feed, message)
        elif message.kind == "state":
            if state := _parsed(message.payload, PublishedState, feed.show):
                channel.state(State(state.name, state.data, state.key), state.staff)
        elif message.kind == "direct":
            for notice in _parsed(message.payload, list[PublishedNotice], feed.show) or ():
                told = Notice(notice.name, notice.data)
                if notice.trace:
                    self._trace(channel, 0, notice.trace)
                if notice.staff:
                    channel.notice_staff(told)
                else:
                    channel.notice(notice.viewer, told)
        else:
            self._mend(feed, deaf=True)

    def _trace(self, channel: Channel, offset: int, traceparent: str) -> None:
        """Follow an event to the screens; a notice (offset 0) is written at once."""
        span = self.tracing.begin("deliver", traceparent) if self.tracing is not None else None
        if span is not None and offset:
            channel.traces.took(offset, span)
        elif span is not None:
            asyncio.get_running_loop().call_soon(span.end)

    def _mend(self, feed: _Feed, message: Message | None = None, *, deaf: bool = False) -> None:
        """Something may be missing, before `message` if there is one: hold what comes and find out."""
        self.repairs += 1
        feed.held = [message] if message is not None else []
        feed.repair = asyncio.create_task(self._repair(feed, deaf=deaf), name=f"repair channel {feed.show}")

    async def _repair(self, feed: _Feed, *, deaf: bool) -> None:
        """The history has the events. States and notices are in SQL alone: who was `deaf` looks at that."""
        channel = feed.channel
        assert channel is not None
        retry_s = BUS_RETRY_S_MIN
        while True:
            # The answer is newer than what came before the question: an event of another epoch than ours is either in
            # it, or the last word of a server that was replaced, which would have us ask again for ever.
            assert feed.held is not None
            feed.held = [m for m in feed.held if m.position is None or m.position.epoch == channel.epoch]
            have = channel.position
            try:
                # Asked first, because asking begins a new epoch when the server is another one, or has lost something.
                position = await self._bus.position(feed.show, have)
                missed = None if deaf else await self._bus.history(feed.show, have, HISTORY_EVENTS_MAX)
                break
            except BusError:
                pass
            except Exception:  # our own bug: without an end of this the show would be deaf
                log.exception("mending the show %s failed; trying again", feed.show)
            await asyncio.sleep(retry_s)
            retry_s = min(retry_s * 2, BUS_RETRY_S_MAX)
        if missed is None:
            channel.restart(position, deaf=True)
        else:
            for at, payload in missed:
                channel.event(at.offset, _published(payload, feed.show), len(payload))
        feed.repair = None
        self._release(feed)

    def _release(self, feed: _Feed) -> None:
        """Take what was held; a gap in it is mended in its turn."""
        held, feed.held = feed.held or [], None
        for message in held:
            self._receive(feed, message)

    # --- once a second

    async def _tick_forever(self) -> None:
        while True:
            await asyncio.sleep(TICK_S)
            for do in (self._close_slow, self._begin_ticks):
                try:
                    do()
                except Exception:  # our own bug: no show would ever be looked after again
                    log.exception("looking after the shows failed; trying again")

    def _begin_ticks(self) -> None:
        now_s = asyncio.get_running_loop().time()
        busy = sum(feed.tick is not None for feed in self._feeds.values())
        # Who waited longest comes first: beyond the bound a show's turn is a second later.
        for feed in sorted(self._feeds.values(), key=lambda feed: feed.counted_s):
            if busy >= SHOWS_TICKED_MAX:
                break
            if feed.tick is None and self._due(feed, now_s):
                feed.tick = asyncio.create_task(self._tick(feed), name=f"tick {feed.show}")
                busy += 1

    def _due(self, feed: _Feed, now_s: float) -> bool:
        """Whether the bus must be asked or told something about a show."""
        assert feed.channel is not None
        if feed.channel.viewers:
            feed.used_s = now_s
        return (
            now_s - feed.counted_s >= PRESENCE_INTERVAL_S
            or now_s - feed.told_s >= POSITION_INTERVAL_S
            or now_s - feed.used_s > CHANNEL_LINGER_S
        )

    async def _tick(self, feed: _Feed) -> None:
        try:
            await self._look_after(feed)
        except BusError as error:
            log.info("looking after the show %s: %s", feed.show, error)
        except Exception:  # our own bug: the show is looked after again in a second
            log.exception("looking after the show %s failed", feed.show)
        finally:
            feed.tick = None

    def _close_slow(self) -> None:
        now_s = asyncio.get_running_loop().time()
        for channel in self.channels():
            for viewer in [v for v in channel.slow if now_s - v.stalled_s > VIEWER_STALL_S_MAX]:
                self.closed_slow += 1
                viewer.shut(TOO_SLOW)

    async def _look_after(self, feed: _Feed) -> None:
        channel = feed.channel
        assert channel is not None
        now_s = asyncio.get_running_loop().time()
        if now_s - feed.used_s > CHANNEL_LINGER_S:
            await self._drop(feed)
            return
        if now_s - feed.counted_s >= PRESENCE_INTERVAL_S:
            feed.counted_s = now_s
            count = await self._bus.beat(feed.show, self._worker, channel.people.count(now_s), PRESENCE_TTL_S)
            if count != feed.count:
                feed.count = count
                channel.state(State("viewers", {"count": count}), staff=False)
        if now_s - feed.told_s >= POSITION_INTERVAL_S:
            feed.told_s = now_s
            await self._check(feed, channel)

    async def _check(self, feed: _Feed, channel: Channel) -> None:
        """Compare with the bus in case it lost a message without a sign, and let the clients compare."""
        position = await self._bus.position(feed.show, channel.position)
        if position.epoch == channel.epoch and position.offset <= channel.received:
            channel.tell(Here(channel.position))
        elif feed.held is None:
            self._mend(feed)


def _published(payload: bytes, show: str) -> PublishedEvent:
    """An event that is not one keeps its number, so that nobody sees a gap."""
    return _parsed(payload, PublishedEvent, show) or PublishedEvent(0, "invalid", {})


def _parsed(payload: bytes, type_: type[T], show: str) -> T | None:
    try:
        return decode(payload, "msgpack", type_)
    except Malformed as error:
        log.error("a payload of %s on the bus is not ours: %s", show, error)
        return None
