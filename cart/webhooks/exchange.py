"""One message sent over HTTP, to an address that was looked at, and what was answered.

The connection is made to the address itself; TLS still asks for the certificate of the name. Redirects lead nowhere,
proxies of the environment are not used: both would connect to what nobody has looked at. Each endpoint has connections
of its own, so that one's TLS never serves another's name, and a slow one holds up nobody.
"""

import asyncio
import contextlib
import ipaddress
import socket
import ssl
import time
from collections.abc import AsyncGenerator, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import cast

import httpx

from cart.webhooks.schedule import Try, retry_after_ms
from cart.webhooks.targets import Address, Network, Target, choose, forbidden, parse
from live.core.clock import Clock
from live.core.errors import Problem
from live.core.limits import (
    WEBHOOK_ENDPOINTS_MAX,
    WEBHOOK_PARALLEL,
    WEBHOOK_RESPONSE_BYTES_KEPT,
    WEBHOOK_TIMEOUT_S,
)

_PROBLEM_CHARS_MAX = 200
_BODY_S = 2.0  # to read what an answer begins with
_IDLE_S = 20.0  # a connection is kept for


class Exchange:
    """See the module. `allowed`: networks that are good although they are not public."""

    def __init__(self, clock: Clock, allowed: Sequence[Network] = (), timeout_s: float = WEBHOOK_TIMEOUT_S) -> None:
        self._clock = clock
        self._allowed = allowed
        self._timeout_s = timeout_s
        self._tls: ssl.SSLContext | None = None
        self._clients: dict[str, tuple[str, httpx.AsyncClient]] = {}  # by endpoint, with whom it calls
        # Each name is asked for by one thread at a time: a name server that hangs holds up its own names only.
        self._threads = ThreadPoolExecutor(WEBHOOK_ENDPOINTS_MAX, "webhook names")
        self._asked: dict[tuple[str, int], asyncio.Future[list[Address]]] = {}

    async def check(self, url: str) -> None:
        """Raises `Problem` invalid_field, webhook_target_forbidden for what nothing is sent to, as things are now."""
        target = parse(url)
        try:
            async with asyncio.timeout(self._timeout_s):
                await self._address(target)
        except TimeoutError:
            raise forbidden("The name cannot be resolved.") from None

    async def send(self, endpoint_id: str, url: str, headers: Mapping[str, str], body: bytes) -> Try:
        """POST `body`; never raises but when cancelled."""
        began_s = time.perf_counter()
        try:
            async with asyncio.timeout(self._timeout_s):
                result = await self._send(endpoint_id, parse(url), headers, body)
        except Problem as problem:
            result = Try(None, problem.detail[:_PROBLEM_CHARS_MAX])
        except TimeoutError:
            result = Try(None, f"No answer within {self._timeout_s:g} s.")
        except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
            result = Try(None, _printable(f"{type(error).__name__}: {error}")[:_PROBLEM_CHARS_MAX])
        duration_ms = round((time.perf_counter() - began_s) * 1000)
        return Try(result.status, result.problem, result.response, duration_ms, result.retry_after_ms)

    async def keep(self, endpoint_ids: Collection[str]) -> None:
        """Close the connections of all other endpoints."""
        for endpoint_id in [each for each in self._clients if each not in endpoint_ids]:
            await self._clients.pop(endpoint_id)[1].aclose()

    async def close(self) -> None:
        """Close every connection."""
        await self.keep(())
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def _send(self, endpoint_id: str, target: Target, headers: Mapping[str, str], body: bytes) -> Try:
        address = await self._address(target)
        client = await self._client(endpoint_id, target.authority)
        request = client.build_request(
            "POST",
            target.at(address),
            content=body,
            headers={**headers, "host": target.authority, "content-type": "application/json"},
            extensions={"sni_hostname": target.host},
        )
        response = await client.send(request, stream=True)
        try:
            said = await _beginning(response)
        finally:
            await response.aclose()
        retry_ms = retry_after_ms(response.headers, self._clock.now_ms())
        return Try(response.status_code, response=said, retry_after_ms=retry_ms)

    async def _address(self, target: Target) -> Address:
        """What to connect to; raises `Problem` webhook_target_forbidden."""
        return choose(target, await self._resolve(target), self._allowed)

    async def _resolve(self, target: Target) -> list[Address]:
        """Every address that the target's name has; raises `Problem` webhook_target_forbidden when it has none."""
        with contextlib.suppress(ValueError):
            return [ipaddress.ip_address(target.host)]
        name = target.host, target.port
        if name not in self._asked:
            asked = asyncio.get_running_loop().run_in_executor(self._threads, _look_up, *name)
            self._asked[name] = asked
            asked.add_done_callback(lambda _: self._asked.pop(name))
        try:
            return await asyncio.shield(self._asked[name])
        except (OSError, UnicodeError):
            raise forbidden("The name cannot be resolved.") from None

    async def _client(self, endpoint_id: str, authority: str) -> httpx.AsyncClient:
        if self._tls is None:
            self._tls = await asyncio.to_thread(prepare_tls)
        if endpoint_id in self._clients and self._clients[endpoint_id][0] != authority:
            await self._clients.pop(endpoint_id)[1].aclose()  # its connections are to another name
        if endpoint_id not in self._clients:
            made = httpx.AsyncClient(
                verify=self._tls,
                trust_env=False,
                timeout=None,  # one for the whole exchange is set outside: a receiver that drips is slow as well
                limits=httpx.Limits(max_keepalive_connections=WEBHOOK_PARALLEL, keepalive_expiry=_IDLE_S),
                headers={"user-agent": "Showcart-Webhooks", "accept-encoding": "identity"},
            )
            self._clients[endpoint_id] = authority, made
        return self._clients[endpoint_id][1]


async def _beginning(response: httpx.Response) -> str:
    """What an answer begins with; its status counts, whatever becomes of the rest."""
    kept = bytearray()
    with contextlib.suppress(TimeoutError, httpx.HTTPError):
        async with asyncio.timeout(_BODY_S):
            chunks = cast(AsyncGenerator[bytes, None], response.aiter_raw())
            async with contextlib.aclosing(chunks):
                async for chunk in chunks:
                    kept += chunk
                    if len(kept) >= WEBHOOK_RESPONSE_BYTES_KEPT:
                        break
    return _printable(kept[:WEBHOOK_RESPONSE_BYTES_KEPT].decode(errors="replace"))


def prepare_tls() -> ssl.SSLContext:
    """What TLS needs, from beside the loop; and all that a first client loads, which would hold it for 30 ms."""
    context = httpx.create_ssl_context()
    httpx.AsyncClient(verify=context, trust_env=False)
    return context


def _look_up(host: str, port: int) -> list[Address]:
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    # A zone is of no use: addresses of a link are refused.
    return [ipaddress.ip_address(str(info[4][0]).partition("%")[0]) for info in found]


def _printable(text: str) -> str:
    """`text` as both databases can hold it."""
    return text.replace("\0", "\ufffd")
