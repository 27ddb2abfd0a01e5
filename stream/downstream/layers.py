"""Numbers that stay continuous: over a publisher's layers, over successive publishers, over a viewer's layers.

Two steps lie between a packet's numbers as the publisher chose them and those that a viewer sees:

    publisher ── Alignment (one per relay and kind) ──▶ relay ── Translation (one per viewer) ──▶ viewer

`Alignment` gives each layer one endless run of sequence numbers and VP8 picture ids, whoever publishes, and puts all
layers on one line of timestamps. Layers of one publisher count time from different, random beginnings. Its sender
reports (RFC 3550, section 6.4.1) say which timestamp of each layer belongs to which moment of its wall clock; layers
with a report each are tied exactly, before that by when their packets arrive. Because timestamps of all layers mean
the same moments, one sender report serves every viewer, and a switch of layers needs no new lip sync.

`Numbering` continues one viewer's stream where it was when it is switched to another layer. A `Translation` is the
whole difference between the relay's numbers and the viewer's, so viewers with equal ones share each rewritten packet.
INVARIANT: no viewer gets two different packets under one sequence number (SRTP would use its key stream twice).
"""

from collections import deque
from typing import NamedTuple

from live.core.limits import (
    ALIGNMENT_CORRECTION_S_MAX,
    ALIGNMENT_STALE_S,
    GOP_PACKETS_MAX,
    SWITCHES_KEPT,
)
from stream.wire.payloads import Vp8Numbers

_TIMESTAMPS = 1 << 32
_TL0S = 1 << 8
_PICTURE_IDS = 1 << 15
_FIRST_NUMBER_MAX = 0xF000  # of 16 bits; what follows up to the wrap is seconds of video, which nobody loses all of


class Mark(NamedTuple):
    """Where a stream stands: one packet's extended sequence number, its 32-bit timestamp, its VP8 counters if any."""

    sequence: int
    timestamp: int
    vp8: Vp8Numbers | None = None


class Translation(NamedTuple):
    """What to add to the relay's numbers of `layer`; zeros for who was never switched and began far from a wrap.

    The sums wrap: timestamps at 32 bits, picture ids at the width of the packet's field, tl0 at 8 bits. `layer` is None
    while no video is sent. Packets before the relay's sequence number `first` must not be sent under this translation:
    their numbers are taken.
    """

    layer: int | None
    sequence: int = 0
    timestamp: int = 0
    picture_id: int = 0
    tl0: int = 0
    first: int = 0

    def apply(self, mark: Mark) -> Mark:
        """The viewer's numbers of a packet of the relay; the sequence number is an extended one."""
        return Mark(
            mark.sequence + self.sequence,
            (mark.timestamp + self.timestamp) % _TIMESTAMPS,
            _moved(mark.vp8, self.picture_id, self.tl0),
        )


NO_VIDEO = Translation(None)


