"""What a relay sends again, in which form, how often and to how many. Time is scripted."""

import pytest

from live.core.limits import (
    RETRANSMISSION_INTERVAL_S,
    RETRANSMISSIONS_PER_PACKET_MAX,
    RETRANSMISSIONS_WAITING_MAX,
    RTP_PROTECT_BYTES_MAX,
    SRTP_REPLAY_WINDOW,
)
from stream.wire import rtcp
from stream.wire.rtp import parse, unwrap_rtx
from tests.stream.relaying import H264, HIGH, LOW, Show, begun, decide, frame, nack, staged


def test_what_was_lost_comes_as_a_retransmission_stream_of_the_viewers_own() -> None:
    show, _, viewer = begun(1)
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
    show, host, viewer = staged(1)
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
    decide(viewer, LOW)
    host.keyframes.add(LOW)
    frame(show, host)
    assert set(viewer.layers()) == {HIGH, LOW}
    nack(show, viewer, *viewer.numbers())
    assert show.counts["retransmitted"] == len(viewer.numbers())
    nack(show, viewer, viewer.numbers()[0] - 1, viewer.numbers()[-1] + 1)
    assert show.counts["nack_missed"] == 2


def test_a_packet_is_sent_again_three_times_at_most_and_not_within_a_round_trip() -> None:
    show, _, viewer = begun(1)
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
    show, _, viewer = begun(1)
    monkeypatch.setattr(viewer, "send_rtp", lambda packet: False)
    nack(show, viewer, viewer.numbers()[0])
    viewer.report(rtcp.Nack(5, 4711, (1,)))
    assert show.counts["retransmitted"] == 0
    assert show.counts["viewer_nack"] == 1
