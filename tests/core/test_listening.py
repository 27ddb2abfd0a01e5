"""What the kernel keeps for a peer: little for one that reads nothing, all that it can take for one that reads."""

import asyncio
import socket

import pytest

from live.core.limits import SOCKET_UNSENT_BYTES_MAX, VIEWER_BACKLOG_BYTES_MAX
from live.core.server import listen
from live.core.settings import Settings

_FRAME = b"x" * 8192
_NOTICED_BYTES_MAX = 512 * 1024
_PAGE = bytes(range(256)) * 16 * 1024  # 4 MB


class Sender(asyncio.Protocol):
    """The server's end of a viewer's connection."""

    def __init__(self) -> None:
        self.made: asyncio.Future[asyncio.Transport] = asyncio.get_running_loop().create_future()
        self.stalled = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        transport.set_write_buffer_limits(high=VIEWER_BACKLOG_BYTES_MAX)
        self.made.set_result(transport)

    def pause_writing(self) -> None:
        self.stalled = True


async def connected() -> tuple[Sender, asyncio.Transport, socket.socket]:
    sender = Sender()
    loop = asyncio.get_running_loop()
    with listen(Settings(port=0)) as listener:
        server = await loop.create_server(lambda: sender, sock=listener)
        peer = socket.socket()
        peer.setblocking(False)
        await loop.sock_connect(peer, listener.getsockname())
        transport = await sender.made
        server.close()
    return sender, transport, peer


@pytest.mark.skipif(not hasattr(socket, "TCP_NOTSENT_LOWAT"), reason="this system has no such bound")
async def test_a_peer_that_reads_nothing_is_noticed_soon() -> None:
    sender, transport, peer = await connected()
    written = 0
    while not sender.stalled:
        transport.write(_FRAME)
        written += len(_FRAME)
        assert written <= _NOTICED_BYTES_MAX
        await asyncio.sleep(0)
    transport.abort()
    peer.close()


async def test_a_peer_that_reads_gets_all_of_a_large_answer() -> None:
    _, transport, peer = await connected()
    transport.write(_PAGE)
    transport.close()
    received = bytearray()
    while piece := await asyncio.get_running_loop().sock_recv(peer, 1 << 20):
        received += piece
    assert bytes(received) == _PAGE
    peer.close()


def test_a_system_without_the_bound_listens_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(socket, "TCP_NOTSENT_LOWAT", raising=False)
    with listen(Settings(port=0)) as listener:
        assert listener.getsockname()[1]


@pytest.mark.skipif(not hasattr(socket, "TCP_NOTSENT_LOWAT"), reason="this system has no such bound")
def test_connections_inherit_the_bound() -> None:
    with listen(Settings(port=0)) as listener, socket.create_connection(listener.getsockname()):
        accepted, _ = listener.accept()
        with accepted:
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT) == SOCKET_UNSENT_BYTES_MAX
