"""Which layer a viewer gets: down at once when its path is too narrow, up by trials, one step at a time.

What viewers report is read with care, because none of it says how much the path carries:

- REMB (draft-alvestrand-rmcat-remb-03) of a browser cannot rise above about 1.5 times what it receives, and rises by 2
  to 8 % a second. So a low value may only mean that little was sent. It speaks of congestion when it is below the rate
  that is sent, and falls or does not rise.
- Loss alone may be a bad radio link: a lower layer would lose as much. It speaks of congestion together with a round
  trip that has risen, or when it is heavy. Of few packets a part is lost by chance; only what exceeds that counts.
- The round trip is compared with its own median and spread, so that jitter is not a queue. Its growth while a queue
  fills also tells the rate: a queue of q seconds grows as dq/dt = sent / carried - 1.

Viewers without REMB, and those who cannot measure a round trip, get by with what they have.

Trials disturb a viewer whose path stays narrow; after the first few they are at least TRIAL_WAIT_S_MAX apart.
"""

from collections import deque
from collections.abc import Sequence
from math import sqrt
from statistics import median

from live.core.limits import (
    AUDIO_ONLY_AFTER_S,
    AUDIO_ONLY_AGAIN_S,
    AUDIO_ONLY_WAIT_S_MAX,
    CALM_LOSS_MAX,
    CONGESTION_FORGOTTEN_S,
    JITTER_S_MAX,
    LAYER_QUIET_S,
    LAYER_SETTLE_S,
    QUEUEING_S_MAX,
    REMB_STALLED_S,
    ROUND_TRIPS_KEPT,
    START_BITS_PER_S,
    TRIAL_PASSED_S,
    TRIAL_S,
    TRIAL_WAIT_S_MAX,
    TRIAL_WAIT_S_MIN,
)
from stream.feed import LayerState

_NEVER = float("-inf")
_PACKET_BITS = 9000  # what a video packet usually has, to tell how many there were in a second
_PACKETS_MIN = 25  # small pictures, or audio alone, come in smaller packets
_ROUND_TRIPS_MIN = 4  # fewer say nothing about what is usual


def ranked(layers: Sequence[LayerState]) -> list[int]:
    """The layers from the lowest quality to the highest: by picture area, and by bitrate where that is not known.

    Layers that do not arrive now are left out, unless none does.
    """
    arriving = [index for index, layer in enumerate(layers) if layer.bits_per_s > 0]
    chosen = arriving or list(range(len(layers)))
    areas = {index: layers[index].width * layers[index].height for index in chosen}
    known = all(areas.values())
    return sorted(chosen, key=lambda index: (areas[index] if known else 0, layers[index].bits_per_s))


