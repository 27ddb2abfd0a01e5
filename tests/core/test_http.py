"""Bounds on requests that never end: real sockets against a real uvicorn in this process."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
import uvloop
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket
from websockets.asyncio.client import connect

from live.core.http import BoundedProtocol
from live.core.limits import HTTP_BODY_BYTES_MAX, HTTP_HEADER_BYTES_MAX, HTTP_HEADERS_MAX, HTTP_PIPELINED_MAX
from live.core.server import Server
from live.realtime.transport import EXTENSION, uvicorn_options

GET = b"GET /path HTTP/1.1\r\nhost: x\r\n"
POST = b"POST /length HTTP/1.1\r\nhost: x\r\n"
SHORT_S = 0.2


class Site:
    """The worker's own server around four small endpoints."""

    def __init__(self) -> None:
        self.gate = asyncio.Event()
        self.outcomes: asyncio.Queue[str] = asyncio.Queue()
        self.port = 0
        self.server: Server

    async def path(self, request: Request) -> PlainTextResponse:
        return PlainTextResponse(str(len(request.headers)))

    async def length(self, request: Request) -> PlainTextResponse:
        try:
            return PlainTextResponse(str(len(await request.body())))
        except ClientDisconnect:
            self.outcomes.put_nowait("disconnected")
            raise

    async def gated(self, request: Request) -> PlainTextResponse:
        await self.gate.wait()
        return PlainTextResponse("opened")

    async def echo(self, websocket: WebSocket) -> None:
        await websocket.accept()
        await websocket.send_text(str(EXTENSION in websocket.scope["extensions"]))
        await websocket.send_text(await websocket.receive_text())
        await websocket.close()

    @asynccontextmanager
    async def running(self) -> AsyncIterator["Site"]:
        async def drain() -> None:
            self.gate.set()

        started = asyncio.Event()
        routes = [
            Route("/path", self.path),
            Route("/length", self.length, methods=["POST"]),
            Route("/gated", self.gated),
            WebSocketRoute("/ws/demo", self.echo),
        ]
        options = {"log_level": "critical", "port": 0, **uvicorn_options()}
        self.server = Server(Starlette(routes=routes), ready=started.set, drain=drain, **options)
        task = asyncio.create_task(self.server.serve())
        async with asyncio.timeout(10):
            await started.wait()
        self.port = self.server.servers[0].sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            self.server.should_exit = True
            await task


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    async with Site().running() as site:
        yield site


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(BoundedProtocol, "head_timeout_s", SHORT_S)
    monkeypatch.setattr(BoundedProtocol, "body_timeout_s", SHORT_S)


