"""The relay of a show: layers, joins, retransmission, pacing, reports, demand, figures. Time is scripted."""

from itertools import pairwise

import pytest

from live.core.limits import (
    FREEZE_S,
    GOP_FRESH_S,
    JOIN_PATIENCE_S,
    MEDIA_TICK_S,
    PACE_INTERVAL_S,
    PACE_PACKETS,
    PACE_QUEUE_PACKETS_MAX,
    PLI_INTERVAL_S,
    RELAY_STEP_PACKETS,
    RETRANSMISSION_INTERVAL_S,
    RETRANSMISSIONS_PER_PACKET_MAX,
    RETRANSMISSIONS_WAITING_MAX,
    RTP_PROTECT_BYTES_MAX,
    SELECT_INTERVAL_S,
    SRTP_REPLAY_WINDOW,
)
from stream.feed import AUDIO, Arrival, Feed, LayerState
from stream.wire import rtcp
from stream.wire.rtp import parse, unwrap_rtx
from tests.stream.relaying import (
    H264,
    HIGH,
    LOW,
    MIDDLE,
    OPUS,
    VP8,
    Host,
    Show,
    Viewer,
    block,
    continuous,
    ended,
    frame,
    nack,
    ntp,
    sender_reports,
    wish,
)

# --- layers -----------------------------------------------------------------------------------------------------


def test_a_viewer_starts_with_the_layer_that_its_selector_chooses() -> None:
    show = Show()
    host = show.host(3)
    viewer = show.viewer()
    frame(show, host)
    assert set(viewer.layers()) == {HIGH}
    assert host.demanded[-1] == {HIGH}


def test_up_waits_for_a_keyframe_while_the_lower_layer_goes_on() -> None:
    show = Show()
    host = show.host(3)
    viewer = show.viewer()
    wish(viewer, LOW)
    show.relay.cap(viewer.subscriber, None, video=True)
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
    show = Show()
    host = show.host(3)
    viewer = show.viewer()
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
    show = Show()
    host = show.host(3)
    viewer = show.viewer()
    frame(show, host)
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
    show = Show()
    host = show.host(3)
    viewer = show.viewer()
    frame(show, host)
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
    show = Show()
    host = show.host(3)
    viewer = show.viewer()
    frame(show, host)
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
    show = Show()
    host = show.host(3)
    viewer = show.viewer()
    frame(show, host)
    wish(viewer, MIDDLE)
    show.relay.cap(viewer.subscriber, None, video=True)
    assert viewer.subscriber.wanted == MIDDLE
    wish(viewer, HIGH)
    show.relay.cap(viewer.subscriber, None, video=True)
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
        wish(viewer, MIDDLE)
        show.relay.cap(viewer.subscriber, None, video=True)
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
    wish(low, LOW)
    show.relay.cap(low.subscriber, None, video=True)
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


# --- joining ----------------------------------------------------------------------------------------------------


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
    wish(other, LOW)
    show.relay.cap(other.subscriber, None, video=True)
    show.pass_time(0.1)
    seen = len(viewer.pictures())
    wish(other, MIDDLE)
    wish(viewer, LOW)
    show.relay.cap(viewer.subscriber, None, video=True)
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


# --- retransmission ---------------------------------------------------------------------------------------------


def test_what_was_lost_comes_as_a_retransmission_stream_of_the_viewers_own() -> None:
    show = Show()
    host = show.host(1)
    viewer = show.viewer()
    frame(show, host)
    numbers = viewer.numbers()
    nack(show, viewer, numbers[1], numbers[2])
    again = viewer.packets[show.relay.rtx_ssrc]
    assert sorted(again) == [1, 2]
    for number, packet in zip(numbers[1:], again.values(), strict=True):
        header = parse(packet)
        assert header.payload_type == H264.rtx
        original = unwrap_rtx(packet, header, payload_type=H264.payload_type, ssrc=show.relay.ssrc("video"))
        assert original == viewer.packets[show.relay.ssrc("video")][number]


def test_without_a_retransmission_stream_it_is_the_very_same_packet() -> None:
    show = Show()
    host = show.host(1)
    viewer = show.viewer(rtx=False)
    frame(show, host)
    before = len(viewer.order)
    nack(show, viewer, viewer.numbers()[1])
    assert viewer.order[before:] == [viewer.pictures()[1]]
    assert show.relay.rtx_ssrc not in viewer.packets


