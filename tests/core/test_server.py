"""The socket that HTTP is served on."""

import asyncio
import gc
import os
import signal
import socket
from typing import Any

import pytest

from live.core.limits import ACCEPTED_PER_TURN
from live.core.server import Server, listen
from live.core.settings import Settings


@pytest.mark.parametrize(
    ("host", "reached"),
    [("127.0.0.1", {"127.0.0.1"}), ("::1", {"::1"}), ("::", {"127.0.0.1", "::1"}), ("0.0.0.0", {"127.0.0.1"})],
)
def test_the_unspecified_ipv6_address_serves_both_families(host: str, reached: set[str]) -> None:
    found = set()
    with listen(Settings(host=host, port=0, secret="only for this test")) as listener:
        for address in ("127.0.0.1", "::1"):
            try:
                with socket.create_connection((address, listener.getsockname()[1]), timeout=5):
                    found.add(address)
            except ConnectionRefusedError:
                continue
    assert found == reached


async def test_what_the_start_has_made_is_looked_through_once() -> None:
    """A full collection of everything that was imported holds the loop for long enough to be seen in a picture."""
    frozen: list[int] = []

    def ready() -> None:
        frozen.append(gc.get_freeze_count())
        server.should_exit = True

    async def app(scope: Any, receive: Any, send: Any) -> None: ...

    async def drain() -> None: ...

    with listen(Settings(port=0, secret="only for this test")) as listener:
        server = Server(app, ready=ready, drain=drain)
        try:
            await server.serve(sockets=[listener])
        finally:
            gc.unfreeze()
    assert len(frozen) == 1 and frozen[0] > 10_000


async def _hello(scope: Any, receive: Any, send: Any) -> None:
    await asyncio.sleep(0.3 if scope["path"] == "/slow" else 0)
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"5")]})
    await send({"type": "http.response.body", "body": b"hello"})


class _Peer:
    """A client's end, connected without a turn of the server's loop."""

    def __init__(self, port: int) -> None:
        self.socket = socket.socket()
        self.socket.setblocking(False)
        self.socket.connect_ex(("127.0.0.1", port))  # on loopback it is connected at once, or refused

    async def get(self, path: str = "/") -> str:
        loop = asyncio.get_running_loop()
        await loop.sock_sendall(self.socket, f"GET {path} HTTP/1.1\r\nhost: x\r\n\r\n".encode())
        answer = b""
        async with asyncio.timeout(5):
            while not answer.endswith(b"hello"):
                chunk = await loop.sock_recv(self.socket, 4096)
                assert chunk, answer
                answer += chunk
        return answer.decode()

    async def over(self) -> bool:
        async with asyncio.timeout(5):
            return await asyncio.get_running_loop().sock_recv(self.socket, 1) == b""


async def test_a_server_that_drains_lets_nobody_in_and_cuts_nobody_off(caplog: pytest.LogCaptureFixture) -> None:
    drained, ready = asyncio.Event(), asyncio.Event()
    queued: list[_Peer] = []

    async def drain() -> None:
        await drained.wait()
        raise RuntimeError("a bug of ours must not keep the process from ending")

    class Crowded(Server):
        async def _stop_accepting(self, sockets: list[socket.socket]) -> None:
            queued.extend(_Peer(port) for _ in range(50))  # all in one turn of the loop: nobody has accepted them
            await super()._stop_accepting(sockets)

    with listen(Settings(port=0, secret="only for this test")) as listener:
        port = listener.getsockname()[1]
        server = Crowded(_hello, ready=ready.set, drain=drain)
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        await ready.wait()
        gc.unfreeze()
        idle, busy = _Peer(port), _Peer(port)
        assert "connection: close" not in await idle.get()
        answer = asyncio.create_task(busy.get("/slow"))
        os.kill(os.getpid(), signal.SIGTERM)
        async with asyncio.timeout(5):
            while not queued:
                await asyncio.sleep(0.005)
        for peer in queued:
            assert "connection: close" in await peer.get()
        with socket.socket() as late, pytest.raises(ConnectionRefusedError):
            late.setblocking(False)
            await asyncio.get_running_loop().sock_connect(late, ("127.0.0.1", port))
        assert "connection: close" in await answer
        assert "connection: close" in await idle.get(), "what it asks next, another worker answers"
        assert await idle.over()
        assert not serving.done()
        drained.set()
        await serving
    for peer in (idle, busy, *queued):
        peer.socket.close()
    assert "draining failed" in caplog.text


async def test_hanging_up_is_no_end_for_a_service(caplog: pytest.LogCaptureFixture) -> None:
    ready = asyncio.Event()

    async def drain() -> None: ...

    with listen(Settings(port=0, secret="only for this test")) as listener:
        server = Server(_hello, ready=ready.set, drain=drain)
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        await ready.wait()
        gc.unfreeze()
        os.kill(os.getpid(), signal.SIGHUP)
        peer = _Peer(listener.getsockname()[1])
        assert "hello" in await peer.get()
        peer.socket.close()
        server.handle_exit(signal.SIGTERM, None)
        await serving
    assert "this one goes on" in caplog.text


def test_a_crowd_is_let_in_many_at_a_time() -> None:
    """While a crowd is written to, a turn of the loop takes milliseconds; one join a turn would be 250 a second."""
    uvloop = pytest.importorskip("uvloop")

    async def count() -> int:
        turns = 0
        started = asyncio.Event()

        async def drain() -> None: ...

        with listen(Settings(port=0, secret="only for this test")) as listener:
            server = Server(_hello, ready=started.set, drain=drain)
            serving = asyncio.create_task(server.serve(sockets=[listener]))
            await started.wait()
            peers = [_Peer(listener.getsockname()[1]) for _ in range(320)]
            while len(server.server_state.connections) < len(peers) and turns < 1000:
                await asyncio.sleep(0)
                turns += 1
            for peer in peers:
                peer.socket.close()
            server.should_exit = True
            await serving
        return turns

    try:
        assert uvloop.run(count()) <= 2 * 320 / ACCEPTED_PER_TURN
    finally:
        gc.unfreeze()
