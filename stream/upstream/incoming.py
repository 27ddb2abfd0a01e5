"""One of a publisher's streams: which packets are new, how it runs, what a viewer may expect of it.

Pure: `now` is monotonic seconds. The stream's numbering begins anew with `restart`; what it has carried goes on.
"""

from dataclasses import dataclass

from live.core.limits import (
    GUESSED_BITS_PER_PIXEL_S,
    LAYER_SILENT_S,
    NACK_ATTEMPTS_MAX,
    REMB_BITS_PER_S_MIN,
    REORDER_WINDOW_PACKETS,
    RESYNC_PACKETS,
)
from stream.feed import AUDIO, LayerState
from stream.upstream.losses import LossTracker, RoundTrip
from stream.upstream.reception import KeyframeRequests, Reception
from stream.wire.payloads import opens_keyframe, picture_size
from stream.wire.rtp import Header, Unwrapper
from stream.wire.sdp import Codec

_RING = 2 * REORDER_WINDOW_PACKETS  # two numbers in one slot are never both within the window


@dataclass(slots=True)
class Figures:
    """How a stream ran in the last interval; of the `expected` packets `gone` were never repaired."""

    bits_per_s: int = 0
    fps: float = 0.0
    expected: int = 0
    lost: int = 0
    gone: int = 0


class Incoming:
    """One stream. `layer` is AUDIO or the number of a video layer; `ssrc` None: nothing has come yet."""

    def __init__(self, layer: int, rid: str, codec: Codec, now: float) -> None:
        self.layer = layer
        self.rid = rid
        self.codec = codec
        self.ssrc: int | None = None
        self.repaired_only = codec.rtx is not None  # what was lost comes back in a stream of its own
        self.keyframes = KeyframeRequests()
        self.figures = Figures()
        self.size = (0, 0)
        self.tie: tuple[int, int] | None = None
        """The last sender report: NTP time and timestamp."""
        self.last_at = float("-inf")
        self.active = False
        self._opens_keyframe = opens_keyframe(codec.name)
        self._frames = self._octets = 0
        self._before = (0, 0, 0, 0, 0)  # octets, frames, expected, lost and gone at the last measurement
        self._measured_at = now
        self._intervals = 0  # begun since the stream became active
        self._reset(0)

    def _reset(self, ssrc: int) -> None:
        self.reception = Reception(ssrc, self.codec.clock_rate)
        # Sound is not asked for again (`wire.answers` takes up no NACK for it): Opus conceals, and late is useless.
        repairable = self.layer != AUDIO and "nack" in self.codec.feedback
        self.losses = LossTracker(NACK_ATTEMPTS_MAX if repairable else 0)
        self.newest: int | None = None
        self._unwrapper = Unwrapper()
        self._seen = [-1] * _RING
        self._keyframe_from = -1  # where the newest one began
        self._wanted_from = -1  # one that began before this does not help
        self._stray = (0, 0, 0)  # the last one's number, how many in a row, packets received before them
        self._before = (self._octets, self._frames, 0, 0, 0)
        self.tie = None

    def restart(self, ssrc: int) -> bool:
        """The next packets are numbered anew; returns whether there were any before."""
        again = self.ssrc is not None
        self.ssrc = ssrc
        self._reset(ssrc)
        self.want_keyframe()
        return again

    def want_keyframe(self) -> None:
        """Somebody needs a keyframe that begins after what has come; of sound there are none."""
        if self.layer != AUDIO:
            self.keyframes.want()
            self._wanted_from = -1 if self.newest is None else self.newest

    # --- packets ------------------------------------------------------------------------------------------------

    def take(self, number: int, now: float, trip: RoundTrip, *, repair: bool) -> int | str:
        """The extended form of a packet's 16-bit number, or under which name its refusal is counted.

        "rtp_resync" means that the publisher has jumped back in its numbers without saying so: begin anew.
        """
        newest = self.newest
        sequence = self._unwrapper.extend(number)
        if newest is None or sequence > newest:
            self.newest = sequence
            if not self.losses.advanced(sequence, now):
                self.want_keyframe()
                self._wanted_from = sequence - 1  # this very packet may open it
        elif sequence <= newest - REORDER_WINDOW_PACKETS:
            return "rtp_resync" if not repair and self._strayed(number) else "rtp_too_late"
        elif self._seen[sequence % _RING] == sequence:
            return "rtp_duplicate"
        else:
            sample = self.losses.filled(sequence, now)
            # Without a repair stream the late original cannot be told from the answer.
            if sample is not None and (repair or not self.repaired_only):
                trip.measured(sample)
        self._seen[sequence % _RING] = sequence
        return sequence

    def _strayed(self, number: int) -> bool:
        """Whether packets that are too late follow each other without gap, as those of a new beginning do."""
        last, run, received = self._stray
        follows = number == (last + 1) & 0xFFFF and received == self.reception.packets
        self._stray = (number, run + 1 if follows else 1, self.reception.packets)
        return self._stray[1] >= RESYNC_PACKETS

    def carried(self, sequence: int, header: Header, packet: bytes, now: float, *, repair: bool) -> tuple[bool, bool]:
        """Count a packet that `take` took; returns whether it opens a keyframe and whether the state has changed."""
        if not repair:
            # A report tells of the network: what had to be repaired was lost.
            self.reception.received(sequence, header.timestamp, now)
        self._octets += len(packet)
        self._frames += header.marker
        self.last_at = now
        changed = not self.active
        if changed:
            self.active, self._intervals = True, 0
        opens = self._opens_keyframe is not None and self._opens_keyframe(packet, header.payload, header.end)
        if opens:
            if sequence > self._wanted_from:
                self.keyframes.arrived()
            self._keyframe_from = max(self._keyframe_from, sequence)
            size = picture_size(self.codec.name, packet, header.payload, header.end)
            if size is not None and size != self.size:
                self.size, changed = size, True
        return opens, changed

    def missing(self, now: float, trip: RoundTrip) -> list[int]:
        """What to ask for now; wishes for a keyframe when a picture is lost that later ones need."""
        ask, given_up = self.losses.due(now, trip)
        if given_up is not None and given_up > self._keyframe_from:
            self.want_keyframe()
        return ask

    def fell_silent(self, now: float) -> bool:
        """Whether the stream has stopped just now."""
        stopped = self.active and now - self.last_at > LAYER_SILENT_S
        self.active = self.active and not stopped
        return stopped

    # --- figures ------------------------------------------------------------------------------------------------

    def measure(self, now: float) -> None:
        """Close an interval: `figures` tells of it."""
        elapsed = max(now - self._measured_at, 0.001)
        after = (self._octets, self._frames, self.reception.expected, self.losses.lost, self.losses.gone)
        octets, frames, expected, lost, gone = (new - old for new, old in zip(after, self._before, strict=True))
        self._before, self._measured_at = after, now
        self.figures = Figures(round(octets * 8 / elapsed), round(frames / elapsed, 1), expected, lost, gone)
        self._intervals += 1

    @property
    def state(self) -> LayerState:
        """What viewers may expect; before the first measurement the size of the picture says how much that is."""
        width, height = self.size
        if not self.active:
            return LayerState(0, width, height)
        if self._intervals > 1:  # a whole one
            return LayerState(max(1, self.figures.bits_per_s), width, height)
        return LayerState(max(REMB_BITS_PER_S_MIN, width * height * GUESSED_BITS_PER_PIXEL_S), width, height)
