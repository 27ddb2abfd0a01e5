"""One UDP port for every media session of a worker: ICE-lite (RFC 8445, section 2.5) and routing.

The server looks for no paths. Clients do: their STUN binding requests carry `server ufrag:client ufrag` and are
signed with the session's password. A request that verifies proves its source address, is answered, and from then on
everything from that address belongs to that session; nothing else creates state or is answered. Nor is a request that
is shorter than its answer would be. So the port answers strangers nothing, and nobody more than he sent; what sessions
send to an address that may be forged is bounded by `transport.paths`.

    first byte 0–3   STUN, by ufrag           20–63  DTLS, by address           128–191  SRTP/SRTCP, by address

(RFC 7983.) Consent (RFC 7675) follows: clients repeat the request every few seconds, and `Endpoint.bound` hears each.

To move what is being sent to another address takes more, because a source address can be forged: see `transport.paths`,
and `IcePort.check`.

Bound to `::` the port takes both families. IPv4 clients then have mapped addresses (`::ffff:192.0.2.1`): inside the
process those are used as they are, to a client its address is told as the IPv4 address that it is.
"""

import asyncio
import ipaddress
import logging
import socket
import struct
from collections import Counter
from typing import NamedTuple, Protocol

from aioice import stun

from live.core.limits import (
    PATH_CHECK_INTERVAL_S,
    PEER_ADDRESSES_MAX,
    UDP_BUFFER_BYTES,
    UDP_DATAGRAM_BYTES_MAX,
    UDP_READ_BURST,
)
from stream.transport.paths import Address, Credentials

__all__ = ["Address", "Endpoint", "IcePort", "announced"]

_PRIORITY = 126 << 24 | 65535 << 8 | 255  # RFC 8445, section 5.1.2.1, of the host candidate that we are
_TIE_BREAKER = 0  # we are lite, so the far end controls
_MALFORMED = (ValueError, KeyError, IndexError, struct.error)
logger = logging.getLogger(__name__)


class Endpoint(Protocol):
    """One session, seen from the port."""

    def owns(self, address: Address) -> bool:
        """Whether the session is secured at `address` and its peer was heard there a moment ago."""

    def bound(self, address: Address, ufrag: str, *, nominated: bool, size_bytes: int) -> None:
        """A binding request of that size from `address`, to our `ufrag`, passed its integrity check."""

    def answered(self, address: Address) -> None:
        """Our check of `address` was answered from there."""

    def received(self, datagram: bytes, address: Address) -> None:
        """A datagram came from an `address` that has been proved; it is not STUN and not empty."""


def announced(host: str) -> tuple[str, ...]:
    """The IP addresses to announce for the address we listen on, best first; of both families for `::`."""
    address = ipaddress.ip_address("127.0.0.1" if host == "localhost" else host)
    if not address.is_unspecified:
        return (str(address),)
    if address.version == 4:
        return (_source(socket.AF_INET, "192.0.2.1") or "127.0.0.1",)
    found = (_source(socket.AF_INET6, "2001:db8::1"), _source(socket.AF_INET, "192.0.2.1"))
    return tuple(each for each in found if each) or ("::1", "127.0.0.1")


def _source(family: socket.AddressFamily, target: str) -> str | None:
    """The address that the kernel would send from; None when it knows no way out."""
    with socket.socket(family, socket.SOCK_DGRAM) as probe:  # connected, which sends nothing
        try:
            probe.connect((target, 9))
        except OSError:
            return None
        return str(probe.getsockname()[0])


class _Check(NamedTuple):
    """A check of ours that was not answered yet."""

    endpoint: Endpoint
    address: Address
    remote: Credentials
    request: bytes
    sent_at: float


