"""Reports through a relay: the publisher's to viewers, the viewers' to selectors and figures. Time is scripted."""

import pytest

from live.core.limits import FREEZE_S
from stream.feed import AUDIO
from stream.wire import rtcp
from tests.stream.relaying import HIGH, LOW, MIDDLE, Host, Show, begun, block, decide, frame, ntp, sender_reports, wish


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
    decide(moves, LOW)
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
    show, host, viewer = begun(1)
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
    decide(viewers[3], None)
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
    show, host, viewer = begun(1)
    viewer.report(rtcp.Pli(5, 1))
    frame(show, host)
    assert show.relay.statistics()["frozen"] == 0
    show.pass_time(FREEZE_S)
    viewer.report(rtcp.Pli(5, 1))
    assert show.relay.statistics()["frozen"] == 1
    host.keyframes.add(0)
    frame(show, host)
    assert (show.relay.statistics()["frozen"], show.relay.statistics()["freezes"]) == (0, 1)
