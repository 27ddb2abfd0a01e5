"""One of a publisher's streams: what is taken, when a keyframe is needed, what viewers may expect."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from live.core.limits import (
    GUESSED_BITS_PER_PIXEL_S,
    LAYER_SILENT_S,
    NACK_GRACE_S,
    NACK_INTERVAL_S_MAX,
    NACK_PENDING_MAX,
    REMB_BITS_PER_S_MIN,
    REORDER_WINDOW_PACKETS,
    RESYNC_PACKETS,
)
from stream.feed import AUDIO, LayerState
from stream.upstream.incoming import Figures, Incoming
from stream.upstream.losses import RoundTrip
from stream.wire.rtp import parse
from stream.wire.sdp import Codec

VP8 = Codec("vp8", 96, 90_000, None, "", feedback=frozenset({"nack"}), rtx=97)
OPUS = Codec("opus", 111, 48_000, 2, "")


def keyframe(width: int, height: int) -> bytes:
    """The beginning of a VP8 keyframe with its descriptor."""
    return bytes((0x10, 0, 0, 0, 0x9D, 0x01, 0x2A)) + struct.pack("<HH", width, height) + bytes(90)


INTER = bytes((0x10, 1)) + bytes(99)


class Stream:
    """An `Incoming` fed with payloads."""

    def __init__(self, codec: Codec = VP8, layer: int = 0) -> None:
        self.incoming = Incoming(layer, "", codec, 0.0)
        self.incoming.restart(1)
        self.trip = RoundTrip()

    def put(
        self, number: int, now: float = 0.0, payload: bytes = INTER, *, repair: bool = False
    ) -> int | str | tuple[bool, bool]:
        packet = struct.pack("!BBHII", 0x80, 0x80 | 96, number & 0xFFFF, number * 3000, 1) + payload
        header = parse(packet)
        sequence = self.incoming.take(header.sequence, now, self.trip, repair=repair)
        if isinstance(sequence, str):
            return sequence
        return self.incoming.carried(sequence, header, packet, now, repair=repair)


@pytest.fixture
def stream() -> Stream:
    return Stream()


class TestWhatIsTaken:
    def test_every_number_once(self, stream: Stream) -> None:
        stream.put(1)
        stream.put(3)
        assert stream.put(2) == (False, False)
        assert [stream.put(number) for number in (1, 2, 3)] == ["rtp_duplicate"] * 3

    def test_nothing_older_than_the_window(self, stream: Stream) -> None:
        stream.put(1)
        for number in range(REORDER_WINDOW_PACKETS):
            stream.put(3 + number)
        assert stream.put(2) == "rtp_too_late"
        assert stream.put(4) == "rtp_duplicate"

    @given(st.lists(st.integers(0, 2000), max_size=300))
    def test_no_number_is_ever_taken_twice(self, numbers: list[int]) -> None:
        incoming, trip, taken = Incoming(0, "", VP8, 0.0), RoundTrip(), []
        incoming.restart(1)
        for number in numbers:
            sequence = incoming.take(number, 0.0, trip, repair=False)
            if isinstance(sequence, int):
                taken.append(sequence)
        assert len(set(taken)) == len(taken)

    def test_a_publisher_who_jumps_back_is_followed_soon(self, stream: Stream) -> None:
        stream.put(40_000)
        answers = [stream.put(10_000 + index) for index in range(RESYNC_PACKETS)]
        assert answers == ["rtp_too_late"] * (RESYNC_PACKETS - 1) + ["rtp_resync"]
        assert stream.incoming.restart(1)
        assert stream.put(10_000 + RESYNC_PACKETS) == (False, False)

    def test_stragglers_between_newer_packets_are_no_jump(self, stream: Stream) -> None:
        stream.put(40_000)
        for index in range(3 * RESYNC_PACKETS):
            assert stream.put(10_000 + index) == "rtp_too_late"
            stream.put(40_001 + index)
        assert [stream.put(10_000 + 2 * index) for index in range(RESYNC_PACKETS)] == ["rtp_too_late"] * RESYNC_PACKETS

    def test_old_repairs_are_no_jump(self, stream: Stream) -> None:
        stream.put(40_000)
        answers = {stream.put(10_000 + index, repair=True) for index in range(2 * RESYNC_PACKETS)}
        assert answers == {"rtp_too_late"}


class TestRoundTripTime:
    def ask(self, stream: Stream) -> None:
        stream.put(1)
        stream.put(3)
        stream.incoming.missing(NACK_GRACE_S, stream.trip)

    def test_a_repair_that_was_asked_for_measures_it(self, stream: Stream) -> None:
        self.ask(stream)
        stream.put(2, NACK_GRACE_S + 0.07, repair=True)
        assert stream.trip.seconds == pytest.approx(0.07)

    def test_the_late_original_does_not(self, stream: Stream) -> None:
        self.ask(stream)
        stream.put(2, NACK_GRACE_S + 0.001)
        assert stream.trip.seconds is None

    def test_without_a_repair_stream_the_original_is_the_answer(self) -> None:
        stream = Stream(Codec("vp8", 96, 90_000, None, "", feedback=frozenset({"nack"})))
        self.ask(stream)
        stream.put(2, NACK_GRACE_S + 0.07)
        assert stream.trip.seconds == pytest.approx(0.07)


class TestKeyframes:
    def test_the_first_picture_that_is_none_wishes_for_one(self, stream: Stream) -> None:
        stream.put(1)
        assert stream.incoming.keyframes.wanted
        assert stream.put(2, payload=keyframe(320, 180)) == (True, True)
        assert not stream.incoming.keyframes.wanted

    def test_a_picture_lost_for_good_wishes_for_one(self, stream: Stream) -> None:
        incoming = stream.incoming
        stream.put(1, payload=keyframe(320, 180))
        stream.put(3)
        now = 0.0
        while incoming.losses.pending:
            assert not incoming.keyframes.wanted
            now = incoming.losses.due_at
            incoming.missing(now, stream.trip)
        assert incoming.keyframes.wanted
        # The one that was lost comes after all, but it began before.
        stream.put(2, now, keyframe(320, 180), repair=True)
        assert incoming.keyframes.wanted
        stream.put(4, now, keyframe(320, 180))
        assert not incoming.keyframes.wanted

    def test_a_loss_before_the_newest_keyframe_harms_no_later_picture(self, stream: Stream) -> None:
        stream.put(1, payload=keyframe(320, 180))
        stream.put(3)
        stream.put(4, payload=keyframe(320, 180))
        while stream.incoming.losses.pending:
            stream.incoming.missing(stream.incoming.losses.due_at, stream.trip)
        assert not stream.incoming.keyframes.wanted

    def test_a_hole_too_big_wishes_for_one_unless_it_ends_with_one(self, stream: Stream) -> None:
        stream.put(1, payload=keyframe(320, 180))
        stream.put(3 + NACK_PENDING_MAX)
        assert stream.incoming.keyframes.wanted
        stream.put(5 + 2 * NACK_PENDING_MAX, payload=keyframe(320, 180))
        assert not stream.incoming.keyframes.wanted

    def test_sound_has_none(self) -> None:
        sound = Stream(OPUS, AUDIO)
        sound.put(1)
        sound.put(3)
        assert sound.incoming.missing(NACK_INTERVAL_S_MAX, sound.trip) == []
        sound.put(4 + NACK_PENDING_MAX)
        assert not sound.incoming.keyframes.wanted

    def test_without_nack_nothing_is_asked_for_again(self) -> None:
        stream = Stream(Codec("vp8", 96, 90_000, None, ""))
        stream.put(1, payload=keyframe(320, 180))
        stream.put(3)
        assert stream.incoming.missing(NACK_INTERVAL_S_MAX, stream.trip) == []
        assert stream.incoming.keyframes.wanted


class TestFigures:
    def test_until_it_was_measured_the_size_of_the_picture_says_what_a_layer_takes(self, stream: Stream) -> None:
        incoming = stream.incoming
        assert incoming.state == LayerState(0, 0, 0)
        stream.put(1)
        assert incoming.state == LayerState(REMB_BITS_PER_S_MIN, 0, 0)
        stream.put(2, payload=keyframe(1280, 720))
        incoming.measure(0.5)
        assert incoming.state == LayerState(1280 * 720 * GUESSED_BITS_PER_PIXEL_S, 1280, 720)
        for number in range(3, 13):
            stream.put(number, 1.0)
        incoming.measure(1.5)
        assert incoming.state == LayerState(10 * 113 * 8, 1280, 720)
        incoming.measure(2.5)
        assert incoming.state.bits_per_s == 1

    def test_an_interval(self, stream: Stream) -> None:
        incoming = stream.incoming
        for number in (1, 2, 4, 7):
            stream.put(number)
        incoming.missing(NACK_GRACE_S, stream.trip)
        stream.put(3, 0.1, repair=True)
        incoming.measure(0.5)
        assert incoming.figures == Figures(bits_per_s=5 * 113 * 16, fps=10.0, expected=7, lost=3, gone=0)
        while incoming.losses.pending:
            incoming.missing(incoming.losses.due_at, stream.trip)
        incoming.measure(2.5)
        assert incoming.figures == Figures(gone=2)

    def test_figures_go_on_when_the_numbering_begins_anew(self, stream: Stream) -> None:
        stream.put(1)
        stream.incoming.measure(1.0)
        stream.put(50_000, 1.0)
        assert stream.incoming.restart(2)
        stream.put(7, 1.0)
        stream.put(8, 1.0)
        stream.incoming.measure(2.0)
        assert stream.incoming.figures == Figures(bits_per_s=2 * 113 * 8, fps=2.0, expected=2)

    def test_a_silent_stream_says_so_once_and_returns(self, stream: Stream) -> None:
        incoming = stream.incoming
        assert not incoming.fell_silent(9.0)
        stream.put(1, 10.0)
        assert not incoming.fell_silent(10.0 + LAYER_SILENT_S)
        assert incoming.fell_silent(10.1 + LAYER_SILENT_S)
        assert not incoming.fell_silent(10.2 + LAYER_SILENT_S)
        assert incoming.state.bits_per_s == 0
        assert stream.put(2, 20.0) == (False, True)
        assert incoming.state.bits_per_s > 0

    def test_another_size_is_a_change(self, stream: Stream) -> None:
        assert stream.put(1, payload=keyframe(640, 360)) == (True, True)
        assert stream.put(2, payload=keyframe(640, 360)) == (True, False)
        assert stream.put(3, payload=keyframe(320, 180)) == (True, True)
        assert stream.incoming.size == (320, 180)
