"""Numbers stay continuous, whatever layers, publishers and losses do; and no number is used twice."""

import itertools
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from live.core.limits import (
    ALIGNMENT_CORRECTION_S_MAX,
    ALIGNMENT_STALE_S,
    GOP_PACKETS_MAX,
    SWITCHES_KEPT,
)
from stream.downstream.layers import NO_VIDEO, Alignment, Mark, Numbering, Translation
from stream.wire.payloads import Vp8Numbers

RATE = 90_000
WRAP = 1 << 32


class TestNumbering:
    def test_a_viewer_who_was_never_switched_sees_the_relays_numbers(self) -> None:
        numbering = Numbering()
        assert numbering.current == NO_VIDEO
        assert numbering.find(0, 0) is None
        translation = numbering.switch(1, Mark(70_000, 5), None)
        assert translation == numbering.current == Translation(1, 0, 0, 0, 0, 0)
        mark = Mark(70_003, 9, Vp8Numbers(3, 7, 4))
        assert translation.apply(mark) == mark

    @pytest.mark.parametrize("number", [0xF001, 65_492, 0xFFFF])
    def test_nobody_begins_just_before_a_wrap(self, number: int) -> None:
        numbering, start = Numbering(), Mark(0x30000 + number, 5)
        translation = numbering.switch(1, start, None)
        assert translation.apply(start) == Mark(0x40000, 5)
        assert translation.first == start.sequence, "what came before is not sent late: its number is before the wrap"
        head = start.sequence + 40
        assert numbering.find(39, head) == (translation, start.sequence + 39)
        assert numbering.find(0xFFFF, head) is None
        numbering.stop(None)
        assert numbering.switch(2, Mark(0x1F000, 5), None) == Translation(2)

    def test_the_next_layer_goes_on_one_past_the_last_number(self) -> None:
        numbering = Numbering()
        numbering.switch(2, Mark(70_000, 100, Vp8Numbers(40, 15, 250)), None)
        sent = Mark(70_010, 30_000, Vp8Numbers(50, 15, 255))
        start = Mark(66_000, 33_000, Vp8Numbers(7000, 15, 3))
        translation = numbering.switch(0, start, sent)
        assert translation.apply(start) == Mark(70_011, 33_000, Vp8Numbers(51, 15, 0))
        assert translation.first == 66_000
        back = numbering.switch(2, Mark(70_500, 90_000, Vp8Numbers(90, 15, 9)), Mark(66_099, 63_000, start.vp8))
        assert back.apply(Mark(70_500, 90_000, Vp8Numbers(90, 15, 9))) == Mark(70_111, 90_000, Vp8Numbers(52, 15, 1))

    @pytest.mark.parametrize("last", [5, 3000, WRAP - 1])
    def test_the_time_never_goes_back(self, last: int) -> None:
        numbering = Numbering()
        numbering.switch(0, Mark(0, last), None)
        start = Mark(0, (last - 3000) % WRAP)
        assert numbering.switch(1, start, Mark(9, last)).apply(start).timestamp == (last + 1) % WRAP
        start = Mark(100, (last + 1) % WRAP)
        numbering = Numbering()
        numbering.switch(0, Mark(0, last), None)
        assert numbering.switch(1, start, Mark(9, last)).timestamp == 0

    def test_a_layer_of_which_nothing_was_sent_leaves_no_trace(self) -> None:
        numbering = Numbering()
        numbering.switch(0, Mark(50, 0), None)
        assert numbering.switch(1, Mark(10, 0), None) == Translation(1)
        numbering.switch(2, Mark(90, 7000), Mark(19, 4000))
        assert numbering.switch(0, Mark(60, 9000), None) == Translation(0, 20 - 60, 0, 0, 0, 60)
        assert numbering.find(19, 60) == (Translation(1), 19)

    def test_video_goes_on_after_a_pause(self) -> None:
        numbering = Numbering()
        numbering.switch(0, Mark(50, 0), None)
        numbering.stop(Mark(59, 9000))
        assert numbering.current == NO_VIDEO
        assert numbering.find(55, 0) == (Translation(0), 55)
        assert numbering.find(60, 0) is None
        numbering.stop(None)
        assert numbering.switch(1, Mark(7, 90_000), None).sequence == 60 - 7

    def test_picture_ids_fit_into_fields_of_any_width(self) -> None:
        numbering = Numbering()
        numbering.switch(0, Mark(0, 0, Vp8Numbers(32_766, 15, None)), None)
        narrow = Mark(100, 1, Vp8Numbers(5, 7, None))
        translation = numbering.switch(1, narrow, Mark(1, 0, Vp8Numbers(32_767, 15, None)))
        seen = [translation.apply(Mark(0, 0, Vp8Numbers(number % 128, 7, None))).vp8 for number in range(5, 140)]
        assert [vp8.picture_id for vp8 in seen if vp8] == [number % 128 for number in range(135)]
        plain = numbering.switch(2, Mark(0, 2), Mark(109, 1, Vp8Numbers(14, 7, None)))
        assert plain.picture_id == plain.tl0 == 0
        wide = Mark(200, 3, Vp8Numbers(600, 15, 7))
        assert numbering.switch(0, wide, Mark(3, 2)).apply(wide).vp8 == Vp8Numbers(10, 15, 7)
        other = Mark(0, 4, Vp8Numbers(None, 0, 90))
        assert numbering.switch(1, other, wide).apply(other).vp8 == Vp8Numbers(None, 0, 8)
        again = Mark(300, 5, Vp8Numbers(1, 15, None))
        assert numbering.switch(0, again, other).apply(again).vp8 == Vp8Numbers(11, 15, None)

    def test_numbers_that_are_too_old_or_were_never_used_are_unknown(self) -> None:
        numbering = Numbering()
        translation = numbering.switch(0, Mark(100_000, 0), None)
        head = 100_000 + 3 * GOP_PACKETS_MAX
        assert numbering.find((head - 1) & 0xFFFF, head) == (translation, head - 1)
        assert numbering.find(head - GOP_PACKETS_MAX & 0xFFFF, head) == (translation, head - GOP_PACKETS_MAX)
        assert numbering.find(head - GOP_PACKETS_MAX - 1 & 0xFFFF, head) is None
        assert numbering.find(head & 0xFFFF, head) is None
        assert numbering.find(99_999 & 0xFFFF, 100_010) is None

    def test_the_memory_of_switches_is_bounded(self) -> None:
        numbering = Numbering()
        numbering.switch(0, Mark(0, 0), None)
        for count in range(1, 3 * SWITCHES_KEPT):
            numbering.switch(count % 3, Mark(1000, count * 3000), Mark(0 if count == 1 else 1000, (count - 1) * 3000))
        newest = 3 * SWITCHES_KEPT - 1
        known = [number for number in range(newest + 1) if numbering.find(number, 1001)]
        assert known == list(range(newest - SWITCHES_KEPT + 1, newest + 1))


