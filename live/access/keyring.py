"""The shop's keys as a worker has them: asked for when they are needed, kept while the shop does not answer.

They are read again after SIGN_ON_KEYS_FRESH_S, and at once for a key that is not among them, because shops rotate
theirs; but no more often than every SIGN_ON_KEYS_AGAIN_S, so tokens with made-up keys cost the shop nothing. Whoever
comes while they are read waits for the same answer.

The address is the operator's own setting and may be inside: nothing that a visitor sends decides where this asks.
Redirects lead nowhere, and proxies of the environment are not used.
"""

import asyncio
import logging
import ssl
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing
from pathlib import Path
from typing import cast

import httpx

from live.access.jwks import PublicKey, Published, choose, parse
from live.core.clock import Clock
from live.core.errors import Kind, Problem
from live.core.limits import (
    SIGN_ON_KEYS_AGAIN_S,
    SIGN_ON_KEYS_BYTES_MAX,
    SIGN_ON_KEYS_FRESH_S,
    SIGN_ON_KEYS_KEPT_S,
    SIGN_ON_KEYS_TIMEOUT_S,
)
from live.core.tasks import end

log = logging.getLogger(__name__)
Read = Callable[[], Awaitable[bytes]]


class Keyring:
    """See the module. `read` gives the JWK set, or raises `OSError`, `httpx.HTTPError` or `ValueError`."""

    def __init__(self, read: Read, clock: Clock, timeout_s: float = SIGN_ON_KEYS_TIMEOUT_S) -> None:
        self._read = read
        self._clock = clock
        self._timeout_s = timeout_s
        self._keys: Sequence[Published] = ()
        self._read_s = self._tried_s = float("-inf")
        self._failed = False
        self._task: asyncio.Task[None] | None = None

    async def key(self, algorithm: str, kid: str | None) -> PublicKey:
        """The shop's key; raises `Problem` sign_on_key, or sign_on_unreachable when it cannot be known."""
        if self._age_s >= SIGN_ON_KEYS_FRESH_S:
            await self._renew()
        if not self._keys or self._age_s >= SIGN_ON_KEYS_KEPT_S:
            raise _unreachable()
        found = choose(self._keys, algorithm, kid)
        if found is None and await self._renew():
            found = choose(self._keys, algorithm, kid)
        if found is None:
            if self._failed:
                raise _unreachable()
            raise Problem(Kind.sign_on_key, field="token")
        return found

    async def close(self) -> None:
        """Ask no more."""
        await end(self._task)

    @property
    def _age_s(self) -> float:
        return self._clock.monotonic() - self._read_s

    async def _renew(self) -> bool:
        """Read the keys again, unless that was tried lately; False: it was."""
        if self._task is None:
            if self._clock.monotonic() - self._tried_s < SIGN_ON_KEYS_AGAIN_S:
                return False
            self._tried_s = self._clock.monotonic()
            self._task = asyncio.create_task(self._load(), name="the shop's keys")
        await asyncio.shield(self._task)
        return True

    async def _load(self) -> None:
        try:
            async with asyncio.timeout(self._timeout_s):
                self._keys = parse(await self._read())
            self._read_s = self._clock.monotonic()
            self._failed = False
        except (OSError, ValueError, httpx.HTTPError, httpx.InvalidURL) as error:  # TimeoutError is an OSError
            self._failed = True
            log.warning("the shop's keys cannot be read: %s: %s", type(error).__name__, error)
        finally:
            self._task = None


def of_file(path: Path) -> Read:
    """Reads the keys from a file."""

    def read() -> bytes:
        with path.open("rb") as file:
            return file.read(SIGN_ON_KEYS_BYTES_MAX + 1)

    return lambda: asyncio.to_thread(read)


def of_url(url: str) -> Read:
    """Reads the keys from the shop."""
    tls: list[ssl.SSLContext] = []

    async def read() -> bytes:
        if not tls:
            tls.append(await asyncio.to_thread(_prepare))
        headers = {"accept": "application/json", "accept-encoding": "identity", "user-agent": "Showcart"}
        async with (
            httpx.AsyncClient(verify=tls[0], trust_env=False, timeout=None, headers=headers) as client,
            client.stream("GET", url) as response,
        ):
            if response.status_code != httpx.codes.OK or "content-encoding" in response.headers:
                raise ValueError(f"the shop answered {response.status_code}")
            document = bytearray()
            chunks = cast(AsyncGenerator[bytes, None], response.aiter_raw())
            async with aclosing(chunks):
                async for chunk in chunks:
                    document += chunk
                    if len(document) > SIGN_ON_KEYS_BYTES_MAX:
                        break
            return bytes(document)

    return read


def _prepare() -> ssl.SSLContext:
    """What TLS needs; and all that a first client loads, which would hold the loop for 30 ms."""
    context = httpx.create_ssl_context()
    httpx.AsyncClient(verify=context, trust_env=False)
    return context


def _unreachable() -> Problem:
    return Problem(Kind.sign_on_unreachable, retry_after_s=round(SIGN_ON_KEYS_AGAIN_S))
