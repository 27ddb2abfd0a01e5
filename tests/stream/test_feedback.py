"""What becomes of viewers' reports: paths that carry nothing, layers that are too much, lips after a switch."""

from typing import Any

from live.core.limits import (
    FREEZE_S,
    MEDIA_TICK_S,
    REPORT_WINDOW_S,
    RETREAT_PATIENCE_S,
    ROUND_TRIP_INTERVAL_S,
    SELECT_INTERVAL_S,
)
from stream.downstream.layers import Translation
from stream.feed import LayerState
from stream.wire import rtcp
from stream.wire.rtp import parse
from tests.stream.relaying import (
    HIGH,
    LOW,
    MIDDLE,
    Host,
    Show,
    Viewer,
    begun,
    block,
    continuous,
    ended,
    frame,
    nack,
    ntp,
    sender_reports,
    staged,
    wish,
)


def told(viewer: Viewer) -> list[dict[str, Any]]:
    """What its selector is told from now on."""
    heard: list[dict[str, Any]] = []
    viewer.subscriber.selector.report = lambda **said: heard.append(said)  # type: ignore[method-assign]
    return heard


def report(viewer: Viewer, highest: int, kind: str = "video", **fields: int) -> None:
    ssrc = viewer.show.relay.ssrc(kind)
    viewer.report(rtcp.ReceiverReport(5, (block(ssrc, highest=highest & 0xFFFFFFFF, **fields),)))


def watch(show: Show, host: Host, seconds: float) -> None:
    end = show.now + seconds
    while show.now < end:
        frame(show, host)


def cut_off() -> tuple[Show, Host, Viewer, int]:
    """A show whose viewer has reported nothing new for a second, and the last number that arrived there."""
    show, host, viewer = staged(1)
    watch(show, host, 1)
    arrived = viewer.numbers()[-1]
    report(viewer, arrived)
    watch(show, host, 1)
    report(viewer, arrived)
    return show, host, viewer, arrived


def synchronised() -> tuple[Show, Host, Viewer, Viewer]:
    """A show of three layers whose two viewers have had one sender report."""
    show = Show()
    host = show.host(3)
    viewer, other = show.viewer(), show.viewer()
    frame(show, host)
    show.relay.sender_report(LOW, ntp(show), host.timestamp(LOW, 90_000))
    show.work()
    return show, host, viewer, other


# --- round trips ------------------------------------------------------------------------------------------------


def test_each_sender_report_tells_one_round_trip() -> None:
    show, host, viewer = staged(1)
    heard = told(viewer)
    frame(show, host)
    for _ in range(3):
        sent = ntp(show)
        show.relay.sender_report(0, sent, host.timestamp(0, 90_000))
        show.work()
        show.pass_time(ROUND_TRIP_INTERVAL_S)
        for _ in range(9):
            report(viewer, viewer.numbers()[-1], last_report=rtcp.middle(sent))
            show.pass_time(REPORT_WINDOW_S / 4)
    trips = [said["rtt_s"] for said in heard]
    assert len([trip for trip in trips if trip is not None]) == 3
    assert heard[0]["loss"] is None, "a round trip is news before there are packets enough to tell the loss"
    assert None in trips and {said["loss"] for said in heard} == {None, 0.0}
    assert viewer.subscriber.rtt_s is not None


# --- nothing arrives --------------------------------------------------------------------------------------------


def test_a_path_that_carries_nothing_any_more_loses_everything_and_shows_no_picture() -> None:
    show, host, viewer = staged(1)
    watch(show, host, 1)
    heard = told(viewer)
    arrived = viewer.numbers()[-1]
    report(viewer, arrived)
    watch(show, host, 1)
    report(viewer, arrived)
    assert [said["loss"] for said in heard] == [1.0]
    assert show.relay.statistics()["frozen"] == 1
    assert show.relay.statistics()["loss"] == 1.0
    watch(show, host, 1)
    report(viewer, arrived)
    assert heard[-1]["loss"] == 1.0
    report(viewer, viewer.numbers()[-1])
    assert (show.relay.statistics()["frozen"], show.relay.statistics()["freezes"]) == (0, 1)


def test_who_was_sent_nothing_loses_nothing() -> None:
    show, host, viewer = staged(1)
    watch(show, host, 1)
    heard = told(viewer)
    for _ in range(4):
        report(viewer, viewer.numbers()[-1])
        show.pass_time(1)
    assert {said["loss"] for said in heard} == {0.0}
    assert show.relay.statistics()["frozen"] == 0


def test_a_rare_picture_is_no_loss_as_soon_as_it_is_sent() -> None:
    show, host, viewer = begun(1)
    heard = told(viewer)
    for _ in range(4):
        known = viewer.numbers()[-1]
        report(viewer, known)
        show.pass_time(REPORT_WINDOW_S + SELECT_INTERVAL_S)
        frame(show, host)
        show.pass_time(SELECT_INTERVAL_S)
        report(viewer, known)
    assert {said["loss"] for said in heard} == {0.0}


