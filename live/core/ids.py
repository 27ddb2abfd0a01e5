"""Identifiers: UUIDv7 (RFC 9562, section 5.7) for rows, random tokens for secrets."""

import secrets
import time
import uuid


def uuid7(now_ms: int | None = None) -> str:
    """A time-ordered UUID as 32 lower-case hex digits, so that newer rows land at the index's right edge.

    `now_ms` is the Unix time in milliseconds; None means the system clock. Python's own `uuid.uuid7` arrives
    in 3.14; this is the same layout: 48 bits of time, version, 12 random bits, variant, 62 random bits.
    """
    stamp = time.time_ns() // 1_000_000 if now_ms is None else now_ms
    value = (stamp & 0xFFFF_FFFF_FFFF) << 80 | 0x7 << 76 | secrets.randbits(12) << 64
    value |= 0b10 << 62 | secrets.randbits(62)
    return uuid.UUID(int=value).hex


def secret_token(size_bytes: int = 24) -> str:
    """An unguessable URL-safe string with `size_bytes` bytes of entropy."""
    return secrets.token_urlsafe(size_bytes)