class _Path:
    """What a viewer's reports say about the path to it."""

    def __init__(self) -> None:
        self._room: float | None = None
        self._severe = False
        self._losses = (0.0, 0.0)  # of the last two reports
        self._round_trips: deque[tuple[float, float]] = deque(maxlen=ROUND_TRIPS_KEPT)  # and when they were measured
        self._remb: int | None = None
        self.fallen: int | None = None
        """The last REMB, when it fell below what was sent then; None when it did not."""
        self._rose_at = _NEVER  # when REMB rose last
        self._changed_at = _NEVER

    def changed(self, now: float) -> None:
        """Another rate is sent from now on."""
        self._losses = (0.0, 0.0)
        self._rose_at = self._changed_at = now
        self.verdict()

    def verdict(self) -> tuple[float | None, bool]:
        """What seems to fit, in bits per second, as the reports since the last verdict tell; and if it is very bad.

        None: nothing speaks of congestion.
        """
        room, severe = self._room, self._severe
        self._room, self._severe = None, False
        return room, severe

    @property
    def queueing_s(self) -> float:
        """How much longer than usual the last round trip was; 0 while the usual one is not known."""
        return self._rises()[0]

    def _rises(self) -> tuple[float, float]:
        """By how much the last round trip and the one before exceed the usual ones; zeros while those are not known."""
        if len(self._round_trips) < _ROUND_TRIPS_MIN:
            return 0.0, 0.0
        *earlier, previous, last = (round_trip for round_trip, _ in self._round_trips)
        middle = median(earlier)
        usual = middle + 2 * min(middle - min(earlier), JITTER_S_MAX)
        return last - usual, previous - usual

    def report(
        self, remb: int | None, loss: float | None, rtt_s: float | None, rate: int, now: float, *, trial: bool
    ) -> None:
        """Judge one report; `rate` is that of the video that is sent, `trial` says that it was raised a moment ago."""
        settling = now - self._changed_at < LAYER_SETTLE_S
        rooms = []
        if rtt_s is not None:
            self._round_trips.append((rtt_s, now))
        if remb is not None and self._narrow(remb, rate, now) and not settling:
            rooms.append(float(remb))
            self._severe |= remb < 0.7 * rate
        if settling and not trial:
            return  # loss and queue are still those of the higher rate
        if loss is not None:
            self._losses = (self._losses[1], loss)
        if loss is not None or rtt_s is not None:
            rooms += self._full(rate, now, trial=trial)
        if rooms:
            self._room = min(rooms) if self._room is None else min(self._room, *rooms)

    def _narrow(self, remb: int, rate: int, now: float) -> bool:
        """Whether REMB speaks of congestion."""
        before, self._remb = self._remb, remb
        if before is None or remb > before * 1.004:
            self._rose_at = max(self._rose_at, now)
        fell = before is not None and remb < 0.95 * before
        self.fallen = remb if fell and remb < 0.75 * rate else None
        stalled = remb < 0.9 * rate and now - self._rose_at > REMB_STALLED_S
        return self.fallen is not None or (stalled and not self._calm)

    @property
    def _calm(self) -> bool:
        """Whether nothing is lost and no queue grows: then a REMB that stands still has only not caught up yet."""
        known = len(self._round_trips) >= _ROUND_TRIPS_MIN
        return known and self.queueing_s < QUEUEING_S_MAX and max(self._losses) < CALM_LOSS_MAX

    def _full(self, rate: int, now: float, *, trial: bool) -> list[float]:
        """What seems to fit when loss and round trip speak of congestion; empty when they do not."""
        before, loss = self._losses
        packets = max(rate / _PACKET_BITS, _PACKETS_MIN)
        once, twice = _credible(loss, packets), _credible((before + loss) / 2, 2 * packets)
        last, previous = self._rises()
        rise = min(last, previous)
        # A browser that sees no queue from its side: its REMB is above the rate, or rises towards it.
        content = self._remb is not None and (self._remb >= rate or now - self._rose_at < REMB_STALLED_S)
        queue = rise >= (0.05 if trial else 0.15) and last >= 0.8 * previous  # and it does not drain
        overflow = (max(last, previous) >= 0.05 and once >= 0.05) or (rise >= 0.03 and twice >= 0.02)
        blind = len(self._round_trips) < _ROUND_TRIPS_MIN and not content and once >= 0.10
        heavy = twice >= (0.25 if content else 0.10)
        if not (queue or overflow or blind or heavy):
            return []
        self._severe |= twice >= 0.25 or rise >= 0.5
        return [min(rate * (1 - loss) * 0.75, rate * 0.85, self._carried(rate))]

    def _carried(self, rate: int) -> float:
        """What the path carries as the growth of its queue tells; `rate` when it does not grow."""
        *earlier, (after, now) = list(self._round_trips)[-3:] or [(0.0, 0.0)]
        growth = max(((after - before) / max(now - then, 0.1) for before, then in earlier), default=0.0)
        return rate / (1 + max(growth, 0.0))


def _credible(loss: float, packets: float) -> float:
    """The part of a loss that is not chance: two standard deviations below what was seen."""
    return loss - 2 * sqrt(loss * (1 - loss) / packets)


