"""One show's way from its publisher to its viewers: numbering, joining, retransmission.

All viewers see the same SSRCs, sequence numbers and timestamps, whoever publishes, so a header is rewritten once
(`stream.fanout` does the sending). What has arrived since the last turn is one *batch*.

A joining viewer *walks* the packet cache from the newest keyframe to its head, paced, and enters its group's live list
at the moment it has reached the head: nothing is missed, nothing comes twice. Packets enter the cache when their batch
begins, so that "head" means what the live viewers have been sent. When the keyframe is not fresh, a new one has been
asked for already when the viewer's POST came; the walk waits for it a moment, because a short walk looks better.
"""

import asyncio
import secrets
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence

from live.core.limits import (
    GOP_FRESH_S,
    JOIN_BURST_PACKETS,
    JOIN_INTERVAL_S,
    JOIN_PATIENCE_S,
    RELAY_BATCH_PACKETS_MAX,
    RELAY_QUEUE_PACKETS_MAX,
    RELAY_STEP_PACKETS,
    SENDER_REPORTS_KEPT,
)
from stream import rtcp
from stream.cache import PacketCache
from stream.fanout import Entry, Group, Pump, Sender, Subscriber
from stream.ice import IcePort
from stream.reception import Splice
from stream.rtp import Header, rewrite, with_payload_type
from stream.sdp import Codec, payload_type_for

KINDS = ("video", "audio")
_CLOCK_RATES = {"video": 90_000, "audio": 48_000}


class _Outgoing:
    """One RTP stream as all viewers of the show see it."""

    def __init__(self, kind: str) -> None:
        self.ssrc = secrets.randbits(32) | 1
        # The first number is small, so that no viewer joins just before the first wrap (RFC 3711, section 3.3.1).
        self.splice = Splice(secrets.randbelow(1 << 14) + (1 << 16), secrets.randbits(32), _CLOCK_RATES[kind])
        self.codec: Codec | None = None
        self.packets = 0
        self.octets = 0
        self.report: tuple[int, int] | None = None  # the last sender report: NTP time and outgoing timestamp


