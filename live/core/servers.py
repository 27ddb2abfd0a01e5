"""The servers of the bus: one alone, or those of a cluster (`live.core.cluster`). All use of the client library.

A command goes to the server that has its key. Failures of the library are turned into what the bus decides by:
`FAILURES` (whether the command took effect is not known), of which `Redirected`, `NotReached` and `NotNow` say that it
did not.
"""

import asyncio
import hashlib
from typing import Any, Protocol
from urllib.parse import urlsplit

from redis.asyncio import BlockingConnectionPool
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import (
    AskError,
    ClusterDownError,
    ConnectionError,
    MovedError,
    NoScriptError,
    RedisError,
    ResponseError,
    TryAgainError,
)

from live.core.limits import BUS_CONNECTIONS_MAX, BUS_TIMEOUT_S
from live.core.slots import CLUSTER_SCHEMES, Address, seeds

FAILURES = (RedisError, OSError, RuntimeError)  # RuntimeError: uvloop, on a write to a closed transport
REFUSALS = (ResponseError,)  # what a server answers when it will not; the connection is as good as before


class Redirected(ResponseError):
    """Another server has the key. `asking`: for this one time, while a slot moves."""

    def __init__(self, host: str, port: int, *, asking: bool) -> None:
        super().__init__(f"the key is with {host}:{port}")
        self.host = host
        self.port = port
        self.asking = asking


def redirect(error: Exception) -> Redirected | None:
    """Where a server's answer leads; None when it does not."""
    if isinstance(error, AskError):  # MovedError is one too
        return Redirected(error.host, error.port, asking=not isinstance(error, MovedError))
    return None


class NotReached(ConnectionError):
    """There is no connection to the server; nothing was sent."""


class NotNow(ResponseError):
    """The cluster cannot serve the key for the moment; nothing was done."""


def check_url(url: str) -> None:
    """Raises `ValueError`, which says why, when no connection can be made of `url`: nothing is connected to yet."""
    scheme = url.partition("://")[0]
    if scheme in CLUSTER_SCHEMES:
        addresses, template = seeds(url)
        url = template.format(addresses[0])
    elif scheme not in ("redis", "rediss", "unix"):
        raise ValueError(
            "must start with redis://, rediss:// or unix://, or for a cluster with redis+cluster:// or rediss+cluster://"
        )
    parts = urlsplit(url)
    if scheme == "unix":
        if not parts.path.strip("/"):
            raise ValueError("the path of the socket is missing")
    elif not parts.hostname:
        raise ValueError("the host is missing")
    elif parts.path.strip("/") and not parts.path.strip("/").isdecimal():
        raise ValueError(f"{parts.path.strip('/')!r} is not a database's number")
    try:
        Server(url).connection()
    except TypeError as error:  # an option is passed on as it is
        _, _, option = str(error).rpartition("argument ")
        raise ValueError(f"there is no option {option} for {scheme}://") from None


class Script:
    """A Lua script, known to servers by its digest once they have run it."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.digest = hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest()


class Connection(Protocol):
    """What is used of a connection that the bus drives itself; it speaks RESP2, so that pushes are plain lists."""

    async def connect(self) -> None: ...
    async def disconnect(self, nowait: bool = False) -> None: ...
    async def send_command(self, *args: Any, **options: Any) -> None: ...
    def pack_command(self, *args: Any) -> list[bytes]: ...
    async def send_packed_command(self, command: Any, check_health: bool = True) -> None: ...
    async def read_response(self, **options: Any) -> Any: ...


class Servers(Protocol):
    """One server or a cluster of them.

    `home` is where everything is, None in a cluster; `primaries` are those that own a slot. `doubted` is set when
    something speaks against what is known of who owns what; whoever refreshes clears it.
    """

    home: Address | None
    doubted: asyncio.Event

    @property
    def primaries(self) -> frozenset[Address]: ...

    async def open(self) -> None:
        """Find out who owns what; raises one of `FAILURES`."""
        ...

    async def execute(self, key: str, *command: Any, patience_s: float = BUS_TIMEOUT_S) -> Any:
        """What the server that has `key` answers, as `Server.execute`; raises one of `FAILURES`.

        A cluster that cannot serve the key for the moment is asked again for `patience_s`; a server alone that does not
        answer is given up then.
        """
        ...

    def owner(self, name: bytes) -> Address | None:
        """Who has the channel or key `name`; None: nobody, for the moment."""
        ...

    def connection(self, address: Address) -> Connection:
        """An unconnected connection of the caller's own to the server at `address`."""
        ...

    def refused(self, name: bytes, error: Exception) -> None:
        """Learn from the answer of a server that was asked about `name` on a connection of the caller's own."""
        ...

    async def refresh(self) -> None:
        """Find out again who owns what; raises one of `FAILURES` and keeps what was known."""
        ...

    async def check(self) -> None:
        """Raises one of `FAILURES` when nobody answers."""
        ...

    async def close(self) -> None:
        """Close every connection."""
        ...


