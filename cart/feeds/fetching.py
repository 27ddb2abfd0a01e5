"""Feeds brought here: from addresses of the public Internet, and from the data folder's own `feeds`.

Whoever may name a URL that a server reads could have it read what only the server can reach; so every name is resolved
here, all its addresses are looked at as those of webhooks are (`cart.webhooks.targets`), and the connection is made to
one that was. Redirects are followed by hand, each as carefully; what authorises us goes to no other host.
"""

import asyncio
import ipaddress
import os
import socket
import stat
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO
from urllib.parse import urljoin, urlsplit

import httpx
import msgspec

from cart.webhooks.exchange import prepare_tls
from cart.webhooks.targets import Address, Network, Target, choose, parse
from live.core.errors import Kind, Problem
from live.core.limits import FEED_FETCH_BYTES_MAX, FEED_FETCH_S, FEED_REDIRECTS_MAX, FEED_SILENT_S

FILE = "file:"
_REDIRECTS = (301, 302, 303, 307, 308)
_BUFFER_BYTES = 1024 * 1024
Beat = Callable[[int, int], Awaitable[None]]


class Failed(Exception):
    """The feed could not be brought here; the message says why."""


class Fetched(msgspec.Struct, frozen=True):
    """What is there now. `new` False: what was read the last time."""

    new: bool
    etag: str
    last_modified: str


class Fetcher:
    """See the module. `folder`: where file:… is; `allowed`: networks that are good although they are not public."""

    def __init__(self, folder: Path, allowed: Sequence[Network] = (), silent_s: float = FEED_SILENT_S) -> None:
        self._folder = folder
        self._allowed = allowed
        self._silent_s = silent_s

    async def check(self, url: str) -> None:
        """Raises `Problem` invalid_field, feed_forbidden for what is not read, as things are now."""
        if url.startswith(FILE):
            self._path(url)
            return
        target = _parsed(url)
        try:
            async with asyncio.timeout(self._silent_s):
                await self._address(target)
        except TimeoutError:
            raise Problem(Kind.feed_forbidden, "The name cannot be resolved.", field="url") from None

    async def fetch(
        self, url: str, authorization: str | None, etag: str, last_modified: str, sink: BinaryIO, beat: Beat
    ) -> Fetched:
        """Write what is there into `sink`, unless it is what `etag` and `last_modified` name; raises `Failed`.

        `beat` is told now and then that it goes on, and of how many bytes (0: not known).
        """
        try:
            if url.startswith(FILE):
                return await asyncio.to_thread(_copy, self._path(url), etag, sink)
            async with asyncio.timeout(FEED_FETCH_S):
                return await self._get(url, authorization, etag, last_modified, sink, beat)
        except Problem as problem:
            if problem.kind not in (Kind.feed_forbidden, Kind.invalid_field):
                raise
            raise Failed(problem.detail) from None
        except TimeoutError:
            raise Failed(f"It took more than {FEED_FETCH_S:g} s.") from None
        except httpx.TimeoutException:
            raise Failed(f"Nothing came for {self._silent_s:g} s.") from None
        except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
            raise Failed(f"{type(error).__name__}: {error}".replace("\0", "")) from None

    async def _get(
        self, url: str, authorization: str | None, etag: str, last_modified: str, sink: BinaryIO, beat: Beat
    ) -> Fetched:
        first = url
        asked = {"if-none-match": etag, "if-modified-since": last_modified}
        headers = {name: value for name, value in asked.items() if value}
        tls = await asyncio.to_thread(prepare_tls)
        for _ in range(FEED_REDIRECTS_MAX + 1):
            target = parse(url)
            address = await self._address(target)
            own = dict(headers)
            if authorization is not None and same_place(first, url):
                own["authorization"] = authorization
            timeout = httpx.Timeout(self._silent_s)
            async with httpx.AsyncClient(verify=tls, trust_env=False, timeout=timeout) as client:
                own |= {"host": target.authority, "user-agent": "Showcart-Feeds", "accept-encoding": "gzip, identity"}
                extensions = {"sni_hostname": target.host}
                async with client.stream("GET", target.at(address), headers=own, extensions=extensions) as response:
                    if response.status_code not in _REDIRECTS:
                        return await _receive(response, sink, beat)
                    url = urljoin(url, response.headers.get("location", ""))
        raise Failed(f"More than {FEED_REDIRECTS_MAX} redirects.")

    async def _address(self, target: Target) -> Address:
        """What to connect to; raises `Problem` feed_forbidden."""
        try:
            return choose(target, await _resolve(target), self._allowed)
        except Problem as problem:
            raise Problem(Kind.feed_forbidden, problem.detail, field="url") from None

    def _path(self, url: str) -> Path:
        """The file of file:…; raises `Problem` feed_forbidden for what is not simply a name in the folder."""
        name = url.removeprefix(FILE)
        if not name or name.startswith(".") or "/" in name or "\\" in name or not name.isprintable():
            detail = "file:name, the name of a file in the folder `feeds` of the data folder."
            raise Problem(Kind.feed_forbidden, detail, field="url")
        return self._folder / name


