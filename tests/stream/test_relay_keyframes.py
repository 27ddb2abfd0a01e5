"""When a relay asks its publisher for a keyframe, and when it does not. Time is scripted."""

import pytest

from live.core.limits import MEDIA_TICK_S, PLI_INTERVAL_S
from stream.feed import Feed
from stream.wire import rtcp
from tests.stream.relaying import HIGH, OPUS, Host, Show, begun, decide, frame


def test_wishes_for_a_keyframe_are_one_per_layer_and_only_for_the_viewers_own() -> None:
    show = Show()
    host = show.host(3)
    viewers = [show.viewer() for _ in range(10)]
    frame(show, host)
    host.wanted.clear()
    for viewer in viewers:
        viewer.report(rtcp.Pli(5, 1), rtcp.Fir(5, ((1, 1),)))
    assert host.wanted == [HIGH]
    assert show.counts["viewer_pli"] == 20
    decide(viewers[0], None)
    show.pass_time(1)
    host.wanted.clear()
    viewers[0].report(rtcp.Pli(5, 1))
    assert not host.wanted, "it is not sent any"


def test_an_awaited_keyframe_is_asked_for_until_it_comes() -> None:
    show = Show()
    host = show.host(1)
    show.viewer()
    assert host.wanted == [0]
    show.pass_time(2 * PLI_INTERVAL_S + 3 * MEDIA_TICK_S)
    assert host.wanted == [0, 0, 0]
    frame(show, host)
    show.pass_time(1)
    assert host.wanted == [0, 0, 0]


def test_who_stays_on_a_layer_has_its_keyframe_asked_for_too_when_the_source_changes() -> None:
    show, host, viewer = begun(1)
    got = len(viewer.pictures())
    host = show.host(1, seed=2)
    host.keyframes.clear()  # it passed before anybody listened
    for _ in range(50):
        frame(show, host)
    assert len(viewer.pictures()) == got
    assert len(host.wanted) == pytest.approx(2 / PLI_INTERVAL_S, abs=2)
    assert viewer.subscriber.frozen(show.now)
    host.keyframes.add(0)
    frame(show, host)
    wanted = len(host.wanted)
    frame(show, host)
    assert len(viewer.pictures()) == got + 6
    assert (viewer.subscriber.frozen(show.now), viewer.subscriber.freezes) == (False, 1)
    show.pass_time(1)
    assert len(host.wanted) == wanted
    host.restart(0)
    show.pass_time(1)
    assert len(host.wanted) > wanted, "a layer that was restarted, too"


def test_who_is_only_sent_sound_any_more_lacks_no_picture() -> None:
    show, host, viewer = begun(1)
    show.host(1, seed=2)
    host = Host(show)
    host.feed = Feed({"audio": OPUS}, ())
    show.relay.begin(host)
    show.pass_time(5)
    assert not viewer.subscriber.frozen(show.now)
    assert not host.wanted


def test_a_viewer_who_walks_is_on_the_way_to_its_picture() -> None:
    show = Show()
    host = show.host(1)
    frame(show, host, packets=40)
    viewer = show.viewer()
    show.work()
    assert viewer.subscriber.cursor is not None
    host.wanted.clear()
    viewer.report(rtcp.Pli(5, 1))
    assert not host.wanted
