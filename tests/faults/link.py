"""A link in this process: a client talks to it as if it were the server, and it passes on what its paths let through.

The server sees the link's address. `move` gives the link a new one, as a phone gets that leaves the house.
"""

import asyncio
import socket
from collections.abc import Callable
from typing import Any

from tests.faults.path import Conditions, Path

Address = tuple[str, int]
Filter = Callable[[bytes], bool]
"""Whether to let a datagram through, on top of the path; for scripts that must hit one packet."""


class Link:
    """`up` is what the client's datagrams meet, `down` what the server's do."""

    def __init__(self, server: Address, *, up: Conditions | None = None, down: Conditions | None = None, seed: int = 1):
        self.up, self.down = Path(up or Conditions(), seed), Path(down or Conditions(), seed + 1)
        self.up_filter: Filter = lambda datagram: True
        self.down_filter: Filter = lambda datagram: True
        self._server = server
        self._client: Address | None = None
        self._loop = asyncio.get_running_loop()
        self._inner = self._bind(self._from_client)
        self._outer = self._bind(self._from_server)

    @property
    def address(self) -> Address:
        """Where the client finds "the server"."""
        host, port = self._inner.getsockname()
        return host, port

    def through(self, answer: str) -> str:
        """The server's SDP answer with the link's address instead of the server's."""
        host, port = self._server
        assert f" {host} {port} typ host" in answer
        return answer.replace(f" {host} {port} typ host", f" {self.address[0]} {self.address[1]} typ host")

    def move(self) -> None:
        """From now on the server sees another source port; what is sent to the old one is lost."""
        self._unbind(self._outer)
        self._outer = self._bind(self._from_server)

    def close(self) -> None:
        for each in (self._inner, self._outer):
            self._unbind(each)

    def _bind(self, reader: Callable[[socket.socket], None]) -> socket.socket:
        bound = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        bound.setblocking(False)
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 * 1024 * 1024)
        bound.bind(("127.0.0.1", 0))
        self._loop.add_reader(bound.fileno(), reader, bound)
        return bound

    def _unbind(self, bound: socket.socket) -> None:
        if bound.fileno() >= 0:
            self._loop.remove_reader(bound.fileno())
            bound.close()

    def _from_client(self, bound: socket.socket) -> None:
        for datagram, source in _arrived(bound):
            self._client = source
            if self.up_filter(datagram):
                self._pass(self.up, datagram, lambda: self._outer, self._server)

    def _from_server(self, bound: socket.socket) -> None:
        for datagram, _ in _arrived(bound):
            if self._client is not None and self.down_filter(datagram):
                self._pass(self.down, datagram, lambda: self._inner, self._client)

    def _pass(self, path: Path, datagram: bytes, out: Callable[[], socket.socket], to: Address) -> None:
        now = self._loop.time()
        for at in path.offer(len(datagram) + 28, now):  # IPv4 and UDP headers take their share of a bottleneck
            if at <= now:
                _send(out(), datagram, to)
            else:
                self._loop.call_at(at, lambda: _send(out(), datagram, to))


def _arrived(bound: socket.socket) -> list[tuple[bytes, Any]]:
    found = []
    while True:
        try:
            found.append(bound.recvfrom(2048))
        except (BlockingIOError, ConnectionRefusedError):
            return found


def _send(bound: socket.socket, datagram: bytes, to: Address) -> None:
    if bound.fileno() >= 0:  # the link may have been closed meanwhile
        try:
            bound.sendto(datagram, to)
        except (BlockingIOError, ConnectionRefusedError):
            return