def same_place(url: str, other: str) -> bool:
    """Whether what is sent to `url` may be sent to `other`, too: it is the same server."""
    if FILE in (url[: len(FILE)], other[: len(FILE)]):
        return False
    first, second = parse(url), parse(other)
    return (first.scheme, first.authority) == (second.scheme, second.authority)


def _parsed(url: str) -> Target:
    """Raises `Problem` invalid_field."""
    with suppress(ValueError):
        if urlsplit(url).username is not None:
            raise Problem(Kind.invalid_field, "No name and password here: say `authorization`.", field="url")
    return parse(url)


async def _resolve(target: Target) -> list[Address]:
    try:
        return [ipaddress.ip_address(target.host)]
    except ValueError:
        pass
    loop = asyncio.get_running_loop()
    try:
        found = await loop.getaddrinfo(target.host, target.port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        raise Problem(Kind.feed_forbidden, "The name cannot be resolved.", field="url") from None
    return [ipaddress.ip_address(str(info[4][0]).partition("%")[0]) for info in found]


async def _receive(response: httpx.Response, sink: BinaryIO, beat: Beat) -> Fetched:
    etag, last_modified = _kept(response, "etag", 500), _kept(response, "last-modified", 100)
    if response.status_code == httpx.codes.NOT_MODIFIED:
        return Fetched(False, etag, last_modified)
    if response.status_code != httpx.codes.OK:
        raise Failed(f"It answered {response.status_code}.")
    length = response.headers.get("content-length", "")
    promised = int(length) if length.isascii() and length.isdigit() and len(length) < 16 else 0
    size_bytes, waiting = 0, bytearray()
    async for chunk in response.aiter_raw():
        size_bytes += len(chunk)
        if max(size_bytes, promised) > FEED_FETCH_BYTES_MAX:
            raise Failed(f"It has more than {FEED_FETCH_BYTES_MAX} bytes.")
        waiting += chunk
        if len(waiting) >= _BUFFER_BYTES:
            await asyncio.to_thread(sink.write, bytes(waiting))
            waiting.clear()
        await beat(0, promised)  # nothing of it is read so far
    await asyncio.to_thread(sink.write, bytes(waiting))
    return Fetched(True, etag, last_modified)


def _kept(response: httpx.Response, name: str, most: int) -> str:
    """A header that is sent back the next time; "": it has none, or one that cannot be sent."""
    value = response.headers.get(name, "")
    return value if len(value) <= most and value.isascii() and value.isprintable() else ""


def _copy(path: Path, etag: str, sink: BinaryIO) -> Fetched:
    """A file's size and time stand for what is in it."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)  # no link leads out of the folder
    with os.fdopen(descriptor, "rb") as file:
        found = os.fstat(file.fileno())
        if not stat.S_ISREG(found.st_mode):
            raise Failed("It is not a file.")
        if found.st_size > FEED_FETCH_BYTES_MAX:
            raise Failed(f"It has more than {FEED_FETCH_BYTES_MAX} bytes.")
        now = f"{found.st_size}-{found.st_mtime_ns}"
        if now == etag:
            return Fetched(False, now, "")
        while chunk := file.read(_BUFFER_BYTES):
            sink.write(chunk)
    return Fetched(True, now, "")
