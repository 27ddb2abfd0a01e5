"""The far end: its handshake in turns, its keys, and what it may not do."""

import asyncio
from collections.abc import Callable

import pylibsrtp
import pytest

from live.core.limits import DTLS_QUEUE_DATAGRAMS_MAX, EARLY_DATAGRAMS_MAX, HANDSHAKE_DATAGRAMS_MAX
from loadtests.media.client import Client
from loadtests.media.source import Source
from stream.connections import Publication
from stream.transport.ice import IcePort
from stream.transport.peers import Certificate, Peer
from stream.wire import rtcp
from tests.stream.conftest import House, until

Make = Callable[..., Client]


def test_one_tls_context_and_one_queue_serve_all_sessions() -> None:
    certificate = Certificate.generate()
    first, second = (Peer(IcePort(), certificate, (("sha-256", "AB"),), _Nobody(), active=False) for _ in range(2))
    assert first._turns is second._turns
    assert first._dtls._ssl.get_context() is second._dtls._ssl.get_context()
    assert certificate.fingerprint.count(":") == 31
    assert certificate.fingerprint == certificate.fingerprint.upper()


@pytest.mark.parametrize("setup", ["actpass", "active", "passive"])
async def test_either_end_may_begin_the_handshake_and_the_fast_cipher_is_chosen(
    house: House, client: Make, setup: str
) -> None:
    publisher = client()
    await house.enter(publisher, "whip", setup=setup)
    await until(lambda: house.media.on_air("demo"))
    connection = house.media.stages["demo"].publication
    assert connection is not None
    assert connection.peer.profile == "SRTP_AEAD_AES_128_GCM"
    assert publisher.peer is not None
    source = Source()
    for packet in source.frame():
        publisher.peer.send_rtp(packet)
    await until(lambda: connection.ingest.statistics()["fps"] > 0)


async def test_another_certificate_than_the_offered_is_refused(house: House, client: Make) -> None:
    impostor = client()
    offer = impostor.offer("sendonly")
    true = Certificate.generate().fingerprint
    mine = offer.partition("a=fingerprint:sha-256 ")[2].partition("\r\n")[0]
    answer = await house.post("whip", offer.replace(mine, true))
    await impostor.connect(answer.text)  # its own half of the handshake succeeds
    await until(lambda: house.media.ended["publisher", "handshake_failed"] == 1)
    assert not house.media.sessions


async def test_replayed_truncated_and_forged_packets_are_counted_and_harm_nobody(house: House, client: Make) -> None:
    publisher = client()
    await house.enter(publisher, "whip")
    assert publisher.peer is not None
    counts, source = house.media.counts, Source()
    good = [publisher.peer.protect(packet) for packet in source.frame()]
    connection = house.media.stages["demo"].publication
    assert isinstance(connection, Publication)
    bad = [good[0], good[0][:20], good[0][:13], b"\x80\x66", b"\x80\xc8", b"\x80\xc8" + bytes(50), b"\x80\x66" * 30]
    for datagram in good + bad:
        publisher.socket.sendto(datagram, connection.peer._port.raw.getsockname())
    await until(lambda: counts["srtp_refused"] == len(bad))
    for datagram in (b"\x90", b"\x40\x40", b"\xff"):
        publisher.socket.sendto(datagram, connection.peer._port.raw.getsockname())
    await until(lambda: counts["unexpected"] == 3)
    for packet in source.frame():
        publisher.peer.send_rtp(packet)
    await until(lambda: connection.ingest._layers[0].reception.packets == 12)


async def test_dtls_garbage_after_the_handshake_is_survived_and_a_flood_is_bounded(house: House, client: Make) -> None:
    publisher = client()
    await house.enter(publisher, "whip")
    connection = house.media.stages["demo"].publication
    assert connection is not None
    far = connection.peer.address
    assert far is not None
    connection.peer.received(b"\x16garbage", far)
    connection.peer.received(b"\x17\xfe\xfd" + bytes(60), far)
    for _ in range(DTLS_QUEUE_DATAGRAMS_MAX + 5):
        connection.peer.received(b"\x16flood", far)
    assert house.media.counts["dtls_flood"] >= 5
    await until(lambda: not connection.peer._datagrams)
    assert house.media.on_air("demo")


class _Nobody:
    """An owner that only counts."""

    def __init__(self) -> None:
        self.closed: list[bool] = []

    def peer_alive(self) -> bool:
        return True

    def peer_bound(self) -> None: ...

    def peer_secured(self) -> None: ...

    def peer_closed(self, *, failed: bool) -> None:
        self.closed.append(failed)

    def peer_rtp(self, packet: bytes) -> None: ...

    def peer_rtcp(self, packet: bytes) -> None: ...


