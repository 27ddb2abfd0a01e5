"""Identifiers: UUIDv7 (RFC 9562, section 5.7) for rows, random tokens for secrets."""

import secrets
import threading
import time

_FIXED = 0xF << 76 | 0b11 << 62
_VERSION_AND_VARIANT = 0x7 << 76 | 0b10 << 62


def uuid7(now_ms: int | None = None) -> str:
    """A time-ordered UUID as 32 lower-case hex digits, so that newer rows land at the index's right edge.

    `now_ms` is the Unix time in milliseconds; None means the system clock. Python's own `uuid.uuid7` arrives
    in 3.14; this is the same layout: 48 bits of time, version, 12 random bits, variant, 62 random bits.
    """
    stamp = time.time_ns() // 1_000_000 if now_ms is None else now_ms
    random = int.from_bytes(secrets.token_bytes(10))
    value = (stamp & 0xFFFF_FFFF_FFFF) << 80 | random
    return f"{value & ~_FIXED | _VERSION_AND_VARIANT:032x}"


class Serial:
    """UUIDv7s in the order in which this process asks for them, also within a millisecond (RFC 9562, 6.2, method 2).

    For rows whose order means something. Any thread may ask.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._now_ms = -1
        self._random = 0

    def next(self, now_ms: int) -> str:
        """As `uuid7`, and later than all that were made for this millisecond, as long as no other came between."""
        with self._lock:
            if now_ms == self._now_ms:
                self._random += 1 + secrets.randbits(32)
            else:
                self._now_ms, self._random = now_ms, secrets.randbits(73)  # one bit of room to count in
            random = self._random
        value = (now_ms & 0xFFFF_FFFF_FFFF) << 80 | (random >> 62) << 64 | random & (1 << 62) - 1
        return f"{value | _VERSION_AND_VARIANT:032x}"


serial7 = Serial().next


def secret_token(size_bytes: int = 24) -> str:
    """An unguessable URL-safe string with `size_bytes` bytes of entropy."""
    return secrets.token_urlsafe(size_bytes)
