"""A viewer's video by hand-made packets: what is shown, asked for, lost."""

from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadtests.media.client import PAYLOAD_TYPES, RTX_PAYLOAD_TYPES
from loadtests.media.publisher import source_of
from loadtests.media.receiver import ASK_INTERVAL_US, ASKED_TIMES_MAX, MISSING_MAX, Receiver, stamped
from loadtests.media.source import Source
from loadtests.scenario import Media
from stream.wire.rtp import wrap_rtx

VIDEO, RTX = PAYLOAD_TYPES["h264"], RTX_PAYLOAD_TYPES["h264"]
FRAME_US = 40_000


class Camera:
    """A source's video packets, frame by frame; `number` counts the frames."""

    def __init__(self) -> None:
        self.source = Source(keyframe_packets=6)
        self.number = 0

    def frame(self, *, keyframe: bool = False) -> list[bytes]:
        self.source.keyframe |= keyframe
        due_us, self.number = self.number * FRAME_US, self.number + 1
        return [stamped(one, due_us) for one in self.source.frame() if one[1] & 0x7F == VIDEO]


class Screen:
    """A receiver and what it showed: times of sending, and the delays."""

    def __init__(self) -> None:
        self.shown: list[int] = []
        self.delays: list[int] = []
        self.receiver = Receiver(VIDEO, RTX, self._show)

    def _show(self, due_us: int, at_us: int) -> None:
        self.shown.append(due_us // FRAME_US)
        self.delays.append(at_us - due_us)

    def give(self, packets: Iterable[bytes], at_us: int = 0) -> None:
        for packet in packets:
            self.receiver.rtp(packet, at_us)


def again(packet: bytes) -> bytes:
    return wrap_rtx(packet, payload_type=RTX, sequence=7, ssrc=9)


def test_pictures_are_shown_from_the_first_keyframe_on() -> None:
    camera, screen = Camera(), Screen()
    camera.frame()
    screen.give(camera.frame())
    assert screen.receiver.waiting
    screen.give(camera.frame(keyframe=True), 100_000)
    screen.give(camera.frame(), 125_000)
    assert screen.shown == [2, 3]
    assert screen.delays == [20_000, 5_000]
    assert screen.receiver.lost == 0


def test_a_lost_packet_is_asked_for_and_holds_its_picture_back() -> None:
    camera, screen = Camera(), Screen()
    screen.give(camera.frame())
    second, third = camera.frame(), camera.frame()
    screen.give([*second[:2], *second[3:]], 40_000)
    screen.give(third, 80_000)
    assert screen.shown == [0]
    assert screen.receiver.wants_packets
    number = int.from_bytes(second[2][2:4])
    assert screen.receiver.ask(80_000) == (number,)
    assert screen.receiver.ask(80_000 + ASK_INTERVAL_US - 1) == ()
    screen.give([again(second[2])], 90_000)
    assert screen.shown == [0, 1, 2]
    assert screen.delays == [0, 50_000, 10_000]
    news = screen.receiver.news()
    assert (news["lost"], news["asked"], news["recovered"], news["packets"]) == (0, 1, 1, 18)
    assert set(screen.receiver.news().values()) == {0}


def test_the_lost_end_of_a_picture_counts_when_it_comes() -> None:
    camera, screen = Camera(), Screen()
    screen.give(camera.frame())
    second, third = camera.frame(), camera.frame()
    screen.give([*second[:-1], *third])
    assert screen.shown == [0]
    screen.give([again(second[-1])])
    assert screen.shown == [0, 1, 2]


def give_up(screen: Screen, at_us: int) -> int:
    """Ask until there is nothing left to ask for."""
    for _ in range(ASKED_TIMES_MAX):
        assert screen.receiver.ask(at_us)
        at_us += ASK_INTERVAL_US
    assert screen.receiver.ask(at_us) == ()
    return at_us


def test_what_never_comes_is_lost_and_needs_a_keyframe() -> None:
    camera, screen = Camera(), Screen()
    screen.give(camera.frame())
    screen.give(camera.frame()[1:])
    screen.give(camera.frame())
    give_up(screen, 0)
    assert screen.receiver.lost == 1
    assert screen.receiver.wants_keyframe and screen.receiver.waiting
    screen.give(camera.frame())
    assert screen.shown == [0]
    screen.give(camera.frame(keyframe=True))
    assert screen.shown == [0, 4]


def test_a_keyframe_that_came_meanwhile_is_gone_on_from() -> None:
    camera, screen = Camera(), Screen()
    screen.give(camera.frame())
    screen.give(camera.frame()[1:])
    screen.give(camera.frame(keyframe=True))
    screen.give(camera.frame())
    assert screen.shown == [0]
    give_up(screen, 0)
    assert screen.shown == [0, 2, 3]
    assert screen.receiver.lost == 1
    assert not screen.receiver.wants_keyframe


def test_a_long_hole_is_lost_at_once() -> None:
    camera, screen = Camera(), Screen()
    screen.give(camera.frame())
    hole = [camera.frame() for _ in range(MISSING_MAX // 6 + 1)]
    screen.give(camera.frame())
    assert screen.receiver.lost == 6 * len(hole) - MISSING_MAX
    assert screen.receiver.waiting
    assert len(screen.receiver.ask(0)) == MISSING_MAX
    screen.receiver.end()
    assert screen.receiver.lost == 6 * len(hole)


def test_other_streams_are_only_counted() -> None:
    screen = Screen()
    source = Source()
    sound = [one for one in source.frame() if one[1] & 0x7F == PAYLOAD_TYPES["opus"]]
    screen.give([again(sound[0]), *sound])
    assert screen.receiver.packets == 3
    assert screen.receiver.report() is None
    probe = bytes((0x80, RTX)) + bytes(10)
    camera = Camera()
    screen.give([*camera.frame(), probe])
    assert screen.shown == [0]


def test_reports_tell_what_is_missing() -> None:
    camera, screen = Camera(), Screen()
    screen.give(camera.frame())
    report = screen.receiver.report()
    assert report is not None
    assert (report.fraction_lost, report.lost) == (0, 0)
    screen.give(camera.frame()[3:])
    report = screen.receiver.report()
    assert report is not None
    assert (report.fraction_lost, report.lost) == (128, 3)
    report = screen.receiver.report()
    assert report is not None
    assert report.fraction_lost == 0


@given(st.data())
def test_with_everything_sent_again_all_is_shown_once(data: st.DataObject) -> None:
    """Any loss, delay and repetition; the numbers wrap on the way."""
    camera, screen = Camera(), Screen()
    camera.source.layers[0].sequence = 65_536 - 20
    first, *rest = [camera.frame() for _ in range(8)]
    packets = [packet for frame in rest for packet in frame]
    last = packets.pop()
    fates = data.draw(st.lists(st.integers(0, 9), min_size=len(packets), max_size=len(packets)))
    screen.give(first)
    kept = [(index + (fate if fate in (2, 3) else 0), packet) for index, (fate, packet) in
            enumerate(zip(fates, packets, strict=True)) if fate]  # fmt: skip
    for _, packet in sorted(kept, key=lambda one: one[0]):
        screen.give([packet])
    screen.give([packet for fate, packet in zip(fates, packets, strict=True) if fate == 1])
    screen.give([last])
    by_number = {int.from_bytes(packet[2:4]): packet for packet in packets}
    while asked := screen.receiver.ask(screen.receiver.asked * ASK_INTERVAL_US):
        screen.give([again(by_number[number]) for number in asked])
    assert screen.shown == list(range(8))
    assert screen.receiver.lost == 0
    assert screen.receiver.duplicates == fates.count(1)


@pytest.mark.parametrize(("kbps", "fps", "layers"), [(1000, 25, 1), (2500, 30, 3), (50, 60, 1), (6000, 24, 2)])
def test_a_source_keeps_its_rate(kbps: int, fps: int, layers: int) -> None:
    source = source_of(Media(viewers=1, bitrate_kbps=kbps, fps=fps, layers=layers))
    source.frame()  # a keyframe
    packets = [packet for _ in range(fps) for packet in source.frame()]
    sound = [one for one in packets if one[1] & 0x7F == PAYLOAD_TYPES["opus"]]
    video = [one for one in packets if one[1] & 0x7F == VIDEO]
    best = [one for one in video if int.from_bytes(one[8:12]) == source.layers[-1].ssrc]
    assert len(sound) == 50
    assert len({one[8:12] for one in video}) == layers
    assert sum(map(len, best)) * 8 / 1000 == pytest.approx(kbps, rel=0.05)
    assert sum(bool(one[1] & 0x80) for one in best) == fps
    assert max(map(len, packets)) <= 1200
