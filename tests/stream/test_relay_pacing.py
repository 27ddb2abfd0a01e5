"""A relay's bursts go out in portions; full kernels, a show that is behind, closing. Time is scripted."""

import pytest

from live.core.limits import PACE_INTERVAL_S, PACE_PACKETS, PACE_QUEUE_PACKETS_MAX
from stream.wire.rtp import parse
from tests.stream.relaying import H264, OPUS, Show, begun, staged


def test_a_keyframe_that_comes_at_once_goes_out_in_portions_and_sound_overtakes_it() -> None:
    show, host, viewer = staged(1)
    for arrival in (*host.picture(0, 40), host.sound()):
        show.relay.push(arrival)
    show.work()
    assert len(viewer.numbers()) == PACE_PACKETS
    assert len(viewer.numbers("audio")) == 1
    assert viewer.order[0][1] & 0x7F == OPUS.payload_type
    at = show.now
    while len(viewer.numbers()) < 40:
        before = len(viewer.numbers())
        show.pass_time(PACE_INTERVAL_S)
        assert len(viewer.numbers()) - before <= PACE_PACKETS
    assert 2 * PACE_INTERVAL_S <= show.now - at <= 5 * PACE_INTERVAL_S
    assert [parse(packet).sequence for packet in viewer.order[1:]] == [n & 0xFFFF for n in viewer.numbers()]


def test_a_show_that_is_behind_is_not_paced() -> None:
    show, host, viewer = staged(1)
    for arrival in host.picture(0, PACE_QUEUE_PACKETS_MAX + 50):
        show.relay.push(arrival)
    show.work()
    assert len(viewer.numbers()) > 50


def test_closing_stops_what_is_under_way() -> None:
    show = Show()
    host = show.host(1)
    for arrival in host.picture(0, 60):
        show.relay.push(arrival)
    show.work()
    viewer = show.viewer()
    show.work()
    show.relay.close()
    show.relay.close()
    before = len(viewer.order)
    assert all(timer.callback is None for _, _, timer in show.pump.timers)
    assert len(viewer.order) == before


def test_a_kernel_that_takes_no_more_costs_a_viewer_the_frame_and_no_sound() -> None:
    show, host, viewer = begun(1)
    full = iter([True, True])
    show.full = lambda: next(full, False)
    show.send(*host.picture(0))
    show.send(host.sound())
    show.send(*host.picture(0))
    sent = [parse(packet) for packet in viewer.order]
    assert sum(header.payload_type == OPUS.payload_type for header in sent) == 1
    assert sum(header.payload_type == H264.payload_type for header in sent) == 6
    assert show.relay.statistics()["dropped"] == 3
    show.relay.leave(viewer.subscriber)
    assert show.relay.statistics()["dropped"] == 3


def test_after_a_bug_the_next_turn_begins_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    show, host, viewer = staged(1)

    def broken(*_: object) -> None:
        raise RuntimeError("our own bug")

    with monkeypatch.context() as patch:
        patch.setattr(show.relay._sender, "to_all", broken)
        show.relay.push(host.sound())
        with pytest.raises(RuntimeError):
            show.work()
    show.awake = False
    show.send(host.sound())
    assert len(viewer.numbers("audio")) == 1