class _Show:
    """Three layers as a relay numbers them, and one viewer; packets may be late, lost or double."""

    def __init__(self, firsts: list[int], vp8: list[Vp8Numbers | None]) -> None:
        self.heads = list(firsts)
        self.vp8 = vp8
        self.clock = 1 << 31
        self.packets: list[dict[int, Mark]] = [{}, {}, {}]
        self.missing: list[list[int]] = [[], [], []]
        self.numbering = Numbering()
        self.sent: Mark | None = None  # under the present translation
        self.seen: dict[int, Mark] = {}  # by the viewer's extended number: the packet as it got it first
        self.origins: dict[int, tuple[int, int]] = {}
        self.keyframes: list[Mark] = []  # of switches, as the viewer saw them

    def frame(self, layer: int, late: int) -> Mark:
        """A picture of two packets; returns the first. Bits of `late`: which of them are missing."""
        self.clock += 1500
        vp8 = self.vp8[layer]
        if vp8 is not None:
            picture_id = None if vp8.picture_id is None else (vp8.picture_id + 1) % (1 << vp8.picture_id_bits)
            tl0 = None if vp8.tl0 is None else (vp8.tl0 + 1) % 256
            self.vp8[layer] = vp8 = Vp8Numbers(picture_id, vp8.picture_id_bits, tl0)
        start = self.heads[layer]
        for index in range(2):
            mark = Mark(start + index, self.clock % WRAP, vp8)
            self.packets[layer][mark.sequence] = mark
            self.heads[layer] += 1
        for index in range(2):
            if late >> index & 1:
                self.missing[layer].append(start + index)
        return self.packets[layer][start]

    def send(self, layer: int, sequence: int) -> None:
        """The relay sends a packet of the layer to its viewers; this one gets it when it watches the layer."""
        translation = self.numbering.current
        if translation.layer != layer or sequence < max(translation.first, self.began):
            return
        mark = self.packets[layer][sequence]
        out = translation.apply(mark)
        assert self.origins.setdefault(out.sequence, (layer, sequence)) == (layer, sequence), "a number was used twice"
        assert self.seen.setdefault(out.sequence, out) == out
        if self.sent is None or sequence > self.sent.sequence:
            self.sent = mark

    def advance(self, layer: int, late: int) -> None:
        start = self.frame(layer, late).sequence
        for sequence in (start, start + 1):
            if sequence not in self.missing[layer]:
                self.send(layer, sequence)

    def switch(self, layer: int) -> None:
        start = self.frame(layer, 0)
        self.began = start.sequence
        highest = max(self.seen, default=None)
        translation = self.numbering.switch(layer, start, self.sent)
        self.sent = None
        out = translation.apply(start)
        if highest is not None:
            assert out.sequence == highest + 1, "numbers are contiguous"
            before, after = self.seen[highest].vp8, out.vp8
            if before and after and before.picture_id is not None and after.picture_id is not None:
                width = 1 << min(before.picture_id_bits, after.picture_id_bits)
                assert (after.picture_id - before.picture_id) % width == 1
            if before and after and before.tl0 is not None and after.tl0 is not None:
                assert (after.tl0 - before.tl0) % 256 == 1
        self.keyframes.append(out)
        self.send(layer, start.sequence)
        self.send(layer, start.sequence + 1)

    def stop(self) -> None:
        self.numbering.stop(self.sent)
        self.sent = None

    def check(self) -> None:
        """Every number that the viewer may ask for leads back to the packet, and to the same bytes."""
        layer = self.numbering.current.layer
        head = 0 if self.sent is None else self.sent.sequence + 1
        if layer is not None and self.sent is None:
            return
        for number, origin in list(self.origins.items())[-200:]:
            found = self.numbering.find(number & 0xFFFF, head)
            if found is not None:
                translation, sequence = found
                assert (translation.layer, sequence) == origin
                assert translation.apply(self.packets[origin[0]][sequence]) == self.seen[number]
            else:
                assert len(self.keyframes) > SWITCHES_KEPT


