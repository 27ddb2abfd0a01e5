"""The far end of one session: DTLS handshake, then SRTP both ways. The only module that uses aiortc's private names.

aiortc's `RTCDtlsTransport` is handed a duck-typed ICE transport, does the handshake and derives the keys. After that
its own packet loop sees DTLS records only: SRTP is unprotected here, in the reader's turn, and protected by the relay
through `Peer.protect`. So no packet waits in an asyncio queue, none is parsed into objects, and an exception in a
packet's handler cannot kill aiortc's task.

`tests/stream/test_peers.py` has a contract test that fails when one of the names changes; the version is pinned.
"""

import asyncio
import logging
import secrets
from collections import Counter
from collections.abc import Callable
from typing import Any, Protocol

import pylibsrtp
from aiortc import rtcdtlstransport
from aiortc.rtcdtlstransport import (
    RTCCertificate,
    RTCDtlsFingerprint,
    RTCDtlsParameters,
    RTCDtlsTransport,
    SRTPProtectionProfile,
)

from live.core.limits import DTLS_QUEUE_DATAGRAMS_MAX, EARLY_DATAGRAMS_MAX, HANDSHAKE_TIMEOUT_S
from stream.ice import Address, IcePort
from stream.paths import Credentials, Paths
from stream.rtp import is_rtcp

logger = logging.getLogger(__name__)

# AES-128-GCM protects a packet in 1.4 µs, AES-256-GCM in a little more, AES-CM with SHA-1 in 2.1 µs.
_PREFERENCE = (b"SRTP_AEAD_AES_128_GCM", b"SRTP_AEAD_AES_256_GCM", b"SRTP_AES128_CM_SHA1_80")
ProtectError = (pylibsrtp.Error, ValueError)
"""What `Peer.protect` raises: the packet is too long, or its sequence number too old."""

_SESSION_CACHE_OFF = 0  # SSL_SESS_CACHE_OFF


def _profiles() -> list[SRTPProtectionProfile]:
    """What this libsrtp can do, fastest first."""
    known = {profile.openssl_profile: profile for profile in rtcdtlstransport.SRTP_PROFILES}
    return [known[name] for name in _PREFERENCE if name in known]


class Certificate(RTCCertificate):
    """The worker's certificate with one TLS context for all its sessions, instead of one each."""

    _context: Any = None

    def _create_ssl_context(self, srtp_profiles: list[SRTPProtectionProfile]) -> Any:
        if self._context is None:
            self._context = super()._create_ssl_context(srtp_profiles)
            self._context.set_session_cache_mode(_SESSION_CACHE_OFF)
        return self._context

    @property
    def fingerprint(self) -> str:
        """SHA-256, in the form of SDP."""
        return next(item.value for item in self.getFingerprints() if item.algorithm == "sha-256")


class Owner(Protocol):
    """Who a peer reports to. None of these may block; `packet` is plain RTP or RTCP that has authenticated."""

    def peer_alive(self) -> bool: ...

    def peer_bound(self) -> None: ...

    def peer_secured(self) -> None: ...

    def peer_closed(self, *, failed: bool) -> None: ...

    def peer_rtp(self, packet: bytes) -> None: ...

    def peer_rtcp(self, packet: bytes) -> None: ...


class _Wire:
    """What aiortc takes for an ICE transport: a bounded queue in, the port out."""

    role = "controlled"
    state = "completed"

    def __init__(self, send: Callable[[bytes], object]) -> None:
        self.datagrams: asyncio.Queue[bytes | None] = asyncio.Queue(DTLS_QUEUE_DATAGRAMS_MAX)
        self._send_datagram = send

    async def _recv(self) -> bytes:
        datagram = await self.datagrams.get()
        if datagram is None:
            raise ConnectionError("closed")
        return datagram

    async def _send(self, datagram: bytes) -> None:
        self._send_datagram(datagram)


