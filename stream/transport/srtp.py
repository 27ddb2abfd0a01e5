"""SRTP keys of one session, both ways. The only module that knows pylibsrtp."""

from collections.abc import Callable
from typing import Any, NamedTuple

import pylibsrtp
from pylibsrtp import Policy, Session, _binding

from live.core.limits import SRTP_REPLAY_WINDOW

ProtectError = (pylibsrtp.Error, ValueError)
"""What `protect` and `unprotect` raise: the packet is too long, too old, or not authentic."""

protect_in_place: Callable[[Any, Any, Any], int] = _binding.lib.srtp_protect
"""`srtp_protect(handle, packet, length)`: what pylibsrtp calls itself, between two copies. 0 means success."""


class Profile(NamedTuple):
    """How a protection profile is called by libsrtp, and its bytes of key, salt and authentication tag."""

    number: int
    key: int
    salt: int
    tag: int


# AES-128-GCM protects a packet in 1.4 µs, AES-256-GCM in a little more, AES-CM with SHA-1 in 2.1 µs.
_PREFERENCE = {
    "SRTP_AEAD_AES_128_GCM": Profile(Policy.SRTP_PROFILE_AEAD_AES_128_GCM, 16, 12, 16),
    "SRTP_AEAD_AES_256_GCM": Profile(Policy.SRTP_PROFILE_AEAD_AES_256_GCM, 32, 12, 16),
    "SRTP_AES128_CM_SHA1_80": Profile(Policy.SRTP_PROFILE_AES128_CM_SHA1_80, 16, 14, 10),
}


def _available(profile: Profile) -> bool:
    try:
        Policy(srtp_profile=profile.number)
    except pylibsrtp.Error:  # pragma: no cover - a libsrtp that was built without AES-GCM
        return False
    return True


PROFILES = {name: profile for name, profile in _PREFERENCE.items() if _available(profile)}
"""What this libsrtp can do, by OpenSSL's names, fastest first."""
TAG_BYTES_MAX = max(profile.tag for profile in PROFILES.values())


def keying_bytes(profile: str) -> int:
    """How much keying material `profile` takes from the DTLS handshake."""
    return 2 * (PROFILES[profile].key + PROFILES[profile].salt)


class Keys:
    """One session's SRTP, both ways (RFC 5764, section 4.2)."""

    def __init__(self, profile: str, material: bytes, *, active: bool) -> None:
        """`material` comes from the handshake's exporter; `active` means that we were the DTLS client."""
        known = PROFILES[profile]
        both = 2 * known.key

        def session(index: int, kind: int) -> Session:
            key = material[index * known.key : (index + 1) * known.key]
            salt = material[both + index * known.salt : both + (index + 1) * known.salt]
            policy = Policy(key=key + salt, ssrc_type=kind, srtp_profile=known.number)
            policy.allow_repeat_tx = True
            policy.window_size = SRTP_REPLAY_WINDOW
            return Session(policy)

        incoming = session(1 if active else 0, Policy.SSRC_ANY_INBOUND)
        outgoing = session(0 if active else 1, Policy.SSRC_ANY_OUTBOUND)
        self.profile = profile
        self.tag = known.tag
        self.protect: Callable[[bytes], bytes] = outgoing.protect
        self.protect_rtcp: Callable[[bytes], bytes] = outgoing.protect_rtcp
        self.unprotect: Callable[[bytes], bytes] = incoming.unprotect
        self.unprotect_rtcp: Callable[[bytes], bytes] = incoming.unprotect_rtcp
        self.handle = outgoing._srtp[0]
        self._session = outgoing  # frees the handle when it goes