_COUNTERS = st.none() | st.builds(
    lambda picture_id, bits, tl0: Vp8Numbers(
        None if picture_id is None else picture_id % (1 << bits), 0 if picture_id is None else bits, tl0
    ),
    st.none() | st.integers(0, 32_767),
    st.sampled_from([7, 15]),
    st.none() | st.integers(0, 255),
)
_STEPS = st.lists(
    st.tuples(
        st.sampled_from(["frame", "frame", "frame", "late", "again", "switch", "stop"]),
        st.integers(0, 2),
        st.integers(0, 3),
    ),
    max_size=120,
)


@given(
    firsts=st.lists(st.integers(65_536, 200_000) | st.integers(0x1F000, 0x20000), min_size=3, max_size=3),
    vp8=st.lists(_COUNTERS, min_size=3, max_size=3),
    steps=_STEPS,
)
def test_no_number_is_used_twice_and_every_number_leads_back(
    firsts: list[int], vp8: list[Vp8Numbers | None], steps: list[tuple[str, int, int]]
) -> None:
    show = _Show(firsts, vp8)
    show.switch(0)
    for what, layer, detail in steps:
        match what:
            case "frame":
                show.advance(layer, detail)
            case "late" if show.missing[layer]:
                show.send(layer, show.missing[layer].pop(detail % len(show.missing[layer])))
            case "again":
                show.send(layer, max(show.packets[layer], default=0)) if show.packets[layer] else None
            case "switch":
                show.check()
                show.switch(layer)
            case "stop":
                show.stop()
                show.check()
            case _:
                pass
    show.check()
    for before, after in itertools.pairwise(show.keyframes):
        assert 0 < (after.timestamp - before.timestamp) % WRAP < WRAP // 2