class Peer:
    """A plain socket: asyncio's streams would forget an answer when the line is cut while they write."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.loop = asyncio.get_running_loop()
        self.socket = socket.socket()
        self.socket.setblocking(False)

    async def __aenter__(self) -> "Peer":
        await self.loop.sock_connect(self.socket, ("127.0.0.1", self.port))
        return self

    async def __aexit__(self, *_: object) -> None:
        self.socket.close()

    async def send(self, content: bytes) -> None:
        await self.loop.sock_sendall(self.socket, content)

    async def flood(self, content: bytes, times: int) -> int:
        """Send until the server cuts the line; the number of bytes that it took."""
        for number in range(times):
            try:
                await self.send(content)
            except OSError:
                return number * len(content)
        return times * len(content)

    async def rest(self) -> bytes:
        """All that comes until the server closes."""
        received = bytearray()
        async with asyncio.timeout(10):
            try:
                while chunk := await self.loop.sock_recv(self.socket, 65536):
                    received += chunk
            except ConnectionResetError:
                pass
        return bytes(received)

    async def until(self, mark: bytes, count: int = 1) -> bytes:
        received = bytearray()
        async with asyncio.timeout(10):
            while received.count(mark) < count:
                chunk = await self.loop.sock_recv(self.socket, 65536)
                assert chunk, f"closed after {bytes(received)!r}"
                received += chunk
        return bytes(received)


def problem(answer: bytes) -> dict[str, Any]:
    """The members of the only response in `answer`."""
    head, _, body = answer.partition(b"\r\n\r\n")
    members: dict[str, Any] = json.loads(body)
    assert head.startswith(b"HTTP/1.1 %d " % members["status"])
    assert b"content-type: application/problem+json" in head
    assert b"connection: close" in head
    return members


# --- size


@pytest.mark.parametrize(
    "line",
    [b"a: b\r\n", b"a: " + b"x" * 8000 + b"\r\n", b"x" * 10_000, b"x: " + b"y" * 10_000, b":\r\n a"],
    ids=["short lines", "long lines", "one name", "one value", "malformed"],
)
async def test_a_head_without_end_is_refused_unread(site: Site, line: bytes) -> None:
    async with Peer(site.port) as peer:
        await peer.send(GET)
        # One line without end is only one line when nothing comes between its parts.
        sent = await peer.flood(line if len(line) > 1000 else line * 1000, 10_000)
        assert sent < 16 * 1024 * 1024, "the kernel's buffers took that, not the server"
        answer = await peer.rest()
    if answer:  # a reset may overtake it
        assert problem(answer)["code"] in {1001, 1017}
    assert not site.server.server_state.connections


@pytest.mark.parametrize(
    "head",
    [
        GET + b"a: b\r\n" * (HTTP_HEADERS_MAX) + b"\r\n",
        GET + b"a: " + b"x" * HTTP_HEADER_BYTES_MAX + b"\r\n\r\n",
        b"GET /" + b"x" * HTTP_HEADER_BYTES_MAX + b" HTTP/1.1\r\n\r\n",
        b"\r\n" * HTTP_HEADER_BYTES_MAX,
        POST + b"transfer-encoding: chunked\r\n\r\n1;" + b"x" * 2 * HTTP_HEADER_BYTES_MAX,
        POST + b"transfer-encoding: chunked\r\n\r\n0\r\nt: " + b"x" * 2 * HTTP_HEADER_BYTES_MAX,
        POST + b"transfer-encoding: chunked\r\n\r\n0\r\n" + b"t: x\r\n" * HTTP_HEADERS_MAX + b"\r\n",
    ],
    ids=["lines", "bytes", "url", "empty lines", "chunk extension", "trailer", "trailers"],
)
async def test_past_the_bound_there_is_a_numbered_answer(site: Site, head: bytes) -> None:
    async with Peer(site.port) as peer:
        await peer.flood(head, 1)
        assert problem(await peer.rest())["name"] == "headers_too_large"


@pytest.mark.parametrize(
    "headers",
    [b"a: b\r\n" * (HTTP_HEADERS_MAX - 1), b"a: " + b"x" * (HTTP_HEADER_BYTES_MAX - 50) + b"\r\n"],
    ids=["lines", "bytes"],
)
@pytest.mark.parametrize("piece", [1 << 20, 1000])
async def test_just_under_the_bound_passes(site: Site, headers: bytes, piece: int) -> None:
    request = GET + headers + b"\r\n"
    async with Peer(site.port) as peer:
        for _ in range(2):  # each request has the whole bound
            for start in range(0, len(request), piece):
                await peer.send(request[start : start + piece])
            assert (await peer.until(b"\r\n\r\n")).startswith(b"HTTP/1.1 200 ")


async def test_malformed_requests_are_numbered_too(site: Site) -> None:
    async with Peer(site.port) as peer:
        await peer.send(b"HELO example.org\r\n\r\n")
        assert problem(await peer.rest())["name"] == "malformed"


# --- time


@pytest.mark.parametrize(
    "start",
    [b"", b"\r\n", b"G", b"GET /ws/demo HTTP/1.1\r\nhost: x\r\nupgr", POST + b"content-length: 9\r\n\r\n1"],
    ids=["silence", "empty line", "method", "handshake", "body"],
)
async def test_what_does_not_arrive_in_time_is_closed(site: Site, hasty: None, start: bytes) -> None:
    async with Peer(site.port) as peer:
        await peer.send(start)
        assert problem(await peer.rest())["name"] == "request_timeout"
    if start.startswith(b"POST"):
        async with asyncio.timeout(10):
            assert await site.outcomes.get() == "disconnected"


@pytest.mark.parametrize("start", [b"GET /path HTTP/1.1\r\n", POST + b"content-length: 1000000\r\n\r\n"])
async def test_a_byte_now_and_then_gains_no_time(site: Site, hasty: None, start: bytes) -> None:
    async with Peer(site.port) as peer, asyncio.timeout(10):
        await peer.send(start)
        reader = asyncio.create_task(peer.rest())
        while not reader.done():
            await asyncio.sleep(SHORT_S / 10)
            await peer.flood(b"a", 1)
        assert problem(await reader)["name"] == "request_timeout"


@pytest.mark.parametrize("start", [b"\r\n", b"GET /pa"])
async def test_a_request_after_an_answered_one_has_a_deadline_too(
    site: Site, start: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Peer(site.port) as peer:
        await peer.send(GET + b"\r\n")
        await peer.until(b"\r\n\r\n1")
        monkeypatch.setattr(BoundedProtocol, "head_timeout_s", SHORT_S)  # not for the first, which shall be answered
        await peer.send(start)
        assert problem(await peer.rest())["name"] == "request_timeout"


async def test_a_long_body_may_take_longer_than_a_short_one(site: Site) -> None:
    async with Peer(site.port) as peer, asyncio.timeout(10):
        await peer.send(POST + b"content-length: %d\r\n\r\n" % (2 * HTTP_BODY_BYTES_MAX))
        await peer.send(b"x" * HTTP_BODY_BYTES_MAX)
        while not site.server.server_state.connections:
            await asyncio.sleep(0)
        (protocol,) = site.server.server_state.connections
        assert isinstance(protocol, BoundedProtocol)
        while protocol._body_bytes < HTTP_BODY_BYTES_MAX or protocol.flow.read_paused:
            await asyncio.sleep(0)
        protocol._overdue()  # the time itself would depend on how busy this machine is
        await peer.send(b"x" * (HTTP_BODY_BYTES_MAX - 1))
        while protocol._body_bytes < HTTP_BODY_BYTES_MAX - 1 or protocol.flow.read_paused:
            await asyncio.sleep(0)
        protocol._overdue()
        assert problem(await peer.rest())["name"] == "request_timeout"


async def test_nothing_is_due_while_the_response_is_made(site: Site, hasty: None) -> None:
    async with Peer(site.port) as peer:
        await peer.send(b"GET /gated HTTP/1.1\r\n\r\nGET /pa")  # with half a request behind it
        await asyncio.sleep(SHORT_S * 3)
        await peer.send(b"th HTTP/1.1\r\n\r\n")
        site.gate.set()
        assert (await peer.until(b"HTTP/1.1 200 ", 2)).count(b"opened") == 1


async def test_a_reader_that_we_hold_up_is_not_to_blame(site: Site, hasty: None) -> None:
    content = b"x" * 100_000  # more than uvicorn takes before the application reads
    async with Peer(site.port) as peer:
        await peer.send(b"GET /gated HTTP/1.1\r\ncontent-length: 100001\r\n\r\n" + content)
        await asyncio.sleep(SHORT_S * 3)
        site.gate.set()
        assert b"opened" in await peer.until(b"opened")


# --- what must go on working


async def test_pipelined_requests_are_answered_in_order(site: Site) -> None:
    requests = [POST + b"content-length: %d\r\n\r\n%s" % (size, b"x" * size) for size in range(40)]
    async with Peer(site.port) as peer:
        await peer.send(b"".join(requests))
        answers = await peer.until(b"HTTP/1.1 200 ", 40)
        while not answers.endswith(b"\r\n\r\n39"):
            answers += await peer.until(b"39")
    sizes = [int(answer.rpartition(b"\r\n\r\n")[2]) for answer in answers.split(b"HTTP/1.1 200 ")[1:]]
    assert sizes == list(range(40))


async def test_many_pipelined_requests_do_not_pile_up(site: Site) -> None:
    async with Peer(site.port) as peer:
        await peer.flood(b"GET /gated HTTP/1.1\r\n\r\n" * (HTTP_PIPELINED_MAX + 2), 1)
        assert await peer.rest() == b"", "an answer here would be taken for the first request's"


@pytest.mark.parametrize("bad", [b"GET /path HTTP/1.1\r\na: " + b"x" * 50_000, b"malformed\r\n\r\n"])
async def test_a_refusal_never_gets_into_another_response(site: Site, bad: bytes) -> None:
    async with Peer(site.port) as peer:
        await peer.flood(b"GET /gated HTTP/1.1\r\n\r\n" + bad, 1)
        assert await peer.rest() == b""


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[BoundedProtocol]:
    """The server's ends of all connections."""
    all_: list[BoundedProtocol] = []
    before: Callable[..., None] = BoundedProtocol.connection_made

    def remember(protocol: BoundedProtocol, transport: asyncio.Transport) -> None:
        all_.append(protocol)
        before(protocol, transport)

    monkeypatch.setattr(BoundedProtocol, "connection_made", remember)
    return all_


