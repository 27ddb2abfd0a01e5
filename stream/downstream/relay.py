"""One show's way from its publisher to its viewers: what comes in, in which order it is worked off, who is told what.

    Source ─▶ push ─▶ Outgoing (numbers) ─▶ queue ─▶ batch ─▶ cache, Audience (moves) ─▶ Sender (one group at a time)

All viewers see the same SSRCs whoever publishes and whatever layer they get; those who were never switched see the same
numbers too, so a header is rewritten once for all of them. What has arrived since the last turn is one *batch*. Sound
overtakes pictures, and of each layer no more than PACE_PACKETS go out in PACE_INTERVAL_S: a keyframe that arrives at
once would overflow buffers on the way to the viewers.

A batch never reaches across the beginning of a keyframe: there viewers change layers (`downstream.audience`).
"""

import asyncio
import secrets
from collections import Counter, deque
from collections.abc import Callable, Generator, Iterable, Iterator
from typing import Any

from live.core.limits import (
    GOP_FRESH_S,
    MEDIA_TICK_S,
    PACE_INTERVAL_S,
    PACE_PACKETS,
    PACE_QUEUE_PACKETS_MAX,
    PLI_INTERVAL_S,
    RELAY_BATCH_PACKETS_MAX,
    RELAY_QUEUE_PACKETS_MAX,
    RELAY_STEP_PACKETS,
    SELECT_INTERVAL_S,
)
from stream.downstream.audience import Audience
from stream.downstream.cache import Entry
from stream.downstream.fanout import Job, Pump, Sender
from stream.downstream.feedback import Feedback
from stream.downstream.figures import audience_figures
from stream.downstream.joining import Walks
from stream.downstream.lines import Line, Outgoing
from stream.downstream.selection import Selector
from stream.downstream.subscribers import Group, Subscriber
from stream.feed import AUDIO, Arrival, Feed, LayerState, Source
from stream.transport.ice import IcePort
from stream.wire import rtcp
from stream.wire.rtp import HEADER_BYTES


