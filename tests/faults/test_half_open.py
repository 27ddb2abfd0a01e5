"""Viewers whose machines vanish: no FIN, no RST, no ACK. They cost the others nothing, and are forgotten."""

import asyncio
import socket

import psutil
import pytest

from tests.faults.audience import attending, over
from tests.faults.pages import Screen
from tests.faults.stand import CONVERGE_S, Stand
from tests.vanishing import on_linux, vanish

pytestmark = [pytest.mark.timeout(120), on_linux]

GONE = 8


def _held(stand: Stand) -> int:
    """Connections that the workers have."""
    found = 0
    for worker in stand.worker_processes():
        connections = worker.net_connections("tcp")
        found += sum(c.laddr.port == stand.port and c.status == psutil.CONN_ESTABLISHED for c in connections)
    return found


async def test_machines_vanish(stand: Stand) -> None:
    async with attending(stand) as audience:
        ghosts = [Screen(stand.port, 1000 + i) for i in range(GONE)]
        unfinished = [socket.create_connection(("127.0.0.1", stand.port)) for _ in range(GONE)]
        try:
            async with asyncio.timeout(20):
                await asyncio.gather(*(ghost.joined.wait() for ghost in ghosts))
            for sock in unfinished:
                sock.sendall(b"GET /ws/demo HTTP/1.1\r\nHost:")
            for sock in [*unfinished, *(ghost.raw for ghost in ghosts)]:
                vanish(sock)
            everybody = len(audience.everybody)
            async with asyncio.timeout(CONVERGE_S):
                while (await stand.totals("showcart_subscriptions"))["showcart_subscriptions"] > everybody:
                    await asyncio.sleep(0.1)
            await audience.more(20)
            await audience.rest()
            async with asyncio.timeout(CONVERGE_S):
                while _held(stand) > everybody:
                    await asyncio.sleep(0.1)
            assert all(ghost.visits == 1 for ghost in ghosts), "they never heard that it was over"
        finally:
            for sock in unfinished:
                sock.close()
            await asyncio.gather(*(ghost.close() for ghost in ghosts))
        await over(audience, more=0)