class Peer:
    """One far end. `address` is where to send (None until proved); `protect` is there from `peer_secured` on."""

    def __init__(
        self,
        port: IcePort,
        certificate: Certificate,
        fingerprints: tuple[tuple[str, str], ...],
        owner: Owner,
        *,
        active: bool,
    ) -> None:
        """`fingerprints` are those of the offer; `active` makes us the DTLS client."""
        self._paths = Paths(_credentials())
        self.address: Address | None = None
        self.counts: Counter[str] = port.counts
        self.protect: Callable[[bytes], bytes] = _unsecured
        self._protect_rtcp: Callable[[bytes], bytes] = _unsecured
        self._port = port
        self._owner = owner
        self._wire = _Wire(self._send)
        self._dtls = RTCDtlsTransport(self._wire, [certificate])  # type: ignore[arg-type]
        self._dtls._srtp_profiles = _profiles()
        self._dtls._set_role("client" if active else "server")
        self._dtls.on("statechange", self._state_changed)
        self._remote = RTCDtlsParameters([RTCDtlsFingerprint(*item) for item in fingerprints])
        self._unprotect: Callable[[bytes], bytes] | None = None
        self._unprotect_rtcp: Callable[[bytes], bytes] = _unsecured
        self._task: asyncio.Task[None] | None = None
        self._early: list[tuple[bytes, Address]] = []
        self._strayed = False  # the last packet came by another path
        self._closed = False
        port.add(self, self._paths.current)

    @property
    def credentials(self) -> Credentials:
        """Our newest ICE ufrag and password, for the answer."""
        return self._paths.newest

    def restart(self) -> Credentials:
        """New ICE credentials, good beside the old ones until the far end has used them; DTLS and SRTP go on."""
        credentials = _credentials()
        self._port.add(self, credentials)
        self._void(self._paths.restart(credentials))
        return credentials

    def _void(self, credentials: Credentials | None) -> None:
        if credentials is not None:
            self._port.void(self, credentials)

    @property
    def profile(self) -> str:
        """The negotiated SRTP profile by OpenSSL's name, "" before the handshake is complete."""
        ssl = self._dtls._ssl
        return ssl.get_selected_srtp_profile().decode() if ssl is not None and self._unprotect else ""

    def owns(self, address: Address) -> bool:
        """Whether media is sent to `address` and its far end was heard a moment ago."""
        return self._unprotect is not None and self.address == address and self._owner.peer_alive()

    def bound(self, address: Address, ufrag: str, *, nominated: bool) -> None:
        """A binding request to our `ufrag` proved `address`; see `stream.paths` for what is sent to."""
        if self._closed:
            return
        self._void(self._paths.checked(address, ufrag, nominated=nominated))
        self.address = self._paths.address
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._handshake())
        if self.address == address:
            self._owner.peer_bound()

    def received(self, datagram: bytes, address: Address) -> None:
        """A datagram from a proved `address`."""
        first = datagram[0]
        if 20 <= first <= 63:
            try:
                self._wire.datagrams.put_nowait(datagram)
            except asyncio.QueueFull:
                self.counts["dtls_flood"] += 1
        elif not 128 <= first <= 191 or len(datagram) < 2:
            self.counts["unexpected"] += 1
        elif self._unprotect is None:
            # The far end had its keys first: its first packets overtake our own last step of the handshake.
            if self._task is not None and len(self._early) < EARLY_DATAGRAMS_MAX:
                self._early.append((datagram, address))
            else:
                self.counts["early"] += 1
        else:
            control = is_rtcp(datagram)
            try:
                packet = self._unprotect_rtcp(datagram) if control else self._unprotect(datagram)
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
        if self.address != self._paths.address:
            self.counts["path_changed"] += 1
            self.address = self._paths.address

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

    async def _handshake(self) -> None:
        try:
            async with asyncio.timeout(HANDSHAKE_TIMEOUT_S):
                await self._dtls.start(self._remote)
        except Exception as error:
            # Whatever a hostile handshake raises inside aiortc or OpenSSL ends this session and no other.
            self.counts["handshake_failed"] += 1
            logger.debug("DTLS handshake failed: %r", error)
            self._report_closed(failed=True)
            return
        if self._dtls.state != "connected" or self._closed:
            self.counts["handshake_failed"] += 1
            self._report_closed(failed=True)
            return
        incoming, outgoing = self._dtls._rx_srtp, self._dtls._tx_srtp
        self._unprotect, self._unprotect_rtcp = incoming.unprotect, incoming.unprotect_rtcp
        self.protect, self._protect_rtcp = outgoing.protect, outgoing.protect_rtcp
        self._owner.peer_secured()
        early, self._early = self._early, []
        for datagram, address in early:
            self.received(datagram, address)

    def _state_changed(self) -> None:
        if self._dtls.state == "closed":
            self._report_closed(failed=False)

    def _report_closed(self, *, failed: bool) -> None:
        if not self._closed:
            self._owner.peer_closed(failed=failed)

    async def close(self) -> None:
        """Say good-bye (DTLS close_notify), forget the keys and the addresses; closing twice does no harm."""
        if self._closed:
            return
        self._closed = True
        task, current = self._task, asyncio.current_task()
        if task is not None and task is not current and not task.done():
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        running = self._dtls._task
        await self._dtls.stop()
        if running is not None:
            await asyncio.gather(running, return_exceptions=True)
        self._dtls.remove_all_listeners()
        self._port.remove(self)
        self._unprotect = None


def _credentials() -> Credentials:
    return Credentials(secrets.token_hex(8), secrets.token_hex(16))


def _unsecured(packet: bytes) -> bytes:
    raise pylibsrtp.Error("there are no keys yet")
