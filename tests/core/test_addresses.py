"""Who is behind a proxy, and what nobody can make us believe."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from live.core.addresses import ClientAddresses, Proxies, network
from live.core.limits import FORWARDED_CHARS_MAX, FORWARDED_HOPS_MAX
from live.core.settings import SettingsError, load

OURS = ("10.0.0.0/8", "::1", "2001:db8:ff::/48")


@pytest.mark.parametrize(
    ("peer", "said", "client"),
    [
        ("10.0.0.1", [], "10.0.0.1"),
        ("10.0.0.1", ["192.0.2.7"], "192.0.2.7"),
        ("192.0.2.1", ["192.0.2.7"], "192.0.2.1"),
        ("127.0.0.1", ["192.0.2.7"], "127.0.0.1"),
        ("10.0.0.1", ["198.51.100.9, 192.0.2.7"], "192.0.2.7"),
        ("10.0.0.1", ["198.51.100.9", "192.0.2.7"], "192.0.2.7"),
        ("10.0.0.1", ["198.51.100.9, 192.0.2.7, 10.0.0.2"], "192.0.2.7"),
        ("10.0.0.1", ["10.0.0.3,10.0.0.2"], "10.0.0.3"),
        ("10.0.0.1", [""], "10.0.0.1"),
        ("10.0.0.1", ["192.0.2.7, "], "10.0.0.1"),
        ("10.0.0.1", ["192.0.2.7, unknown, 10.0.0.2"], "10.0.0.2"),
        ("10.0.0.1", ["\xff\x00"], "10.0.0.1"),
        ("::ffff:10.0.0.1", ["192.0.2.7:5555"], "192.0.2.7"),
        ("10.0.0.1", ["::ffff:192.0.2.7"], "192.0.2.7"),
        ("::1", ["2001:db8::7"], "2001:db8::7"),
        ("::1", ["[2001:db8::7]:443, [2001:db8:ff::2]"], "2001:db8::7"),
        ("fe80::1%eth0", ["192.0.2.7"], "fe80::1%eth0"),
        ("", ["192.0.2.7"], ""),
    ],
)
def test_x_forwarded_for_is_read_from_the_right_as_far_as_our_own_hops_go(
    peer: str, said: list[str], client: str
) -> None:
    headers = [(b"x-forwarded-for", each.encode("latin-1")) for each in said]
    headers.insert(0, (b"forwarded", b"for=203.0.113.1"))
    assert Proxies(OURS).client(peer, headers) == client


@pytest.mark.parametrize(
    ("said", "client"),
    [
        ("for=192.0.2.7", "192.0.2.7"),
        ('For="[2001:db8::7]:4711"', "2001:db8::7"),
        ("proto=https;for=192.0.2.7;by=10.0.0.1", "192.0.2.7"),
        ("for=198.51.100.9, for = 192.0.2.7 ;proto=http", "192.0.2.7"),
        ("for=198.51.100.9, for=192.0.2.7, for=10.0.0.2", "192.0.2.7"),
        ('for=198.51.100.9, for=192.0.2.7;host="a,b"', "192.0.2.7"),
        ('for="198.51.100.9, for=192.0.2.7', "192.0.2.7"),
        ('for="x\\", for="[2001:db8::7]"', "2001:db8::7"),
        ("for=_hidden, for=10.0.0.2", "10.0.0.2"),
        ("for=unknown", "10.0.0.1"),
        ("for=10.0.0.3, for=10.0.0.2", "10.0.0.3"),
        ("by=192.0.2.7", "10.0.0.1"),
        ("", "10.0.0.1"),
        ("for=", "10.0.0.1"),
    ],
)
def test_forwarded_is_read_likewise(said: str, client: str) -> None:
    headers = [(b"x-forwarded-for", b"203.0.113.1"), (b"forwarded", said.encode())]
    assert Proxies(OURS, "forwarded").client("10.0.0.1", headers) == client


def test_nobody_is_trusted_unless_named() -> None:
    assert Proxies(()).client("127.0.0.1", [(b"x-forwarded-for", b"192.0.2.7")]) == "127.0.0.1"


@given(st.text(st.characters(max_codepoint=255)), st.sampled_from(["x-forwarded-for", "forwarded"]))
def test_nothing_that_a_client_writes_hides_it(written: str, header: str) -> None:
    appended = f"{written}, {'for=' if header == 'forwarded' else ''}192.0.2.7"
    found = Proxies(OURS, header).client("10.0.0.1", [(header.encode(), appended.encode("latin-1"))])
    assert found == "192.0.2.7"


def test_a_long_way_costs_no_more_than_a_bounded_one() -> None:
    proxies = Proxies(["10.0.0.0/8"])
    ways = ",".join(f"10.0.0.{number}" for number in range(100))
    assert proxies.client("10.9.9.9", [(b"x-forwarded-for", ways.encode())]) == f"10.0.0.{100 - FORWARDED_HOPS_MAX}"
    blanks = b"192.0.2.7," + b" " * FORWARDED_CHARS_MAX
    assert proxies.client("10.9.9.9", [(b"x-forwarded-for", blanks)]) == "10.9.9.9"


def test_a_range_that_is_none_is_refused() -> None:
    with pytest.raises(ValueError, match=r"10\.0\.0\.0/33"):
        Proxies(["10.0.0.0/33"])


async def test_the_scope_gets_the_client() -> None:
    seen: list[Any] = []

    async def app(scope: Any, _receive: Any, _send: Any) -> None:
        seen.append(scope.get("client"))

    middleware = ClientAddresses(app, Proxies(["10.0.0.0/8"]))
    headers = [(b"x-forwarded-for", b"192.0.2.7")]
    for peer in (("10.0.0.1", 5), ("192.0.2.1", 5), None):
        await middleware({"type": "websocket", "client": peer, "headers": headers}, None, None)
    await middleware({"type": "lifespan"}, None, None)
    assert seen == [("192.0.2.7", 0), ("192.0.2.1", 5), None, None]


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::"),
        ("2001:db8:1:2::9", "2001:db8:1:2::"),
        ("fe80::1%eth0", "fe80::"),
        ("", ""),
        ("unix", "unix"),
    ],
)
def test_a_network_of_ipv6_is_one_asker(address: str, expected: str) -> None:
    assert network(address) == expected


def test_the_proxies_of_the_settings() -> None:
    environ = {"SHOWCART_SECRET": "0123456789abcdef", "SHOWCART_TRUSTED_PROXIES": "127.0.0.1, 2001:db8::/32"}
    settings = load(environ | {"SHOWCART_SOCKETS_PER_ADDRESS": "0", "SHOWCART_FORWARDED_HEADER": "forwarded"})
    assert (settings.trusted_proxies, settings.sockets_per_address) == (("127.0.0.1", "2001:db8::/32"), 0)
    proxies = Proxies(settings.trusted_proxies, settings.forwarded_header)
    assert proxies.client("127.0.0.1", [(b"forwarded", b"for=192.0.2.7")]) == "192.0.2.7"
    assert load(environ).sockets_per_address == 1000
    for name, value in (
        ("TRUSTED_PROXIES", "10.0.0.0/33"),
        ("TRUSTED_PROXIES", "proxy.example"),
        ("FORWARDED_HEADER", "x-real-ip"),
        ("SOCKETS_PER_ADDRESS", "-1"),
    ):
        with pytest.raises(SettingsError, match=f"^SHOWCART_{name}: "):
            load(environ | {f"SHOWCART_{name}": value})