def test_what_srtp_would_not_encrypt_again_is_not_tried() -> None:
    show = Show()
    host = show.host(1)
    viewer, modern = show.viewer(rtx=False), show.viewer()
    for _ in range(12):
        frame(show, host, packets=100)
        show.pass_time(0.5)
    numbers, before = viewer.numbers(), len(viewer.order)
    assert len(numbers) == 1200
    nack(show, viewer, numbers[-1 - SRTP_REPLAY_WINDOW])
    assert (len(viewer.order), show.counts["nack_missed"]) == (before, 1)
    nack(show, viewer, numbers[-SRTP_REPLAY_WINDOW])
    assert (len(viewer.order), show.counts["nack_missed"]) == (before + 1, 1)
    nack(show, modern, numbers[-1 - SRTP_REPLAY_WINDOW])
    assert len(modern.packets[show.relay.rtx_ssrc]) == 1, "a retransmission has a number of its own"


def test_a_packet_that_would_be_too_long_as_a_retransmission_is_sent_as_it_was() -> None:
    show = Show()
    host = show.host(1)
    viewer = show.viewer()
    (arrival,) = host.picture(0, 1)
    show.send(arrival._replace(packet=arrival.packet.ljust(RTP_PROTECT_BYTES_MAX - 1, b"\x00")))
    nack(show, viewer, viewer.numbers()[0])
    assert show.counts["retransmitted"] == 1
    assert show.relay.rtx_ssrc not in viewer.packets


def test_a_packet_of_another_layer_is_found_after_the_switch() -> None:
    show = Show()
    host = show.host(3)
    viewer = show.viewer(rtx=False)
    frame(show, host)
    wish(viewer, LOW)
    show.relay.cap(viewer.subscriber, None, video=True)
    host.keyframes.add(LOW)
    frame(show, host)
    assert set(viewer.layers()) == {HIGH, LOW}
    nack(show, viewer, *viewer.numbers())
    assert show.counts["retransmitted"] == len(viewer.numbers())
    nack(show, viewer, viewer.numbers()[0] - 1, viewer.numbers()[-1] + 1)
    assert show.counts["nack_missed"] == 2


def test_a_packet_is_sent_again_three_times_at_most_and_not_within_a_round_trip() -> None:
    show = Show()
    host = show.host(1)
    viewer = show.viewer()
    frame(show, host)
    number = viewer.numbers()[0]
    for _ in range(RETRANSMISSIONS_PER_PACKET_MAX + 2):
        nack(show, viewer, number, number)
        show.pass_time(RETRANSMISSION_INTERVAL_S)
    assert show.counts["retransmitted"] == RETRANSMISSIONS_PER_PACKET_MAX
    assert show.counts["nack_repeated"] == RETRANSMISSIONS_PER_PACKET_MAX + 4


def test_what_we_have_not_got_ourselves_is_not_answered_but_comes_to_all() -> None:
    show = Show()
    host = show.host(1)
    viewers = [show.viewer() for _ in range(3)]
    frame(show, host)
    first, lost, last = host.picture(0)
    show.send(first, last)
    missing = viewers[0].numbers()[-1] - 1
    for viewer in viewers:
        nack(show, viewer, missing)
    assert (show.counts["nack_missed"], show.counts["retransmitted"]) == (3, 0)
    show.send(lost)
    assert all(missing in viewer.numbers() for viewer in viewers)


def test_the_loss_of_many_is_answered_in_slices_after_the_live_stream() -> None:
    show = Show()
    host = show.host(1)
    viewers = [show.viewer(rtx=False) for _ in range(100)]
    frame(show, host)
    for viewer in viewers:
        viewer.report(rtcp.Nack(5, show.relay.ssrc("video"), tuple(n & 0xFFFF for n in viewer.numbers())))
    assert show.counts["retransmitted"] == 0, "not where it is read"
    for arrival in host.picture(0):
        show.relay.push(arrival)
    steps = 0
    while show.awake and show.counts["retransmitted"] < 300:
        show.work(1)
        steps += 1
    assert steps > 5
    assert all(len(viewer.pictures()) == 6 for viewer in viewers)


def test_no_more_wait_than_the_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stream.downstream.feedback.RETRANSMISSIONS_WAITING_MAX", 4)
    assert RETRANSMISSIONS_WAITING_MAX > 4
    show = Show()
    host = show.host(1)
    viewer, gone = show.viewer(), show.viewer()
    frame(show, host)
    numbers = tuple(number & 0xFFFF for number in viewer.numbers())
    gone.report(rtcp.Nack(5, show.relay.ssrc("video"), numbers))
    viewer.report(rtcp.Nack(5, show.relay.ssrc("video"), numbers))
    viewer.report(rtcp.Nack(5, show.relay.ssrc("video"), numbers))
    show.relay.leave(gone.subscriber)
    show.work()
    assert (show.counts["nack_refused"], show.counts["retransmitted"]) == (5, 1)