class TestAlignment:
    def test_the_first_layer_defines_the_line(self) -> None:
        alignment = Alignment((100, 200), 7, RATE)
        assert alignment.map(0, 5000, 900, 1.0, opens_keyframe=True) == Mark(100, 7)
        assert alignment.map(0, 5002, 3900, 1.1) == Mark(102, 3007)
        assert alignment.map(0, 5001, 3900, 1.2) == Mark(101, 3007)
        assert alignment.map(0, 4999, 0, 1.2) is None

    def test_without_reports_the_arrival_ties_the_other_layers(self) -> None:
        alignment = Alignment((100, 200), 0, RATE)
        alignment.map(0, 1, 1000, 1.0, opens_keyframe=True)
        assert alignment.map(1, 1, 777_777, 1.5, opens_keyframe=True) == Mark(200, 45_000)

    def test_reports_tie_them_exactly_at_the_next_keyframe(self) -> None:
        alignment = Alignment((100, 200), 0, RATE)
        alignment.map(0, 1, 1000, 1.0, opens_keyframe=True)
        alignment.map(1, 1, 50_000, 1.02, opens_keyframe=True)  # taken at the same moment as the other's
        assert alignment.sender_report(0, 10 << 32, 1000, 1.1) == 0
        assert alignment.sender_report(1, 11 << 32, 50_000 + RATE, 1.1) is None
        assert alignment.map(1, 2, 53_000, 1.05) == Mark(201, 4800)
        # The layer was 1800 too late; a correction back is as large as it can be without time going back.
        assert alignment.map(1, 3, 56_000, 1.08, opens_keyframe=True) == Mark(202, 6000)
        assert alignment.map(1, 4, 56_000, 1.08, opens_keyframe=True) == Mark(203, 6000)
        assert alignment.map(1, 2, 53_000, 1.09) == Mark(201, 4800)
        assert alignment.map(1, 5, 59_000, 1.11) == Mark(204, 9000)

    def test_a_correction_never_turns_time_back(self) -> None:
        alignment = Alignment((100, 200), 0, RATE)
        alignment.map(0, 1, 0, 1.0, opens_keyframe=True)
        alignment.map(1, 1, 0, 2.0, opens_keyframe=True)  # a second late
        alignment.sender_report(0, 10 << 32, 0, 2.0)
        alignment.sender_report(1, 10 << 32, 0, 2.0)
        seen = []
        for frame in range(1, 40):
            mark = alignment.map(1, 1 + frame, 3000 * frame, 2 + frame / 30, opens_keyframe=True)
            assert mark is not None
            seen.append(mark.timestamp)
        assert seen[:3] == [RATE + 1, RATE + 2, RATE + 3]
        assert seen[-1] == 39 * 3000

    def test_a_late_keyframe_packet_corrects_nothing(self) -> None:
        alignment = Alignment((100, 200), 0, RATE)
        alignment.map(0, 1, 0, 1.0, opens_keyframe=True)
        alignment.map(1, 1, 0, 1.0, opens_keyframe=True)
        alignment.map(1, 3, 6000, 1.0)
        alignment.sender_report(0, 10 << 32, 0, 1.0)
        alignment.sender_report(1, 11 << 32, 0, 1.0)
        assert alignment.map(1, 2, 3000, 1.0, opens_keyframe=True) == Mark(201, 3000)
        assert alignment.map(1, 4, 9000, 1.0, opens_keyframe=True) == Mark(203, 9000 + RATE)

    def test_an_incredible_report_is_not_believed(self) -> None:
        alignment = Alignment((100, 200), 0, RATE)
        alignment.map(0, 1, 0, 1.0, opens_keyframe=True)
        alignment.map(1, 1, 0, 1.0, opens_keyframe=True)
        alignment.sender_report(0, 10 << 32, 0, 1.0)
        alignment.sender_report(1, int(11 + ALIGNMENT_CORRECTION_S_MAX) << 32, 0, 1.0)
        assert alignment.map(1, 2, 3000, 1.0, opens_keyframe=True) == Mark(201, 3000)

    def test_one_layer_speaks_for_the_line_until_it_falls_silent(self) -> None:
        alignment = Alignment((100, 200), 0, RATE)
        assert alignment.sender_report(0, 10 << 32, 5, 1.0) is None  # nothing was sent yet
        alignment.map(0, 1, 0, 1.0, opens_keyframe=True)
        alignment.map(1, 1, 0, 1.0, opens_keyframe=True)
        assert alignment.sender_report(0, 10 << 32, 5, 1.0) == 5
        assert alignment.sender_report(1, 10 << 32, 5, 1.0 + ALIGNMENT_STALE_S) is None
        assert alignment.sender_report(1, 20 << 32, 9, 1.1 + ALIGNMENT_STALE_S) == 9
        assert alignment.sender_report(0, 20 << 32, 9, 1.1 + ALIGNMENT_STALE_S) is None

    def test_a_layer_that_restarts_stays_where_it_was_on_the_line(self) -> None:
        alignment = Alignment((100, 200), 0, RATE)
        alignment.map(0, 1, 0, 1.0, opens_keyframe=True, vp8=Vp8Numbers(5, 15, 6))
        alignment.map(1, 1, 0, 1.0, opens_keyframe=True)
        alignment.restarted(1)
        assert alignment.map(1, 900, 5, 2.0, opens_keyframe=True) == Mark(201, RATE)
        alignment.restarted(0)  # it was the reference
        new = alignment.map(0, 70, 12_345, 3.0, opens_keyframe=True, vp8=Vp8Numbers(1000, 15, 99))
        assert new == Mark(101, 2 * RATE, Vp8Numbers(6, 15, 7))
        assert alignment.sender_report(1, 10 << 32, 5, 3.0) is None
        assert alignment.sender_report(0, 10 << 32, 12_345, 3.0) == 2 * RATE

    def test_with_both_reports_a_late_starter_is_exact_at_once(self) -> None:
        alignment = Alignment((100, 200), 0, RATE)
        alignment.map(0, 1, 0, 1.0, opens_keyframe=True)
        alignment.sender_report(0, 10 << 32, 0, 1.0)
        alignment.sender_report(1, 10 << 32, 77, 1.0)
        assert alignment.map(1, 1, 77 + 3000, 1.2, opens_keyframe=True) == Mark(200, 3000)

    @pytest.mark.parametrize(("elapsed", "ticks"), [(0.0, 1), (2.0, 2 * RATE)])
    def test_the_next_publisher_goes_on(self, elapsed: float, ticks: int) -> None:
        alignment = Alignment((100, 200), WRAP - 1, RATE)
        alignment.map(0, 1, 50, 1.0, opens_keyframe=True, vp8=Vp8Numbers(127, 7, None))
        alignment.sender_report(0, 10 << 32, 50, 1.0)
        alignment.begin()
        assert alignment.sender_report(0, 10 << 32, 50, 1.0) is None
        first = alignment.map(0, 30, 9, 1.0 + elapsed, opens_keyframe=True, vp8=Vp8Numbers(60, 7, None))
        assert first == Mark(101, ticks - 1, Vp8Numbers(0, 7, None))
        assert alignment.map(1, 30, 9, 1.0 + elapsed, opens_keyframe=True) == Mark(200, ticks - 1)


