"""The DTLS handshake that agrees on SRTP keys (RFC 5764): datagrams in, datagrams out, no socket, no loop.

    client ──▶ ClientHello
    server ──▶ ServerHello, Certificate, ServerKeyExchange, CertificateRequest, ServerHelloDone     0.7 KB
    client ──▶ Certificate, ClientKeyExchange, CertificateVerify, ChangeCipherSpec, Finished        0.7 KB
    server ──▶ ChangeCipherSpec, Finished

OpenSSL does the work, through pyOpenSSL's public names. Its output is a stream of records; here they become datagrams
of at most DTLS_DATAGRAM_BYTES_MAX, each record whole (RFC 6347, section 4.1.1).

A lost flight is sent again. OpenSSL waits a second before it does, which is a second without a picture. So a flight
that nothing came back for is also sent again after HANDSHAKE_RESEND_S_MIN, and with growing pauses, byte for byte: what
had arrived is dropped by the far end as a replay (section 4.1.2.6), what was lost is new to it. OpenSSL's own timer
runs beside it, because a far end that is done answers only to fresh records. The last flight has no timer (section
4.2.4): it goes out again when the far end repeats its own.

To begin costs us 0.1 ms, to answer the second flight 0.2 ms (P-256 signature and verification, X25519), measured by
`loadtests/benches/hotpath.py`.
"""

import datetime
import secrets
from collections.abc import Sequence
from typing import NamedTuple

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from OpenSSL import SSL

from live.core.limits import (
    CERTIFICATE_TTL_S,
    DTLS_DATAGRAM_BYTES_MAX,
    DTLS_REPEATS_MAX,
    HANDSHAKE_DATAGRAMS_MAX,
    HANDSHAKE_RESEND_S_MAX,
    HANDSHAKE_RESEND_S_MIN,
    UDP_DATAGRAM_BYTES_MAX,
)

_DTLS_1_2 = 0xFEFD
_RECORD_HEADER_BYTES = 13
_HANDSHAKE_RECORD = 22
_LABEL = b"EXTRACTOR-dtls_srtp"
_SESSION_CACHE_OFF = 0  # SSL_SESS_CACHE_OFF
# ECDHE-RSA is for far ends with RSA certificates, when they are the server.
_CIPHERS = (
    b"ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-ECDSA-AES128-SHA:ECDHE-ECDSA-AES256-SHA"
    b":ECDHE-RSA-AES128-GCM-SHA256"
)
_HASHES: dict[str, hashes.HashAlgorithm] = {
    "sha-256": hashes.SHA256(),
    "sha-384": hashes.SHA384(),
    "sha-512": hashes.SHA512(),
}


class HandshakeError(Exception):
    """The handshake failed; what is still to be sent is the alert that says so."""


class Keying(NamedTuple):
    """What the handshake is for: the SRTP profile by OpenSSL's name, and the exported key material."""

    profile: str
    material: bytes


def generate() -> tuple[ec.EllipticCurvePrivateKey, x509.Certificate]:
    """A key and a certificate that it signed itself, with nothing in it but random numbers (RFC 8827, section 6.5)."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, secrets.token_hex(16))])
    now = datetime.datetime.now(tz=datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(seconds=CERTIFICATE_TTL_S))
        .sign(key, hashes.SHA256())
    )
    return key, certificate


def context(key: ec.EllipticCurvePrivateKey, certificate: x509.Certificate, profiles: Sequence[str]) -> SSL.Context:
    """What all handshakes of a worker share. `profiles` are OpenSSL's names, preferred ones first."""
    shared = SSL.Context(SSL.DTLS_METHOD)
    shared.set_min_proto_version(_DTLS_1_2)
    shared.set_max_proto_version(_DTLS_1_2)
    shared.set_options(SSL.OP_NO_TICKET | SSL.OP_NO_QUERY_MTU | SSL.OP_NO_RENEGOTIATION)
    shared.set_session_cache_mode(_SESSION_CACHE_OFF)
    # Any certificate will do: what counts is its fingerprint, which came over HTTPS.
    shared.set_verify(SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT, lambda *_: True)
    shared.use_certificate(certificate)
    shared.use_privatekey(key)
    shared.set_cipher_list(_CIPHERS)
    shared.set_tlsext_use_srtp(":".join(profiles).encode())
    return shared


def fingerprint(certificate: x509.Certificate, algorithm: str = "sha-256") -> str:
    """In the form of SDP (RFC 8122, section 5)."""
    return certificate.fingerprint(_HASHES[algorithm]).hex(":").upper()


