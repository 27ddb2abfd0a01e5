"""From publisher to viewers with exact packets: numbering, joining, feedback, takeover, death."""

import asyncio
import struct
from collections.abc import Callable
from itertools import pairwise

import pytest
from aioice import stun

from live.core.errors import Kind, Problem
from live.core.limits import GOP_FRESH_S, HANDSHAKE_TIMEOUT_S, PEER_DEAD_S, PLI_INTERVAL_S
from loadtests.benches.client import RTX_PAYLOAD_TYPES, Client
from loadtests.benches.stage import Source
from stream.feed import Arrival
from stream.wire import rtcp
from stream.wire.payloads import picture_size
from stream.wire.rtp import PacketError, parse, unwrap_rtx
from tests.stream.conftest import House, until

Make = Callable[..., Client]
VIDEO, AUDIO = 102, 111


class Watcher:
    """A light client that keeps what it gets."""

    def __init__(self, make: Make) -> None:
        self.packets: list[bytes] = []
        self.control: list[rtcp.Packet] = []
        self.client = make(on_rtp=self.packets.append, on_rtcp=lambda data: self.control.extend(rtcp.parse(data)))

    def of(self, payload_type: int) -> list[bytes]:
        return [packet for packet in self.packets if packet[1] & 0x7F == payload_type]

    def numbers(self, payload_type: int = VIDEO) -> list[int]:
        return [parse(packet).sequence for packet in self.of(payload_type)]

    def got(self, kind: type[rtcp.Packet]) -> list[rtcp.Packet]:
        return [packet for packet in self.control if isinstance(packet, kind)]

    def send(self, *packets: bytes) -> None:
        assert self.client.peer is not None
        for packet in packets:
            assert self.client.peer.send_rtp(packet)

    def report(self, *packets: rtcp.Packet) -> None:
        assert self.client.peer is not None
        self.client.peer.send_rtcp(rtcp.build((rtcp.ReceiverReport(5), *packets)))


@pytest.fixture
async def publisher(house: House, client: Make) -> Watcher:
    made = Watcher(client)
    await house.enter(made.client, "whip")
    await until(lambda: house.told)
    return made


async def viewer(house: House, client: Make, codecs: tuple[str, ...] = ("h264", "opus")) -> Watcher:
    made = Watcher(client)
    await house.enter(made.client, "whep", codecs)
    await until(lambda: len(house.media.stages["demo"].relay.subscribers) > 0)
    return made


def consecutive(numbers: list[int]) -> bool:
    return all((after - before) & 0xFFFF == 1 for before, after in pairwise(numbers))


async def test_all_viewers_get_the_same_stream_with_plain_headers(
    house: House, client: Make, publisher: Watcher
) -> None:
    viewers = [await viewer(house, client) for _ in range(3)]
    source = Source()
    for packet in source.frame() + source.frame():
        # The host's extensions are between it and us.
        extended = bytes((packet[0] | 0x10,)) + packet[1:12] + struct.pack("!HHI", 0xBEDE, 1, 0) + packet[12:]
        publisher.send(extended)
    await until(lambda: all(len(each.of(VIDEO)) == 12 and len(each.of(AUDIO)) == 4 for each in viewers))
    first = viewers[0]
    assert all(sorted(each.packets) == sorted(first.packets) for each in viewers)
    assert consecutive(first.numbers(VIDEO))
    assert consecutive(first.numbers(AUDIO))
    relay = house.media.stages["demo"].relay
    assert {parse(packet).ssrc for packet in first.of(VIDEO)} == {relay.ssrc("video")}
    assert {parse(packet).payload for packet in first.packets} == {12}


async def test_viewers_who_number_codecs_differently_get_their_numbers(
    house: House, client: Make, publisher: Watcher
) -> None:
    usual, odd = await viewer(house, client), Watcher(client)
    answer = await house.post("whep", odd.client.offer("recvonly").replace("102", "45").replace("111", "46"))
    await odd.client.connect(answer.text)
    await until(lambda: len(house.media.stages["demo"].relay.subscribers) == 2)
    publisher.send(*Source().frame())
    await until(lambda: len(odd.of(45)) == 6 and len(odd.of(46)) == 2 and len(usual.of(VIDEO)) == 6)
    assert [packet[2:] for packet in odd.of(45)] == [packet[2:] for packet in usual.of(VIDEO)]


