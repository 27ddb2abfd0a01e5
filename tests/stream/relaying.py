"""A relay without network and without clock: a scripted publisher in front, viewers who note what they get behind.

Time moves only when told (`Show.pass_time`), so whole shows run in milliseconds and a run can be repeated exactly.
"""

import heapq
import random
from collections import Counter
from collections.abc import Callable
from itertools import count, pairwise
from typing import Any, cast

from stream.downstream.fanout import Pump, Work
from stream.downstream.relay import Relay
from stream.downstream.subscribers import Subscriber
from stream.feed import AUDIO, Arrival, Feed, LayerState
from stream.transport.ice import IcePort
from stream.transport.peers import Peer
from stream.wire import rtcp
from stream.wire.codecs import Codec
from stream.wire.rtp import parse

TICK_S = 0.02
LOW, MIDDLE, HIGH = 0, 1, 2
H264 = Codec("h264", 102, 90_000, None, "", "42e01f", frozenset(("nack", "nack pli", "goog-remb")), 103)
VP8 = Codec("vp8", 96, 90_000, None, "", "", frozenset(("nack", "nack pli", "goog-remb")), 97)
OPUS = Codec("opus", 111, 48_000, 2, "")
STATES = (LayerState(150_000, 320, 180), LayerState(500_000, 640, 360), LayerState(1_100_000, 1280, 720))


class Timer:
    def __init__(self, callback: Callable[[], None]) -> None:
        self.callback: Callable[[], None] | None = callback

    def cancel(self) -> None:
        self.callback = None


class ManualPump(Pump):
    """Runs nothing by itself: `Show.work` does."""

    def __init__(self, show: "Show") -> None:
        super().__init__()
        self._show = show
        self._order = count()
        self.timers: list[tuple[float, int, Timer]] = []

    def wake(self, work: Work) -> None:
        self._show.awake = True

    def later(self, delay_s: float, callback: Callable[[], None]) -> Any:
        timer = Timer(callback)
        heapq.heappush(self.timers, (self._show.now + delay_s, next(self._order), timer))
        return timer


class Viewer:
    """The far end and its peer in one. What it gets is checked at once: one number, one content."""

    def __init__(self, show: "Show", number: int, codecs: tuple[Codec, ...], *, rtx: bool, sound: bool = True) -> None:
        self.show = show
        self.address = ("viewer", number)
        self.target = None  # volleys need a real socket
        self.packets: dict[int, dict[int, bytes]] = {}  # SSRC → extended number → packet
        self.order: list[bytes] = []
        self.heard: Callable[[bytes], None] = lambda packet: None  # all that is encrypted for it
        self._newest: dict[int, int] = {}
        self.control: list[rtcp.Packet] = []
        kept = tuple(codec if rtx else _without_rtx(codec) for codec in codecs)
        kinds = ({"video": kept} if kept else {}) | ({"audio": (OPUS,)} if sound else {})
        self.subscriber = Subscriber(cast(Peer, self), kinds)

    def protect(self, packet: bytes) -> bytes:
        self.note(packet)
        return packet

    def note(self, packet: bytes) -> None:
        """SRTP's key stream follows from SSRC and number: two contents under one would be its end."""
        header = parse(packet)
        known = self.packets.setdefault(header.ssrc, {})
        newest = self._newest.get(header.ssrc, header.sequence)
        number = newest + ((header.sequence - newest + 0x8000) & 0xFFFF) - 0x8000
        self._newest[header.ssrc] = max(newest, number)
        assert known.setdefault(number, packet) == packet, f"{number} of {header.ssrc} was sent with two contents"
        self.heard(packet)

    def send_rtp(self, packet: bytes) -> bool:
        self.note(packet)
        self.order.append(packet)
        return True

    def send_rtcp(self, compound: bytes) -> bool:
        self.control += rtcp.parse(compound)
        return True

    def report(self, *packets: rtcp.Packet) -> None:
        self.show.relay.feedback(self.subscriber, packets)

    def numbers(self, kind: str = "video") -> list[int]:
        """The extended numbers that came, sorted."""
        return sorted(self.packets.get(self.show.relay.ssrc(kind), ()))

    def pictures(self) -> list[bytes]:
        """The video's packets in the order of their numbers."""
        video = self.packets.get(self.show.relay.ssrc("video"), {})
        return [video[number] for number in sorted(video)]

    def layers(self) -> list[int]:
        """Of which layer each packet of the video is, in the order of their numbers."""
        return [packet[-1] for packet in self.pictures()]