class Handshake:
    """One far end's DTLS. Call `take` after every other call, and send what it returns; `now` is monotonic seconds."""

    def __init__(self, shared: SSL.Context, fingerprints: Sequence[tuple[str, str]], keying: dict[str, int]) -> None:
        """`fingerprints` are the far end's, by algorithm; `keying` is how many bytes each profile needs."""
        self.keying: Keying | None = None
        """There when the handshake is complete and the far end has the certificate that it announced."""
        self.over = False
        """The far end has said good-bye."""
        self.due: float | None = None
        """When to call `expired`; None: never."""
        self._ssl = SSL.Connection(shared)
        self._ssl.set_ciphertext_mtu(DTLS_DATAGRAM_BYTES_MAX)
        self._fingerprints = fingerprints
        self._keying = keying
        self._flight: list[bytes] = []
        self._outgoing: list[bytes] = []
        self._pause_s = HANDSHAKE_RESEND_S_MIN
        self._received = 0
        self._repeats = 0

    def begin(self, now: float, *, active: bool) -> None:
        """`active`: we are the DTLS client and speak first; otherwise the far end does."""
        if not active:
            self._ssl.set_accept_state()
            return
        self._ssl.set_connect_state()
        self._advance(now)

    def received(self, datagram: bytes, now: float) -> None:
        """A datagram with DTLS records. Raises `HandshakeError`."""
        if self.keying is not None:
            self._after(datagram)
            return
        self._received += 1
        if self._received > HANDSHAKE_DATAGRAMS_MAX:
            raise HandshakeError("too many datagrams")
        self._ssl.bio_write(datagram)
        self._advance(now)

    def expired(self, now: float) -> None:
        """It is `due`: send the last flight again. Raises `HandshakeError`."""
        if self.keying is not None or self.due is None:
            return
        try:
            self._ssl.DTLSv1_handle_timeout()
        except SSL.Error as error:
            raise HandshakeError(f"gave up: {error!r}") from error
        if not self._flush():
            self._outgoing += self._flight
        self._pause_s = min(self._pause_s * 2, HANDSHAKE_RESEND_S_MAX)
        self.due = now + self._pause_s

    def take(self) -> list[bytes]:
        """The datagrams to send now."""
        outgoing, self._outgoing = self._outgoing, []
        return outgoing

    def close(self) -> None:
        """Say good-bye, if there is anybody to say it to."""
        if self.keying is not None and not self.over:
            self.over = True
            try:
                self._ssl.shutdown()
            except SSL.Error:
                return
            self._flush()

    def _advance(self, now: float) -> None:
        try:
            self._ssl.do_handshake()
        except SSL.WantReadError:
            if self._flush():
                self._pause_s = HANDSHAKE_RESEND_S_MIN
                self.due = now + self._pause_s
            return
        except SSL.Error as error:
            self._flush()
            raise HandshakeError(repr(error)) from error
        self._flush()
        self.due = None
        self.keying = self._checked()

    def _checked(self) -> Keying:
        certificate = self._ssl.get_peer_certificate(as_cryptography=True)
        known = [(name.lower(), value.upper()) for name, value in self._fingerprints if name.lower() in _HASHES]
        if certificate is None or not known or any(fingerprint(certificate, name) != value for name, value in known):
            raise HandshakeError("another certificate than the announced one")
        profile = self._ssl.get_selected_srtp_profile().decode()
        if profile not in self._keying:
            raise HandshakeError("no common SRTP profile")
        return Keying(profile, self._ssl.export_keying_material(_LABEL, self._keying[profile]))

    def _after(self, datagram: bytes) -> None:
        """What comes after the handshake: a good-bye, or a repeated flight whose answer was lost."""
        if datagram[0] == _HANDSHAKE_RECORD and self._repeats < DTLS_REPEATS_MAX:
            self._repeats += 1
            self._outgoing += self._flight
        self._ssl.bio_write(datagram)
        try:
            while self._ssl.recv(UDP_DATAGRAM_BYTES_MAX):
                pass  # WebRTC's data channels; we have none
        except SSL.ZeroReturnError:
            self.over = True
        except SSL.Error:
            pass  # nothing more to read, or a forged record: only a good-bye matters
        self._flush()

    def _flush(self) -> bool:
        """Move what OpenSSL has written to what is to be sent; returns whether there was anything."""
        written = b""
        try:
            while True:
                written += self._ssl.bio_read(4096)
        except SSL.WantReadError:
            pass
        if not written:
            return False
        self._flight = datagrams(written)
        self._outgoing += self._flight
        return True


def datagrams(records: bytes) -> list[bytes]:
    """Cut DTLS records into datagrams of at most DTLS_DATAGRAM_BYTES_MAX, each record whole."""
    found: list[bytes] = []
    start = end = 0
    while end + _RECORD_HEADER_BYTES <= len(records):
        following = end + _RECORD_HEADER_BYTES + int.from_bytes(records[end + 11 : end + 13])
        if following - start > DTLS_DATAGRAM_BYTES_MAX and end > start:
            found.append(records[start:end])
            start = end
        end = following
    if end > start:
        found.append(records[start:end])
    return found
