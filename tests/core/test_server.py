"""The socket that HTTP is served on."""

import gc
import socket
from typing import Any

import pytest

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