def _signed(difference: int, modulus: int) -> int:
    """The difference of two wrapping numbers as the shorter way round."""
    return (difference + modulus // 2) % modulus - modulus // 2


def _moved(vp8: Vp8Numbers | None, picture_id: int, tl0: int) -> Vp8Numbers | None:
    """The counters with these offsets, each wrapped to its field."""
    if vp8 is None:
        return None
    return Vp8Numbers(
        None if vp8.picture_id is None else (vp8.picture_id + picture_id) % (1 << vp8.picture_id_bits),
        vp8.picture_id_bits,
        None if vp8.tl0 is None else (vp8.tl0 + tl0) % _TL0S,
    )


class _Counters:
    """The VP8 counters that a stream had last; packets without them do not end their run."""

    def __init__(self) -> None:
        self._last = Vp8Numbers(None, 0, None)

    def sent(self, vp8: Vp8Numbers | None) -> None:
        if vp8 is not None:
            last = self._last
            if vp8.picture_id is None:
                vp8 = vp8._replace(picture_id=last.picture_id, picture_id_bits=last.picture_id_bits)
            self._last = vp8 if vp8.tl0 is not None else vp8._replace(tl0=last.tl0)

    def following(self, vp8: Vp8Numbers | None) -> tuple[int, int]:
        """What to add to the picture ids and to the tl0 of the stream that begins with `vp8`, so that it follows."""
        if vp8 is None:
            return 0, 0
        last, picture_id, tl0 = self._last, 0, 0
        if last.picture_id is not None and vp8.picture_id is not None:
            picture_id = (last.picture_id + 1 - vp8.picture_id) % _PICTURE_IDS
        if last.tl0 is not None and vp8.tl0 is not None:
            tl0 = (last.tl0 + 1 - vp8.tl0) % _TL0S
        return picture_id, tl0


class Numbering:
    """One viewer's video numbering over all layers that it is shown."""

    def __init__(self) -> None:
        self.current = NO_VIDEO
        # The viewer's first number of each stretch, the stretch's first number of the relay, its translation.
        self._stretches: deque[tuple[int, int, Translation]] = deque(maxlen=SWITCHES_KEPT)
        self._last: Mark | None = None  # what the viewer got last, as it saw it, before the current stretch
        self._counters = _Counters()

    def switch(self, layer: int, start: Mark, sent: Mark | None) -> Translation:
        """Go on with `layer` at its keyframe that begins at `start`; the new `current`.

        `sent` is the packet with the highest sequence number that went out under `current`, None when none did. Both
        are in the relay's numbers of their layers.
        """
        self.stop(sent)
        last = self._last
        if last is None:
            # Who loses all that comes before a wrap would take what follows for the first period, and could decrypt
            # nothing for good (RFC 3711, section 3.3.1): its numbers begin after the wrap instead.
            number = start.sequence & 0xFFFF
            skipped = (1 << 16) - number if number > _FIRST_NUMBER_MAX else 0
            self.current = Translation(layer, skipped, first=start.sequence if skipped else 0)
        else:
            ahead = _signed(start.timestamp - last.timestamp, _TIMESTAMPS)
            self.current = Translation(
                layer,
                last.sequence + 1 - start.sequence,
                0 if ahead > 0 else (1 - ahead) % _TIMESTAMPS,
                *self._counters.following(start.vp8),
                start.sequence,
            )
        self._stretches.append((start.sequence + self.current.sequence, start.sequence, self.current))
        return self.current

    def stop(self, sent: Mark | None) -> None:
        """Send no video any more; `sent` as for `switch`."""
        if sent is not None:
            assert self.current.layer is not None, "nothing is sent without a layer"
            self._last = self.current.apply(sent)
            self._counters.sent(self._last.vp8)
        elif self.current.layer is not None:
            self._stretches.pop()  # nothing was sent: its numbers are free for the next stretch
        self.current = NO_VIDEO

    def end(self, head: int) -> int | None:
        """One past the viewer's own, extended number of what it was sent last; None: it was sent nothing yet.

        `head` is as for `find`.
        """
        if self.current.layer is not None:
            return head + self.current.sequence
        return None if self._last is None else self._last.sequence + 1

    def find(self, number: int, head: int) -> tuple[Translation, int] | None:
        """The translation and the relay's sequence number behind a viewer's 16-bit `number`; None when it is unknown.

        `head` is one past the highest sequence number that was sent under `current`, in the relay's numbers; it does
        not matter while nothing is sent. Numbers older than GOP_PACKETS_MAX are unknown.
        """
        end = self.end(head)
        if end is None:
            return None
        sequence = end - 1 - ((end - 1 - number) & 0xFFFF)
        if sequence < end - GOP_PACKETS_MAX:
            return None
        for beginning, _first, translation in reversed(self._stretches):
            if sequence >= beginning:
                return translation, sequence - translation.sequence
        return None


class _Layer:
    """One layer's run of numbers, and its place on the line."""

    def __init__(self, sequence: int) -> None:
        self.next_sequence = sequence
        self.first: int | None = None  # the publisher's number that the present run began with
        self.sequence = 0
        self.timestamp = 0
        self.picture_id = 0
        self.tl0 = 0
        self.counters = _Counters()
        self.newest: int | None = None  # timestamp, in the relay's numbers
        self.newest_raw = 0  # its timestamp as the publisher counts
        self.corrected = (0, 0)  # up to this publisher's number, this offset of timestamps held
        self.tie: tuple[int, int] | None = None  # the last sender report: NTP time, publisher's timestamp


class Alignment:
    """All layers of one kind on one line of timestamps, each with continuous numbers, over successive publishers.

    A layer's place on the line is corrected only with a keyframe, and never so that its time goes back. The layer that
    sent first is the reference: it is never corrected, and its sender reports are the line's.
    """

    def __init__(self, sequences: tuple[int, ...], timestamp: int, clock_rate: int) -> None:
        """`sequences` is what each layer's first packet becomes, `timestamp` where the line begins."""
        self._rate = clock_rate
        self._layers = tuple(_Layer(sequence) for sequence in sequences)
        self._newest = timestamp
        self._newest_at: float | None = None
        self._fresh = True  # nothing of this publisher has come yet
        self._reference: int | None = None
        self._reference_at = 0.0  # when the line was tied last
        self._tie: tuple[int, int] | None = None  # NTP time and the line's timestamp

    def begin(self) -> None:
        """The next packets come from another publisher."""
        for layer in range(len(self._layers)):
            self.restarted(layer)
        self._fresh = True

    def restarted(self, layer: int) -> None:
        """This layer's numbers and clock begin anew with its next packet."""
        state = self._layers[layer]
        state.first = None
        state.tie = None
        if self._reference == layer:
            self._reference = self._tie = None

    def map(
        self,
        layer: int,
        sequence: int,
        timestamp: int,
        now: float,
        *,
        opens_keyframe: bool = False,
        vp8: Vp8Numbers | None = None,
    ) -> Mark | None:
        """A packet's numbers as the relay counts; None for what preceded the layer's first packet."""
        state = self._layers[layer]
        if state.first is None:
            self._start(state, Mark(sequence, timestamp, vp8), now)
            if self._reference is None:
                self._speak(layer, now)
        elif sequence < state.first:
            return None
        elif opens_keyframe and layer != self._reference:
            self._correct(state, sequence, timestamp)
        boundary, before = state.corrected
        mark = Mark(
            sequence + state.sequence,
            (timestamp + (before if sequence < boundary else state.timestamp)) % _TIMESTAMPS,
            _moved(vp8, state.picture_id, state.tl0),
        )
        if mark.sequence >= state.next_sequence:
            state.next_sequence = mark.sequence + 1
            state.newest, state.newest_raw = mark.timestamp, timestamp
            state.counters.sent(mark.vp8)
            if self._newest_at is None or _signed(mark.timestamp - self._newest, _TIMESTAMPS) >= 0:
                self._newest, self._newest_at = mark.timestamp, now
        return mark

    def _start(self, state: _Layer, raw: Mark, now: float) -> None:
        """Begin a run at the publisher's packet `raw`."""
        line = self._newest
        if self._newest_at is not None:
            ticks = round((now - self._newest_at) * self._rate)
            # At least one tick, so that a new publisher's picture never looks like a part of the last one's.
            line += max(ticks, 1) if self._fresh else ticks
        self._fresh = False
        state.timestamp = (line - raw.timestamp) % _TIMESTAMPS
        state.first = raw.sequence
        state.sequence = state.next_sequence - raw.sequence
        state.picture_id, state.tl0 = state.counters.following(raw.vp8)
        self._shift(state, raw.timestamp, self._target(state))
        state.corrected = (raw.sequence, state.timestamp)

    def _correct(self, state: _Layer, sequence: int, timestamp: int) -> None:
        """Move the layer to its place on the line; `timestamp` is its new keyframe's."""
        if sequence + state.sequence < state.next_sequence or timestamp == state.newest_raw:
            return  # a late packet, or another one of the same picture
        before = state.timestamp
        self._shift(state, timestamp, self._target(state))
        if state.timestamp != before:
            state.corrected = (sequence, before)

    def _target(self, state: _Layer) -> int | None:
        """The layer's offset as the sender reports have it; None when that is not known or not credible."""
        if self._tie is None or state.tie is None:
            return None
        elapsed = _signed(state.tie[0] - self._tie[0], 1 << 64) / (1 << 32)
        offset = self._tie[1] + round(elapsed * self._rate) - state.tie[1]
        change = _signed(offset - state.timestamp, _TIMESTAMPS)
        return offset % _TIMESTAMPS if abs(change) <= ALIGNMENT_CORRECTION_S_MAX * self._rate else None

    def _shift(self, state: _Layer, timestamp: int, offset: int | None) -> None:
        """Take `offset` (None: the present one), or what comes next to it without going back before the newest."""
        offset = state.timestamp if offset is None else offset
        if state.newest is not None:
            ahead = _signed(timestamp + offset - state.newest, _TIMESTAMPS)
            offset += max(0, 1 - ahead)
        state.timestamp = offset % _TIMESTAMPS

    def sender_report(self, layer: int, ntp: int, timestamp: int, now: float) -> int | None:
        """Note a report (`ntp` has 64 bits); returns the line's timestamp at `ntp`, for the viewers' own report.

        None when the viewers need none: another layer speaks for the line, or the layer has sent nothing.
        """
        state = self._layers[layer]
        state.tie = (ntp, timestamp)
        if state.first is None:
            return None
        if layer != self._reference:
            if self._reference is not None and now - self._reference_at <= ALIGNMENT_STALE_S:
                return None
        self._speak(layer, now)
        return None if self._tie is None else self._tie[1]

    def _speak(self, layer: int, now: float) -> None:
        """The layer is the reference from now on, or still is; its last report ties the line."""
        state = self._layers[layer]
        self._reference, self._reference_at = layer, now
        if state.tie is not None:
            self._tie = (state.tie[0], (state.tie[1] + state.timestamp) % _TIMESTAMPS)