async def test_a_viewer_without_video_gets_the_sound(house: House, client: Make, publisher: Watcher) -> None:
    listener = await viewer(house, client, ("opus",))
    publisher.send(*Source().frame())
    await until(lambda: len(listener.of(AUDIO)) == 2)
    assert not listener.of(VIDEO)


async def test_a_joining_viewer_begins_with_the_newest_keyframe_and_misses_nothing(
    house: House, client: Make, publisher: Watcher
) -> None:
    source = Source()
    publisher.send(*source.frame())
    source.keyframe = True
    for _ in range(5):
        publisher.send(*source.frame())
    late = await viewer(house, client)
    await until(lambda: len(late.of(VIDEO)) == 30)
    publisher.send(*source.frame())
    await until(lambda: len(late.of(VIDEO)) == 36)
    assert late.of(VIDEO)[0][12] == 0x67
    assert consecutive(late.numbers())
    assert not publisher.got(rtcp.Pli)


async def test_without_a_fresh_keyframe_one_is_asked_for_and_awaited(
    house: House, client: Make, publisher: Watcher
) -> None:
    source = Source()
    publisher.send(*source.frame(), *source.frame())
    await until(lambda: house.media.counts["keyframes"] == 1)
    house.clock.shift_s += GOP_FRESH_S + 0.1
    late = Watcher(client)
    answer = await house.post("whep", late.client.offer("recvonly"))
    await until(lambda: publisher.got(rtcp.Pli))
    source.keyframe = True
    publisher.send(*source.frame())
    await late.client.connect(answer.text)
    await until(lambda: len(late.of(VIDEO)) == 6)
    assert late.of(VIDEO)[0][12] == 0x67


async def test_when_no_fresh_keyframe_comes_the_old_one_is_shown(
    house: House, client: Make, publisher: Watcher
) -> None:
    publisher.send(*Source().frame())
    await until(lambda: house.media.counts["keyframes"] == 1)
    house.clock.shift_s += GOP_FRESH_S + 0.1
    late = await viewer(house, client)
    await until(lambda: len(late.of(VIDEO)) == 6)


async def test_without_any_keyframe_a_viewer_waits_for_the_next(house: House, client: Make, publisher: Watcher) -> None:
    source = Source()
    source.keyframe = False
    publisher.send(*source.frame())
    early = await viewer(house, client)
    publisher.send(*source.frame())
    await until(lambda: len(early.of(AUDIO)) >= 2)
    assert not early.of(VIDEO)
    assert house.media.counts["before_keyframe"] == 12
    source.keyframe = True
    publisher.send(*source.frame())
    await until(lambda: len(early.of(VIDEO)) == 6)


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
    publisher.send(*Source().frame())
    viewers = [await viewer(house, client) for _ in range(3)]
    for each in viewers:
        each.report(rtcp.Pli(5, 1), rtcp.Fir(5, ((1, 1),)))
    await until(lambda: house.media.counts["viewer_pli"] == 6)
    await until(lambda: publisher.got(rtcp.Pli))
    assert len(publisher.got(rtcp.Pli)) == 1
    assert house.media.counts["pli_upstream"] == 1
    # No keyframe came: it is asked for again, by itself.
    house.clock.shift_s += PLI_INTERVAL_S
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
    for _ in range(3):
        publisher.send(*source.frame())
    await until(lambda: len(house.figures) >= 2)
    assert house.figures[0].keys() >= {"bitrate_bps", "fps", "loss", "codec", "rtt_ms", "subscribers", "audience"}
    assert house.figures[0]["codec"] == "h264"
    await until(lambda: any(figures["fps"] > 0 for figures in house.figures))


