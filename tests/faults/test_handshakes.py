"""Handshakes over bad networks, with real sockets, real timers and both ends' stacks."""

import asyncio
import re
import socket

import pytest
from aioice import stun

from live.core.limits import AMPLIFICATION_MAX, HANDSHAKE_TIMEOUT_S
from loadtests.media.client import Client
from stream.transport.handshake import Handshake
from stream.transport.peers import _KEYING_BYTES, Certificate
from tests.faults.conftest import Show
from tests.faults.path import Conditions
from tests.stream.conftest import House

VIEWERS = 12


async def test_viewers_join_at_a_fifth_of_loss(show: Show) -> None:
    await show.camera()
    bad = Conditions(loss=0.2, delay_s=0.015, jitter_s=0.005, reorder=0.05, duplicate=0.05)
    links = [show.link(bad, bad, seed=100 * number) for number in range(VIEWERS)]
    async with asyncio.timeout(HANDSHAKE_TIMEOUT_S):
        screens = await asyncio.gather(*[show.screen(link=link) for link in links])
    assert len(screens) == VIEWERS
    assert all(link.down.dropped + link.up.dropped for link in links)
    assert show.house.media.counts["handshake_failed"] == 0


@pytest.mark.parametrize("setup", ["active", "passive"])
async def test_a_host_joins_at_a_fifth_of_loss_whoever_begins(house: House, show: Show, setup: str) -> None:
    client = Client()
    try:
        answer = await house.post("whip", client.offer("sendonly", setup=setup))
        bad = Conditions(loss=0.2, delay_s=0.015)
        await client.connect(show.link(bad, bad, seed=7).through(answer.text), timeout_s=HANDSHAKE_TIMEOUT_S)
    finally:
        await client.close()
    assert house.media.counts["handshake_failed"] == 0


async def test_a_lost_last_flight_is_sent_again(show: Show) -> None:
    """The server has its keys and sends; the viewer has not, and repeats its own flight until it has."""
    await show.camera()
    link, lost = show.link(), 0

    def without_the_first_last_flights(datagram: bytes) -> bool:
        nonlocal lost
        change_cipher_spec = datagram[0] == 20
        lost += change_cipher_spec
        return not change_cipher_spec or lost > 2

    link.down_filter = without_the_first_last_flights
    await show.screen(link=link)
    assert lost >= 3


@pytest.mark.parametrize("setup", ["active", "passive"])
async def test_who_only_says_where_he_is_gets_little_there(house: House, setup: str) -> None:
    """Whoever posts an offer knows the password, and can write somebody else's address on his datagrams."""
    host = Client()
    made = await house.post("whip", host.offer("sendonly", setup=setup))
    await host.close()
    ufrag, password = (re.findall(rf"a=ice-{what}:(\S+)", made.text)[0] for what in ("ufrag", "pwd"))
    request = stun.Message(stun.Method.BINDING, stun.Class.REQUEST)
    request.attributes["USERNAME"] = f"{ufrag}:{host.credentials[0]}"
    request.attributes |= {"PRIORITY": 1, "ICE-CONTROLLING": 1, "USE-CANDIDATE": None}
    request.add_message_integrity(password.encode())
    stranger = Handshake(Certificate.generate().context, [("sha-256", "AB")], _KEYING_BYTES)
    stranger.begin(0.0, active=True)
    datagrams = [bytes(request), *(stranger.take() if setup == "active" else [])]
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as victim:  # never answers
        victim.bind(("127.0.0.1", 0))
        victim.setblocking(False)
        received: list[bytes] = []
        sent_bytes = 0
        for datagram in (*datagrams, datagrams[-1], datagrams[-1]):
            victim.sendto(datagram, ("127.0.0.1", house.media.port.number))
            sent_bytes += len(datagram)
            await asyncio.sleep(0.8)  # repeats of a flight come after 0.1, 0.3 and 0.7 s
            _take(victim, received)
            assert 0 < sum(map(len, received)) <= AMPLIFICATION_MAX * sent_bytes
    assert any(20 <= datagram[0] <= 63 for datagram in received), "what he sends in the end earns an answer"


def _take(receiver: socket.socket, received: list[bytes]) -> None:
    try:
        while True:
            received.append(receiver.recv(2048))
    except BlockingIOError:
        return


@pytest.mark.parametrize("setup", ["active", "passive"])
async def test_a_client_that_answers_no_checks_is_not_shut_out(house: House, setup: str) -> None:
    client = Client()
    client.answers = False
    try:
        answer = await house.post("whip", client.offer("sendonly", setup=setup))
        await client.connect(answer.text, timeout_s=HANDSHAKE_TIMEOUT_S)
    finally:
        await client.close()
    assert house.media.counts["handshake_failed"] == 0


async def test_a_client_that_answers_checks_waits_for_nothing(house: House) -> None:
    client = Client()
    try:
        answer = await house.post("whip", client.offer("sendonly"))
        await client.connect(answer.text)
    finally:
        await client.close()
    assert client.counts["checks"] == 1
