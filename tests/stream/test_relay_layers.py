"""Which layer a viewer of a relay is sent: up, down, without video, many at once. Time is scripted."""

from itertools import pairwise

import pytest

from live.core.limits import MEDIA_TICK_S, RELAY_STEP_PACKETS, SELECT_INTERVAL_S
from stream.feed import Arrival
from stream.wire.rtp import parse
from tests.stream.relaying import HIGH, LOW, MIDDLE, Show, begun, continuous, decide, ended, frame, staged, wish


def test_a_viewer_starts_with_the_layer_that_its_selector_chooses() -> None:
    _, host, viewer = begun(3)
    assert set(viewer.layers()) == {HIGH}
    assert host.demanded[-1] == {HIGH}


def test_up_waits_for_a_keyframe_while_the_lower_layer_goes_on() -> None:
    show, host, viewer = staged(3)
    decide(viewer, LOW)
    frame(show, host)
    host.wanted.clear()
    wish(viewer, MIDDLE)
    show.pass_time(MEDIA_TICK_S)
    frame(show, host)
    assert ended(viewer) == [LOW, LOW]
    assert host.wanted == [MIDDLE]
    assert host.demanded[-1] == {LOW, MIDDLE}
    host.keyframes.add(MIDDLE)
    frame(show, host)
    frame(show, host)
    # The lower layer's picture of the same moment had come before the keyframe.
    assert ended(viewer) == [LOW, LOW, LOW, MIDDLE, MIDDLE]
    assert continuous(viewer.numbers())
    assert host.demanded[-1] == {MIDDLE}
    marks = [parse(packet).timestamp for packet in viewer.pictures()]
    assert all(0 <= (after - before) & 0xFFFFFFFF < 90_000 for before, after in pairwise(marks))


def test_what_is_far_too_much_stops_at_once_and_the_lower_layer_begins_with_its_keyframe() -> None:
    show, host, viewer = staged(3)
    for _ in range(3):
        frame(show, host, sound=True)
    host.wanted.clear()
    wish(viewer, LOW, severe=True)
    show.pass_time(MEDIA_TICK_S)
    frame(show, host, sound=True)
    assert ended(viewer) == [HIGH] * 3, "what its path does not carry is sent no more"
    assert host.wanted == [LOW]
    assert len(viewer.numbers("audio")) == 4
    host.keyframes.add(LOW)
    frame(show, host)
    assert ended(viewer) == [HIGH] * 3 + [LOW]
    assert continuous(viewer.numbers())


def test_a_lower_layer_by_the_viewers_own_wish_is_no_hurry() -> None:
    show, host, viewer = begun(3)
    show.relay.cap(viewer.subscriber, 200, video=True)
    show.pass_time(0)
    show.send(*host.picture(HIGH))
    host.keyframes.add(LOW)
    frame(show, host)
    frame(show, host)
    assert ended(viewer) == [HIGH, HIGH, LOW, LOW]
    show.relay.cap(viewer.subscriber, 100, video=True)
    frame(show, host)
    assert ended(viewer)[-1] == LOW, "no layer is that small"


def test_a_viewer_who_wants_no_video_gets_sound_and_later_a_keyframe() -> None:
    show, host, viewer = begun(3)
    show.relay.cap(viewer.subscriber, None, video=False)
    frame(show, host, sound=True)
    assert ended(viewer) == [HIGH]
    assert len(viewer.numbers("audio")) == 1
    assert host.demanded[-1] == frozenset()
    show.relay.cap(viewer.subscriber, None, video=True)
    frame(show, host)
    assert ended(viewer) == [HIGH], "the keyframe in the cache is older than what it has seen"
    host.keyframes.add(HIGH)
    frame(show, host)
    assert ended(viewer) == [HIGH, HIGH]
    assert continuous(viewer.numbers())


def test_a_keyframe_that_came_since_is_played_from_the_cache() -> None:
    show, host, viewer = begun(3)
    wish(viewer, None)
    show.pass_time(MEDIA_TICK_S)
    host.keyframes.add(LOW)
    for _ in range(3):
        frame(show, host)
    host.wanted.clear()
    wish(viewer, LOW)
    show.pass_time(3 * MEDIA_TICK_S)
    assert ended(viewer) == [HIGH, LOW, LOW, LOW]
    assert not host.wanted
    assert continuous(viewer.numbers())


def test_a_wish_can_be_taken_back() -> None:
    show, host, viewer = begun(3)
    decide(viewer, MIDDLE)
    assert viewer.subscriber.wanted == MIDDLE
    decide(viewer, HIGH)
    assert viewer.subscriber.wanted == viewer.subscriber.layer == HIGH
    host.keyframes.add(MIDDLE)
    frame(show, host)
    assert ended(viewer) == [HIGH, HIGH]


