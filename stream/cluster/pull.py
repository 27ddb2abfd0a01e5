"""A show from another worker: the packets that this one's viewers need, from the bus into their relay.

A `Pull` lives as long as its viewers do and follows the show from publisher to publisher: who is announced with the
highest fence is listened to, and packets of older fences are ignored. When nothing is heard for DEMAND_TTL_S, or the
origin says that it is over, the relay is told that it ended; the viewers stay, and the next announcement goes on.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import Callable
from contextlib import AsyncExitStack
from functools import partial
from typing import Protocol

from live.core.bus import BusError, Wire
from live.core.limits import BUS_RETRY_S_MAX, BUS_RETRY_S_MIN, DEMAND_INTERVAL_S, DEMAND_TTL_S
from live.core.listener import Message
from live.core.tasks import end
from stream.cluster import batches, signals
from stream.downstream.tally import AudienceFigures
from stream.feed import AUDIO, Feed, Sink
from stream.wire.rtp import PacketError

log = logging.getLogger(__name__)


class Target(Sink, Protocol):
    """Who shows what is pulled: the stage of this worker, in front of its relay."""

    def pulled(self, pull: "Pull") -> None:
        """A publisher begins, with `pull.feed`."""

    def pull_ended(self) -> None:
        """Nobody is announced any more."""


class Pull:
    """A `stream.feed.Source` that fills `target`. `edge` names this worker to the origin."""

    def __init__(
        self, show: str, edge: str, wire: Wire, target: Target, counts: Counter[str], now: Callable[[], float]
    ) -> None:
        self.feed = Feed({})
        self.announced: signals.Announced | None = None  # who is on air; None: nobody that was heard
        self.announcement = asyncio.Event()  # set while somebody is on air
        self._show = show
        self._edge = edge
        self._wire = wire
        self._target = target
        self._counts = counts
        self._now = now
        self._fence = 0  # the highest that was heard
        self._heard_at = now()
        self._silenced = False
        self.figures: AudienceFigures | None = None  # what is known of the viewers here, for the origin
        self._audience = 0
        self._video: frozenset[int] = frozenset()  # the layers that are watched
        self._layers: frozenset[int] = frozenset()  # what is to be subscribed to ...
        self._subscribed: dict[int, AsyncExitStack] = {}  # ... and what is
        self._news = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to listen."""
        self._task = asyncio.create_task(self._run(), name=f"pull {self._show}")

    def silence(self) -> None:
        """Tell the target nothing more, from now on."""
        self._silenced = True

    async def close(self) -> None:
        """Stop listening; the target hears nothing more."""
        self.silence()
        await end(self._task)

    # --- what the relay asks for --------------------------------------------------------------------------------

    def want_keyframe(self, layer: int) -> None:
        """Pass the wish on; not for a layer that is only about to come, which begins with a wish of its own."""
        if layer in self._subscribed:
            self._say(signals.Wished(layer))

    def _say(self, signal: signals.Up) -> None:
        self._wire.send(signals.up(self._show), signals.packed(signal))

    def demand(self, layers: frozenset[int]) -> None:
        self._video = layers
        self._update()

    @property
    def audience(self) -> int:
        """How many viewers there are; they all get the sound."""
        return self._audience

    @audience.setter
    def audience(self, number: int) -> None:
        self._audience = number
        self._update()

    def _update(self) -> None:
        sound = self._audience > 0 and self.announced is not None and "audio" in self.feed.codecs
        layers = self._video | {AUDIO} if sound else self._video
        if layers != self._layers:
            self._layers = layers
            self._news.set()

    # --- what the origin says -----------------------------------------------------------------------------------

    def _signalled(self, message: Message) -> None:
        if self._silenced:
            return
        if message.kind == "gone":
            self._news.set()  # say again what is wanted; the origin may have forgotten it
            return
        try:
            signal = signals.heard_down(message.payload)
        except PacketError:
            self._counts["signal_malformed"] += 1
            return
        if signal.fence < self._fence:
            self._counts["pull_stale"] += 1
        elif isinstance(signal, signals.Ended):
            self._over()
        else:
            self._hear(signal)

    def _hear(self, signal: signals.Announced) -> None:
        self._heard_at = self._now()
        before, self.announced = self.announced, signal
        if before is None or signal.fence > self._fence:
            self._fence, self.feed = signal.fence, signal.feed
            self._video = self._layers = frozenset()
            self._news.set()
            self.announcement.set()
            self._target.pulled(self)
            self._update()
        self._target.described(signal.states)
        if before is None or before.fence != signal.fence:
            for layer, ntp, timestamp in signal.ties:
                self._target.sender_report(layer, ntp, timestamp)

    def _over(self) -> None:
        if self.announced is not None and not self._silenced:
            self.announced = None
            self._video = self._layers = frozenset()
            self._news.set()
            self.announcement.clear()
            self._target.pull_ended()

    def _received(self, layer: int, message: Message) -> None:
        if self._silenced:
            return
        if message.kind == "gone":
            self._target.restarted(layer)  # a new numbering may have been said meanwhile
            if layer != AUDIO:
                self.want_keyframe(layer)
            return
        try:
            said, fence, records = batches.opened(message.payload)
            if said != layer:
                raise PacketError("a batch on another layer's channel")
        except PacketError:
            self._counts["batch_malformed"] += 1
            return
        if fence != self._fence or self.announced is None or layer not in self._layers:
            self._counts["pull_stale"] += len(records)
            return
        for record in records:
            if record.kind in (batches.PACKET, batches.KEYFRAME):
                self._target.push(record.arrival(layer))
            elif record.kind == batches.REPORT:
                self._target.sender_report(layer, *record.report())
            else:
                self._target.restarted(layer)
        self._counts["pulled"] += len(records)

    # --- subscriptions ------------------------------------------------------------------------------------------

    async def _run(self) -> None:
        retry_s = BUS_RETRY_S_MIN
        while True:
            try:
                await self._follow()
            except Exception:  # our own bug: the viewers here would have no picture until the last of them has left
                log.exception("following %s failed; beginning again", self._show)
            await asyncio.sleep(retry_s)
            retry_s = min(retry_s * 2, BUS_RETRY_S_MAX)

    async def _follow(self) -> None:
        """Listen to the origin and tell it what is wanted, until cancelled."""
        try:
            async with AsyncExitStack() as stack:
                await self._listen(stack, signals.down(self._show), self._signalled)
                while True:
                    self._news.clear()
                    fresh = await self._subscribe()
                    self._say(signals.Demanded(self._edge, tuple(sorted(self._layers)), self._audience, self.figures))
                    for layer in fresh:
                        self._say(signals.Wished(layer))
                    try:
                        async with asyncio.timeout(DEMAND_INTERVAL_S):
                            await self._news.wait()
                    except TimeoutError:
                        if self._now() - self._heard_at > DEMAND_TTL_S:
                            self._over()
        finally:
            while self._subscribed:
                _, subscription = self._subscribed.popitem()
                await subscription.aclose()

    async def _listen(self, stack: AsyncExitStack, channel: str, handler: Callable[[Message], None]) -> None:
        """Subscribe, however often it takes."""
        while True:
            try:
                await stack.enter_async_context(self._wire.subscribe(channel, handler))
                return
            except BusError as error:
                log.info("listening to %s: %s", channel, error)

    async def _subscribe(self) -> list[int]:
        """Take up the layers that are wanted now and give up the others; answers the video layers that are new."""
        fresh = []
        for layer in self._subscribed.keys() - self._layers:
            await self._subscribed.pop(layer).aclose()
        for layer in self._layers - self._subscribed.keys():
            if not self._silenced:
                # What is kept of an earlier time has a hole before what comes now, or has another numbering.
                self._target.restarted(layer)
            stack = AsyncExitStack()
            try:
                await stack.enter_async_context(
                    self._wire.subscribe(signals.media(self._show, layer), partial(self._received, layer))
                )
            except BusError as error:
                log.info("listening to layer %d of %s: %s", layer, self._show, error)
                continue  # with the next demand again
            self._subscribed[layer] = stack
            if layer != AUDIO:
                fresh.append(layer)
        return fresh
