"""How viewers come into a running show, and what becomes of them when its publisher changes. Time is scripted."""

from live.core.limits import GOP_FRESH_S, JOIN_PATIENCE_S, MEDIA_TICK_S, PACE_PACKETS
from stream.feed import LayerState
from stream.wire import rtcp
from stream.wire.rtp import parse
from tests.stream.relaying import (
    H264,
    HIGH,
    LOW,
    MIDDLE,
    VP8,
    Host,
    Show,
    Viewer,
    continuous,
    decide,
    ended,
    frame,
    wish,
)


def test_a_viewer_joins_from_the_cache_of_its_layer_in_bursts() -> None:
    show = Show()
    host = show.host(3)
    frame(show, host, packets=30)
    frame(show, host)
    show.pass_time(0.02)
    viewer = show.viewer()
    assert not viewer.order
    show.pump.timers.clear()
    show.work()
    assert len(viewer.order) == PACE_PACKETS
    show.send(host.sound())
    show.relay._walks._timer = None
    show.relay._walks.begin()
    show.pass_time(0.05)
    assert ended(viewer) == [HIGH, HIGH]
    assert continuous(viewer.numbers())
    frame(show, host)
    assert ended(viewer) == [HIGH] * 3


def test_an_old_keyframe_is_shown_when_no_new_one_comes_in_time() -> None:
    show = Show()
    host = show.host(1)
    frame(show, host)
    show.pass_time(GOP_FRESH_S + 0.1)
    host.wanted.clear()
    viewer = show.viewer()
    show.pass_time(JOIN_PATIENCE_S - MEDIA_TICK_S)
    assert not viewer.order
    assert host.wanted == [0]
    show.pass_time(3 * MEDIA_TICK_S)
    assert ended(viewer) == [0]


def test_the_keyframe_is_asked_for_and_the_layer_demanded_before_the_viewer_is_there() -> None:
    show = Show()
    show.relay.prepare_join()
    host = show.host(3)
    frame(show, host)
    show.relay.prepare_join()
    assert not host.wanted, "the one that there is will do"
    assert host.demanded == [frozenset((HIGH,))]
    show.pass_time(GOP_FRESH_S + 0.1)
    assert host.demanded[-1] == frozenset(), "it has not come"
    show.relay.prepare_join()
    assert host.wanted == [HIGH]


def test_a_keyframe_whose_beginning_comes_late_is_walked_to() -> None:
    show = Show()
    host = show.host(3)
    frame(show, host)
    viewer, other = show.viewer(), show.viewer()
    wish(viewer, MIDDLE)
    decide(other, LOW)
    show.pass_time(0.1)
    seen = len(viewer.pictures())
    wish(other, MIDDLE)
    decide(viewer, LOW)
    wish(viewer, MIDDLE)
    show.pass_time(MEDIA_TICK_S)
    assert other.subscriber.target == MIDDLE
    host.keyframes.add(MIDDLE)
    first, *rest = host.picture(MIDDLE)
    show.send(*rest)
    show.send(first)
    show.pass_time(0.02)
    assert other.layers()[-3:] == [MIDDLE] * 3
    assert continuous(other.numbers())
    assert len(viewer.pictures()) >= seen


def test_who_leaves_while_it_walks_is_sent_nothing_more() -> None:
    show = Show()
    host = show.host(1)
    frame(show, host, packets=80)
    one, two = show.viewer(), show.viewer()
    show.work(1)
    show.relay.leave(two.subscriber)
    show.relay.leave(two.subscriber)
    show.pass_time(0.1)
    assert len(one.pictures()) == 80
    assert not two.order
    show.relay.cap(two.subscriber, None, video=True)
    assert two.subscriber.group is None


def test_a_walk_is_cut_short_by_a_new_publisher_and_its_numbers_go_on() -> None:
    show = Show()
    host = show.host(1)
    frame(show, host, packets=80)
    viewer = show.viewer()
    show.work()
    assert 0 < len(viewer.order) < 80
    host = show.host(1, seed=7)
    frame(show, host)
    assert viewer.layers() == [0] * len(viewer.order)
    assert continuous(viewer.numbers())
    assert parse(viewer.pictures()[-1]).marker


def test_who_cannot_play_what_is_sent_does_not_join_and_does_not_stay() -> None:
    show = Show()
    show.host(1, VP8)
    only = Viewer(show, 0, (H264,), rtx=False)
    assert not show.relay.join(only.subscriber)
    show.host(1, H264)
    assert show.relay.join(only.subscriber)
    assert show.relay.begin(Host(show, 1, VP8)) == [only.subscriber]
    assert show.relay.subscribers == []


def test_somebody_who_joins_before_the_publisher_is_back_gets_what_it_sends() -> None:
    show = Show()
    host = show.host(1)
    frame(show, host)
    show.relay.end()
    nothing = show.relay.feed
    assert nothing is None
    viewer = show.viewer()
    viewer.report(rtcp.Pli(5, 1))
    show.relay.described((LayerState(1, 1, 1),))
    host = show.host(1, seed=3)
    assert show.relay.feed is host.feed
    frame(show, host, sound=True)
    assert ended(viewer) == [0]
    assert len(viewer.numbers("audio")) == 1


def test_a_viewer_without_sound_gets_pictures_only() -> None:
    show = Show()
    host = show.host(1)
    viewer = show.viewer(sound=False)
    frame(show, host, sound=True)
    assert not viewer.numbers("audio")
    assert len(viewer.numbers()) == 3