async def test_sockets_are_upgraded_and_free_of_our_deadlines(site: Site, made: list[BoundedProtocol]) -> None:
    async with connect(f"ws://127.0.0.1:{site.port}/ws/demo") as websocket, asyncio.timeout(10):
        assert await websocket.recv() == "True", "the raw transport is there"
        assert made[-1]._deadline is None
        await websocket.send("still here")
        assert await websocket.recv() == "still here"


async def test_handshakes_have_the_same_bounds(site: Site) -> None:
    async with Peer(site.port) as peer:
        head = b"GET /ws/demo HTTP/1.1\r\nconnection: upgrade\r\nupgrade: websocket\r\n"
        await peer.flood(head + b"a: b\r\n" * HTTP_HEADERS_MAX, 1)
        assert problem(await peer.rest())["name"] == "headers_too_large"


async def test_no_timer_is_left_behind(site: Site, made: list[BoundedProtocol]) -> None:
    def waits() -> bool:
        return made[0]._deadline is not None

    async with Peer(site.port) as peer:
        await peer.send(GET + b"\r\n")
        await peer.until(b"\r\n\r\n1")
        assert not waits()
        await peer.send(b"GET")
        async with asyncio.timeout(10):
            while not waits():
                await asyncio.sleep(0)
    async with asyncio.timeout(10):
        while site.server.server_state.connections:
            await asyncio.sleep(0)
    assert not waits()


@pytest.mark.parametrize("loop_factory", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_both_event_loops(
    loop_factory: Callable[[], asyncio.AbstractEventLoop], made: list[BoundedProtocol], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def job() -> None:
        async with Site().running() as site:
            with monkeypatch.context() as hasty:
                hasty.setattr(BoundedProtocol, "head_timeout_s", SHORT_S)
                hasty.setattr(BoundedProtocol, "body_timeout_s", SHORT_S)
                for start, name in [
                    (GET + b"a: " + b"x" * 1_000_000, "headers_too_large"),
                    (b"GE", "request_timeout"),
                    (POST + b"content-length: 2\r\n\r\n1", "request_timeout"),
                ]:
                    async with Peer(site.port) as peer:
                        await peer.flood(start, 1)
                        assert problem(await peer.rest())["name"] == name
            await test_sockets_are_upgraded_and_free_of_our_deadlines(site, made)
            await test_pipelined_requests_are_answered_in_order(site)

    with asyncio.Runner(loop_factory=loop_factory) as runner:
        runner.run(job())
