"""A host in virtual time: layers of VP8, repairs, extensions, over a path with scripted loss, into an `Ingest`."""

import heapq
import struct
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count

from live.core.limits import MEDIA_TICK_S
from stream.feed import AUDIO, Arrival, LayerState
from stream.upstream.ingest import Ingest
from stream.wire import rtcp, sdp
from stream.wire.rtp import parse, wrap_rtx
from stream.wire.sdp import Codec
from tests.faults.path import Conditions, Path

FPS = 25
AUDIO_EVERY_S = 0.02
RID_ID, REPAIRED_ID, SEND_TIME_ID = 4, 5, 6
OPUS = Codec("opus", 111, 48_000, 2, "")
RIDS = ("q", "h", "f")
SIZES = ((320, 180), (640, 360), (1280, 720))
EXTENSIONS = {sdp.RTP_STREAM_ID: RID_ID, sdp.REPAIRED_RTP_STREAM_ID: REPAIRED_ID, sdp.ABS_SEND_TIME: SEND_TIME_ID}
NOTHING = b""  # instead of a packet that the host no longer has
RTX_FROM = 1000  # an SSRC and that of its repairs are this far apart


def offer(codecs: dict[str, Codec], rids: tuple[str, ...], extensions: dict[str, int]) -> sdp.Offer:
    sections = tuple(
        sdp.Section(
            kind, kind, "", "", True, "sendonly", (codec,), False,
            rids=rids if kind == "video" else (), extensions=extensions,
        )
        for kind, codec in codecs.items()
    )  # fmt: skip
    return sdp.Offer(sections, "actpass", (), "", "")


