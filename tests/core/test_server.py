"""The socket that HTTP is served on."""

import socket

import pytest

from live.core.server import listen
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