def test_sound_is_sent_again_once() -> None:
    show = Show()
    host = show.host(1)
    show.send(host.sound())
    viewer = show.viewer()
    show.send(host.sound())
    number = viewer.numbers("audio")[0]
    for _ in range(2):
        nack(show, viewer, number, number - 1, number + 1, kind="audio")
        show.pass_time(1)
    assert (show.counts["retransmitted"], show.counts["nack_missed"], show.counts["nack_repeated"]) == (1, 4, 1)
    assert viewer.order[0] == viewer.order[1]


def test_a_packet_that_cannot_be_sent_again_is_not_counted_as_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    show = Show()
    host = show.host(1)
    viewer = show.viewer()
    frame(show, host)
    monkeypatch.setattr(viewer, "send_rtp", lambda packet: False)
    nack(show, viewer, viewer.numbers()[0])
    viewer.report(rtcp.Nack(5, 4711, (1,)))
    assert show.counts["retransmitted"] == 0
    assert show.counts["viewer_nack"] == 1


# --- keyframes --------------------------------------------------------------------------------------------------


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
    wish(viewers[0], None)
    show.relay.cap(viewers[0].subscriber, None, video=True)
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
    show = Show()
    host = show.host(1)
    viewer = show.viewer()
    frame(show, host)
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
    show = Show()
    host = show.host(1)
    viewer = show.viewer()
    frame(show, host)
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


# --- slow paths and bursts --------------------------------------------------------------------------------------


def test_a_keyframe_that_comes_at_once_goes_out_in_portions_and_sound_overtakes_it() -> None:
    show = Show()
    host = show.host(1)
    viewer = show.viewer()
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
    show = Show()
    host = show.host(1)
    viewer = show.viewer()
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
    show = Show()
    host = show.host(1)
    viewer = show.viewer()
    frame(show, host)
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
    show = Show()
    host = show.host(1)
    viewer = show.viewer()

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


# --- reports ----------------------------------------------------------------------------------------------------


def test_one_sender_report_serves_all_layers_on_each_viewers_own_clock() -> None:
    show = Show()
    host = show.host(3)
    stays, moves, sound = show.viewer(), show.viewer(), show.viewer(())
    frame(show, host, sound=True)
    for layer, rate in ((LOW, 90_000), (MIDDLE, 90_000), (HIGH, 90_000), (AUDIO, 48_000)):
        show.relay.sender_report(layer, ntp(show), host.timestamp(layer, rate))
    show.work()
    video, audio = show.relay.ssrc("video"), show.relay.ssrc("audio")
    assert len(sender_reports(stays, video)) == len(sender_reports(stays, audio)) == 1
    assert not sender_reports(sound, video)
    assert len(sender_reports(sound, audio)) == 1
    wish(moves, LOW)
    show.relay.cap(moves.subscriber, None, video=True)
    host.keyframes.add(LOW)
    frame(show, host)
    shift = moves.subscriber.numbering.current.timestamp
    show.relay.sender_report(LOW, ntp(show), host.timestamp(LOW, 90_000))
    show.work()
    (last, *_), (same, *_) = sender_reports(moves, video)[::-1], sender_reports(stays, video)[::-1]
    assert last.ntp == same.ntp
    assert (last.timestamp - same.timestamp) & 0xFFFFFFFF == shift
    late = show.viewer()
    assert len(sender_reports(late, video)) == len(sender_reports(late, audio)) == 1


def test_a_report_of_a_publisher_who_is_gone_is_not_passed_on() -> None:
    show = Show()
    host = show.host(1)
    viewer = show.viewer()
    frame(show, host)
    show.relay.sender_report(0, ntp(show), host.timestamp(0, 90_000))
    show.relay.begin(Host(show, 1))
    show.work()
    assert not viewer.control