class Server:
    """One server and a pool of connections to it."""

    def __init__(self, url: str) -> None:
        self._pool: Any = BlockingConnectionPool.from_url(  # its methods are not annotated
            url,
            driver_info=None,  # else the library reads its own metadata from disk at each connect
            protocol=2,  # pushes arrive as plain arrays
            max_connections=BUS_CONNECTIONS_MAX,
            timeout=BUS_TIMEOUT_S,
            socket_timeout=BUS_TIMEOUT_S,
            socket_connect_timeout=BUS_TIMEOUT_S,
            retry=Retry(NoBackoff(), 0),  # a blind second try could publish twice
        )

    async def execute(self, *command: Any, asking: bool = False) -> Any:
        """What the server answers; `asking`: although the key's slot is still on its way here.

        A `Script`, followed by the number of its keys, the keys and arguments, is run by its digest, and by its text
        when the server does not know it yet. Raises one of `FAILURES`.
        """
        try:
            if isinstance(command[0], Script):
                return await self._run(command[0], command[1:], asking)
            return await self._send(command, asking)
        except AskError as error:
            raise redirect(error) or error from None
        except (TryAgainError, ClusterDownError) as error:
            raise NotNow(str(error)) from None

    async def _run(self, script: Script, arguments: tuple[Any, ...], asking: bool) -> Any:
        try:
            return await self._send(("EVALSHA", script.digest, *arguments), asking)
        except NoScriptError:
            return await self._send(("EVAL", script.text, *arguments), asking)

    async def _send(self, command: tuple[Any, ...], asking: bool) -> Any:
        try:
            connection = await self._pool.get_connection()
        except FAILURES as error:
            raise NotReached(str(error)) from error
        try:
            if asking:  # on the same connection: it counts for the next command that comes from there
                await connection.send_command("ASKING")
                await connection.read_response()
            await connection.send_command(*command)
            return await connection.read_response()
        finally:
            await self._pool.release(connection)

    def connection(self) -> Connection:
        """An unconnected connection beside the pool."""
        connection: Connection = self._pool.make_connection()
        return connection

    async def close(self) -> None:
        """Close every connection of the pool."""
        await self._pool.aclose()


class Alone:
    """One server that has every key."""

    home: Address | None = Address("", 0)
    primaries = frozenset({Address("", 0)})

    def __init__(self, url: str) -> None:
        self._server = Server(url)
        self.doubted = asyncio.Event()

    async def open(self) -> None:
        await self.check()

    async def execute(self, key: str, *command: Any, patience_s: float = BUS_TIMEOUT_S) -> Any:
        if patience_s >= BUS_TIMEOUT_S:  # which the connection itself keeps
            return await self._server.execute(*command)
        async with asyncio.timeout(patience_s):  # the library closes a connection whose answer nobody waits for
            return await self._server.execute(*command)

    def owner(self, name: bytes) -> Address | None:
        return self.home

    def connection(self, address: Address) -> Connection:
        return self._server.connection()

    def refused(self, name: bytes, error: Exception) -> None:
        pass

    async def refresh(self) -> None:
        pass

    async def check(self) -> None:
        await self._server.execute("PING")

    async def close(self) -> None:
        await self._server.close()
