"""Whose request this is: the client's address, seen through reverse proxies that are trusted by name.

A proxy appends the address that it was called from to `X-Forwarded-For`, or as `for=` to `Forwarded` (RFC 7239). What
the client itself wrote there stands to the left, so the list is read from the right: as long as the hop that speaks
is one of ours, the one it names comes next. The first that is not ours is the client; nothing to its left is believed.

Only one of the two headers is read, the one that the proxy sets: a proxy passes the other one on as the client wrote
it.
"""

import ipaddress
import re
from collections.abc import Awaitable, Callable, Iterable, Iterator, MutableMapping
from functools import lru_cache
from typing import Any

from live.core.limits import ADDRESSES_REMEMBERED_MAX, FORWARDED_CHARS_MAX, FORWARDED_HOPS_MAX

_Network = ipaddress.IPv4Network | ipaddress.IPv6Network
_App = Callable[[Any, Any, Any], Awaitable[None]]
_NETWORK_BITS = 64
_FOR = re.compile(r'(?:^|;)\s*for\s*=\s*(?:"([^"]*)"|([^;"]*))', re.IGNORECASE)


def networks(ranges: Iterable[str]) -> tuple[_Network, ...]:
    """`ranges` such as 10.0.0.0/8, ::1 or 2001:db8::/32. Raises `ValueError` for anything else."""
    return tuple(ipaddress.ip_network(each, strict=False) for each in ranges)


@lru_cache(maxsize=ADDRESSES_REMEMBERED_MAX)
def network(address: str) -> str:
    """What counts as one client: an IPv4 address, or an IPv6 network, because its hosts choose among 2^64 addresses;
    `address` itself when it is neither."""
    ip = _parsed(address)
    if ip is None or isinstance(ip, ipaddress.IPv4Address):
        return address if ip is None else str(ip)
    return str(ipaddress.IPv6Address(int(ip) >> _NETWORK_BITS << _NETWORK_BITS))


class Proxies:
    """The proxies in `ranges`, which set `header`: x-forwarded-for or forwarded. Raises `ValueError` as `networks`."""

    def __init__(self, ranges: Iterable[str], header: str = "x-forwarded-for") -> None:
        self._trusted = networks(ranges)
        self._header = header.encode()
        self._hops = _forwarded if header == "forwarded" else _forwarded_for

    def client(self, peer: str, headers: Iterable[tuple[bytes, bytes]]) -> str:
        """The client of a request that `peer` sent; the nearest trusted hop when that one names nobody."""
        client = peer
        if not self._trusts(client):
            return client
        said = ",".join(value.decode("latin-1") for name, value in headers if name == self._header)
        for number, hop in enumerate(self._hops(said[-FORWARDED_CHARS_MAX:])):
            ip = _parsed(hop)
            if ip is None or number == FORWARDED_HOPS_MAX:
                break
            client = str(ip)
            if not self._trusts(client):
                break
        return client

    def _trusts(self, address: str) -> bool:
        ip = _parsed(address) if self._trusted else None
        return ip is not None and any(ip in each for each in self._trusted)


class ClientAddresses:
    """ASGI middleware that puts the client's address into the scope, where the server has put its peer's.

    Not a coroutine function: a frame less for each socket, for as long as it lives.
    """

    def __init__(self, app: _App, proxies: Proxies) -> None:
        self._app = app
        self._proxies = proxies

    def __call__(self, scope: MutableMapping[str, Any], receive: Any, send: Any) -> Awaitable[None]:
        if peer := scope.get("client"):
            client = self._proxies.client(peer[0], scope["headers"])
            if client != peer[0]:
                scope["client"] = (client, 0)
        return self._app(scope, receive, send)


def _parsed(address: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """An address, with or without a port, brackets and zone; one of IPv4 within IPv6 is one of IPv4."""
    bare = address.strip()
    if bare.startswith("["):
        bare = bare[1:].partition("]")[0]
    elif bare.count(":") == 1:
        bare = bare.partition(":")[0]
    try:
        ip = ipaddress.ip_address(bare.partition("%")[0])
    except ValueError:
        return None
    if isinstance(ip, ipaddress.IPv6Address) and ip.ipv4_mapped is not None:
        return ip.ipv4_mapped
    return ip


def _forwarded_for(said: str) -> Iterator[str]:
    """The hops of X-Forwarded-For, the nearest first."""
    return (hop for hop in reversed(said.split(",")))


def _forwarded(said: str) -> Iterator[str]:
    """The `for=` of each element of Forwarded, the nearest first; "" for one without.

    Quoted strings are found from the right as well: a quotation mark that the client has left open must not swallow
    what our proxy has appended.
    """
    end, quoted = len(said), False
    for at in range(len(said) - 1, -2, -1):
        char = said[at] if at >= 0 else ","
        if char == '"':
            quoted = not quoted
        if char == "," and (not quoted or at < 0):
            found = _FOR.search(said[at + 1 : end])
            yield (found[1] or found[2] or "") if found else ""
            end = at
