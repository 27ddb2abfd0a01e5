"""The far end of one session: DTLS handshake, then SRTP both ways.

DTLS datagrams wait in a bounded queue until the peer's turn comes (`turns`), SRTP is unprotected in the reader's
turn, and protected by the relay. So no packet waits in an asyncio queue, no session has a task, and an exception in a
packet's handler ends nothing.
"""

import asyncio
import functools
import logging
import secrets
from collections import Counter, deque
from collections.abc import Callable
from typing import Protocol

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from live.core.limits import DTLS_QUEUE_DATAGRAMS_MAX, EARLY_DATAGRAMS_MAX, HANDSHAKE_TIMEOUT_S
from stream.transport import handshake
from stream.transport.handshake import Handshake, HandshakeError
from stream.transport.ice import Address, IcePort
from stream.transport.paths import Credentials, Paths
from stream.transport.srtp import PROFILES, Keys, ProtectError, keying_bytes
from stream.transport.turns import Turns
from stream.transport.volley import Target
from stream.wire.rtp import is_rtcp

__all__ = ["Certificate", "Owner", "Peer", "ProtectError"]

logger = logging.getLogger(__name__)

_KEYING_BYTES = {name: keying_bytes(name) for name in PROFILES}


class Certificate:
    """The worker's identity, and what all its sessions share: one TLS context, and the turns of their handshakes."""

    def __init__(self, key: ec.EllipticCurvePrivateKey, certificate: x509.Certificate) -> None:
        self.context = handshake.context(key, certificate, list(PROFILES))
        self.turns = Turns()
        self._certificate = certificate

    @classmethod
    def generate(cls) -> "Certificate":
        """A fresh one."""
        return cls(*handshake.generate())

    @functools.cached_property
    def fingerprint(self) -> str:
        """SHA-256, in the form of SDP."""
        return handshake.fingerprint(self._certificate)


class Owner(Protocol):
    """Who a peer reports to. None of these may block; `packet` is plain RTP or RTCP that has authenticated."""

    def peer_alive(self) -> bool: ...

    def peer_bound(self) -> None: ...

    def peer_secured(self) -> None: ...

    def peer_closed(self, *, failed: bool) -> None: ...

    def peer_rtp(self, packet: bytes) -> None: ...

    def peer_rtcp(self, packet: bytes) -> None: ...