class Keeper:
    """A sink that keeps all it is told."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self.arrivals: list[Arrival] = []
        self.came: dict[tuple[int, int], float] = {}
        self.restarts: list[int] = []
        self.reports: list[tuple[int, int, int]] = []
        self.states: list[tuple[LayerState, ...]] = []

    def push(self, arrival: Arrival) -> None:
        self.arrivals.append(arrival)
        self.came[arrival.layer, arrival.sequence] = self._now()

    def restarted(self, layer: int) -> None:
        self.restarts.append(layer)

    def sender_report(self, layer: int, ntp: int, timestamp: int) -> None:
        self.reports.append((layer, ntp, timestamp))

    def described(self, layers: tuple[LayerState, ...]) -> None:
        self.states.append(layers)

    def of(self, layer: int) -> list[Arrival]:
        return [arrival for arrival in self.arrivals if arrival.layer == layer]

    def numbers(self, layer: int) -> list[int]:
        return [arrival.sequence for arrival in self.of(layer)]

    def complete(self, layer: int) -> bool:
        """Whether every number from the first to the last came exactly once."""
        numbers = sorted(self.numbers(layer))
        return numbers == list(range(numbers[0], numbers[-1] + 1))


@dataclass
class World:
    """A host with `layers` of VP8 (without RIDs when there is one), its path, and an `Ingest`, in virtual time."""

    layers: int = 3
    rtx: bool = True
    nack: bool = True
    send_times: bool = True
    sound: bool = True
    up: Conditions = field(default_factory=Conditions)
    down: Conditions = field(default_factory=Conditions)
    seed: int = 1
    packets_per_frame: int = 4

    def __post_init__(self) -> None:
        self.now = 0.0
        self.counts: Counter[str] = Counter()
        self.told: list[tuple[float, rtcp.Packet]] = []
        self.sent: Counter[int] = Counter()  # by layer
        self.muted: set[int] = set()
        self.deaf = False  # the encoder makes no keyframes when asked
        self.ssrcs = {AUDIO: 5, 0: 10, 1: 11, 2: 12}
        self._numbers = {AUDIO: 65_500, 0: 65_000, 1: 7, 2: 0}
        self._rtx_numbers = count(30_000)
        self._keyframe_due = set(range(self.layers))
        self._kept: dict[tuple[int, int], tuple[int, bytes]] = {}
        self._frames = 0
        self._up, self._down = Path(self.up, self.seed), Path(self.down, self.seed + 1)
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._order = count()
        feedback = frozenset({"nack", "nack pli", "goog-remb"} if self.nack else {"nack pli"})
        self.codec = Codec("vp8", 96, 90_000, None, "", feedback=feedback, rtx=97 if self.rtx else None)
        codecs = {"video": self.codec} | ({"audio": OPUS} if self.sound else {})
        rids = RIDS[: self.layers] if self.layers > 1 else ()
        extensions = {uri: number for uri, number in EXTENSIONS.items() if self.send_times or number != SEND_TIME_ID}
        self.ingest = Ingest(self, offer(codecs, rids, extensions), codecs, self.counts, lambda: self.now)
        self.keeper = Keeper(lambda: self.now)
        self.ingest.attach((self.keeper,))
        self._at(0.0, self._frame)
        self._at(0.0, self._speak)
        self._at(MEDIA_TICK_S, self._poll)

    # --- time ---------------------------------------------------------------------------------------------------

    def _at(self, at: float, action: Callable[[], None]) -> None:
        heapq.heappush(self._events, (at, next(self._order), action))

    def run(self, seconds: float) -> None:
        end = self.now + seconds
        while self._events[0][0] <= end:
            self.now, _, action = heapq.heappop(self._events)
            action()
        self.now = end

    def _poll(self) -> None:
        self.ingest.poll(self.now)
        self._at(self.now + MEDIA_TICK_S, self._poll)

    # --- the host -----------------------------------------------------------------------------------------------

    def _frame(self) -> None:
        for layer in set(range(self.layers)) - self.muted:
            keyframe = layer in self._keyframe_due
            self._keyframe_due.discard(layer)
            for index in range(self.packets_per_frame):
                payload = b"\x00\x01" + bytes(300 << layer)
                if index == 0:
                    picture = (
                        struct.pack("<BBBBBBHH", 0, 0, 0, 0x9D, 0x01, 0x2A, *SIZES[layer]) if keyframe else b"\x01"
                    )
                    payload = b"\x10" + picture + bytes(300 << layer)
                packet = self.packet(layer, payload, self._frames * 3600, last=index == self.packets_per_frame - 1)
                # A pacer spreads the frame over half its time.
                self._at(self.now + (index * 3 + layer) * 0.5 / FPS / self.packets_per_frame / 3, self._sending(packet))
        self._frames += 1
        self._at(self.now + 1 / FPS, self._frame)

    def _speak(self) -> None:
        if self.sound:
            self.send(self.packet(AUDIO, b"opus", round(self.now * 48_000)))
        self._at(self.now + AUDIO_EVERY_S, self._speak)

    def packet(self, layer: int, payload: bytes, timestamp: int, *, last: bool = False) -> bytes:
        """The next packet of a layer, kept for retransmission; it has no extensions yet."""
        number = self._numbers[layer] = (self._numbers[layer] + 1) & 0xFFFF
        kind = OPUS.payload_type if layer == AUDIO else self.codec.payload_type | 0x80 * last
        head = struct.pack("!BBHII", 0x80, kind, number, timestamp & 0xFFFFFFFF, self.ssrcs[layer])
        self._kept[self.ssrcs[layer], number] = (layer, head + payload)
        self.sent[layer] += 1
        return head + payload

    def extended(self, packet: bytes, rid: bytes = b"", rid_id: int = RID_ID) -> bytes:
        body = bytes((rid_id << 4 | len(rid) - 1,)) + rid if rid else b""
        if self.send_times:
            body += bytes((SEND_TIME_ID << 4 | 2,)) + (round(self.now * (1 << 18)) & 0xFFFFFF).to_bytes(3)
        body += bytes(-len(body) % 4)
        if not body:
            return packet
        return b"\x90" + packet[1:12] + struct.pack("!HH", 0xBEDE, len(body) // 4) + body + packet[12:]

    def _sending(self, packet: bytes) -> Callable[[], None]:
        return lambda: self.send(packet)

    def send(self, packet: bytes) -> None:
        layer = self._kept[parse(packet).ssrc, parse(packet).sequence][0]
        named = self.layers > 1 and layer != AUDIO
        self._offer(self.extended(packet, RIDS[layer].encode() if named else b""))

    def _offer(self, packet: bytes) -> None:
        for at in self._up.offer(len(packet), self.now):
            self._at(at, lambda: self.ingest.received_rtp(packet))

    def send_rtcp(self, packet: bytes) -> bool:
        """What the `Ingest` sends."""
        if packet[-20:-16] == bytes((0x80, 207, 0, 4)):
            self.heard, self.clock = int.from_bytes(packet[-16:-12]), packet
        for at in self._down.offer(len(packet), self.now):
            self._at(at, lambda: self._told(rtcp.parse(packet)))
        return True

    def answer_clock(self, delay_s: float) -> None:
        """Answer the extended report that came `delay_s` ago, as libwebrtc does with its sender reports."""
        last = rtcp.middle(int.from_bytes(self.clock[-8:]))
        report = rtcp.build((rtcp.SenderReport(10, 1, 1, 1, 1),))
        entry = struct.pack("!BBHIBBHIII", 0x80, 207, 5, 10, 5, 0, 3, self.heard, last, round(delay_s * 65536))
        self._at(self.now + self.up.delay_s, lambda: self.ingest.received_rtcp(report + entry))

    def _told(self, packets: list[rtcp.Packet]) -> None:
        for packet in packets:
            self.told.append((self.now, packet))
            match packet:
                case rtcp.Nack(media=ssrc, sequences=numbers):
                    for number in numbers:
                        self._again(ssrc, number)
                case rtcp.Pli(media=ssrc) if not self.deaf:
                    self._keyframe_due |= {layer for layer, own in self.ssrcs.items() if own == ssrc}
                case _:
                    pass

    def _again(self, ssrc: int, number: int) -> None:
        layer, packet = self._kept[ssrc, number]
        if packet == NOTHING:
            return
        if not self.rtx:
            self.send(packet)
            return
        repair = wrap_rtx(packet, payload_type=97, sequence=next(self._rtx_numbers), ssrc=ssrc + RTX_FROM)
        self._offer(self.extended(repair, RIDS[layer].encode() if self.layers > 1 else b"", REPAIRED_ID))

    def probe(self, layer: int) -> None:
        """Padding in the repair stream, as libwebrtc probes the path."""
        head = struct.pack("!BBHII", 0xA0, 97, next(self._rtx_numbers) & 0xFFFF, 0, self.ssrcs[layer] + RTX_FROM)
        packet = self.extended(head, RIDS[layer].encode(), REPAIRED_ID)
        self._offer(bytes((packet[0] | 0x20,)) + packet[1:] + bytes(99) + b"\x64")

    def got(self, kind: type[rtcp.Packet]) -> list[tuple[float, rtcp.Packet]]:
        return [(at, packet) for at, packet in self.told if isinstance(packet, kind)]

    def requests(self) -> list[tuple[int, int]]:
        """Every number that was asked for, with its stream."""
        nacks = [packet for _, packet in self.told if isinstance(packet, rtcp.Nack)]
        return [(nack.media, number) for nack in nacks for number in nack.sequences]