async def test_a_second_publisher_takes_over_and_viewers_play_on(
    house: House, client: Make, publisher: Watcher
) -> None:
    one = await viewer(house, client)
    publisher.send(*Source().frame())
    await until(lambda: len(one.of(VIDEO)) == 6)
    second = Watcher(client)
    answer = await house.post("whip", second.client.offer("sendonly"))
    await asyncio.sleep(0.05)
    assert not publisher.client.closed.is_set(), "asking alone takes nothing away"
    await second.client.connect(answer.text)
    await asyncio.wait_for(publisher.client.closed.wait(), 5)
    other = Source(7000)
    other.keyframe = False
    second.send(*other.frame())  # video that refers to pictures that nobody has
    other.keyframe = True
    second.send(*other.frame())
    await until(lambda: len(one.of(VIDEO)) == 12)
    assert consecutive(one.numbers(VIDEO))
    assert consecutive(one.numbers(AUDIO))
    before, after = parse(one.of(VIDEO)[5]).timestamp, parse(one.of(VIDEO)[6]).timestamp
    assert 0 < (after - before) & 0xFFFFFFFF < 90_000 * 5
    assert house.media.ended["publisher", "taken_over"] == 1
    assert house.told == [("demo", True)]


async def test_a_third_who_asks_replaces_the_second_who_has_not_come(house: House, client: Make) -> None:
    await house.post("whip", client().offer("sendonly"))
    second = client()
    await house.enter(second, "whip")
    assert house.media.ended["publisher", "taken_over"] == 1
    assert house.media.on_air("demo")


async def test_a_publisher_with_another_codec_keeps_the_viewers_who_know_it(
    house: House, client: Make, publisher: Watcher
) -> None:
    both = await viewer(house, client, ("h264", "vp8", "opus"))
    only = await viewer(house, client)
    publisher.send(*Source().frame())
    await until(lambda: len(both.of(VIDEO)) == 6)
    second = Watcher(client)
    await house.enter(second.client, "whip", ("vp8", "opus"))
    await asyncio.wait_for(only.client.closed.wait(), 5)
    assert house.media.ended["subscriber", "codec_changed"] == 1
    frame = [bytes((0x80, 0x80 | 96)) + struct.pack("!HII", 5, 9, 3333) + b"\x10\x00" + bytes(50)]
    second.send(*frame)
    await until(lambda: len(both.of(96)) == 1)
    assert consecutive(both.numbers(VIDEO) + both.numbers(96))


async def test_viewers_stay_when_the_publisher_is_lost_and_play_on_with_the_next(
    house: House, client: Make, publisher: Watcher
) -> None:
    one = await viewer(house, client)
    publisher.send(*Source().frame())
    await until(lambda: len(one.of(VIDEO)) == 6)
    await publisher.client.close()
    await until(lambda: ("demo", False) in house.told)
    assert house.media.ended["publisher", "closed_by_peer"] == 1
    assert not one.client.closed.is_set()
    again = Watcher(client)
    await house.enter(again.client, "whip")
    again.send(*Source(3000).frame())
    await until(lambda: len(one.of(VIDEO)) == 12)
    assert consecutive(one.numbers())
    assert house.told == [("demo", True), ("demo", False), ("demo", True)]


async def test_dead_peers_are_found_within_ten_seconds(house: House, client: Make, publisher: Watcher) -> None:
    await viewer(house, client)
    house.clock.shift_s += PEER_DEAD_S - 2
    publisher.client.keep_alive()
    await asyncio.sleep(0.6)
    assert len(house.media.sessions) == 2
    house.clock.shift_s += 1.0
    await until(lambda: house.media.ended["subscriber", "silent"] == 1)
    assert house.media.on_air("demo")
    house.clock.shift_s += PEER_DEAD_S - 1
    await until(lambda: house.media.ended["publisher", "silent"] == 1)
    await until(lambda: house.told[-1] == ("demo", False))


async def test_a_session_that_nobody_comes_to_is_dropped(house: House, client: Make) -> None:
    await house.post("whip", client().offer("sendonly"))
    house.clock.shift_s += HANDSHAKE_TIMEOUT_S
    await until(lambda: house.media.ended["publisher", "handshake_timeout"] == 1)
    assert not house.media.stages


