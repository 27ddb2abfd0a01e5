"""The UDP port: who is let in, who is never answered, and how much is read at once. Real sockets throughout."""

import logging
import socket
from collections.abc import AsyncIterator, Callable, Iterator

import pytest
from aioice import stun
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from live.core.limits import PEER_ADDRESSES_MAX, UDP_DATAGRAM_BYTES_MAX, UDP_READ_BURST
from stream.transport.ice import IcePort
from stream.transport.paths import Credentials
from tests.stream.checking import Session, answer, binding
from tests.stream.conftest import until


@pytest.fixture(params=["127.0.0.1", "::1"])
async def port(request: pytest.FixtureRequest) -> AsyncIterator[IcePort]:
    opened = IcePort()
    opened.open(request.param, 0)
    yield opened
    opened.close()


@pytest.fixture
def far(port: IcePort) -> Iterator[Callable[[], socket.socket]]:
    """Makes far ends: sockets connected to the port."""
    made: list[socket.socket] = []

    def make() -> socket.socket:
        each = socket.socket(port.raw.family, socket.SOCK_DGRAM)
        each.connect(port.raw.getsockname())
        each.setblocking(False)
        made.append(each)
        return each

    yield make
    for each in made:
        each.close()


def unanswered(client: socket.socket) -> bool:
    try:
        client.recv(2048)
    except BlockingIOError:
        return True
    return False


Far = Callable[[], socket.socket]


async def test_a_signed_request_is_answered_and_proves_its_address(port: IcePort, far: Far) -> None:
    session, client = Session(), far()
    port.add(session, session.credentials)
    request = binding(nominate=True)
    client.send(request)
    datagram = await answer(client)
    reply = stun.parse_message(datagram)
    assert reply.message_class is stun.Class.RESPONSE
    assert reply.transaction_id == stun.parse_message(request).transaction_id
    assert reply.attributes["XOR-MAPPED-ADDRESS"] == client.getsockname()[:2]
    assert reply.check_message_integrity(b"password")
    assert len(datagram) <= len(request)
    assert [(address[:2], nominated) for address, nominated in session.bindings] == [(client.getsockname()[:2], True)]
    client.send(b"\x80media")
    await until(lambda: session.datagrams == [b"\x80media"])


REFUSED: dict[str, tuple[bytes, str]] = {
    "wrong password": (binding(password=b"wrong"), "stun_wrong_password"),
    "unknown user": (binding(user="nobody:client"), "stun_unknown_user"),
    "no user": (binding(user=""), "stun_unknown_user"),
    "not a request": (binding(kind=stun.Class.INDICATION), "stun_unexpected"),
    "cut off": (binding()[:-8], "stun_malformed"),
    "cut in half": (binding()[:40], "stun_malformed"),
    "unsigned": (
        bytes(stun.Message(stun.Method.BINDING, stun.Class.REQUEST, attributes={"USERNAME": "server:x"})),
        "stun_wrong_password",
    ),
    "one byte": (b"\x00", "stun_malformed"),
    "empty": (b"", "wrong_size"),
    "one byte too long": (b"\x16" * (UDP_DATAGRAM_BYTES_MAX + 1), "wrong_size"),
    "as long as UDP goes": (b"\x80" * 65000, "wrong_size"),
    "media of a stranger": (b"\x80" * UDP_DATAGRAM_BYTES_MAX, "unknown_address"),
    "DTLS of a stranger": (b"\x16\xfe\xfd", "unknown_address"),
    "HTTP": (b"GET / HTTP/1.1", "unknown_address"),
}