class Relay:
    """The fan-out of one show; it outlives publishers, so that viewers stay when a publisher is replaced.

    It is a `stream.feed.Sink`. `now` gives monotonic seconds.
    """

    def __init__(self, show: str, port: IcePort, pump: Pump, counts: Counter[str], now: Callable[[], float]) -> None:
        self.show = show
        self.counts = counts
        self.rtx_ssrc = secrets.randbits(32) & ~1  # the streams' own are odd
        self._source: Source | None = None
        self._pump = pump
        self._now = now
        self._video, self._sound = Outgoing("video"), Outgoing("audio")
        self._lines: dict[int, Line] = self._video.lines | self._sound.lines
        self._audience = Audience(self._video, self._sound, self._ask)
        self._sender = Sender(port, counts, now)
        self._walks = Walks(self._audience, self._video, self._sender, pump, self._wake)
        self._feedback = Feedback(
            self._audience, self._video, self._sound, self.rtx_ssrc, counts, now, ask=self._ask, wake=self._wake
        )
        self._names: dict[str, str] = {}  # of the codecs that were sent last
        self._queues: dict[bool, deque[Entry]] = {True: deque(), False: deque()}  # pictures and sound
        self._paced: dict[int, tuple[float, int]] = {}  # by layer: since when how many packets
        self._pace_timer: asyncio.TimerHandle | None = None
        self._controls: deque[Outgoing] = deque()
        self._steps: Iterator[None] | None = None
        self._demanded: frozenset[int] = frozenset()
        self._expected = (0, float("-inf"))  # a layer that somebody who has asked will watch, and until when
        self._asked: dict[int, float] = {}
        self._round: list[Subscriber] = []  # whose selectors are asked next
        self._polled_at = now()
        self._octets = 0
        self._measured = (0, now(), 0)  # octets at a time, and bits per second until then

    # --- the source ---------------------------------------------------------------------------------------------

    @property
    def feed(self) -> Feed | None:
        """What is sent now; None while nobody publishes."""
        return None if self._source is None else self._source.feed

    def ssrc(self, kind: str) -> int:
        """The SSRC that all viewers see."""
        return (self._video if kind == "video" else self._sound).ssrc

    def begin(self, source: Source) -> list[Subscriber]:
        """A publisher took the stage; returns the viewers who cannot play its codecs (the caller closes them)."""
        feed = source.feed
        names = {kind: codec.name for kind, codec in feed.codecs.items()}
        if names != self._names:
            for queue in self._queues.values():
                queue.clear()
        self._names = names
        self._source = source
        self._asked.clear()
        for outgoing in (self._video, self._sound):
            outgoing.begin(feed.codecs.get(outgoing.kind))
        stranded = self._audience.begin(len(feed.rids), self._now())
        self._demanded = frozenset()
        self._moved()
        return stranded

    def end(self) -> None:
        """The publisher is gone; the viewers wait."""
        self._source = None
        for outgoing in (self._video, self._sound):
            outgoing.end()

    def push(self, arrival: Arrival) -> None:
        """Send a publisher's packet to everybody who gets its layer."""
        line = self._lines.get(arrival.layer)
        if line is None:
            self.counts["unknown_layer"] += 1
            return
        if line.awaiting_keyframe:
            if not arrival.opens_keyframe:
                self.counts["before_keyframe"] += 1
                return
            line.awaiting_keyframe = False
        video = arrival.layer != AUDIO
        if line.overloaded or len(self._queues[True]) + len(self._queues[False]) >= RELAY_QUEUE_PACKETS_MAX:
            # Of a picture that is broken anyway the rest is dropped too.
            line.overloaded = video and arrival.packet[1] < 0x80
            self.counts["overload_dropped"] += 1
            return
        entry = (self._video if video else self._sound).take(arrival, self._now())
        if entry is not None:
            self._queues[video].append(entry)
            self._wake()

    def restarted(self, layer: int) -> None:
        """The publisher started this layer anew, with its own numbering."""
        if layer in self._lines:
            (self._sound if layer == AUDIO else self._video).restarted(layer)

    def sender_report(self, layer: int, ntp: int, timestamp: int) -> None:
        """Pass the host's sender report on, with the viewers' numbers; of all layers one speaks for the video."""
        outgoing = self._sound if layer == AUDIO else self._video
        if layer in self._lines and outgoing.sender_report(layer, ntp, timestamp, self._now()):
            self._feedback.report_sent(ntp)
            self._controls.append(outgoing)
            self._wake()

    def described(self, layers: tuple[LayerState, ...]) -> None:
        """How the layers arrive now; the viewers' selectors see it when they are asked next."""
        if self._source is not None:
            self._audience.states = layers

    def _ask(self, layer: int) -> None:
        """Have a keyframe of `layer`; many wishes at once are one."""
        now = self._now()
        if self._source is not None and now - self._asked.get(layer, float("-inf")) >= MEDIA_TICK_S:
            self._asked[layer] = now
            self._source.want_keyframe(layer)

    # --- the viewers --------------------------------------------------------------------------------------------

    @property
    def subscribers(self) -> list[Subscriber]:
        return list(self._audience.members)

    def prepare_join(self) -> None:
        """A viewer is about to join: have a fresh keyframe by the time its handshake is done."""
        now, states = self._now(), self._audience.states
        layer = Selector().choose(states, None, now)
        if self._source is None or layer is None or "video" not in self._source.feed.codecs:
            return
        self._expected = (layer, now + GOP_FRESH_S)
        self._demand()
        if self._lines[layer].cache.gop_age(now) > GOP_FRESH_S:
            self._ask(layer)

    def join(self, subscriber: Subscriber) -> bool:
        """Start sending; False when the viewer cannot play what is sent now."""
        now = self._now()
        subscriber.told_at = now
        if not self._audience.join(subscriber, now):
            return False
        for outgoing, payload_type in zip((self._video, self._sound), subscriber.payload_types, strict=True):
            if outgoing.report is not None and payload_type is not None:
                # At once, not with the host's next report: sound and picture are in step from the first second.
                subscriber.peer.send_rtcp(self._report(outgoing, *outgoing.report, 0))
        self._moved()
        return True

    def leave(self, subscriber: Subscriber) -> None:
        """Stop sending; leaving twice does no harm. A batch that is being sent may still reach the viewer."""
        if subscriber in self._audience.members:
            self._feedback.totals["dropped"] += subscriber.dropped
            self._feedback.totals["freezes"] += subscriber.freezes
        self._audience.leave(subscriber)
        self._sender.forget(subscriber)
        self._demand()

    def feedback(self, subscriber: Subscriber, packets: Iterable[rtcp.Packet]) -> None:
        """Act on a viewer's RTCP."""
        self._feedback.received(subscriber, packets)

    def cap(self, subscriber: Subscriber, max_height: int | None, *, video: bool) -> None:
        """What the viewer wants at most, in lines of the picture (of an upright one: in columns); None: the best.

        `video` False: sound only.
        """
        subscriber.max_height = max_height
        subscriber.selector.video = video
        if subscriber in self._audience.members:
            self._audience.choose(subscriber, self._now())
            self._moved()

    def poll(self, now: float) -> None:
        """Look after the viewers; to be called every MEDIA_TICK_S while there are any."""
        elapsed, self._polled_at = now - self._polled_at, now
        self._sender.offer_again()
        self._audience.lose_patience(now)
        # Those who stayed on their layer wait, too: a new source's keyframe may have passed before we asked for it.
        stalled = {layer for layer in self._audience.watched if self._lines[layer].awaiting_keyframe}
        for layer in stalled.union(self._audience.awaited):
            if now - self._asked.get(layer, float("-inf")) >= PLI_INTERVAL_S:
                self._ask(layer)
        # Each is asked once in SELECT_INTERVAL_S, but never all in one turn of the loop.
        share = min(1.0, elapsed / SELECT_INTERVAL_S)
        for _ in range(int(len(self._audience.members) * share) + 1):
            if not self._round:
                self._round = list(self._audience.members)
                if not self._round:
                    break
            subscriber = self._round.pop()
            if subscriber in self._audience.members:
                self._audience.choose(subscriber, now)
                self._feedback.watch(subscriber, now)
        self._moved()

    def _moved(self) -> None:
        """Viewers may have changed places."""
        if self._audience.restless:
            self._wake()
        self._walks.begin()
        self._demand()

    def _demand(self) -> None:
        layer, until = self._expected
        demanded = self._audience.watched | (frozenset((layer,)) if self._now() < until else frozenset())
        if self._source is not None and demanded != self._demanded:
            self._demanded = demanded
            self._source.demand(demanded)

    def statistics(self) -> dict[str, Any]:
        """The figures of the viewers, as in `downstream.tally.AudienceFigures`; rates are since the last call."""
        now, viewers = self._now(), self._audience.members
        before, since, bits_per_s = self._measured
        if now > since:
            bits_per_s = round((self._octets - before) * 8 / (now - since))
            self._measured = (self._octets, now, bits_per_s)
        rids = self._source.feed.rids if self._source is not None else ()
        return audience_figures(viewers, rids, self._feedback.totals, bits_per_s, now)

    def close(self) -> None:
        """Stop for good."""
        self._walks.close()
        if self._pace_timer is not None:
            self._pace_timer.cancel()
            self._pace_timer = None

    # --- the work, in steps -------------------------------------------------------------------------------------

    def _wake(self) -> None:
        self._pump.wake(self)

    def run(self, expired: Callable[[], bool]) -> bool:
        """Work until time has `expired` or nothing is left; returns whether something is left."""
        if self._steps is None:
            self._steps = self._work()
        try:
            for _ in self._steps:
                if expired():
                    return True
        except BaseException:
            self._steps = None  # a generator that has raised is finished; the next run needs a new one
            raise
        self._steps = None
        return False

    def _work(self) -> Iterator[None]:
        while True:
            if self._audience.unsettled:  # before a keyframe that they are to begin with
                yield from self._audience.settle(self._now())
                self._moved()
            batch = yield from self._take_batch()
            if not (batch or self._controls or self._walks.due or self._feedback.waiting or self._audience.restless):
                return
            if batch:
                yield from self._send(batch)
            if self._audience.shifted:
                yield from self._tell_shifted()
            if self._controls:
                yield from self._send_reports(self._controls.popleft())
            if self._walks.due:
                yield from self._walks.steps()
            if self._feedback.waiting:
                self._feedback.answer()
                yield

    def _take_batch(self) -> Generator[None, None, list[Entry]]:
        """What goes out next. Its packets enter the caches now: "newest" is what the live viewers are sent."""
        now = self._now()
        batch: list[Entry] = []
        sound, pictures = self._queues[False], self._queues[True]
        while sound and len(batch) < RELAY_BATCH_PACKETS_MAX:
            self._put(sound.popleft(), batch, now)  # sound never opens anything
        hurried = len(pictures) > PACE_QUEUE_PACKETS_MAX
        room = RELAY_BATCH_PACKETS_MAX
        while pictures and room:
            entry = pictures[0]
            line = self._lines[entry.layer]
            opens = line.cache.opens_gop(entry)
            if opens and room < RELAY_BATCH_PACKETS_MAX:
                break
            if not hurried and not self._may_go(entry.layer, now):
                break
            room -= 1
            if self._put(pictures.popleft(), batch, now):
                self.counts["keyframes"] += 1
                self._asked.pop(entry.layer, None)
                yield from self._audience.keyframe(entry.layer, entry.mark, now)
                self._moved()
        if pictures and not batch and self._pace_timer is None:
            self._pace_timer = self._pump.later(PACE_INTERVAL_S, self._go_on)
        return batch

    def _put(self, entry: Entry, batch: list[Entry], now: float) -> bool:
        """Keep an entry and let it go out, unless its number is taken; returns whether it begins a keyframe."""
        line = self._lines[entry.layer]
        if line.cache.taken(entry.mark.sequence):
            self.counts["number_taken"] += 1
            return False
        batch.append(entry)
        return line.put(entry, now)

    def _may_go(self, layer: int, now: float) -> bool:
        since, count = self._paced.get(layer, (now, 0))
        if now - since >= PACE_INTERVAL_S:
            since, count = now, 0
        self._paced[layer] = (since, count + 1)
        return count < PACE_PACKETS

    def _go_on(self) -> None:
        self._pace_timer = None
        self._wake()

    def _send(self, batch: list[Entry]) -> Iterator[None]:
        # Who moves while the batch is being sent still gets all of it, once, and as it was when it began.
        groups = [(group, group.members) for group in self._audience.groups.values()]
        yield from self._sender.to_all(self._jobs(batch, groups))

    def _jobs(self, batch: list[Entry], groups: list[tuple[Group, tuple[Subscriber, ...]]]) -> Iterator[Job]:
        for group, members in groups:
            if packets := group.translate(batch):
                self._octets += len(members) * (sum(map(len, packets)) - HEADER_BYTES * len(packets))
                yield members, packets, group.video

    def _send_reports(self, outgoing: Outgoing) -> Iterator[None]:
        if outgoing.report is None:
            return  # the publisher has changed
        video = outgoing is self._video
        for group, members in [(group, group.members) for group in self._audience.groups.values()]:
            if (group.video if video else group.audio) is None:
                continue
            compound = self._report(outgoing, *outgoing.report, group.translation.timestamp if video else 0)
            for index, subscriber in enumerate(members):
                if video and subscriber.shift != group.translation.timestamp:  # it walks to its place, or has none
                    subscriber.peer.send_rtcp(self._report(outgoing, *outgoing.report, subscriber.shift))
                else:
                    subscriber.peer.send_rtcp(compound)
                if index % RELAY_STEP_PACKETS == 0:
                    yield

    def _tell_shifted(self) -> Iterator[None]:
        """Sender reports out of turn: lips would be wrong until the host's next one."""
        while self._audience.shifted:
            viewer, _ = self._audience.shifted.popitem()
            if self._video.report is not None:
                viewer.told_at = self._now()
                viewer.peer.send_rtcp(self._report(self._video, *self._video.report, viewer.shift))
            yield

    def _report(self, outgoing: Outgoing, ntp: int, timestamp: int, shift: int) -> bytes:
        lines = outgoing.lines.values()
        packets, octets = sum(line.packets for line in lines), sum(line.octets for line in lines)
        totals = rtcp.SenderReport(outgoing.ssrc, ntp, (timestamp + shift) & 0xFFFFFFFF, packets, octets)
        return rtcp.build((totals, rtcp.Description(outgoing.ssrc, self.show)))