async def test_a_wrong_password_opens_nothing(house: House, client: Make, publisher: Watcher) -> None:
    stranger = client()
    answer = await house.post("whep", stranger.offer("recvonly"))
    connecting = asyncio.create_task(stranger.connect(answer.text.replace("a=ice-pwd:", "a=ice-pwd:x")))
    await until(lambda: house.media.counts["stun_wrong_password"] >= 3)
    connecting.cancel()
    await asyncio.gather(connecting, return_exceptions=True)
    assert stranger.counts["stun"] == stranger.counts["received"] == 0
    assert house.media.on_air("demo")


async def test_malformed_media_is_counted_and_the_show_goes_on(house: House, client: Make, publisher: Watcher) -> None:
    one = await viewer(house, client)
    counts, source = house.media.counts, Source()
    publisher.send(*source.frame())
    publisher.send(bytes((0xA0, AUDIO)) + bytes(20))  # padding of no length
    publisher.send(bytes((0x80, 99, 0, 1)) + bytes(20))
    publication = house.media.stages["demo"].publication
    assert publication is not None
    # Senders of other makes may fill the datagram; libsrtp here refuses to make one.
    publication.ingest.received_rtp(bytes((0x80, AUDIO)) + struct.pack("!HII", 1002, 1, 1112) + bytes(1345))
    stale = struct.pack("!BBHII", 0x80, VIDEO, 1000 - 600 & 0xFFFF, 1, 1111)
    publisher.send(stale + bytes(20))
    await until(lambda: counts["rtp_malformed"] == counts["rtp_unknown_payload_type"] == counts["rtp_too_large"] == 1)
    await until(lambda: counts["rtp_too_late"] == 1)
    for each in (publisher, one):
        assert each.client.peer is not None
        each.client.peer.send_rtcp(bytes.fromhex("80c8000100000001"))
    await until(lambda: counts["rtcp_malformed"] == 2)
    one.send(bytes((0x80, VIDEO)) + bytes(20))
    await until(lambda: counts["rtp_from_viewer"] == 1)
    publisher.send(*source.frame())
    await until(lambda: len(one.of(VIDEO)) == 12)


async def test_a_publisher_that_renumbers_its_stream_is_spliced(house: House, client: Make, publisher: Watcher) -> None:
    one = await viewer(house, client)
    publisher.send(*Source().frame())
    await until(lambda: len(one.of(VIDEO)) == 6)
    for packet in Source(5000).frame():
        publisher.send(packet[:8] + struct.pack("!I", parse(packet).ssrc + 1000) + packet[12:])
    await until(lambda: len(one.of(VIDEO)) == 12 and len(one.of(AUDIO)) == 4)
    assert consecutive(one.numbers(VIDEO))
    assert consecutive(one.numbers(AUDIO))
    assert house.media.counts["rtp_new_ssrc"] == 2


