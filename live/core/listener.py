"""The bus's ear: one connection that listens to many channels, and comes back when it is lost.

Frames on a channel: `e<epoch>:<offset>\n<payload>` an event, `s<payload>` a state, `d<payload>` a direct notice,
`r` the epoch was rotated (`publish.lua` writes the first and the last).

It drives the client library's connection itself, because the library's own pub/sub reconnects silently, and then
nobody would know that messages were missed. It sees connections through a protocol and imports no library.
"""

import asyncio
import contextlib
import logging
import math
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any, Literal, NamedTuple, Protocol

from live.core.limits import BUS_PULSE_S, BUS_RETRY_S_MAX, BUS_RETRY_S_MIN, BUS_TIMEOUT_S
from live.core.position import Position
from live.core.tasks import end

log = logging.getLogger(__name__)

_YIELD_EVERY = 64  # messages handed over before other tasks get the loop; a burst is in the buffer as a whole


class Message(NamedTuple):
    """What a subscriber is handed. `position` is set for events. `gone`: something may have been missed."""

    kind: Literal["event", "state", "direct", "gone"]
    position: Position | None
    payload: bytes


Handler = Callable[[Message], None]
_GONE = Message("gone", None, b"")
UNNUMBERED: dict[Literal["state", "direct"], bytes] = {"state": b"s", "direct": b"d"}


def parse(frame: bytes) -> Message:
    """The message that a frame on a channel holds; raises `ValueError` when it is not ours."""
    match frame[:1]:
        case b"e":
            head, _, payload = frame.partition(b"\n")
            epoch, _, offset = head[1:].decode().partition(":")
            return Message("event", Position(epoch, int(offset)), payload)
        case b"s":
            return Message("state", None, frame[1:])
        case b"d":
            return Message("direct", None, frame[1:])
        case b"r":
            return _GONE
    raise ValueError("unknown frame")


class Connection(Protocol):
    """What is used of a connection to the server; it speaks RESP2, so that pushes arrive as plain lists."""

    async def connect(self) -> None: ...
    async def disconnect(self, nowait: bool = False) -> None: ...
    async def send_command(self, *args: Any, **options: Any) -> None: ...
    async def read_response(self, **options: Any) -> Any: ...