def test_what_viewers_report_reaches_their_selectors_and_the_figures() -> None:
    show = Show()
    host = show.host(3)
    viewers = [show.viewer() for _ in range(4)]
    frame(show, host, sound=True)
    show.relay.sender_report(LOW, ntp(show), host.timestamp(LOW, 90_000))
    show.work()
    sent_at, video, heard = ntp(show), show.relay.ssrc("video"), []
    for viewer in viewers:
        viewer.subscriber.selector.report = lambda **told: heard.append(told)  # type: ignore[method-assign]
    for viewer in viewers[:2]:
        viewer.report(rtcp.ReceiverReport(5, (block(video, fraction_lost=128),)))
    assert not heard, "half of two packets is no loss of 50 %"
    show.pass_time(1)
    counted = {"fraction_lost": 255, "lost": 25, "highest": 100}
    quoted = block(video, **counted, jitter=900, last_report=rtcp.middle(sent_at), delay=65536 * 19 // 20)
    viewers[0].report(rtcp.ReceiverReport(5, (quoted, block(7, fraction_lost=255))), rtcp.Remb(5, 700_000, ()))
    viewers[0].report(rtcp.Bye((5,)))
    viewers[1].report(rtcp.ReceiverReport(5, (block(video, highest=viewers[1].numbers()[-1]),)))
    assert heard[0]["loss"] == 0.25
    assert heard[0]["rtt_s"] == pytest.approx(0.05, abs=0.001)
    assert heard[1]["remb"] == 700_000
    assert heard[2]["rtt_s"] is None
    wish(viewers[3], None)
    show.relay.cap(viewers[3].subscriber, None, video=True)
    wish(viewers[2], LOW, severe=True)
    show.pass_time(1)
    figures = show.relay.statistics()
    assert figures["layers"] == {"q": 0, "h": 0, "f": 2}
    assert (figures["audio_only"], figures["waiting"]) == (1, 1)
    assert (figures["loss"], figures["loss_p95"]) == (0.125, 0.25)
    assert figures["rtt_ms"] == figures["rtt_p95_ms"] == pytest.approx(50, abs=1)
    assert figures["jitter_ms"] == 5.0
    assert figures["bitrate_bps"] > 0
    assert (figures["frozen"], figures["freezes"]) == (1, 0)
    frame(show, host)
    assert show.relay.statistics()["bitrate_bps"] > 0
    show.relay.end()
    assert show.relay.statistics()["layers"] == {}


def test_without_reports_nothing_is_claimed() -> None:
    show = Show()
    show.host(1)
    figures = show.relay.statistics()
    assert [figures[name] for name in ("loss", "loss_p95", "rtt_ms", "rtt_p95_ms", "jitter_ms")] == [None] * 5
    assert figures["bitrate_bps"] == 0


def test_a_viewer_whose_decoder_stopped_is_frozen_until_the_next_keyframe() -> None:
    show = Show()
    host = show.host(1)
    viewer = show.viewer()
    frame(show, host)
    viewer.report(rtcp.Pli(5, 1))
    frame(show, host)
    assert show.relay.statistics()["frozen"] == 0
    show.pass_time(FREEZE_S)
    viewer.report(rtcp.Pli(5, 1))
    assert show.relay.statistics()["frozen"] == 1
    host.keyframes.add(0)
    frame(show, host)
    assert (show.relay.statistics()["frozen"], show.relay.statistics()["freezes"]) == (0, 1)


# --- many viewers -----------------------------------------------------------------------------------------------


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
        wish(viewer, None)
        show.relay.cap(viewer.subscriber, None, video=True)
    show.work()
    assert all(ended(viewer) == [HIGH, HIGH] for viewer in viewers)
    assert all(len(viewer.order) == 7 for viewer in viewers)


def test_a_viewer_without_sound_gets_pictures_only() -> None:
    show = Show()
    host = show.host(1)
    viewer = show.viewer(sound=False)
    frame(show, host, sound=True)
    assert not viewer.numbers("audio")
    assert len(viewer.numbers()) == 3


def test_many_switches_at_one_keyframe_give_the_loop_back_in_between() -> None:
    show = Show()
    host = show.host(3)
    viewers = [show.viewer() for _ in range(200)]
    frame(show, host)
    for viewer in viewers:
        wish(viewer, MIDDLE)
        show.relay.cap(viewer.subscriber, None, video=True)
    host.keyframes.add(MIDDLE)
    for arrival in host.picture(MIDDLE):
        show.relay.push(arrival)
    show.work(1)
    moved = [viewer for viewer in viewers if viewer.subscriber.layer == MIDDLE]
    assert 0 < len(moved) < 100
    assert not any(MIDDLE in viewer.layers() for viewer in viewers), "all move before anything is sent"
    stays, leaves = viewers[-1], viewers[-2]
    wish(stays, HIGH)
    show.relay.cap(stays.subscriber, None, video=True)
    show.relay.leave(leaves.subscriber)
    show.work()
    assert all(ended(viewer) == [HIGH, MIDDLE] for viewer in viewers[:-2])
    assert ended(stays) == ended(leaves) == [HIGH]
    assert continuous(viewers[0].numbers())
