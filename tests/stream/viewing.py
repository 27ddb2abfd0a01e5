"""A viewer on an emulated path, without clock or network: what its Selector would live through.

Every packet of the layer that is shown goes through a `tests.faults.path.Path`. The viewer reports as browsers do:
receiver reports about once a second, which quote the last sender report, and REMB by the receiver-side estimator that
browsers have (aiortc's port of it). Lost packets are sent again once. The same seed gives the same run.
"""

import heapq
import itertools
import random
from collections.abc import Sequence
from dataclasses import dataclass, field

from aiortc.rate import RemoteBitrateEstimator

from stream.downstream.selection import Selector
from stream.feed import LayerState
from tests.faults.path import Conditions, Path

LAYERS = (LayerState(150_000, 320, 180), LayerState(500_000, 640, 360), LayerState(1_800_000, 1280, 720))
_FRAME_S = 1 / 30
_PACKET_BYTES = 1150
_KEYFRAME = 4  # times the size of another frame


@dataclass
class Viewing:
    """What a viewer was shown, as (when, layer), and how it fared."""

    shown: list[tuple[float, int | None]] = field(default_factory=list)
    bits: float = 0.0

    def at(self, second: float) -> int | None:
        """The layer that was shown then."""
        return [layer for at, layer in self.shown if at <= second][-1]

    def between(self, start: float, end: float) -> list[int | None]:
        """All layers that were shown in this time, in order."""
        return [self.at(start), *(layer for at, layer in self.shown if start < at <= end)]

    def since(self, start: float, layers: set[int | None]) -> float:
        """Seconds after `start` until only these layers were shown; infinite when it never came to that."""
        if self.shown[-1][1] not in layers:
            return float("inf")
        first = self.shown[-1][0]
        for at, layer in reversed(self.shown):
            if layer not in layers:
                break
            first = at
        return max(0.0, first - start)


def rises(layers: Sequence[int | None]) -> int:
    """How often a better layer was tried; the layers of `LAYERS` are in order."""
    ranks = [-1 if layer is None else layer for layer in layers]
    return sum(after > before for before, after in itertools.pairwise(ranks))