class Listener:
    """Handlers of many channels on one connection.

    `connect` makes an unconnected connection, `identify` asks a connected one for its server's run id, `failures`
    are the exceptions that a lost connection shows itself by.
    """

    def __init__(
        self,
        connect: Callable[[], Connection],
        identify: Callable[[Connection], Awaitable[str]],
        failures: tuple[type[Exception], ...],
    ) -> None:
        self._connect = connect
        self._identify = identify
        self._failures = failures
        self._handlers: dict[bytes, list[Handler]] = {}
        self._unconfirmed: dict[bytes, asyncio.Future[None]] = {}
        self._asked: Counter[bytes] = Counter()  # SSUBSCRIBEs without an answer yet
        self._stale: set[bytes] = set()  # subscribed before the connection was lost
        self._connection: Connection | None = None
        self._heard = 0.0
        self._tasks: list[asyncio.Task[None]] = []
        self.server_id = ""  # run id of the server; another one after a restart or a failover

    async def start(self) -> None:
        """Begin to listen; answers once connected. Raises `TimeoutError`."""
        connected: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._tasks = [
            asyncio.create_task(self._run(connected), name="bus reader"),
            asyncio.create_task(self._pulse(), name="bus pulse"),
        ]
        async with asyncio.timeout(BUS_TIMEOUT_S):
            await connected

    async def stop(self) -> None:
        """Close the connection; handlers hear nothing more."""
        await end(*self._tasks)
        self._tasks = []

    async def add(self, channel: bytes, handler: Handler) -> None:
        """Give `handler` every message of `channel` from the server's confirmation on, which this waits for.

        Raises `TimeoutError` when the server does not confirm; then `handler` is out again.
        """
        first = channel not in self._handlers
        self._handlers.setdefault(channel, []).append(handler)
        if first:
            self._unconfirmed[channel] = asyncio.get_running_loop().create_future()
        try:
            async with asyncio.timeout(BUS_TIMEOUT_S):
                if first:
                    await self._ask("SSUBSCRIBE", channel)
                if (confirmed := self._unconfirmed.get(channel)) is not None:
                    await asyncio.shield(confirmed)
        except BaseException:
            await self.remove(channel, handler)
            raise

    async def remove(self, channel: bytes, handler: Handler) -> None:
        """Take `handler` out; the channel is given up with its last handler."""
        handlers = self._handlers[channel]
        handlers.remove(handler)
        if not handlers:
            del self._handlers[channel]
            self._unconfirmed.pop(channel, None)
            self._stale.discard(channel)
            await self._ask("SUNSUBSCRIBE", channel)

    async def _ask(self, command: str, channel: bytes) -> None:
        connection = self._connection
        if connection is None:
            return  # the next connection subscribes to all that have handlers
        if command == "SSUBSCRIBE":
            self._asked[channel] += 1
        with contextlib.suppress(*self._failures):  # the reader finds out by itself
            await connection.send_command(command, channel, check_health=False)

    async def _run(self, connected: "asyncio.Future[None]") -> None:
        retry_s = BUS_RETRY_S_MIN
        while True:
            connection = self._connect()
            try:
                await connection.connect()
                self.server_id = await self._identify(connection)
                self._connection = connection
                self._heard = asyncio.get_running_loop().time()
                for channel in list(self._handlers):
                    await self._ask("SSUBSCRIBE", channel)
                if not connected.done():
                    connected.set_result(None)
                retry_s = BUS_RETRY_S_MIN
                await self._listen(connection)
            except self._failures as error:
                log.warning("bus connection lost: %s", error)
            except Exception:  # our own bug: without this task the worker would be deaf until it is restarted
                log.exception("a bus connection failed; connecting again")
            finally:
                self._lost()
                await connection.disconnect(nowait=True)
            await asyncio.sleep(retry_s)
            retry_s = min(retry_s * 2, BUS_RETRY_S_MAX)

    async def _listen(self, connection: Connection) -> None:
        loop = asyncio.get_running_loop()
        while True:
            for _ in range(_YIELD_EVERY):
                reply = await connection.read_response(timeout=math.inf)
                self._heard = loop.time()
                if not isinstance(reply, list):
                    continue  # PONG
                if reply[0] == b"smessage":
                    self._hand_over(reply[1], reply[2])
                elif reply[0] == b"ssubscribe":
                    self._confirmed(reply[1])
            await asyncio.sleep(0)

    async def _pulse(self) -> None:
        """A dead path to the server says nothing by itself; an unanswered PING does."""
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(BUS_PULSE_S)
            connection = self._connection
            if connection is None:
                continue
            if loop.time() - self._heard > BUS_PULSE_S * 2:
                await connection.disconnect(nowait=True)
                continue
            with contextlib.suppress(*self._failures):
                await connection.send_command("PING", check_health=False)

    def _lost(self) -> None:
        self._connection = None
        self._asked.clear()
        for channel in self._handlers:
            if channel not in self._unconfirmed:
                self._stale.add(channel)
                self._unconfirmed[channel] = asyncio.get_running_loop().create_future()

    def _confirmed(self, channel: bytes) -> None:
        self._asked[channel] -= 1
        if self._asked[channel] > 0:
            return  # an older subscription, given back meanwhile
        del self._asked[channel]
        confirmed = self._unconfirmed.pop(channel, None)
        if confirmed is not None and not confirmed.done():
            confirmed.set_result(None)
        if channel in self._stale:
            self._stale.discard(channel)
            self._deliver(channel, _GONE)

    def _hand_over(self, channel: bytes, frame: bytes) -> None:
        try:
            message = parse(frame)
        except ValueError:
            log.warning("a frame on %r is not ours and was ignored", channel)
            return
        self._deliver(channel, message)

    def _deliver(self, channel: bytes, message: Message) -> None:
        for handler in tuple(self._handlers.get(channel, ())):
            try:
                handler(message)
            except Exception:  # our own bug: it must not cost other channels their reader
                log.exception("a bus handler failed on %r", channel)