def test_the_last_packet_of_a_publisher_who_paused_is_one_loss_and_a_frozen_picture() -> None:
    show, host, viewer = staged(1)
    watch(show, host, 1)
    heard = told(viewer)
    missing = viewer.numbers()[-1]
    for _ in range(4):
        report(viewer, missing - 1)
        show.pass_time(1)
    assert {said["loss"] for said in heard} == {0.0}
    assert show.relay.statistics()["frozen"] == 1


def test_who_has_no_picture_on_purpose_is_not_frozen() -> None:
    show, host, viewer, arrived = cut_off()
    assert show.relay.statistics()["frozen"] == 1
    show.relay.cap(viewer.subscriber, None, video=False)
    watch(show, host, 1)
    report(viewer, arrived)
    assert (show.relay.statistics()["frozen"], show.relay.statistics()["freezes"]) == (0, 0)


def test_one_freeze_of_two_reasons_is_counted_once() -> None:
    show, host, viewer, _ = cut_off()
    viewer.report(rtcp.Pli(5, 1))
    show.pass_time(FREEZE_S)
    host.keyframes.add(0)
    frame(show, host)
    assert show.relay.statistics()["freezes"] == 0, "the keyframe has been sent, and has not arrived"
    report(viewer, viewer.numbers()[-1])
    assert (show.relay.statistics()["frozen"], show.relay.statistics()["freezes"]) == (0, 1)


def test_without_a_picture_the_sound_tells_how_the_path_is() -> None:
    show, host, viewer = staged(3)
    frame(show, host, sound=True)
    wish(viewer, None, severe=True)
    show.pass_time(SELECT_INTERVAL_S)
    heard = told(viewer)
    for count in range(3):
        report(viewer, viewer.numbers()[-1])
        report(viewer, 100 * count, "audio", lost=30 * count)
        show.pass_time(1)
    assert [said["loss"] for said in heard] == [0.3, 0.3]
    assert show.relay.statistics()["loss"] == 0.3
    wish(viewer, LOW)
    show.pass_time(SELECT_INTERVAL_S)
    report(viewer, 400, "audio", lost=200)
    assert len(heard) == 2, "it waits for a picture"


# --- down -------------------------------------------------------------------------------------------------------


def test_what_is_a_little_too_much_goes_on_until_the_lower_layer_begins() -> None:
    show, host, viewer = begun(3)
    host.wanted.clear()
    wish(viewer, LOW, congested=True)
    show.pass_time(SELECT_INTERVAL_S)
    frame(show, host)
    assert host.wanted == [LOW]
    host.keyframes.add(LOW)
    frame(show, host)
    frame(show, host)
    # The low layer's picture of a moment comes before the high one's.
    assert ended(viewer) == [HIGH, HIGH, LOW, LOW]
    assert continuous(viewer.numbers())


def test_it_stops_when_it_becomes_far_too_much_while_the_keyframe_is_awaited() -> None:
    show, host, viewer = begun(3)
    wish(viewer, LOW, congested=True)
    show.pass_time(SELECT_INTERVAL_S)
    frame(show, host)
    wish(viewer, LOW, severe=True)
    show.pass_time(SELECT_INTERVAL_S)
    for _ in range(20):
        frame(show, host)
    assert ended(viewer) == [HIGH, HIGH]
    assert show.relay.statistics()["waiting"] == show.relay.statistics()["frozen"] == 1
    host.keyframes.add(LOW)
    frame(show, host)
    assert ended(viewer) == [HIGH, HIGH, LOW]


def test_it_stops_when_the_lower_layers_keyframe_does_not_come() -> None:
    show, host, viewer = begun(3)
    wish(viewer, LOW, congested=True)
    watch(show, host, SELECT_INTERVAL_S + RETREAT_PATIENCE_S + 2 * MEDIA_TICK_S)
    before = len(ended(viewer))
    watch(show, host, 1)
    assert len(ended(viewer)) == before
    assert set(ended(viewer)) == {HIGH}


def test_what_was_too_much_is_not_sent_again() -> None:
    show, host, viewer = begun(3)
    before = viewer.numbers()
    wish(viewer, LOW, severe=True)
    show.pass_time(SELECT_INTERVAL_S)
    nack(show, viewer, before[0])
    assert (show.counts["nack_outdated"], show.counts["retransmitted"]) == (1, 0)
    host.keyframes.add(LOW)
    frame(show, host)
    after = viewer.numbers()[len(before) :]
    nack(show, viewer, *before, *after)
    assert (show.counts["nack_outdated"], show.counts["retransmitted"]) == (4, 3)
    wish(viewer, MIDDLE)
    show.pass_time(SELECT_INTERVAL_S)
    host.keyframes.add(MIDDLE)
    frame(show, host)
    show.pass_time(1)
    nack(show, viewer, before[0], *after)
    assert (show.counts["nack_outdated"], show.counts["retransmitted"]) == (5, 6), "after a step up it is"


