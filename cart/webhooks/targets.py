"""Where messages may go: to addresses of the public Internet, over TLS, and nowhere inside our own network.

Whoever may name a URL that a server calls can make it call what only the server can reach: the cloud's metadata, a
database's port, the router (server-side request forgery). So an endpoint's name is resolved for each message, every
address it has is looked at here, and the connection is made to one that was looked at: a name that means another
address a moment later (DNS rebinding) changes nothing. What an IPv6 address has inside of IPv4 is looked at as well.

An operator names exceptions as networks (SHOWCART_WEBHOOK_NETWORKS). Only of those, and only on this machine, plain
HTTP is good enough.
"""

import ipaddress
from collections.abc import Sequence
from typing import NamedTuple
from urllib.parse import SplitResult, urlsplit

from live.core.errors import Kind, Problem
from live.core.limits import WEBHOOK_URL_CHARS_MAX

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")  # RFC 6052; IPv4 in its last 32 bits
_REFUSED: dict[Network, str] = {
    ipaddress.ip_network(network): what
    for network, what in {
        "168.63.129.16/32": "of a cloud's inside",  # Azure's host; a public address that is none
        "192.88.99.0/24": "of a relay for 6to4",
        "64:ff9b:1::/48": "of a NAT64",  # RFC 8215, local use
        "2001::/32": "of a Teredo tunnel",
        "fec0::/10": "of a site",  # RFC 3879: deprecated, and routed inside where it is not
    }.items()
}


class Target(NamedTuple):
    """An endpoint's URL, taken apart. `host` is a name or an address without brackets."""

    scheme: str
    host: str
    port: int
    path: str  # with the query

    @property
    def authority(self) -> str:
        """What the Host header says."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _PORTS[self.scheme] else f"{host}:{self.port}"

    def at(self, address: Address) -> str:
        """The URL with `address` in place of the name."""
        host = f"[{address}]" if address.version == 6 else str(address)
        return f"{self.scheme}://{host}:{self.port}{self.path}"


_PORTS = {"https": 443, "http": 80}


def parse(url: str) -> Target:
    """What `url` leads to; raises `Problem` invalid_field when it is no URL that a message could be sent to."""
    if len(url) > WEBHOOK_URL_CHARS_MAX:
        raise _wrong(f"At most {WEBHOOK_URL_CHARS_MAX} characters.")
    if not url.isascii() or not url.isprintable() or " " in url:
        raise _wrong("A URL is ASCII without spaces; write others in percent or Punycode.")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise _wrong("Not a URL.") from None
    _check_parts(parts, port)
    assert parts.hostname
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return Target(parts.scheme, parts.hostname, port or _PORTS[parts.scheme], path)


def choose(target: Target, addresses: Sequence[Address], allowed: Sequence[Network]) -> Address:
    """The address to connect to, of those that the target's name has.

    `allowed`: networks that are good although they are not public. Raises `Problem` webhook_target_forbidden when any
    address is refused: a name that has a good one as well as a bad one is up to something.
    """
    if not addresses:
        raise forbidden("The name has no address.")
    for address in addresses:
        named = _within(address, allowed)
        if not named and (why := refusal(address)):
            raise forbidden(f"It leads to an address {why}.")
        if target.scheme == "http" and not (named and address.is_loopback):
            raise forbidden("Only https; http is for receivers on this machine, when the operator allows it.")
    return addresses[0]


def refusal(address: Address) -> str:
    """Why nothing is sent to `address`; "": it is of the public Internet."""
    if inner := _inner(address):
        return refusal(inner)
    for network, what in _REFUSED.items():
        if address.version == network.version and address in network:
            return what
    if address.is_multicast:
        return "of a group"
    if address.is_loopback or address.is_unspecified:
        return "of this machine"
    if address.is_link_local:
        return "of a link"
    return "" if address.is_global and not address.is_reserved else "of a private network"


def forbidden(detail: str) -> Problem:
    """The refusal of a URL that leads where nothing may be sent."""
    return Problem(Kind.webhook_target_forbidden, detail, field="url")


def _check_parts(parts: SplitResult, port: int | None) -> None:
    if parts.scheme not in _PORTS:
        raise _wrong("A URL that begins with https://.")
    if not parts.hostname or port == 0:
        raise _wrong("A URL with a host.")
    if parts.username is not None or parts.password is not None:
        raise _wrong("No name and password: messages are signed.")
    if parts.fragment:
        raise _wrong("No fragment: it is never sent.")


def _within(address: Address, networks: Sequence[Network]) -> bool:
    return any(address.version == network.version and address in network for network in networks)


def _inner(address: Address) -> ipaddress.IPv4Address | None:
    """The address of IPv4 that one of IPv6 stands for."""
    if isinstance(address, ipaddress.IPv4Address):
        return None
    if address in _NAT64:
        return ipaddress.IPv4Address(int(address) & 0xFFFF_FFFF)
    return address.ipv4_mapped or address.sixtofour


def _wrong(detail: str) -> Problem:
    return Problem(Kind.invalid_field, detail, field="url")