@given(seed=st.integers(0, 1 << 32))
def test_layers_that_reported_show_each_moment_alike(seed: int) -> None:
    """Three layers of one camera: after a report and a keyframe each, one moment has one timestamp, within a tick."""
    chance = random.Random(seed)
    offsets = [chance.randrange(WRAP) for _ in range(3)]
    alignment = Alignment((1, 1, 1), chance.randrange(WRAP), RATE)
    numbers = [0, 0, 0]
    newest: list[int | None] = [None, None, None]
    exact = [False, False, False]
    reported_at = chance.randrange(60)
    for frame in range(60):
        at = frame / 30
        seen = []
        for layer in chance.sample(range(3), chance.randrange(4)):
            before = newest[layer]
            keyframe = before is None or chance.random() < 0.2
            numbers[layer] += 1
            timestamp = (offsets[layer] + round(at * RATE)) % WRAP
            arrived = at + chance.random() * 0.03  # a correction back fits between two frames
            mark = alignment.map(layer, numbers[layer], timestamp, arrived, opens_keyframe=keyframe)
            assert mark is not None
            assert mark.sequence == numbers[layer]
            assert before is None or 0 < (mark.timestamp - before) % WRAP < WRAP // 2
            newest[layer] = mark.timestamp
            exact[layer] |= keyframe and frame > reported_at
            if exact[layer]:
                seen.append(mark.timestamp)
        assert all(abs((one - seen[0] + WRAP // 2) % WRAP - WRAP // 2) <= 2 for one in seen)
        if frame == reported_at:
            for layer in chance.sample(range(3), 3):
                moment = at - chance.random()
                ntp = round((1000 + moment) * (1 << 32))
                alignment.sender_report(layer, ntp, (offsets[layer] + round(moment * RATE)) % WRAP, at)