class Selector:
    """The choice for one viewer. `now` is monotonic seconds; all rates are bits per second."""

    def __init__(self) -> None:
        self.cap: int | None = None
        """The highest rank that the viewer wants: 0 is the lowest layer; None: no cap."""
        self.video = True
        """False: the viewer wants audio only."""
        self.limited = False
        """Whether the viewer's path, not the viewer or the publisher, keeps it from a better layer."""
        self.congested = False
        """Whether the last choice was made because the path carries less than is sent ..."""
        self.severe = False
        """... by far."""
        self._path = _Path()
        self._current: int | None = None
        self._target: int | None = None
        self._rate = 0
        self._shown: int | None = None  # the layer that was sent last ...
        self._before: int | None = None  # ... and the one before it
        self._known = 0  # the rate that was sent last; 0 when nothing is known of the path
        self._changed_at = _NEVER  # when `current` became what it is
        self._raised = False  # that was a trial, which has not passed yet
        self._congested_at = _NEVER
        self._bad_since: float | None = None  # since when not even the lowest layer fits
        self._off = False  # audio only, because of the path
        self._waits: dict[int, tuple[float, float]] = {}  # layer → how long it is not tried, and until when

    def report(
        self, *, remb: int | None = None, loss: float | None = None, rtt_s: float | None = None, now: float
    ) -> None:
        """Take what a viewer's RTCP said: REMB in bits per second, loss from 0 to 1; None: not told this time.

        A receiver report whose highest sequence number has not moved says "nothing lost"; when something was sent,
        `loss` is 1 then.
        """
        self._path.report(remb, loss, rtt_s, self._rate, now, trial=self._on_trial(now))

    def _on_trial(self, now: float) -> bool:
        return self._raised and now - self._changed_at < TRIAL_S

    def choose(self, layers: Sequence[LayerState], current: int | None, now: float) -> int | None:
        """The layer to show, `current` being what is sent now (None: no video); None: audio only.

        To be asked after reports and at least once a second. An answer other than `current` holds until the viewer can
        be switched, at a keyframe; a later answer replaces it.
        """
        self._observe(layers, current, now)
        room, severe = self._path.verdict()
        self.congested = self.severe = False
        if not self.video or not layers:
            self._target, self.limited, self._off, self._known = None, False, False, 0
            return None
        ladder = ranked(layers)
        if self.cap is not None:
            ladder = ladder[: max(self.cap, 0) + 1]
        if current is None:
            self._target = self._begin(layers, ladder, now, congested=room is not None)
        elif current not in ladder:
            # The viewer's cap was lowered, or the layer does not arrive any more.
            self._target = self._best(layers, ladder, self._known or START_BITS_PER_S, now)
        elif room is not None and self._rate > 0:
            self.congested, self.severe = True, severe
            self._target = self._down(layers, ladder, current, room, now, severe=severe)
        else:
            self._target = self._up(layers, ladder, current, now)
        self.limited = self._target != ladder[-1]
        return self._target

    def _observe(self, layers: Sequence[LayerState], current: int | None, now: float) -> None:
        """Note what is sent, and when that changed."""
        rate = layers[current].bits_per_s if current is not None and current < len(layers) else 0
        if current != self._current:
            self._raised = current is not None and rate > self._known
            self._before = self._shown
            self._current, self._changed_at = current, now
            self._path.changed(now)
            self._bad_since = None
            self._off = self._off and current is None
        elif self._raised and now - self._changed_at >= TRIAL_PASSED_S:
            self._raised = False
            self._waits = {layer: wait for layer, wait in self._waits.items() if layer != current}
        self._rate = rate
        if rate > 0:
            self._known, self._shown = rate, current

    def _best(self, layers: Sequence[LayerState], ladder: list[int], room: float, now: float) -> int:
        """The best layer that arrives, fits into `room` and has not just failed; else the lowest."""
        fitting = [layer for layer in ladder if 0 < layers[layer].bits_per_s <= room and self._may_try(layer, now)]
        return (fitting or ladder[:1])[-1]

    def _may_try(self, layer: int, now: float) -> bool:
        return layer not in self._waits or now >= self._waits[layer][1]

    def _begin(self, layers: Sequence[LayerState], ladder: list[int], now: float, *, congested: bool) -> int | None:
        """The first layer, or the first one again."""
        if self._off:
            if congested:
                self._congested_at = now
            ready = self._may_try(ladder[0], now) and now - self._congested_at >= CONGESTION_FORGOTTEN_S
            return ladder[0] if ready else None
        if self._known > 0 and self._target in ladder:
            return self._target  # the relay has stopped a layer that was too much, and waits for this one
        return self._best(layers, ladder, START_BITS_PER_S, now)

    def _down(
        self, layers: Sequence[LayerState], ladder: list[int], current: int, room: float, now: float, *, severe: bool
    ) -> int | None:
        """What to show when the path carries no more than `room`."""
        self._congested_at = now
        rank = ladder.index(current)
        if rank > 0:
            if self._target not in ladder[:rank]:  # else it has failed already, and waits for the lower one's keyframe
                self._failed(current, TRIAL_WAIT_S_MAX, now)
            fitting = [layer for layer in ladder[:rank] if layers[layer].bits_per_s <= room]
            lower = (fitting or ladder[:1])[-1]
            if self._on_trial(now) and self._before in ladder[:rank]:
                # What a trial meets says little, and that one was well a moment ago, unless REMB contradicts.
                if self._path.fallen is None or self._path.fallen >= layers[self._before].bits_per_s:
                    lower = self._before
            # A lower one may have been chosen by an earlier report, and wait for its keyframe.
            pending = self._target if self._target in ladder[:rank] else lower
            chosen = min(lower, pending, key=ladder.index)
            for passed in ladder[ladder.index(chosen) + 1 : rank]:
                if passed not in self._waits:
                    self._failed(passed, TRIAL_WAIT_S_MAX, now)  # it is too much as well
            return chosen
        if severe:
            self._bad_since = now if self._bad_since is None else self._bad_since
            patience = AUDIO_ONLY_AGAIN_S if current in self._waits else AUDIO_ONLY_AFTER_S
            if now - self._bad_since >= patience:
                self._failed(current, AUDIO_ONLY_WAIT_S_MAX, now)
                self._off, self._known = True, 0
        return None if self._off else current

    def _failed(self, layer: int, wait_s_max: float, now: float) -> None:
        """Try this layer again only after a while, a longer one each time that it was a trial that failed."""
        wait, _ = self._waits.get(layer, (TRIAL_WAIT_S_MIN / 2, now))
        wait = min(max(wait * 2, TRIAL_WAIT_S_MIN), wait_s_max) if self._raised or layer not in self._waits else wait
        self._waits[layer] = (wait, now + wait)

    def _up(self, layers: Sequence[LayerState], ladder: list[int], current: int, now: float) -> int | None:
        """The next layer when everything has been quiet for a while; else what was chosen before."""
        if self._off:
            return None
        if now - self._congested_at >= CONGESTION_FORGOTTEN_S:
            self._bad_since = None
        if self._target in ladder and self._target != current:
            return self._target
        rank = ladder.index(current)
        # A path that has just been too narrow for any picture has long queues: its reports come late.
        quiet_s = TRIAL_S if rank == 0 and current in self._waits else LAYER_QUIET_S
        quiet_at = max(self._changed_at + quiet_s, self._congested_at + CONGESTION_FORGOTTEN_S)
        if rank + 1 == len(ladder) or now < quiet_at:
            return current
        better = ladder[rank + 1]
        ready = layers[better].bits_per_s > 0 and self._may_try(better, now)
        return better if ready and self._path.queueing_s < QUEUEING_S_MAX else current
