"""The network that the fault tests play is itself tried: a fault that does not happen proves nothing."""

import asyncio
import itertools
import socket

import pytest

from tests.faults.network import Network, inside, missing
from tests.faults.path import Conditions, Path


def _fates(conditions: Conditions, seed: int = 3, count: int = 2000) -> list[tuple[float, ...]]:
    path = Path(conditions, seed)
    return [path.offer(1000, index * 0.001) for index in range(count)]


def test_the_same_seed_plays_the_same_faults() -> None:
    rough = Conditions(loss=0.05, delay_s=0.03, jitter_s=0.01, reorder=0.02, duplicate=0.02)
    assert _fates(rough) == _fates(rough) != _fates(rough, seed=4)


def test_loss_duplicates_and_reordering_happen_as_often_as_asked() -> None:
    fates = _fates(Conditions(loss=0.05, delay_s=0.03, reorder=0.03, duplicate=0.04))
    lost = sum(not fate for fate in fates)
    doubled = sum(len(fate) == 2 for fate in fates)
    arrivals = [fate[0] for fate in fates if fate]
    overtaken = sum(later < earlier for earlier, later in itertools.pairwise(arrivals))
    assert 70 <= lost <= 130 and 50 <= doubled <= 110 and 30 <= overtaken <= 90
    assert all(fate[0] >= index * 0.001 + 0.03 for index, fate in enumerate(fates) if fate)


def test_a_bottleneck_delays_and_then_drops() -> None:
    """2,000 packets of 8,000 bits in two seconds, through a link that carries a quarter of that."""
    fates = _fates(Conditions(bits_per_s=2_000_000, queue_bytes=50_000))
    carried = [fate[0] for fate in fates if fate]
    assert 500 <= len(carried) <= 560
    assert max(fate[0] - index * 0.001 for index, fate in enumerate(fates) if fate) == pytest.approx(0.2, abs=0.005)


@pytest.mark.skipif(missing() is not None, reason=missing() or "")
async def test_two_hosts_talk_through_their_link() -> None:
    loop = asyncio.get_running_loop()
    network = Network(there=Conditions(delay_s=0.02), back=Conditions(delay_s=0.03))
    sockets = []
    try:
        for namespace, ip in ((network.near, network.near_ip), (network.far, network.far_ip)):
            with inside(namespace):
                sockets.append(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
            sockets[-1].setblocking(False)
            sockets[-1].bind((ip, 0))
        near, far = sockets
        began = loop.time()
        await loop.sock_sendto(far, b"ping", near.getsockname())
        datagram, source = await loop.sock_recvfrom(near, 100)
        await loop.sock_sendto(near, datagram + b" pong", source)
        answer, _ = await loop.sock_recvfrom(far, 100)
        assert (answer, source[0]) == (b"ping pong", network.far_ip)
        assert loop.time() - began >= 0.05
        network.there.conditions.loss = 1.0
        dropped = network.there.dropped
        await loop.sock_sendto(near, b"lost", source)
        while network.there.dropped == dropped:
            await asyncio.sleep(0.001)
    finally:
        for each in sockets:
            each.close()
        network.close()