def _without_rtx(codec: Codec) -> Codec:
    return Codec(codec.name, codec.payload_type, codec.clock_rate, codec.channels, codec.fmtp, codec.profile)


class Host:
    """A publisher as a relay sees it: a `Source` that sends frames when told."""

    def __init__(self, show: "Show", layers: int = 1, codec: Codec = H264, *, seed: int = 0) -> None:
        self.show = show
        self.random = random.Random(seed)
        rids = ("",) if layers == 1 else tuple("qhf"[:layers])
        self.feed = Feed({"video": codec, "audio": OPUS}, rids)
        self.wanted: list[int] = []
        self.demanded: list[frozenset[int]] = []
        self.keyframes = set(range(layers))
        self._sequences = [self.random.randrange(1 << 16, 1 << 17) for _ in range(layers + 1)]
        self._clocks = [self.random.randrange(1 << 32) for _ in range(layers + 1)]
        self._pictures = [self.random.randrange(1 << 15) for _ in range(layers)]
        self._began = show.now

    def want_keyframe(self, layer: int) -> None:
        self.wanted.append(layer)

    def demand(self, layers: frozenset[int]) -> None:
        self.demanded.append(layers)

    def timestamp(self, layer: int, rate: int) -> int:
        return (self._clocks[layer] + round((self.show.now - self._began) * rate)) & 0xFFFFFFFF

    def restart(self, layer: int) -> None:
        """As after a new SSRC."""
        self._sequences[layer] = self.random.randrange(1 << 16, 1 << 17)
        self._clocks[layer] = self.random.randrange(1 << 32)
        if layer != AUDIO:
            self.keyframes.add(layer)
        self.show.relay.restarted(layer)

    def sound(self) -> Arrival:
        sequence, timestamp = self._next(AUDIO), self.timestamp(AUDIO, 48_000)
        head = bytes((0x80, OPUS.payload_type)) + bytes(10)
        return Arrival(AUDIO, sequence, timestamp, head + b"sound %d" % sequence, False)

    def picture(self, layer: int, packets: int = 3) -> list[Arrival]:
        """The next frame of a layer; its last byte tells the layer."""
        codec, timestamp = self.feed.codecs["video"], self.timestamp(layer, 90_000)
        key = layer in self.keyframes
        self.keyframes.discard(layer)
        self._pictures[layer] += 1
        found = []
        for index in range(packets):
            sequence = self._next(layer)
            head = bytes((0x80, codec.payload_type | (0x80 if index == packets - 1 else 0))) + bytes(10)
            body = b"%d of %d" % (sequence, timestamp)
            if codec.name == "vp8":
                picture = self._pictures[layer]
                numbers = (0x8000 | picture & 0x7FFF).to_bytes(2) + bytes((picture & 0xFF, 0))
                body = bytes((0x90 if index == 0 else 0x80, 0xE0)) + numbers + body
            packet = head + body + bytes((layer,))
            found.append(Arrival(layer, sequence, timestamp, packet, key and index == 0))
        return found

    def _next(self, layer: int) -> int:
        self._sequences[layer] += 1
        return self._sequences[layer]