class Emulation:
    """One run. `script` says when which conditions begin."""

    def __init__(
        self,
        script: Sequence[tuple[float, Conditions]],
        seed: int,
        *,
        layers: Sequence[LayerState] = LAYERS,
        remb: bool = True,
        round_trips: bool = True,
        selector: Selector | None = None,
        asks_with_wanted: bool = False,
    ) -> None:
        self.selector = selector or Selector()
        self.viewing = Viewing()
        self._script = list(script)
        self._layers = layers
        self._states = tuple(layers)
        self._with_remb = remb
        self._asks_with_wanted = asks_with_wanted
        self._with_round_trips = round_trips
        self._random = random.Random(seed)
        self._path = Path(self._script[0][1], seed)
        self._events: list[tuple[float, int, str, float, int, int]] = []  # when, order, what, sent at, size, number
        self._order = 0
        self._sent_bits = [0.0] * len(layers)  # in the present second
        self._layer: int | None = None
        self._wanted: int | None = None
        self._switch_at: float | None = None
        self._keyframe = False
        # The viewer
        self._estimator = RemoteBitrateEstimator()
        self._remb: int | None = None
        self._told: int | None = None
        self._sequence = self._reported_sent = 0
        self._highest = self._reported_highest = 0
        self._received = 0
        self._round_trip: float | None = None

    def run(self, seconds: float) -> Viewing:
        self.viewing.shown.append((0.0, None))
        self._at(0.0, "frame")
        self._at(0.0, "sender report")
        self._at(1.0, "described")
        self._at(self._random.uniform(0.3, 1.3), "report")
        while self._events:
            now, _, what, sent_at, size, sequence = heapq.heappop(self._events)
            if now > seconds:
                break
            while self._script and now >= self._script[0][0]:
                self._path.conditions = self._script.pop(0)[1]
            match what:
                case "frame":
                    self._frame(now)
                case "sender report":
                    self._send("sender report arrived", 80, now)
                    self._at(now + 1, "sender report")
                case "sender report arrived":
                    self._round_trip = now - sent_at + self._back()
                case "report":
                    self._report(now)
                case "reported":
                    self._reported(now)
                case "told":
                    self.selector.report(remb=size, now=now)
                    self._choose(now)
                case "video" | "again":
                    self._arrived(now, sent_at, size, sequence if what == "video" else 0)
                case "described":
                    self._describe(now)
                case _:
                    self._send("again", size, now)
        return self.viewing

    def _at(self, when: float, what: str, sent_at: float = 0.0, size: int = 0, sequence: int = 0) -> None:
        self._order += 1
        heapq.heappush(self._events, (when, self._order, what, sent_at, size, sequence))

    def _back(self) -> float:
        """How long the way back takes, which is never full."""
        conditions = self._path.conditions
        return conditions.delay_s + self._random.random() * conditions.jitter_s

    def _send(self, what: str, size: int, now: float, sequence: int = 0) -> bool:
        arrivals = self._path.offer(size, now)
        for at in arrivals[:1]:
            self._at(at, what, now, size, sequence)
        return bool(arrivals)

    def _frame(self, now: float) -> None:
        """The publisher's next frame, and what the relay does meanwhile."""
        self._at(now + _FRAME_S, "frame")
        if self._switch_at is not None and now >= self._switch_at:
            self._layer, self._switch_at, self._keyframe = self._wanted, None, True
            self.viewing.shown.append((now, self._layer))
        self._send("sound", 160, now)
        for index, layer in enumerate(self._layers):
            size = layer.bits_per_s / 8 * _FRAME_S * self._random.uniform(0.6, 1.4)
            self._sent_bits[index] += size * 8
            if index != self._layer:
                continue
            size *= _KEYFRAME if self._keyframe else 1
            self._keyframe = False
            self.viewing.bits += size * 8
            while size > 0:
                packet = round(min(size, _PACKET_BYTES)) + 50
                size -= _PACKET_BYTES
                self._sequence += 1
                if not self._send("video", packet, now, self._sequence):
                    self._at(now + 2 * self._path.conditions.delay_s + 0.05, "asked for again", size=packet)
        if self._order % 8 == 0:
            self._choose(now)

    def _choose(self, now: float) -> None:
        current = self._wanted if self._asks_with_wanted else self._layer
        choice = self.selector.choose(self._states, current, now)
        lower = self._layer is not None and (choice is None or choice < self._layer)
        if lower and (choice is None or self.selector.severe):
            # The relay sends no more of a layer that is far too much.
            self._layer = None
            self.viewing.shown.append((now, None))
        if choice == self._wanted:
            return
        self._wanted = choice
        self._switch_at = None
        if choice is not None:
            self._switch_at = now + self._random.uniform(0.1, 0.6)  # the keyframe that was asked for

    def _describe(self, now: float) -> None:
        self._at(now + 1, "described")
        sent, self._sent_bits = self._sent_bits, [0.0] * len(self._layers)
        self._states = tuple(
            layer._replace(bits_per_s=round(bits)) for layer, bits in zip(self._layers, sent, strict=True)
        )

    def _arrived(self, now: float, sent_at: float, size: int, sequence: int) -> None:
        self._received += sequence > 0
        self._highest = max(self._highest, sequence)
        if not self._with_remb:
            return
        send_time = int(sent_at * (1 << 18)) & 0xFFFFFF
        estimate = self._estimator.add(round(now * 1000), send_time, size, 1)
        if estimate is not None:
            self._remb = estimate[0]
            if self._told is not None and self._remb < 0.97 * self._told:
                self._tell(now)

    def _tell(self, now: float) -> None:
        if self._remb is not None:
            self._told = self._remb
            self._at(now + self._back(), "told", size=self._remb)

    def _report(self, now: float) -> None:
        self._at(now + self._random.uniform(0.5, 1.5), "report")
        self._at(now + self._back(), "reported")
        self._tell(now)

    def _reported(self, now: float) -> None:
        expected, self._reported_highest = self._highest - self._reported_highest, self._highest
        sent, self._reported_sent = self._sequence - self._reported_sent, self._sequence
        loss = max(0.0, 1 - self._received / expected) if expected else float(sent > 0)
        self._received = 0
        round_trip, self._round_trip = self._round_trip, None  # each sender report tells it once
        self.selector.report(loss=loss, rtt_s=round_trip if self._with_round_trips else None, now=now)
        self._choose(now)