class Relay:
    """The fan-out of one show; it outlives publishers, so that viewers stay when a publisher is replaced."""

    def __init__(self, show: str, port: IcePort, pump: Pump, counts: Counter[str], now: Callable[[], float]) -> None:
        self.show = show
        self.counts = counts
        self.request_keyframe: Callable[[], None] | None = None
        self._sender = Sender(port, counts)
        self._pump = pump
        self._now = now
        self._streams = {kind: _Outgoing(kind) for kind in KINDS}
        self._cache = PacketCache()
        self._groups: dict[tuple[int | None, int | None], Group] = {}
        self._walkers: list[Subscriber] = []
        self._queue: deque[Entry] = deque()
        self._controls: deque[bytes] = deque()
        self._sent_names: dict[str, str] = {}
        self._overloaded = False  # video is dropped to the end of the frame
        self._awaiting_keyframe = True
        self._walk_due = False
        self._walk_timer: asyncio.TimerHandle | None = None
        self._steps: Iterator[None] | None = None
        self._reports: dict[int, float] = {}  # when each sender report left, by how viewers quote it

    # --- the source ---------------------------------------------------------------------------------------------

    @property
    def codecs(self) -> dict[str, Codec]:
        """What is sent now, by kind; empty while nobody publishes."""
        return {kind: stream.codec for kind, stream in self._streams.items() if stream.codec is not None}

    def ssrc(self, kind: str) -> int:
        """The SSRC that all viewers see."""
        return self._streams[kind].ssrc

    def begin(self, codecs: dict[str, Codec], request_keyframe: Callable[[], None]) -> list[Subscriber]:
        """A publisher took the stage; returns the viewers who cannot play its codecs (the caller closes them)."""
        # Nothing of the last publisher may be sent again under this one's payload types: the same sequence number
        # with another header would use SRTP's key stream twice.
        self._cache.clear()
        if {kind: codec.name for kind, codec in codecs.items()} != self._sent_names:
            self._queue.clear()
        self._sent_names = {kind: codec.name for kind, codec in codecs.items()}
        for kind, stream in self._streams.items():
            stream.codec = codecs.get(kind)
            stream.splice.begin()
            stream.report = None
        self.request_keyframe = request_keyframe
        self._awaiting_keyframe = True
        for walker in self._walkers:
            walker.cursor = None
        return [subscriber for subscriber in self.subscribers if not self._regroup(subscriber)]

    def end(self) -> None:
        """The publisher is gone; the viewers wait."""
        self.request_keyframe = None
        self._cache.forget_gop()
        for stream in self._streams.values():
            stream.codec = None

    def new_ssrc(self, kind: str) -> None:
        """The publisher started this stream anew, with its own numbering."""
        self._streams[kind].splice.begin()
        if kind == "video":
            self._awaiting_keyframe = True
            self._cache.forget_gop()

    def push(self, kind: str, sequence: int, header: Header, packet: bytes, opens_keyframe: bool) -> None:
        """Send a publisher's packet to everybody; `sequence` is its extended number."""
        video = kind == "video"
        if video and self._awaiting_keyframe:
            # Whatever refers to pictures that nobody has would only be drawn wrong.
            if not opens_keyframe:
                self.counts["before_keyframe"] += 1
                return
            self._awaiting_keyframe = False
        if video and self._overloaded:
            self._overloaded = not header.marker
            self.counts["overload_dropped"] += 1
            return
        if len(self._queue) >= RELAY_QUEUE_PACKETS_MAX:
            self._overloaded = video and not header.marker
            self.counts["overload_dropped"] += 1
            return
        stream = self._streams[kind]
        mapped = stream.splice.map(sequence, header.timestamp, self._now())
        if mapped is None:
            return
        rewritten = rewrite(packet, header, sequence=mapped[0], timestamp=mapped[1], ssrc=stream.ssrc)
        stream.packets += 1
        stream.octets += header.end - header.payload
        self._queue.append(Entry(video, *mapped, rewritten, opens_keyframe))
        self._pump.wake(self)

    def sender_report(self, kind: str, ntp: int, timestamp: int) -> None:
        """Pass the host's sender report on, with the viewers' numbers."""
        stream = self._streams[kind]
        mapped = stream.splice.timestamp(timestamp)
        if mapped is None:
            return
        stream.report = (ntp, mapped)
        self._reports[rtcp.middle(ntp)] = self._now()
        while len(self._reports) > SENDER_REPORTS_KEPT:
            del self._reports[next(iter(self._reports))]
        self._controls.append(self._report(stream, ntp, mapped))
        self._pump.wake(self)

    def _report(self, stream: _Outgoing, ntp: int, timestamp: int) -> bytes:
        totals = rtcp.SenderReport(stream.ssrc, ntp, timestamp, stream.packets, stream.octets)
        return rtcp.build((totals, rtcp.Description(stream.ssrc, self.show)))

    # --- the viewers --------------------------------------------------------------------------------------------

    @property
    def subscribers(self) -> list[Subscriber]:
        return [subscriber for group in self._groups.values() for subscriber in (*group.live, *group.joining)]

    def prepare_join(self) -> None:
        """A viewer is about to join: have a fresh keyframe by the time its handshake is done."""
        if self.request_keyframe is not None and self._cache.gop_age(self._now()) > GOP_FRESH_S:
            self.request_keyframe()

    def join(self, subscriber: Subscriber) -> bool:
        """Start sending; False when the viewer cannot play what is sent now."""
        if not self._regroup(subscriber):
            return False
        subscriber.joined_at = self._now()
        for stream in self._streams.values():
            if stream.report is not None:
                # At once, not with the host's next report: sound and picture are in step from the first second.
                subscriber.peer.send_rtcp(self._report(stream, *stream.report))
        assert subscriber.group is not None
        if self._streams["video"].codec is None or subscriber.group.payload_types[True] is None:
            self._go_live(subscriber)
            return True
        self._walkers.append(subscriber)
        if self._cache.gop_age(self._now()) <= GOP_FRESH_S:
            self._begin_walk(subscriber)
        else:
            self.prepare_join()
            asyncio.get_running_loop().call_later(JOIN_PATIENCE_S, self._begin_walk, subscriber)
        return True

    def close(self) -> None:
        """Stop for good."""
        if self._walk_timer is not None:
            self._walk_timer.cancel()
            self._walk_timer = None

    def leave(self, subscriber: Subscriber) -> None:
        """Stop sending; leaving twice does no harm. A batch that is being sent may still reach the viewer."""
        if subscriber in self._walkers:
            self._walkers.remove(subscriber)
        group, subscriber.group = subscriber.group, None
        if group is None:
            return
        group.live = [other for other in group.live if other is not subscriber]
        group.joining = [other for other in group.joining if other is not subscriber]
        if not group.live and not group.joining:
            self._groups = {key: kept for key, kept in self._groups.items() if kept is not group}

    def _regroup(self, subscriber: Subscriber) -> bool:
        """Put the viewer into the group of its payload types; False when it cannot play a stream that it asked for."""
        live = subscriber.group is not None and subscriber not in self._walkers
        numbers: dict[str, int | None] = {}
        for kind, stream in self._streams.items():
            codecs = subscriber.codecs.get(kind)
            numbers[kind] = payload_type_for(codecs, stream.codec) if codecs and stream.codec else None
            if codecs and stream.codec and numbers[kind] is None:
                return False
        walking = subscriber in self._walkers
        self.leave(subscriber)
        key = (numbers["video"], numbers["audio"])
        group = self._groups.setdefault(key, Group(*key))
        if walking:
            self._walkers.append(subscriber)
        if live:
            group.live = [*group.live, subscriber]
        else:
            group.joining = [*group.joining, subscriber]
        subscriber.group = group
        return True

    def _go_live(self, subscriber: Subscriber) -> None:
        group = subscriber.group
        assert group is not None
        if subscriber in self._walkers:
            self._walkers.remove(subscriber)
        group.joining = [other for other in group.joining if other is not subscriber]
        group.live = [*group.live, subscriber]
        if subscriber.first is None:
            subscriber.first = self._cache.head

    def feedback(self, subscriber: Subscriber, packets: Iterable[rtcp.Packet]) -> None:
        """Act on a viewer's RTCP."""
        for packet in packets:
            match packet:
                case rtcp.Nack(media=ssrc, sequences=sequences) if ssrc == self.ssrc("video"):
                    self._retransmit(subscriber, sequences)
                case rtcp.Pli() | rtcp.Fir():
                    self.counts["viewer_pli"] += 1
                    if self.request_keyframe is not None:
                        self.request_keyframe()
                case rtcp.ReceiverReport(blocks=blocks) | rtcp.SenderReport(blocks=blocks):
                    self._viewer_report(subscriber, blocks)
                case _:
                    pass

    def _viewer_report(self, subscriber: Subscriber, blocks: Iterable[rtcp.ReportBlock]) -> None:
        for block in blocks:
            if block.ssrc == self.ssrc("video"):
                subscriber.loss = block.fraction_lost / 256
            sent_at = self._reports.get(block.last_report)
            # A viewer's first report came with its joining, not when everybody else's was sent.
            if sent_at is not None and sent_at >= subscriber.joined_at:
                subscriber.rtt_s = max(0.0, self._now() - sent_at - block.delay / 65536)

    def _retransmit(self, subscriber: Subscriber, numbers: Sequence[int]) -> None:
        group = subscriber.group
        if group is None or (payload_type := group.payload_types[True]) is None:
            return
        granted = subscriber.may_retransmit(len(numbers), self._now())
        self.counts["nack_refused"] += len(numbers) - granted
        for number in numbers[:granted]:
            found = self._cache.find(number)
            if found is None or subscriber.first is None or found[0] < subscriber.first:
                self.counts["nack_missed"] += 1
            elif subscriber.peer.send_rtp(with_payload_type(found[1], payload_type)):
                self.counts["retransmitted"] += 1

    # --- the work, in steps -------------------------------------------------------------------------------------

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
        while self._queue or self._controls or self._walk_due:
            if self._controls:
                yield from self._send_control(self._controls.popleft())
            if self._walk_due:
                self._walk_due = False
                yield from self._walk()
            if self._queue:
                yield from self._send_batch()

    def _send_control(self, compound: bytes) -> Iterator[None]:
        for index, subscriber in enumerate(self.subscribers):
            subscriber.peer.send_rtcp(compound)
            if index % RELAY_STEP_PACKETS == 0:
                yield

    def _send_batch(self) -> Iterator[None]:
        size = min(len(self._queue), RELAY_BATCH_PACKETS_MAX)
        batch = [self._queue.popleft() for _ in range(size)]
        now = self._now()
        for entry in batch:
            if entry.video and self._cache.put(
                entry.sequence, entry.timestamp, entry.packet, opens_keyframe=entry.opens_keyframe, now=now
            ):
                self._keyframe(entry.sequence)
        for group in tuple(self._groups.values()):
            live, joining, video = group.live, group.joining, group.payload_types[True]
            if live and (packets := group.translate(batch)):
                yield from self._sender.to_all(live, packets, video)
            if joining and (packets := group.translate(batch, video=False)):
                yield from self._sender.to_all(joining, packets, video)

    # --- joining viewers ----------------------------------------------------------------------------------------

    def _keyframe(self, start: int) -> None:
        """A keyframe began: those who wait begin with it.

        Those who walk through older pictures go on: a jump would look like loss to them, and be asked for again.
        """
        self.counts["keyframes"] += 1
        for walker in self._walkers:
            if walker.cursor is None:
                walker.cursor = start
                walker.first = start if walker.first is None else walker.first
                self._walk_due = True

    def _begin_walk(self, walker: Subscriber) -> None:
        """Begin with the keyframe that there is, if there is one and the viewer still waits."""
        start = self._cache.gop(self._now())
        if start is not None and walker in self._walkers and walker.cursor is None:
            walker.cursor = start
            walker.first = start if walker.first is None else walker.first
            self._walk_now()

    def _walk_now(self) -> None:
        self._walk_timer = None
        self._walk_due = True
        self._pump.wake(self)

    def _walk(self) -> Iterator[None]:
        """Send each joining viewer its next burst; those who reach the head are live."""
        for walker in tuple(self._walkers):
            group = walker.group
            if walker.cursor is None or group is None:
                continue
            payload_type = group.payload_types[True]
            assert payload_type is not None, "viewers without video do not walk"
            end = min(walker.cursor + JOIN_BURST_PACKETS, self._cache.head)
            found = [packet for sequence in range(walker.cursor, end) if (packet := self._cache.get(sequence))]
            self._sender.to_one(walker, [with_payload_type(packet, payload_type) for packet in found], payload_type)
            self.counts["sent"] += len(found)
            walker.cursor = end
            if end == self._cache.head:
                self._go_live(walker)
            yield
        if self._walk_timer is None and any(walker.cursor is not None for walker in self._walkers):
            self._walk_timer = asyncio.get_running_loop().call_later(JOIN_INTERVAL_S, self._walk_now)
