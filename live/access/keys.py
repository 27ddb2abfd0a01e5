"""A service's key: what it looks like, what is kept of it, and what may be asked for.

A key is 256 random bits, so its SHA-256 is stored: a slow hash would protect nothing and cost a flood its CPU.
"""

import hashlib
import re
from collections.abc import Sequence

import msgspec

from live.core.auth import SCOPES, SERVICE_KEY_PREFIX
from live.core.errors import Kind, Problem
from live.core.limits import SERVICE_KEY_OVERLAP_S_MAX, SERVICE_KEY_TTL_S_MAX, SERVICE_KEY_TTL_S_MIN

_FORM = re.compile(rf"{SERVICE_KEY_PREFIX}[A-Za-z0-9_-]{{43}}")
_SHOWN = len(SERVICE_KEY_PREFIX) + 8


class ServiceKey(msgspec.Struct, frozen=True):
    """A key without its secret. Times are Unix milliseconds.

    `prefix`: the secret's first characters. `show` None: all shows. `expires_at_ms` None: never, `last_used_at_ms`
    None: not yet; it is up to a minute behind. `revoked_at_ms` None: it is good. `old_until_ms`: until then the secret
    of before the last rotation is good too, None: there is none.
    """

    id: str
    label: str
    prefix: str
    scopes: tuple[str, ...]
    show: str | None
    created_at_ms: int
    created_by: str
    expires_at_ms: int | None
    last_used_at_ms: int | None
    revoked_at_ms: int | None
    old_until_ms: int | None


def is_key(value: str) -> bool:
    """Whether it looks like one of ours; what does not is never looked up."""
    return _FORM.fullmatch(value) is not None


def digest(*parts: str) -> str:
    """What is stored of a secret, or of a request."""
    return hashlib.sha256("\0".join(parts).encode(errors="surrogatepass")).hexdigest()


def prefix_of(secret: str) -> str:
    """What people see of a secret."""
    return secret[:_SHOWN]


def check_scopes(scopes: Sequence[str]) -> tuple[str, ...]:
    """`scopes` in order, each once; raises `Problem` invalid_field."""
    for place, scope in enumerate(scopes):
        if scope not in SCOPES:
            raise Problem(Kind.invalid_field, f"One of {', '.join(SCOPES)}.", field=f"scopes[{place}]")
    if not scopes:
        raise Problem(Kind.invalid_field, "A key needs a scope.", field="scopes")
    return tuple(sorted(set(scopes)))


def check_ttl(expires_in_s: int | None) -> None:
    """Raises `Problem` invalid_field; None: it never expires."""
    if expires_in_s is not None and not SERVICE_KEY_TTL_S_MIN <= expires_in_s <= SERVICE_KEY_TTL_S_MAX:
        detail = f"Between {SERVICE_KEY_TTL_S_MIN} and {SERVICE_KEY_TTL_S_MAX} seconds."
        raise Problem(Kind.invalid_field, detail, field="expires_in_s")


def check_overlap(overlap_s: int) -> None:
    """Raises `Problem` invalid_field."""
    if not 0 <= overlap_s <= SERVICE_KEY_OVERLAP_S_MAX:
        raise Problem(Kind.invalid_field, f"Between 0 and {SERVICE_KEY_OVERLAP_S_MAX} seconds.", field="overlap_s")
