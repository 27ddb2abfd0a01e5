"""Handshakes over bad networks, with real sockets, real timers and both ends' stacks."""

import asyncio

import pytest

from live.core.limits import HANDSHAKE_TIMEOUT_S
from loadtests.benches.client import Client
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