def test_many_switch_at_the_same_keyframe_and_share_their_packets() -> None:
    show = Show()
    host = show.host(3)
    viewers = [show.viewer() for _ in range(20)]
    frame(show, host)
    for viewer in viewers:
        decide(viewer, MIDDLE)
    host.keyframes.add(MIDDLE)
    frame(show, host)
    assert all(ended(viewer) == [HIGH, MIDDLE] for viewer in viewers)
    groups = {viewer.subscriber.group for viewer in viewers}
    assert len(groups) == 1
    # The very same object: nothing was rewritten for anybody alone.
    assert len({id(viewer.pictures()[-1]) for viewer in viewers}) == 1


def test_a_publisher_with_fewer_layers_moves_those_whose_layer_is_gone() -> None:
    show = Show()
    host = show.host(3)
    high, low = show.viewer(), show.viewer()
    decide(low, LOW)
    frame(show, host)
    host = show.host(1, seed=5)
    frame(show, host)
    frame(show, host)
    assert ended(high) == [HIGH, LOW, LOW]
    assert ended(low) == [LOW, LOW, LOW]
    assert continuous(high.numbers())
    assert continuous(low.numbers())


def test_many_whose_layer_is_gone_are_settled_in_steps() -> None:
    show = Show()
    host = show.host(3)
    viewers = [show.viewer() for _ in range(3 * RELAY_STEP_PACKETS + 1)]
    frame(show, host)
    show.awake = False
    host = show.host(1, seed=5)
    settled = [0]
    while show.awake:
        show.work(1)
        settled.append(sum(viewer.subscriber.wanted == LOW for viewer in viewers))
        if settled[-1] == 2 * RELAY_STEP_PACKETS:
            show.relay.leave(viewers[0].subscriber)  # one of those whose turn has not come
    assert max(after - before for before, after in pairwise(settled)) <= RELAY_STEP_PACKETS
    assert settled[-1] == len(viewers) - 1
    assert host.wanted == [LOW]
    frame(show, host)
    assert all(ended(viewer) == [HIGH, LOW] for viewer in viewers[1:])


def test_what_is_of_no_known_layer_is_counted() -> None:
    show = Show()
    host = show.host(1)
    show.send(Arrival(7, 1, 1, bytes(13), True))
    show.relay.restarted(7)
    show.relay.sender_report(7, 1, 1)
    assert show.counts == {"unknown_layer": 1}
    assert not host.wanted


def test_selectors_are_asked_four_times_a_second_but_never_all_at_once() -> None:
    show = Show()
    host = show.host(3)
    frame(show, host)
    asked: list[int] = []
    for number in range(200):
        viewer = show.viewer()

        def noted(number: int) -> int:
            asked.append(number)
            return HIGH

        viewer.subscriber.selector.choose = lambda *_, number=number: noted(number)  # type: ignore[method-assign]
    most, ticks = 0, 3 * SELECT_INTERVAL_S / MEDIA_TICK_S
    for _ in range(int(ticks)):
        before = len(asked)
        show.pass_time(MEDIA_TICK_S)
        most = max(most, len(asked) - before)
    assert most < 30
    assert min(asked.count(number) for number in range(200)) >= 2


def test_a_batch_goes_to_those_who_were_there_when_it_began(monkeypatch: pytest.MonkeyPatch) -> None:
    """A viewer who is moved in the middle of a batch gets the rest of it, once."""
    show = Show()
    host = show.host(3)
    viewers = [show.viewer() for _ in range(60)]
    frame(show, host)
    show.relay.push(host.sound())
    for arrival in host.picture(HIGH):
        show.relay.push(arrival)
    show.work(1)
    for viewer in viewers:
        decide(viewer, None)
    show.work()
    assert all(ended(viewer) == [HIGH, HIGH] for viewer in viewers)
    assert all(len(viewer.order) == 7 for viewer in viewers)


def test_many_switches_at_one_keyframe_give_the_loop_back_in_between() -> None:
    show = Show()
    host = show.host(3)
    viewers = [show.viewer() for _ in range(200)]
    frame(show, host)
    for viewer in viewers:
        decide(viewer, MIDDLE)
    host.keyframes.add(MIDDLE)
    for arrival in host.picture(MIDDLE):
        show.relay.push(arrival)
    show.work(1)
    moved = [viewer for viewer in viewers if viewer.subscriber.layer == MIDDLE]
    assert 0 < len(moved) < 100
    assert not any(MIDDLE in viewer.layers() for viewer in viewers), "all move before anything is sent"
    stays, leaves = viewers[-1], viewers[-2]
    decide(stays, HIGH)
    show.relay.leave(leaves.subscriber)
    show.work()
    assert all(ended(viewer) == [HIGH, MIDDLE] for viewer in viewers[:-2])
    assert ended(stays) == ended(leaves) == [HIGH]
    assert continuous(viewers[0].numbers())