async def test_an_overloaded_relay_drops_video_to_the_end_of_the_frame(
    house: House, client: Make, publisher: Watcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stream.downstream.relay.RELAY_QUEUE_PACKETS_MAX", 3)
    one = await viewer(house, client)
    relay, source = house.media.stages["demo"].relay, Source()
    publisher.send(*source.frame())
    await until(lambda: one.packets)
    before = house.media.counts["overload_dropped"]
    packets = [packet for packet in source.frame() if packet[1] & 0x7F == VIDEO]
    for index, packet in enumerate(packets):
        relay.push(Arrival(0, 90_000 + index, parse(packet).timestamp, packet, False))
    assert house.media.counts["overload_dropped"] == before + 3


async def test_telling_is_repeated_until_it_works(house: House, client: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stream.notices._RETRY_S", 0.01)
    house.failures = 2
    await house.enter(client(), "whip")
    await until(lambda: house.told == [("demo", True)])


async def test_stopping_ends_everything_and_tells_everybody(house: House, client: Make, publisher: Watcher) -> None:
    one = await viewer(house, client)
    await house.media.check()
    await house.media.stop()
    await house.media.stop()
    assert house.told == [("demo", True), ("demo", False)]
    await asyncio.wait_for(one.client.closed.wait(), 5)
    await asyncio.wait_for(publisher.client.closed.wait(), 5)
    with pytest.raises(Problem) as caught:
        await house.media.check()
    assert caught.value.kind is Kind.unavailable


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


@pytest.mark.parametrize("house", ["::1"], indirect=True)
async def test_it_works_over_ip_version_6(house: House, client: Make) -> None:
    publisher, one = client(host="::1"), client(host="::1")
    await house.enter(publisher, "whip")
    await until(lambda: house.told)
    await house.enter(one, "whep")
    assert house.media.addresses[0][0] == "::1"


async def test_a_bug_in_one_show_does_not_stop_the_search_for_dead_peers(
    house: House, client: Make, publisher: Watcher, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    publication = house.media.stages["demo"].publication
    assert publication is not None

    def broken(now: float) -> None:
        monkeypatch.undo()
        raise RuntimeError("our own bug")

    monkeypatch.setattr(publication.ingest, "poll", broken)
    await until(lambda: house.media.counts["crashed"] == 1)
    house.clock.shift_s += PEER_DEAD_S
    await until(lambda: house.media.ended["publisher", "silent"] == 1)


async def test_a_session_that_ends_in_the_turn_its_handshake_is_done_stays_ended(house: House, client: Make) -> None:
    await house.post("whip", client().offer("sendonly"))
    (connection,) = house.media.sessions.values()
    house.media.delete("demo", connection.role, connection.session.id)
    connection.peer_bound()
    connection.peer_secured()
    connection.peer_closed(failed=True)
    assert not house.media.on_air("demo")
    assert dict(house.media.ended) == {("publisher", "deleted"): 1}


async def test_a_viewer_whose_codec_went_away_while_it_connected_is_closed(
    house: House, client: Make, publisher: Watcher
) -> None:
    slow = client()
    answer = await house.post("whep", slow.offer("recvonly"))
    await house.enter(client(), "whip", ("vp8", "opus"))
    await slow.connect(answer.text)
    await until(lambda: house.media.ended["subscriber", "codec_changed"] == 1)


def test_the_made_up_packets_are_rtp() -> None:
    for packet in Source().frame():
        try:
            parse(packet)
        except PacketError:  # pragma: no cover
            pytest.fail("the source makes nonsense")


async def test_a_viewer_cannot_draw_the_hosts_packets_to_itself(house: House, client: Make) -> None:
    """A STUN request with a session's own credentials, from the forged address of another, changes nothing."""
    publisher, thief = client(), client()
    await house.enter(publisher, "whip")
    offer = await house.post("whep", thief.offer("recvonly", ("h264",)))
    session = house.media.sessions[offer.headers["location"].rpartition("/")[2]]
    (host,) = [each for each in house.media.sessions.values() if each is not session]
    address = host.peer.address
    assert address is not None
    ufrag, password = session.peer.credentials
    request = stun.Message(stun.Method.BINDING, stun.Class.REQUEST, attributes={"USERNAME": f"{ufrag}:x"})
    request.add_message_integrity(password.encode())
    house.media.port._route(bytes(request), address)
    assert house.media.counts["stun_address_owned"] == 1
    assert session.peer.address is None
    assert house.media.port._by_address[address] is host.peer


# --- layers, over real sockets ----------------------------------------------------------------------------------

RIDS = ("q", "h", "f")
LAYER_SSRCS = (1111, 2111, 3111)


@pytest.fixture
async def studio(house: House, client: Make) -> Watcher:
    """A publisher of three layers."""
    made = Watcher(client)
    await house.enter(made.client, "whip", rids=RIDS, rtx=True)
    await until(lambda: house.told)
    return made


def heights(packets: list[bytes]) -> list[int]:
    """Of the keyframes among H.264 packets."""
    found = (picture_size("h264", packet, 12, len(packet)) for packet in packets)
    return [size[1] for size in found if size is not None]


async def on_air(house: House, studio: Watcher, source: Source, frames: int = 4) -> None:
    """Send in the rhythm of a show, so that the layers' rates are known."""
    for _ in range(frames):
        studio.send(*source.frame())
        await asyncio.sleep(0.04)
    await until(lambda: len([s for s in house.media.stages["demo"].relay._audience.states if s.bits_per_s]) == 3)


async def test_layers_are_told_apart_and_a_viewer_follows_its_wish(house: House, client: Make, studio: Watcher) -> None:
    source = Source(rids=RIDS)
    await on_air(house, studio, source)
    made = Watcher(client)
    address = await house.enter(made.client, "whep", rtx=True)
    session = address.rpartition("/")[2]

    async def play(height: int) -> None:
        async with asyncio.timeout(10):
            while not heights(made.of(VIDEO)) or heights(made.of(VIDEO))[-1] != height:
                asked = [item.media for item in studio.got(rtcp.Pli) if isinstance(item, rtcp.Pli)]
                studio.control.clear()
                source.asked(asked)
                studio.send(*source.frame())
                await asyncio.sleep(0.01)

    house.media.limit("demo", session, 180, video=True)
    await play(180)
    house.media.limit("demo", session, None, video=True)
    await play(360)  # one step at a time
    numbers = sorted(made.numbers())
    assert consecutive(numbers)
    stamps = [parse(packet).timestamp for packet in sorted(made.of(VIDEO), key=lambda packet: packet[2:4])]
    assert all((after - before) & 0xFFFFFFFF < 90_000 for before, after in pairwise(stamps))


async def test_a_lost_packet_comes_back_in_a_stream_of_its_own(house: House, client: Make, studio: Watcher) -> None:
    source = Source(rids=RIDS)
    made = Watcher(client)
    await house.enter(made.client, "whep", rtx=True)
    await on_air(house, studio, source)
    await until(lambda: made.of(VIDEO))
    relay = house.media.stages["demo"].relay
    number = made.numbers()[0]
    made.report(rtcp.Nack(5, relay.ssrc("video"), (number,)))
    await until(lambda: made.of(RTX_PAYLOAD_TYPES["h264"]))
    (again,) = made.of(RTX_PAYLOAD_TYPES["h264"])
    header = parse(again)
    assert header.ssrc == relay.rtx_ssrc
    assert unwrap_rtx(again, header, payload_type=VIDEO, ssrc=relay.ssrc("video")) == made.of(VIDEO)[0]


async def test_a_keyframe_is_asked_of_the_layer_that_the_viewer_gets(
    house: House, client: Make, studio: Watcher
) -> None:
    source = Source(rids=RIDS)
    await on_air(house, studio, source)
    made = Watcher(client)
    await house.enter(made.client, "whep")
    await until(lambda: made.of(VIDEO))
    (viewer,) = house.media.stages["demo"].relay.subscribers
    await asyncio.sleep(PLI_INTERVAL_S)
    studio.control.clear()
    made.report(rtcp.Pli(5, 1))
    await until(lambda: studio.got(rtcp.Pli))
    assert viewer.layer is not None
    assert [item.media for item in studio.got(rtcp.Pli) if isinstance(item, rtcp.Pli)] == [LAYER_SSRCS[viewer.layer]]


async def test_the_figures_tell_of_layers_and_viewers(house: House, client: Make, studio: Watcher) -> None:
    source = Source(rids=RIDS)
    await on_air(house, studio, source)
    made = Watcher(client)
    await house.enter(made.client, "whep")
    await until(lambda: house.figures and house.figures[-1]["subscribers"] == 1)
    figures = house.figures[-1]
    assert [layer["rid"] for layer in figures["layers"]] == list(RIDS)
    assert sum(figures["audience"]["layers"].values()) == 1
    (rid,) = (rid for rid, number in figures["audience"]["layers"].items() if number)
    read = house.registry.get_sample_value
    assert read("showcart_media_viewers", {"show": "demo", "rid": rid}) == 1
    told = house.media.bulletins.local["demo"]["remb_bps"]
    assert read("showcart_media_ingest_allowed_bits_per_second", {"show": "demo"}) == told
    assert read("showcart_media_viewer_nacks_total", {"show": "demo"}) == 0
    assert read("showcart_media_viewer_loss_ratio", {"show": "demo"}) is None
    await studio.client.close()
    await until(lambda: read("showcart_media_viewers", {"show": "demo", "rid": rid}) is None)