def test_a_layer_that_went_on_is_repaired_until_the_lower_one_begins() -> None:
    show, host, viewer = begun(3)
    before = viewer.numbers()
    wish(viewer, LOW, congested=True)
    show.pass_time(SELECT_INTERVAL_S)
    nack(show, viewer, before[0])
    assert show.counts["retransmitted"] == 1
    host.keyframes.add(LOW)
    frame(show, host)
    assert ended(viewer) == [HIGH, LOW]
    nack(show, viewer, *viewer.numbers())
    assert (show.counts["nack_outdated"], show.counts["retransmitted"]) == (3, 4)


def test_what_a_viewer_does_without_for_its_own_reasons_is_sent_again() -> None:
    show, _, viewer = begun(3)
    show.relay.cap(viewer.subscriber, None, video=False)
    nack(show, viewer, viewer.numbers()[0])
    assert (show.counts["nack_outdated"], show.counts["retransmitted"]) == (0, 1)


def test_of_upright_pictures_the_shorter_side_counts() -> None:
    show = Show()
    host = show.host(3)
    upright = (LayerState(150_000, 180, 320), LayerState(500_000, 360, 640), LayerState(1_100_000, 720, 1280))
    show.relay.described(upright)
    viewer = show.viewer()
    frame(show, host)
    show.relay.cap(viewer.subscriber, 360, video=True)
    assert viewer.subscriber.wanted == MIDDLE
    show.relay.cap(viewer.subscriber, 100, video=True)
    assert viewer.subscriber.wanted == LOW
    show.relay.cap(viewer.subscriber, 720, video=True)
    assert viewer.subscriber.selector.cap == HIGH


# --- lips -------------------------------------------------------------------------------------------------------


def test_a_viewer_whose_clock_jumps_is_told_at_once() -> None:
    show, host, viewer, other = synchronised()
    video = show.relay.ssrc("video")
    before = sender_reports(viewer, video)[-1]
    # What the viewer was shown last is far ahead of the layer that it is switched to.
    numbering = viewer.subscriber.numbering
    numbering.current = Translation(HIGH, timestamp=90_000)
    viewer.subscriber.shift = 90_000
    wish(viewer, MIDDLE)
    show.pass_time(SELECT_INTERVAL_S)
    host.keyframes.add(MIDDLE)
    show.pass_time(2)
    frame(show, host)
    assert numbering.current == Translation(MIDDLE, *numbering.current[1:])
    assert numbering.current.timestamp == 0, "the line is ahead of what it has seen"
    after = sender_reports(viewer, video)[-1]
    assert len(sender_reports(viewer, video)) == 2
    assert (after.ntp, after.timestamp) == (before.ntp, before.timestamp)
    assert len(sender_reports(other, video)) == 1
    # Its report came later than to everybody else, and tells no round trip.
    report(viewer, viewer.numbers()[-1], last_report=rtcp.middle(before.ntp))
    report(other, other.numbers()[-1], last_report=rtcp.middle(before.ntp))
    assert viewer.subscriber.rtt_s is None
    assert other.subscriber.rtt_s is not None


def test_reports_of_a_viewer_without_a_place_are_on_its_own_clock() -> None:
    show, host, viewer, other = synchronised()
    # Its pictures were a second ahead of the line, so that the next layer's begin with an offset of as much.
    viewer.subscriber.numbering.current = Translation(HIGH, timestamp=90_000)
    wish(viewer, LOW, severe=True)
    show.pass_time(SELECT_INTERVAL_S)
    host.keyframes.add(LOW)
    for arrival in host.picture(LOW, 40):
        show.relay.push(arrival)
    show.relay.poll(show.now)
    show.work()
    shift = viewer.subscriber.shift
    assert 90_000 - 90_000 * 0.5 < shift <= 90_001
    video = show.relay.ssrc("video")
    wish(viewer, None)
    show.pass_time(SELECT_INTERVAL_S)
    show.relay.sender_report(LOW, ntp(show), host.timestamp(LOW, 90_000))
    show.work()
    mine, all_others = sender_reports(viewer, video), sender_reports(other, video)
    assert len(mine) == 3, "one out of turn"
    assert (mine[-1].timestamp - all_others[-1].timestamp) & 0xFFFFFFFF == shift
    assert parse(viewer.pictures()[-1]).timestamp


def test_nobody_is_told_of_a_jump_while_no_publisher_has_said_what_time_it_is() -> None:
    show, host, viewer = begun(3)
    viewer.subscriber.shift = 90_000
    wish(viewer, MIDDLE)
    show.pass_time(SELECT_INTERVAL_S)
    host.keyframes.add(MIDDLE)
    frame(show, host)
    assert not viewer.control
    assert not show.relay._audience.shifted