class IcePort:
    """The socket, the sessions behind it, and counts of everything that was refused."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self._socket: socket.socket | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._by_ufrag: dict[str, tuple[Endpoint, bytes]] = {}
        self._ufrags: dict[Endpoint, set[str]] = {}
        self._checks: dict[bytes, _Check] = {}
        self._check_of: dict[tuple[Endpoint, Address], bytes] = {}  # there is one at a time
        self._by_address: dict[Address, Endpoint] = {}
        self._addresses: dict[Endpoint, list[Address]] = {}

    def open(self, host: str, port: int, *, dscp: int = 0) -> None:
        """Bind `host`:`port` (0: any) and read from it in the running loop.

        `dscp` marks what is sent (RFC 2474, RFC 8837). Raises `OSError` when the port is taken.
        """
        assert self._socket is None, "opened twice"
        address = ipaddress.ip_address("127.0.0.1" if host == "localhost" else host)
        opened = socket.socket(socket.AF_INET6 if address.version == 6 else socket.AF_INET, socket.SOCK_DGRAM)
        try:
            opened.setblocking(False)
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, UDP_BUFFER_BYTES)
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, UDP_BUFFER_BYTES)
            if address.version == 6:
                opened.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, not address.is_unspecified)
            if dscp:
                _mark(opened, dscp)
            opened.bind((str(address), port))
            self._loop = asyncio.get_running_loop()
            self._loop.add_reader(opened.fileno(), self._read)
        except BaseException:
            opened.close()
            raise
        self._socket = opened

    def close(self) -> None:
        """Stop reading and free the port; closing twice does no harm."""
        if self._socket is not None and self._loop is not None:
            self._loop.remove_reader(self._socket.fileno())
            self._socket.close()
        self._socket = self._loop = None

    @property
    def number(self) -> int | None:
        """The UDP port that is really bound; None when there is none."""
        if self._socket is None:
            return None
        try:
            return int(self._socket.getsockname()[1])
        except OSError:
            return None

    @property
    def raw(self) -> socket.socket:
        """The socket itself, for the relay's inner loop."""
        assert self._socket is not None, "not open"
        return self._socket

    def add(self, endpoint: Endpoint, credentials: Credentials) -> None:
        """Answer binding requests with `credentials` for `endpoint` from now on; it may have several."""
        assert credentials.ufrag not in self._by_ufrag, "ufrags are random"
        self._by_ufrag[credentials.ufrag] = (endpoint, credentials.password.encode())
        self._ufrags.setdefault(endpoint, set()).add(credentials.ufrag)
        self._addresses.setdefault(endpoint, [])

    def void(self, endpoint: Endpoint, credentials: Credentials) -> None:
        """Answer binding requests with these `credentials` of `endpoint` no longer."""
        self._by_ufrag.pop(credentials.ufrag, None)
        self._ufrags[endpoint].discard(credentials.ufrag)

    def remove(self, endpoint: Endpoint) -> None:
        """Forget `endpoint`, its credentials and its addresses."""
        for ufrag in self._ufrags.pop(endpoint, ()):
            del self._by_ufrag[ufrag]
        for address in self._addresses.pop(endpoint, ()):
            self._checks.pop(self._check_of.pop((endpoint, address), b""), None)
            if self._by_address.get(address) is endpoint:
                del self._by_address[address]

    def check(self, endpoint: Endpoint, address: Address, ufrag: str, remote: Credentials, size_bytes: int) -> None:
        """Ask `address`, one of `endpoint`'s, whether its far end is there; only who receives there can answer.

        `ufrag` is ours and `remote` the far end's credentials of that ICE session. At most one check of an address is
        under way, and one in PATH_CHECK_INTERVAL_S is sent: the far end repeats its own checks, and so do we. None is
        longer than the `size_bytes` of the request that it follows, which has the same attributes and names.
        """
        assert self._loop is not None, "open"
        now = self._loop.time()
        number = self._check_of.get((endpoint, address), b"")
        before = self._checks.get(number)
        if before is not None and now - before.sent_at < PATH_CHECK_INTERVAL_S:
            return
        if before is not None and before.remote == remote:
            # The same again (RFC 8489, section 6.2.1): on a long way the answer to the first may be about to come.
            self._checks[number] = before._replace(sent_at=now)
            self._ask(before, size_bytes)
            return
        request = stun.Message(stun.Method.BINDING, stun.Class.REQUEST)
        request.attributes["USERNAME"] = f"{remote.ufrag}:{ufrag}"
        request.attributes["PRIORITY"] = _PRIORITY
        request.attributes["ICE-CONTROLLED"] = _TIE_BREAKER
        request.add_message_integrity(remote.password.encode())
        self._checks.pop(number, None)
        self._check_of[endpoint, address] = request.transaction_id
        self._checks[request.transaction_id] = check = _Check(endpoint, address, remote, bytes(request), now)
        self._ask(check, size_bytes)

    def _ask(self, check: _Check, size_bytes: int) -> None:
        if len(check.request) > size_bytes:
            self.counts["stun_too_short"] += 1
        else:
            self.send(check.request, check.address)

    def send(self, datagram: bytes, address: Address) -> bool:
        """Send one datagram; False, counted, when the kernel does not take it."""
        if self._socket is None:
            return False
        try:
            self._socket.sendto(datagram, address)
        except BlockingIOError:
            self.counts["send_full"] += 1
            return False
        except OSError:
            self.counts["send_failed"] += 1
            return False
        return True

    def _read(self) -> None:
        """Take what has come, but give the loop back after a burst; the rest makes the socket readable again."""
        receive = self.raw.recvfrom
        for _ in range(UDP_READ_BURST):
            try:
                # One byte more than allowed tells a long datagram from a full one.
                datagram, address = receive(UDP_DATAGRAM_BYTES_MAX + 1)
            except BlockingIOError:
                return
            except OSError:
                self.counts["receive_failed"] += 1
                return
            try:
                self._route(datagram, address)
            except Exception:
                # Our own bug in one packet must not cost the other sessions theirs; logged, but never in a flood.
                self.counts["crashed"] += 1
                if self.counts["crashed"].bit_count() == 1:
                    logger.exception("a media packet could not be handled")

    def _route(self, datagram: bytes, address: Address) -> None:
        if not 0 < len(datagram) <= UDP_DATAGRAM_BYTES_MAX:
            self.counts["wrong_size"] += 1
        elif datagram[0] < 4:
            self._stun(datagram, address)
        elif (endpoint := self._by_address.get(address)) is not None:
            endpoint.received(datagram, address)
        else:
            self.counts["unknown_address"] += 1

    def _stun(self, datagram: bytes, address: Address) -> None:
        try:
            request = stun.parse_message(datagram)
        except _MALFORMED:
            self.counts["stun_malformed"] += 1
            return
        if request.transaction_id in self._checks:
            self._answered(request, address)
            return
        if (request.message_method, request.message_class) != (stun.Method.BINDING, stun.Class.REQUEST):
            self.counts["stun_unexpected"] += 1
            return
        ufrag = str(request.attributes.get("USERNAME", "")).partition(":")[0]
        found = self._by_ufrag.get(ufrag)
        if found is None:
            self.counts["stun_unknown_user"] += 1
            return
        endpoint, password = found
        if not request.check_message_integrity(password):
            self.counts["stun_wrong_password"] += 1
            return
        message = stun.Message(
            stun.Method.BINDING,
            stun.Class.RESPONSE,
            request.transaction_id,
            {"XOR-MAPPED-ADDRESS": (_unmapped(address[0]), address[1])},
        )
        message.add_message_integrity(password)
        answer = bytes(message)
        if len(answer) > len(datagram):  # none with the attributes that RFC 8445, section 7.1 demands is that short
            self.counts["stun_too_short"] += 1
            return
        if not self._remember(endpoint, address):
            self.counts["stun_address_owned"] += 1
            return
        self.send(answer, address)
        endpoint.bound(address, ufrag, nominated="USE-CANDIDATE" in request.attributes, size_bytes=len(datagram))

    def _answered(self, response: stun.Message, address: Address) -> None:
        check = self._checks[response.transaction_id]
        if response.message_class is not stun.Class.RESPONSE or address != check.address:
            self.counts["stun_unexpected"] += 1
        elif not response.check_message_integrity(check.remote.password.encode()):
            self.counts["stun_wrong_password"] += 1
        else:
            del self._checks[response.transaction_id], self._check_of[check.endpoint, address]
            check.endpoint.answered(address)

    def _remember(self, endpoint: Endpoint, address: Address) -> bool:
        """Route `address` to `endpoint`, unless a live session owns it; the oldest addresses are dropped.

        A source address can be forged, and a session's own credentials prove nothing about whose it is: whoever
        watches a show could otherwise draw the host's packets to a session of their own. A browser that uses a port
        again for its next session waits until the one before has been quiet for a few seconds.
        """
        known = self._addresses[endpoint]
        owner = self._by_address.get(address)
        if owner is endpoint:
            return True
        if owner is not None and owner.owns(address):
            return False
        self._by_address[address] = endpoint
        if address not in known:
            known.append(address)
        if len(known) > PEER_ADDRESSES_MAX:
            dropped = known.pop(0)
            self._checks.pop(self._check_of.pop((endpoint, dropped), b""), None)
            if self._by_address.get(dropped) is endpoint:
                del self._by_address[dropped]
        return True


def _unmapped(host: str) -> str:
    """The IPv4 address that `host` stands for on a socket of both families; else `host`."""
    if not host.startswith("::ffff:"):
        return host
    mapped = ipaddress.IPv6Address(host).ipv4_mapped
    return host if mapped is None else str(mapped)


def _mark(opened: socket.socket, dscp: int) -> None:
    """Set the upper six bits of the traffic class; on a socket of both families, for both."""
    opened.setsockopt(socket.IPPROTO_IP, socket.IP_TOS, dscp << 2)
    if opened.family == socket.AF_INET6:
        opened.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_TCLASS, dscp << 2)
