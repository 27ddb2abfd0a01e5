"""From publisher to viewers with exact packets: numbering, joining, and what is refused on the way."""

import asyncio
import struct

import pytest
from aioice import stun

from live.core.limits import GOP_FRESH_S
from loadtests.media.source import Source
from stream.feed import Arrival
from stream.wire import rtcp
from stream.wire.rtp import PacketError, parse
from tests.stream.conftest import House, Make, until, viewer
from tests.stream.watching import AUDIO, VIDEO, Watcher, consecutive


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
    source, publication = Source(), house.media.stages["demo"].publication
    assert publication is not None
    house.clock.stop()
    for sent in (6, 12, 18, 24):  # the layer is never silent for long, and its keyframe grows old
        house.clock.shift_s += GOP_FRESH_S / 2
        publisher.send(*source.frame())
        await until(lambda then=sent: publication.ingest._layers[0].reception.packets == then)  # type: ignore[misc]
    late = Watcher(client)
    answer = await house.post("whep", late.client.offer("recvonly"))
    await until(lambda: publisher.got(rtcp.Pli))
    source.keyframe = True
    publisher.send(*source.frame())
    await late.client.connect(answer.text)

    def shown() -> bool:
        house.clock.shift_s += 0.005  # what is sent is spread over time
        return len(late.of(VIDEO)) == 6

    await until(shown)
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


@pytest.mark.parametrize("house", ["::1"], indirect=True)
async def test_it_works_over_ip_version_6(house: House, client: Make) -> None:
    publisher, one = client(host="::1"), client(host="::1")
    await house.enter(publisher, "whip")
    await until(lambda: house.told)
    await house.enter(one, "whep")
    assert house.media.addresses[0][0] == "::1"


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
