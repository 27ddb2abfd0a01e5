"""Bounds on peers rather than on requests: how many there may be, and how long they may not read."""

import asyncio
import socket
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from live.core.http import BoundedProtocol
from live.core.server import Server
from live.realtime.transport import uvicorn_options
from tests.core.test_http import Peer

GET = b"GET / HTTP/1.1\r\nhost: x\r\n\r\n"
BIG = 8 * 1024 * 1024


@pytest.fixture
async def port() -> AsyncIterator[int]:
    """A server that answers `/` with a word, and `/big` with more than a peer's and our kernel take."""

    async def word(_request: Request) -> PlainTextResponse:
        return PlainTextResponse("word")

    async def big(_request: Request) -> PlainTextResponse:
        return PlainTextResponse("x" * BIG)

    async def drain() -> None:
        return

    started = asyncio.Event()
    options = {"log_level": "critical", "port": 0, **uvicorn_options()}
    application = Starlette(routes=[Route("/", word), Route("/big", big)])
    server = Server(application, ready=started.set, drain=drain, **options)
    task = asyncio.create_task(server.serve())
    async with asyncio.timeout(10):
        await started.wait()
    yield server.servers[0].sockets[0].getsockname()[1]
    server.should_exit = True
    await task


async def status(peer: Peer) -> int:
    """Of the answer, whether anything was asked or not."""
    async with asyncio.timeout(10):
        return int((await peer.loop.sock_recv(peer.socket, 4096)).split(b" ")[1])


async def unfinished(expected: dict[str, int]) -> None:
    async with asyncio.timeout(10):
        while BoundedProtocol.unfinished != expected:
            await asyncio.sleep(0.01)


async def test_a_worker_has_so_many_connections(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(BoundedProtocol, "connections_max", 2)
    before = Counter(BoundedProtocol.refused)
    async with AsyncExitStack() as stack:
        first, second, third = [await stack.enter_async_context(Peer(port)) for _ in range(3)]
        answer = await third.loop.sock_recv(third.socket, 4096)
        assert answer.startswith(b"HTTP/1.1 503 ") and b"retry-after: 5\r\n" in answer
        for peer in (first, second):
            await peer.send(GET)
            assert await status(peer) == 200
    assert Counter(BoundedProtocol.refused) - before == {"overloaded": 1}


async def test_a_peer_has_so_many_connections_that_say_nothing(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(BoundedProtocol, "unfinished_max", 2)
    async with AsyncExitStack() as stack:
        served = [await stack.enter_async_context(Peer(port)) for _ in range(2)]
        for peer in served:
            await peer.send(GET)
            assert await status(peer) == 200
        await unfinished({})
        silent = [await stack.enter_async_context(Peer(port)) for _ in range(2)]
        await silent[0].send(GET[:10])
        await unfinished({"127.0.0.1": 2})
        one_more = await stack.enter_async_context(Peer(port))
        assert await status(one_more) == 429
        await served[0].send(GET)
        assert await status(served[0]) == 200, "who has asked before is no newcomer"
        await silent[0].send(GET[10:])
        assert await status(silent[0]) == 200
    await unfinished({})


async def test_a_peer_that_does_not_read_its_answer_is_cut(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(BoundedProtocol, "stall_s", 0.1)
    before = Counter(BoundedProtocol.refused)
    async with Peer(port) as peer:
        peer.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        await peer.send(GET.replace(b"/ ", b"/big "))
        async with asyncio.timeout(10):
            while not (cut := Counter(BoundedProtocol.refused) - before):
                await asyncio.sleep(0.01)
        assert cut == {"stalled": 1}


async def test_a_peer_that_reads_in_time_gets_all_of_it(port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(BoundedProtocol, "stall_s", 5.0)
    async with Peer(port) as peer:
        await peer.send(GET.replace(b"/ ", b"/big "))
        read = 0
        async with asyncio.timeout(20):
            while read < BIG:
                read += len(await peer.loop.sock_recv(peer.socket, 1 << 20))
        await peer.send(GET)
        assert await status(peer) == 200


async def test_an_upgrade_waits_for_the_answer_before_it(port: int) -> None:
    before = Counter(BoundedProtocol.refused)
    upgrade = b"GET / HTTP/1.1\r\nhost: x\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\n"
    async with Peer(port) as peer:
        await peer.send(GET.replace(b"/ ", b"/big ") + upgrade)
        await peer.rest()
    assert Counter(BoundedProtocol.refused) - before == {"upgraded_early": 1}
