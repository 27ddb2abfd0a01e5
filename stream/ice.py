"""One UDP port for every media session of a worker: ICE-lite (RFC 8445, section 2.5) and routing.

The server never looks for paths. Clients do: their STUN binding requests carry `server ufrag:client ufrag` and are
signed with the session's password. A request that verifies proves its source address, is answered, and from then on
everything from that address belongs to that session; nothing else creates state or is answered. A request is never
shorter than its answer, so the port amplifies nothing.

    first byte 0–3   STUN, by ufrag           20–63  DTLS, by address           128–191  SRTP/SRTCP, by address

(RFC 7983.) Consent (RFC 7675) follows: clients repeat the request every few seconds, and `Endpoint.bound` hears each.
"""

import asyncio
import ipaddress
import logging
import socket
import struct
from collections import Counter
from typing import Any, Protocol

from aioice import stun

from live.core.limits import PEER_ADDRESSES_MAX, UDP_BUFFER_BYTES, UDP_DATAGRAM_BYTES_MAX, UDP_READ_BURST

Address = tuple[Any, ...]
"""As the socket gives it: (host, port) or, for IPv6, (host, port, flow, scope)."""

_MALFORMED = (ValueError, KeyError, IndexError, struct.error)
logger = logging.getLogger(__name__)


class Endpoint(Protocol):
    """One session, seen from the port."""

    @property
    def ufrag(self) -> str: ...

    @property
    def password(self) -> bytes: ...

    def owns(self, address: Address) -> bool:
        """Whether the session is secured at `address` and its peer was heard there a moment ago."""

    def bound(self, address: Address, *, nominated: bool) -> None:
        """A binding request from `address` passed its integrity check."""

    def received(self, datagram: bytes) -> None:
        """A datagram came from an address that has been proved; it is not STUN and not empty."""


def resolved(host: str) -> str:
    """The IP address to announce for the address we listen on."""
    address = ipaddress.ip_address("127.0.0.1" if host == "localhost" else host)
    if not address.is_unspecified:
        return str(address)
    # A connected UDP socket sends nothing, but the kernel picks the source address it would use.
    family, target = (socket.AF_INET, "192.0.2.1") if address.version == 4 else (socket.AF_INET6, "2001:db8::1")
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((target, 9))
        except OSError:
            return "127.0.0.1" if address.version == 4 else "::1"
        return str(probe.getsockname()[0])


class IcePort:
    """The socket, the sessions behind it, and counts of everything that was refused."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self._socket: socket.socket | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._by_ufrag: dict[str, Endpoint] = {}
        self._by_address: dict[Address, Endpoint] = {}
        self._addresses: dict[Endpoint, list[Address]] = {}

    def open(self, host: str, port: int) -> None:
        """Bind `host`:`port` (0: any) and read from it in the running loop. Raises `OSError` when it is taken."""
        assert self._socket is None, "opened twice"
        address = ipaddress.ip_address("127.0.0.1" if host == "localhost" else host)
        opened = socket.socket(socket.AF_INET6 if address.version == 6 else socket.AF_INET, socket.SOCK_DGRAM)
        try:
            opened.setblocking(False)
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, UDP_BUFFER_BYTES)
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, UDP_BUFFER_BYTES)
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

    def add(self, endpoint: Endpoint) -> None:
        """Answer binding requests for `endpoint` from now on."""
        assert endpoint.ufrag not in self._by_ufrag, "ufrags are random"
        self._by_ufrag[endpoint.ufrag] = endpoint
        self._addresses[endpoint] = []

    def remove(self, endpoint: Endpoint) -> None:
        """Forget `endpoint` and its addresses."""
        self._by_ufrag.pop(endpoint.ufrag, None)
        for address in self._addresses.pop(endpoint, ()):
            if self._by_address.get(address) is endpoint:
                del self._by_address[address]

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
            endpoint.received(datagram)
        else:
            self.counts["unknown_address"] += 1

    def _stun(self, datagram: bytes, address: Address) -> None:
        try:
            request = stun.parse_message(datagram)
        except _MALFORMED:
            self.counts["stun_malformed"] += 1
            return
        if (request.message_method, request.message_class) != (stun.Method.BINDING, stun.Class.REQUEST):
            self.counts["stun_unexpected"] += 1
            return
        endpoint = self._by_ufrag.get(str(request.attributes.get("USERNAME", "")).partition(":")[0])
        if endpoint is None:
            self.counts["stun_unknown_user"] += 1
            return
        if not request.check_message_integrity(endpoint.password):
            self.counts["stun_wrong_password"] += 1
            return
        if not self._remember(endpoint, address):
            self.counts["stun_address_owned"] += 1
            return
        answer = stun.Message(
            stun.Method.BINDING,
            stun.Class.RESPONSE,
            request.transaction_id,
            {"XOR-MAPPED-ADDRESS": address[:2]},
        )
        answer.add_message_integrity(endpoint.password)
        self.send(bytes(answer), address)
        endpoint.bound(address, nominated="USE-CANDIDATE" in request.attributes)

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
            if self._by_address.get(dropped) is endpoint:
                del self._by_address[dropped]
        return True