class Peer:
    """One far end. `address` is where to send (None until proved); `keys` are there from `peer_secured` on."""

    def __init__(
        self,
        port: IcePort,
        certificate: Certificate,
        fingerprints: tuple[tuple[str, str], ...],
        owner: Owner,
        *,
        active: bool,
        remote: Credentials | None = None,
    ) -> None:
        """`fingerprints` are those of the offer; `active` makes us the DTLS client.

        `remote` are the far end's ICE credentials; None: it is sent to wherever it says.
        """
        self._paths = Paths(_credentials())
        self._remotes = {} if remote is None else {self._paths.current.ufrag: remote}  # by our ufrag
        self._asked: tuple[Address, str, bool] | None = None  # a check that waits until its address has answered ours
        self.address: Address | None = None
        self.keys: Keys | None = None
        self.target: Target | None = None
        """Where volleys go: the keys with the address. None until there are both."""
        self.counts: Counter[str] = port.counts
        self.protect: Callable[[bytes], bytes] = _unsecured
        self._protect_rtcp: Callable[[bytes], bytes] = _unsecured
        self._port = port
        self._owner = owner
        self._active = active
        self._turns = certificate.turns
        self._dtls = Handshake(certificate.context, fingerprints, _KEYING_BYTES)
        self._datagrams: deque[bytes] = deque()
        self._held: list[bytes] = []  # of our last flight, until the address has earned it
        self._deadline: float | None = None  # for the handshake; None: nobody has been proved to be there
        self._begun = False
        self._in_turns = False
        self._timer: asyncio.TimerHandle | None = None
        self._early: list[tuple[bytes, Address]] = []
        self._strayed = False  # the last packet came by another path
        self._ended = False  # there is nothing more to tell the owner
        self._closed = False
        port.add(self, self._paths.current)

    @property
    def credentials(self) -> Credentials:
        """Our newest ICE ufrag and password, for the answer."""
        return self._paths.newest

    def restart(self, remote: Credentials) -> Credentials:
        """New ICE credentials for the far end's new ones; DTLS and SRTP go on.

        The old ones are good beside them until the far end has used these.
        """
        credentials = _credentials()
        self._remotes[credentials.ufrag] = remote
        self._port.add(self, credentials)
        self._void(self._paths.restart(credentials))
        return credentials

    def _void(self, credentials: Credentials | None) -> None:
        if credentials is not None:
            self._port.void(self, credentials)
            self._remotes.pop(credentials.ufrag, None)

    @property
    def profile(self) -> str:
        """The negotiated SRTP profile by OpenSSL's name, "" before the handshake is complete."""
        return self.keys.profile if self.keys is not None else ""

    def owns(self, address: Address) -> bool:
        """Whether media is sent to `address` and its far end was heard a moment ago."""
        return self.keys is not None and self.address == address and self._owner.peer_alive()

    def bound(self, address: Address, ufrag: str, *, nominated: bool, size_bytes: int = 0) -> None:
        """A binding request to our `ufrag` came from `address`; `transport.paths` says what is sent to, and how much.

        `size_bytes` is what it earns.
        """
        if self._closed:
            return
        remote = self._remotes.get(ufrag)
        if remote is not None and not self._paths.knows(address):
            self._port.check(self, address, ufrag, remote, size_bytes)
            if not self._paths.trusts(address):
                self._asked = address, ufrag, nominated
                return
        self._void(self._paths.checked(address, ufrag, nominated=nominated))
        self._follow()
        self._paths.earned(address, size_bytes, answered=True)
        self._flush()
        if self._deadline is None:
            self._deadline = asyncio.get_running_loop().time() + HANDSHAKE_TIMEOUT_S
            self._wake()
        if self.address == address:
            self._owner.peer_bound()

    def answered(self, address: Address) -> None:
        """The far end is at `address`: what it asked from there holds."""
        self._paths.reached(address)
        asked, self._asked = self._asked, None
        if asked is not None and asked[0] == address:
            self.bound(address, asked[1], nominated=asked[2])
        else:
            self._flush()

    def received(self, datagram: bytes, address: Address) -> None:
        """A datagram from a proved `address`."""
        if self._ended:
            return
        first = datagram[0]
        if 128 <= first <= 191 and len(datagram) > 1:
            if self.keys is not None:
                self._received_srtp(self.keys, datagram, address)
            elif self._deadline is not None and len(self._early) < EARLY_DATAGRAMS_MAX:
                # The far end had its keys first: its first packets overtake our own last step of the handshake.
                self._early.append((datagram, address))
            else:
                self.counts["early"] += 1
        elif not 20 <= first <= 63:
            self.counts["unexpected"] += 1
        elif len(self._datagrams) < DTLS_QUEUE_DATAGRAMS_MAX:
            self._paths.earned(address, len(datagram), answered=False)
            self._datagrams.append(datagram)
            self._wake()
        else:
            self.counts["dtls_flood"] += 1

    def _received_srtp(self, keys: Keys, datagram: bytes, address: Address) -> None:
        control = is_rtcp(datagram)
        try:
            packet = keys.unprotect_rtcp(datagram) if control else keys.unprotect(datagram)
        except ProtectError:
            self.counts["srtp_refused"] += 1
            return
        if address != self.address or self._strayed:
            self._heard(address)
        if control:
            self._owner.peer_rtcp(packet)
        else:
            self._owner.peer_rtp(packet)

    def _heard(self, address: Address) -> None:
        """An authenticated packet came by another path than the one that is sent to, or the first one again by that."""
        self._void(self._paths.heard(address))
        self._strayed = address != self._paths.address
        self._follow()

    def _follow(self) -> None:
        """Send where the paths say."""
        if self.address == self._paths.address:
            return
        self.counts["path_changed"] += self.address is not None
        self.address = self._paths.address
        self._aim()

    def send_rtp(self, packet: bytes) -> bool:
        """Protect and send one RTP packet; False, counted, when that is not possible."""
        return self._send_protected(self.protect, packet)

    def send_rtcp(self, packet: bytes) -> bool:
        """Protect and send an RTCP compound; False, counted, when that is not possible."""
        return self._send_protected(self._protect_rtcp, packet)

    def _send_protected(self, protect: Callable[[bytes], bytes], packet: bytes) -> bool:
        try:
            return self._send(protect(packet))
        except ProtectError:
            self.counts["protect_refused"] += 1
            return False

    def _send(self, datagram: bytes) -> bool:
        return self.address is not None and self._port.send(datagram, self.address)

    # --- the handshake ------------------------------------------------------------------------------------------

    def _wake(self) -> None:
        if not self._in_turns and self._deadline is not None:
            self._in_turns = True
            self._turns.wake(self)

    def step(self) -> bool:
        """One step of the handshake; see `transport.turns.Steps`."""
        self._in_turns = False
        if self._ended:
            return False
        now = asyncio.get_running_loop().time()
        try:
            if not self._begun:
                self._begun = True
                self._dtls.begin(now, active=self._active)
            elif self._datagrams:
                self._dtls.received(self._datagrams.popleft(), now)
        except Exception as error:
            # Whatever a hostile handshake raises, also inside OpenSSL's binding, ends this session and no other.
            self._fail(error)
            return False
        self._flush()
        self._progress()
        self._in_turns = bool(self._datagrams) and not self._ended
        return self._in_turns

    def _progress(self) -> None:
        if self._dtls.over:
            self._end(failed=False)
        elif self.keys is None and self._dtls.keying is not None:
            self._secured(Keys(*self._dtls.keying, active=self._active))
        elif self.keys is None:
            self._set_timer()

    def _flush(self) -> None:
        # A flight takes the place of one that was held: it repeats it, or the far end has gone on without.
        self._held = self._dtls.take() or self._held
        while self._held and (not self._remotes or self._paths.spend(len(self._held[0]))):
            if self._remotes:
                self._paths.begin()
            self._send(self._held.pop(0))

    def _set_timer(self) -> None:
        assert self._deadline is not None, "nobody shakes hands before it is proved that somebody is there"
        if self._timer is not None:
            self._timer.cancel()
        at = self._deadline if self._dtls.due is None else min(self._dtls.due, self._deadline)
        self._timer = asyncio.get_running_loop().call_at(at, self._expired)

    def _expired(self) -> None:
        now = asyncio.get_running_loop().time()
        assert self._deadline is not None
        if now >= self._deadline:
            self._fail(HandshakeError("it took too long"))
            return
        try:
            self._dtls.expired(now)
        except HandshakeError as error:
            self._fail(error)
            return
        self._flush()
        self._set_timer()

    def _secured(self, keys: Keys) -> None:
        self._stop_timer()
        if self.address is not None:
            self._paths.reached(self.address)  # it has seen our random number
        self.keys = keys
        self.protect, self._protect_rtcp = keys.protect, keys.protect_rtcp
        self._aim()
        self._owner.peer_secured()
        early, self._early = self._early, []
        for datagram, address in early:
            self._received_srtp(keys, datagram, address)

    def _aim(self) -> None:
        if self.keys is not None and self.address is not None:
            self.target = Target(self.keys, self.address)

    def _fail(self, error: Exception) -> None:
        self.counts["handshake_failed"] += 1
        logger.debug("DTLS handshake failed: %r", error)
        self._flush()  # the alert
        self._end(failed=True)

    def _end(self, *, failed: bool) -> None:
        self._stop_timer()
        if not self._ended:
            self._ended = True
            self._owner.peer_closed(failed=failed)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    async def close(self) -> None:
        """Say good-bye (DTLS close_notify), forget the keys and the addresses; closing twice does no harm."""
        if self._closed:
            return
        self._closed = self._ended = True
        self._stop_timer()
        self._dtls.close()
        self._flush()
        self._port.remove(self)
        self._datagrams.clear()
        self.keys = None


def _credentials() -> Credentials:
    return Credentials(secrets.token_hex(8), secrets.token_hex(16))


def _unsecured(packet: bytes) -> bytes:
    raise ProtectError[0]("there are no keys yet")
