"""What viewers and a publisher tell each other through the media part: losses, keyframes, reports, figures."""

import asyncio

from live.core.limits import PLI_INTERVAL_S
from loadtests.media.source import Source
from stream.wire import rtcp
from stream.wire.rtp import parse
from tests.stream.conftest import House, Make, until, viewer
from tests.stream.watching import VIDEO, Watcher, consecutive


async def test_what_a_viewer_lost_is_sent_again_in_bounds(house: House, client: Make, publisher: Watcher) -> None:
    one = await viewer(house, client)
    publisher.send(*Source().frame())
    await until(lambda: len(one.of(VIDEO)) == 6)
    sent, numbers, counts = one.of(VIDEO), one.numbers(), house.media.counts
    one.packets.clear()
    ssrc = house.media.stages["demo"].relay.ssrc("video")
    one.report(rtcp.Nack(5, ssrc, (numbers[1], numbers[3])))
    # The far end has them already: its SRTP would refuse a replay, so it must be told of by the count.
    await until(lambda: counts["retransmitted"] == 2)
    one.report(rtcp.Nack(5, ssrc, ((numbers[0] - 1) & 0xFFFF, (numbers[-1] + 1) & 0xFFFF)))
    await until(lambda: counts["nack_missed"] == 2)
    one.report(rtcp.Nack(5, 12345, (numbers[1],)))
    one.report(rtcp.Nack(5, ssrc, tuple((numbers[-1] + 100 + index) & 0xFFFF for index in range(300))))
    await until(lambda: counts["nack_refused"] > 0)
    assert counts["retransmitted"] == 2
    assert sent


async def test_many_plis_of_viewers_are_one_upstream(house: House, client: Make, publisher: Watcher) -> None:
    house.clock.stop()  # or the layer were silent, and its keyframe old, when the last has come in
    publisher.send(*Source().frame())
    viewers = [await viewer(house, client) for _ in range(3)]
    for each in viewers:
        each.report(rtcp.Pli(5, 1), rtcp.Fir(5, ((1, 1),)))
    await until(lambda: house.media.counts["viewer_pli"] == 6)
    await until(lambda: publisher.got(rtcp.Pli))
    assert len(publisher.got(rtcp.Pli)) == 1
    assert house.media.counts["pli_upstream"] == 1
    # No keyframe came: it is asked for again, by itself.
    house.clock.shift_s += 1.1 * PLI_INTERVAL_S
    await until(lambda: len(publisher.got(rtcp.Pli)) == 2)


async def test_a_gap_is_asked_for_upstream_and_filled(house: House, client: Make, publisher: Watcher) -> None:
    one = await viewer(house, client)
    frame = Source().frame()
    publisher.send(*frame[:2], *frame[3:])
    await until(lambda: publisher.got(rtcp.Nack))
    (nack, *_) = publisher.got(rtcp.Nack)
    assert isinstance(nack, rtcp.Nack)
    assert nack.sequences == (parse(frame[2]).sequence,)
    publisher.send(frame[2])
    await until(lambda: len(one.of(VIDEO)) == 6)
    assert consecutive(sorted(one.numbers()))


async def test_a_hole_too_big_to_fill_asks_for_a_keyframe(house: House, publisher: Watcher) -> None:
    source = Source()
    publisher.send(*source.frame())
    source.layers[0].sequence += 400
    publisher.send(*source.frame())
    await until(lambda: publisher.got(rtcp.Pli))


async def test_the_host_hears_of_its_bandwidth_with_its_first_packet(house: House, publisher: Watcher) -> None:
    publisher.send(*Source().frame())
    await until(lambda: publisher.got(rtcp.Remb))
    remb, report = publisher.got(rtcp.Remb)[0], publisher.got(rtcp.ReceiverReport)[0]
    assert isinstance(remb, rtcp.Remb)
    assert remb.bitrate > 2_000_000
    assert isinstance(report, rtcp.ReceiverReport)
    assert [block.ssrc for block in report.blocks] == [1111]


async def test_sender_reports_are_passed_on_in_the_viewers_numbers_and_given_to_who_joins(
    house: House, client: Make, publisher: Watcher
) -> None:
    one = await viewer(house, client)
    frame = Source().frame()
    publisher.report(rtcp.SenderReport(1111, 1, 1, 0, 0))  # before any packet: there is nothing to map it to
    publisher.send(*frame)
    await until(lambda: len(one.of(VIDEO)) == 6)
    publisher.report(rtcp.SenderReport(1111, 7 << 32, parse(frame[0]).timestamp + 90, 6, 600))
    await until(lambda: one.got(rtcp.SenderReport))
    (report, *_) = one.got(rtcp.SenderReport)
    assert isinstance(report, rtcp.SenderReport)
    assert report.ssrc == house.media.stages["demo"].relay.ssrc("video")
    assert report.ntp == 7 << 32
    assert (report.timestamp - parse(one.of(VIDEO)[0]).timestamp) & 0xFFFFFFFF == 90
    assert report.packets == 6
    two = await viewer(house, client)
    await until(lambda: two.got(rtcp.SenderReport))
    # The viewer's answer gives its round trip.
    block = rtcp.ReportBlock(report.ssrc, 64, 1, 0, 0, rtcp.middle(report.ntp), 0)
    one.client.peer.send_rtcp(rtcp.build([rtcp.ReceiverReport(5, (block,))]))  # type: ignore[union-attr]
    await until(lambda: any(each.rtt_s is not None for each in house.media.stages["demo"].relay.subscribers))
    await until(lambda: house.figures and house.figures[-1]["rtt_ms"] is not None)


async def test_figures_are_told_every_second_even_when_telling_fails(house: House, publisher: Watcher) -> None:
    house.failures = 1
    source = Source()
    # It goes on sending: what is told is the newest second's, and a busy machine skips one of a publisher that stopped.
    while len(house.figures) < 2 or not house.figures[-1]["fps"]:
        publisher.send(*source.frame())
        await asyncio.sleep(0.02)
    assert house.figures[0].keys() >= {"bitrate_bps", "fps", "loss", "codec", "rtt_ms", "subscribers", "audience"}
    assert house.figures[0]["codec"] == "h264"


async def test_figures_for_prometheus(house: House, client: Make, publisher: Watcher) -> None:
    one = await viewer(house, client)
    publisher.send(*Source().frame())
    await until(lambda: len(one.of(VIDEO)) == 6)
    labels = {"role": "subscriber", "state": "connected"}
    assert house.registry.get_sample_value("showcart_media_sessions", labels) == 1
    assert (house.registry.get_sample_value("showcart_media_packets_total", {"what": "sent"}) or 0) >= 8
    await one.client.close()
    await until(lambda: house.media.ended)
    ended = {"role": "subscriber", "reason": "closed_by_peer"}
    assert house.registry.get_sample_value("showcart_media_sessions_ended_total", ended) == 1