@pytest.mark.parametrize("what", REFUSED)
async def test_everything_else_is_counted_and_never_answered(port: IcePort, far: Far, what: str) -> None:
    (datagram, counted), session, client = REFUSED[what], Session(), far()
    port.add(session, session.credentials)
    client.send(datagram)
    await until(lambda: port.counts[counted] == 1)
    assert dict(port.counts) == {counted: 1}
    assert unanswered(client)
    assert not session.bindings
    assert not session.datagrams


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(st.one_of(st.binary(max_size=80), st.binary(max_size=80).map(lambda tail: binding()[:24] + tail)))
async def test_garbage_never_gets_through(port: IcePort, garbage: bytes) -> None:
    port._route(garbage, ("192.0.2.1", 9))
    assert not port.counts["crashed"]


async def test_the_newest_session_of_an_address_gets_its_packets(port: IcePort, far: Far) -> None:
    old, new, client = Session(), Session("newer"), far()
    port.add(old, old.credentials)
    port.add(new, new.credentials)
    client.send(binding())
    await answer(client)
    client.send(binding(user="newer:client"))
    await answer(client)
    client.send(b"\x80")
    await until(lambda: new.datagrams)
    port.remove(old)
    client.send(b"\x80")
    await until(lambda: len(new.datagrams) == 2)
    port.remove(new)
    port.remove(new)
    client.send(b"\x80")
    await until(lambda: port.counts["unknown_address"] == 1)
    assert not old.datagrams


async def test_nobody_takes_the_address_of_a_live_session(port: IcePort, far: Far) -> None:
    host, thief, client = Session(), Session("thief"), far()
    port.add(host, host.credentials)
    port.add(thief, thief.credentials)
    client.send(binding())
    await answer(client)
    host.alive = True
    client.send(binding(user="thief:client", nominate=True))  # as a forged source address would
    await until(lambda: port.counts["stun_address_owned"] == 1)
    assert unanswered(client)
    assert not thief.bindings
    client.send(b"\x80")
    await until(lambda: len(host.datagrams) == 1)
    host.alive = False  # quiet for a while: a browser may use its port again
    client.send(binding(user="thief:client"))
    await answer(client)
    client.send(b"\x80")
    await until(lambda: len(thief.datagrams) == 1)


async def test_a_session_keeps_only_its_newest_addresses(port: IcePort, far: Far) -> None:
    session = Session()
    port.add(session, session.credentials)
    clients = [far() for _ in range(PEER_ADDRESSES_MAX + 1)]
    for client in clients:
        client.send(binding())
        await answer(client)
    clients[0].send(b"\x80")
    await until(lambda: port.counts["unknown_address"] == 1)
    clients[1].send(b"\x80")
    await until(lambda: session.datagrams)


async def test_a_long_queue_is_read_in_bursts(port: IcePort, far: Far) -> None:
    session, client = Session(), far()
    port.add(session, session.credentials)
    client.send(binding())
    await answer(client)
    for _ in range(UDP_READ_BURST + 1):
        client.send(b"\x80")
    port._read()
    assert len(session.datagrams) == UDP_READ_BURST
    await until(lambda: len(session.datagrams) == UDP_READ_BURST + 1)


async def test_a_bug_in_one_packet_is_logged_and_the_rest_goes_on(
    port: IcePort, far: Far, caplog: pytest.LogCaptureFixture
) -> None:
    session, client = Session(), far()
    port.add(session, session.credentials)
    client.send(binding())
    await answer(client)
    with caplog.at_level(logging.ERROR):
        for _ in range(5):
            client.send(b"\xffbug")
        client.send(b"\x80fine")
        await until(lambda: session.datagrams == [b"\x80fine"])
    assert port.counts["crashed"] == 5
    assert len(caplog.records) == 3  # the first, the second, the fourth


async def test_sending_what_the_kernel_refuses_is_counted(port: IcePort) -> None:
    assert not port.send(b"x" * 70_000, port.raw.getsockname())
    assert port.counts["send_failed"] == 1


