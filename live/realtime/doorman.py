"""Who may come in, and as whom: origins, tokens, guests and their names."""

import secrets
from collections.abc import Sequence
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import msgspec

from live.core.auth import ALL_SHOWS, Principal, Role, Tokens
from live.core.clock import Clock
from live.core.errors import Kind, Problem
from live.core.ids import uuid7
from live.core.limits import GUEST_TOKEN_TTL_S
from live.core.text import clean_name
from live.realtime.commands import Context
from live.realtime.protocol import Connect, wire_viewer

Headers = Sequence[tuple[bytes, bytes]]  # names in lower case, as ASGI hands them over


class Admitted(NamedTuple):
    """`token` is set when a guest was made; `expires_s` is on the clock's monotonic scale, None: never."""

    principal: Principal
    token: str | None
    expires_s: float | None


class Rename(msgspec.Struct, frozen=True):
    """Data of the command `viewer.rename`."""

    name: str


class Doorman:
    """Turns a `Connect` into a principal."""

    def __init__(self, tokens: Tokens, clock: Clock) -> None:
        self._tokens = tokens
        self._clock = clock

    def admit(self, show: str, connect: Connect) -> Admitted:
        """Who connects; raises `Problem` token_invalid, token_expired, show_forbidden or invalid_field."""
        if connect.token is None:
            principal, token = new_guest(self._tokens, connect.name)
            return Admitted(principal, token, self._clock.monotonic() + GUEST_TOKEN_TTL_S)
        principal, expires_s = self._tokens.verified(connect.token)
        principal.require(Role.viewer, show)
        if expires_s is None:
            return Admitted(principal, None, None)
        return Admitted(principal, None, self._clock.monotonic() + expires_s - self._clock.now_ms() / 1000)

    async def rename(self, context: Context, body: Rename) -> dict[str, Any]:
        """The command `viewer.rename`: a new name, and the token that carries it, for no longer than the old one."""
        old = context.principal
        if old.role is not Role.viewer:
            raise Problem(Kind.role_forbidden, "The staff's names come with their tokens.")
        principal = msgspec.structs.replace(old, name=clean_name(body.name))
        expires_s = context.expires_s
        ttl_s = GUEST_TOKEN_TTL_S if expires_s is None else max(1, int(expires_s - self._clock.monotonic()))
        token = self._tokens.sign(principal, ttl_s)
        context.become(principal)
        return {"viewer": wire_viewer(principal), "token": token}


def new_guest(tokens: Tokens, name: str | None) -> tuple[Principal, str]:
    """A guest and its token. `name` None: the server finds one. Raises `Problem` invalid_field."""
    name = f"Guest {secrets.randbelow(10_000):04d}" if name is None else clean_name(name)
    principal = Principal(subject=f"g{uuid7()}", role=Role.viewer, show=ALL_SHOWS, name=name)
    return principal, tokens.sign(principal, GUEST_TOKEN_TTL_S)


def refusal(received: Headers, origins: frozenset[str]) -> Problem | None:
    """Why this handshake must be refused.

    Browsers always say which page connects (RFC 6455, section 10.2): only ours and the allowed ones may, or any
    page could act with the visitor's address. Who sends no Origin is no browser.
    """
    headers = {name: value.decode("latin-1") for name, value in received if name in (b"origin", b"host")}
    origin = headers.get(b"origin")
    if origin is not None and origin not in origins:
        try:
            netloc = urlsplit(origin).netloc
        except ValueError:
            netloc = ""
        if not netloc or netloc != headers.get(b"host"):
            return Problem(Kind.origin_forbidden)
    return None