class Show:
    """The relay with everything around it; it is the port's socket too."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.awake = False
        self.pump = ManualPump(self)
        self.counts: Counter[str] = Counter()
        self.raw = self
        self.full: Callable[[], bool] = lambda: False  # whether the kernel takes no more
        self.viewers: dict[Any, Viewer] = {}
        self.relay = Relay("show", cast(IcePort, self), self.pump, self.counts, lambda: self.now)

    def sendto(self, datagram: bytes, address: Any) -> None:
        if self.full():
            raise BlockingIOError
        self.viewers[address].order.append(datagram)

    def host(self, layers: int = 1, codec: Codec = H264, *, seed: int = 0) -> Host:
        """A publisher takes the stage."""
        host = Host(self, layers, codec, seed=seed)
        self.relay.begin(host)
        if layers > 1:
            self.relay.described(STATES[:layers])
        return host

    def viewer(self, codecs: tuple[Codec, ...] = (H264, VP8), *, rtx: bool = True, sound: bool = True) -> Viewer:
        """Somebody joins."""
        viewer = Viewer(self, len(self.viewers), codecs, rtx=rtx, sound=sound)
        self.viewers[viewer.address] = viewer
        assert self.relay.join(viewer.subscriber)
        return viewer

    def send(self, *arrivals: Arrival) -> None:
        """The publisher's packets come, and are worked off."""
        for arrival in arrivals:
            self.relay.push(arrival)
        self.work()

    def work(self, steps: int | None = None) -> None:
        """Run the relay until it has nothing left, or for so many steps."""
        left = [steps]

        def expired() -> bool:
            if left[0] is None:
                return False
            left[0] -= 1
            return left[0] <= 0

        while self.awake:
            self.awake = self.relay.run(expired)
            if self.awake:
                return

    def pass_time(self, seconds: float) -> None:
        """Let time go by in ticks, with all timers in between."""
        end = self.now + seconds
        while self.now < end:
            tick = min(end, self.now + TICK_S)
            timers = self.pump.timers
            while timers and timers[0][0] <= tick:
                at, _, timer = heapq.heappop(timers)
                self.now = max(self.now, at)
                if timer.callback is not None:
                    timer.callback()
                self.work()
            self.now = tick
            self.relay.poll(self.now)
            self.work()


def wish(viewer: Viewer, layer: int | None, *, congested: bool = False, severe: bool = False) -> None:
    """Script the viewer's selector: its answer, and what it says of the path."""
    selector = viewer.subscriber.selector
    selector.choose = lambda *_: layer  # type: ignore[method-assign]
    selector.congested, selector.severe = congested or severe, severe


def decide(viewer: Viewer, layer: int | None) -> None:
    """Script the viewer's selector and have it asked at once."""
    wish(viewer, layer)
    viewer.show.relay.cap(viewer.subscriber, None, video=True)


def staged(layers: int) -> tuple[Show, Host, Viewer]:
    """A show with a publisher of so many layers and one viewer, before the first frame."""
    show = Show()
    return show, show.host(layers), show.viewer()


def begun(layers: int) -> tuple[Show, Host, Viewer]:
    """What `staged` gives, after the first frame."""
    show, host, viewer = staged(layers)
    frame(show, host)
    return show, host, viewer


def frame(show: Show, host: Host, *, packets: int = 3, sound: bool = False) -> None:
    """One moment of all layers."""
    for layer in range(len(host.feed.rids)):
        show.send(*host.picture(layer, packets))
    if sound:
        show.send(host.sound())
    show.pass_time(0.04)


def ended(viewer: Viewer, since: int = 0) -> list[int]:
    """The layers of the frames that the viewer got completely."""
    return [packet[-1] for packet in viewer.pictures()[since:] if packet[1] & 0x80]


def continuous(numbers: list[int]) -> bool:
    return all(after == before + 1 for before, after in pairwise(numbers))


def nack(show: Show, viewer: Viewer, *numbers: int, kind: str = "video") -> None:
    viewer.report(rtcp.Nack(5, show.relay.ssrc(kind), tuple(number & 0xFFFF for number in numbers)))
    show.work()


def sender_reports(viewer: Viewer, ssrc: int) -> list[rtcp.SenderReport]:
    return [item for item in viewer.control if isinstance(item, rtcp.SenderReport) and item.ssrc == ssrc]


def ntp(show: Show) -> int:
    return int((show.now + 3_000_000_000) * (1 << 32))


def block(ssrc: int, **fields: int) -> rtcp.ReportBlock:
    return rtcp.ReportBlock(ssrc, *(fields.get(name, 0) for name in rtcp.ReportBlock._fields[1:]))