async def test_a_restart_adds_credentials_and_voids_them(port: IcePort, far: Far) -> None:
    session, client = Session(), far()
    port.add(session, session.credentials)
    port.add(session, Credentials("again", "secret"))
    client.send(binding(user="server:client"))
    assert stun.parse_message(await answer(client)).check_message_integrity(b"password")
    session.credentials = Credentials("again", "secret")
    client.send(binding(user="again:client", password=b"secret"))
    assert stun.parse_message(await answer(client)).check_message_integrity(b"secret")
    port.void(session, Credentials("server", "password"))
    client.send(binding(user="server:client"))
    await until(lambda: port.counts["stun_unknown_user"] == 1)
    client.send(b"\x80")
    await until(lambda: session.datagrams)
    port.remove(session)
    client.send(binding(user="again:client", password=b"secret"))
    await until(lambda: port.counts["stun_unknown_user"] == 2)


REMOTE = Credentials("client", "its password")


def response(check: bytes, password: bytes, kind: stun.Class = stun.Class.RESPONSE) -> bytes:
    message = stun.Message(stun.Method.BINDING, kind, stun.parse_message(check).transaction_id)
    message.add_message_integrity(password)
    return bytes(message)


async def test_a_check_is_answered_only_by_who_receives_it_and_knows_the_password(port: IcePort, far: Far) -> None:
    session, client, other = Session(), far(), far()
    port.add(session, session.credentials)
    client.send(binding())
    await answer(client)
    address = session.bindings[0][0]
    port.check(session, address, "server", REMOTE, 200)
    check = await answer(client)
    request = stun.parse_message(check)
    assert request.attributes["USERNAME"] == "client:server"
    assert request.check_message_integrity(b"its password")
    client.send(response(check, b"guessed"))
    await until(lambda: port.counts["stun_wrong_password"] == 1)
    other.send(response(check, b"its password"))  # it would have to know the number
    await until(lambda: port.counts["stun_unexpected"] == 1)
    client.send(response(check, b"its password", stun.Class.ERROR))
    await until(lambda: port.counts["stun_unexpected"] == 2)
    assert session.answers == []
    client.send(response(check, b"its password"))
    await until(lambda: session.answers == [address])
    client.send(response(check, b"its password"))
    await until(lambda: port.counts["stun_unexpected"] == 3)
    assert session.answers == [address]


async def test_no_check_is_longer_than_the_request_that_it_follows(port: IcePort, far: Far) -> None:
    session, client = Session(), far()
    port.add(session, session.credentials)
    client.send(binding())
    await answer(client)
    port.check(session, session.bindings[0][0], "server", Credentials("long" * 50, "its password"), 200)
    assert unanswered(client)
    assert port.counts["stun_too_short"] == 1


async def test_each_address_has_its_own_check(port: IcePort, far: Far) -> None:
    session, clients = Session(), (far(), far())
    port.add(session, session.credentials)
    checks = []
    for client in clients:
        client.send(binding())
        await answer(client)
        port.check(session, session.bindings[-1][0], "server", REMOTE, 200)
        checks.append(await answer(client))
    for client, check in zip(clients, checks, strict=True):
        client.send(response(check, b"its password"))
    await until(lambda: len(session.answers) == 2)
    assert not port._checks


async def test_checks_are_paced_and_repeated(port: IcePort, far: Far, monkeypatch: pytest.MonkeyPatch) -> None:
    session, client = Session(), far()
    port.add(session, session.credentials)
    client.send(binding())
    await answer(client)
    address = session.bindings[0][0]
    for _ in range(50):
        port.check(session, address, "server", REMOTE, 200)
    first = await answer(client)
    assert unanswered(client)
    monkeypatch.setattr("stream.transport.ice.PATH_CHECK_INTERVAL_S", 0.0)
    port.check(session, address, "server", REMOTE, 200)
    assert await answer(client) == first, "whose answer may be on its way"
    port.check(session, address, "server", Credentials("client", "another"), 200)
    assert await answer(client) != first
    client.send(response(first, b"its password"))
    await until(lambda: port.counts["stun_unexpected"] == 1)
    port.remove(session)
    assert not port._checks