@pytest.fixture
async def lonely() -> tuple[Peer, _Nobody]:
    owner = _Nobody()
    return Peer(IcePort(), Certificate.generate(), (("sha-256", "AB"),), owner, active=False), owner


async def test_packets_before_the_handshake_are_kept_in_bounds(lonely: tuple[Peer, _Nobody]) -> None:
    peer, _ = lonely
    peer.received(b"\x80before any binding", ("127.0.0.1", 9))
    assert peer.counts["early"] == 1
    peer.bound(("127.0.0.1", 9), peer.credentials.ufrag, nominated=False)
    for _ in range(EARLY_DATAGRAMS_MAX + 2):
        peer.received(b"\x80early", ("127.0.0.1", 9))
    assert peer.counts["early"] == 3
    await peer.close()


async def test_without_keys_nothing_is_sent(lonely: tuple[Peer, _Nobody]) -> None:
    peer, _ = lonely
    assert not peer.send_rtp(b"x")
    assert not peer.send_rtcp(rtcp.build([rtcp.ReceiverReport(1)]))
    assert peer.counts["protect_refused"] == 2
    with pytest.raises(pylibsrtp.Error):
        peer.protect(b"x")
    assert peer.profile == ""
    await peer.close()


async def test_closing_in_the_middle_of_the_handshake_tells_nobody(lonely: tuple[Peer, _Nobody]) -> None:
    peer, owner = lonely
    peer.bound(("127.0.0.1", 9), peer.credentials.ufrag, nominated=True)
    await asyncio.sleep(0)
    await peer.close()
    await peer.close()
    peer.bound(("127.0.0.1", 10), peer.credentials.ufrag, nominated=True)
    assert peer.address == ("127.0.0.1", 9)
    assert owner.closed == []


async def test_the_first_and_every_nominated_address_is_sent_to(lonely: tuple[Peer, _Nobody]) -> None:
    peer, _ = lonely
    for number, nominated, expected in ((1, False, 1), (2, False, 1), (3, True, 3), (4, False, 3)):
        peer.bound(("127.0.0.1", number), peer.credentials.ufrag, nominated=nominated)
        assert peer.address == ("127.0.0.1", expected)
    await peer.close()


async def test_a_handshake_that_nobody_answers_ends(lonely: tuple[Peer, _Nobody]) -> None:
    peer, owner = lonely
    peer.bound(("127.0.0.1", 9), peer.credentials.ufrag, nominated=True)
    await until(lambda: peer._timer is not None)
    peer._deadline = 0.0
    peer._expired()
    assert owner.closed == [True]
    assert peer.counts["handshake_failed"] == 1
    peer.received(b"\x16too late", ("127.0.0.1", 9))
    assert not peer._datagrams
    await peer.close()
    assert owner.closed == [True]


async def test_what_openssl_or_its_binding_raises_ends_this_session_only(
    lonely: tuple[Peer, _Nobody], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise ValueError("a bug below")

    peer, owner = lonely
    peer.bound(("127.0.0.1", 9), peer.credentials.ufrag, nominated=True)
    await until(lambda: peer._timer is not None)
    monkeypatch.setattr(peer._dtls, "received", broken)
    peer.received(b"\x16x", ("127.0.0.1", 9))
    await until(lambda: owner.closed == [True])
    await peer.close()


async def test_a_flood_of_handshake_datagrams_ends_in_failure(lonely: tuple[Peer, _Nobody]) -> None:
    peer, owner = lonely
    peer.bound(("127.0.0.1", 9), peer.credentials.ufrag, nominated=True)
    for _ in range(HANDSHAKE_DATAGRAMS_MAX + 1):
        peer.received(b"\x16\xfe\xfd" + bytes(60), ("127.0.0.1", 9))
        await until(lambda: not peer._datagrams)
    await until(lambda: owner.closed == [True])
    await peer.close()


async def test_a_new_address_gets_a_new_target(house: House, client: Make) -> None:
    publisher = client()
    await house.enter(publisher, "whip")
    connection = house.media.stages["demo"].publication
    assert connection is not None
    peer = connection.peer
    before = peer.target
    assert before is not None
    before.kind = (*before.kind[:2], False)  # that path did not take segmented messages
    peer.bound(("127.0.0.1", 9), peer.credentials.ufrag, nominated=True)
    assert peer.target is before, "somebody must answer there first"
    peer.answered(("127.0.0.1", 9))
    assert peer.address == ("127.0.0.1", 9)
    assert peer.target is not None
    assert peer.target.name != before.name
    assert peer.target.kind == (16, 16, True)
