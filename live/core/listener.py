"""One of the bus's ears: a connection that listens to many channels of one server, and comes back when it is lost.

Frames on a channel: `e<epoch>:<offset>\n<payload>` an event, `s<payload>` a state, `d<payload>` a direct notice,
`r` the epoch was rotated (`publish.lua` writes the first and the last).

It drives the client library's connection itself, because the library's own pub/sub reconnects silently, and then
nobody would know that messages were missed. It sees connections through a protocol and imports no library.
"""

import asyncio
import contextlib
import logging
import math
from collections import Counter, deque
from collections.abc import Callable
from typing import Any, Literal, NamedTuple, Protocol

from live.core.limits import BUS_PULSE_S, BUS_RETRY_S_MAX, BUS_RETRY_S_MIN
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
GONE = Message("gone", None, b"")
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
            return GONE
    raise ValueError("unknown frame")


class Subscription:
    """A channel and whoever listens to it, at whichever server it is just now.

    `confirmed` is done when the server has it, and None from then on; `stale`: it was confirmed before, so something
    may have been missed meanwhile. `epoch` is that of the last event; None: anything may follow.
    """

    def __init__(self, channel: bytes) -> None:
        self.channel = channel
        self.handlers: list[Handler] = []
        self.stale = False
        self.epoch: str | None = None
        self.confirmed: asyncio.Future[None] | None = asyncio.get_running_loop().create_future()

    def lost(self) -> None:
        """No server has it any more."""
        if self.confirmed is None:
            self.stale = True
            self.confirmed = asyncio.get_running_loop().create_future()

    def confirm(self) -> bool:
        """A server has it; answers whether something may have been missed."""
        confirmed, stale = self.confirmed, self.stale
        self.confirmed, self.stale = None, False
        if confirmed is not None and not confirmed.done():
            confirmed.set_result(None)
        return stale

    def admitted(self, message: Message) -> Message:
        """What handlers are told instead of `message`: two epochs never meet without a `gone` in between.

        A primary that stood still, and was replaced meanwhile, may publish a last event under the old epoch when it
        goes on; the others of its shard hand it over to their own subscribers.
        """
        if message.position is not None:
            if self.epoch in (None, message.position.epoch):
                self.epoch = message.position.epoch
                return message
            message = GONE
        if message.kind == "gone":
            self.epoch = None
        return message


class Connection(Protocol):
    """What is used of a connection to the server; it speaks RESP2, so that pushes arrive as plain lists."""

    async def connect(self) -> None: ...
    async def disconnect(self, nowait: bool = False) -> None: ...
    async def send_command(self, *args: Any, **options: Any) -> None: ...
    async def read_response(self, **options: Any) -> Any: ...


class Desk(Protocol):
    """Who is told what a listener hears."""

    def frame(self, channel: bytes, frame: bytes) -> None:
        """Something came on a channel."""
        ...

    def confirmed(self, subscription: Subscription) -> None:
        """The server has the subscription."""
        ...

    def evicted(self, subscription: Subscription, error: Exception | None) -> None:
        """The server refused the subscription (`error`) or gave it up; it is out of this listener."""
        ...

    def lost(self) -> None:
        """The connection is gone, and with it the subscriptions until the next one."""
        ...


class Listener:
    """Subscriptions on one connection.

    `connect` makes an unconnected connection, `failures` are the exceptions that a lost connection shows itself by,
    `refusals` those of them that are an answer of the server.
    """

    def __init__(
        self,
        connect: Callable[[], Connection],
        desk: Desk,
        failures: tuple[type[Exception], ...],
        refusals: tuple[type[Exception], ...] = (),
    ) -> None:
        self._connect = connect
        self._desk = desk
        self._failures = failures
        self._refusals = refusals
        self._subscriptions: dict[bytes, Subscription] = {}
        self._unanswered: deque[tuple[str, bytes]] = deque()  # commands, in the order of the answers to come
        self._asked: Counter[bytes] = Counter()  # SSUBSCRIBEs among them
        self._connection: Connection | None = None
        self._heard = 0.0
        self._tasks: list[asyncio.Task[None]] = []
        self.connected: asyncio.Future[None] = asyncio.get_running_loop().create_future()  # done at the first time

    def start(self) -> None:
        """Begin to listen."""
        self._tasks = [
            asyncio.create_task(self._run(), name="bus reader"),
            asyncio.create_task(self._pulse(), name="bus pulse"),
        ]

    async def stop(self) -> None:
        """Close the connection; nothing more is heard."""
        await end(*self._tasks)
        self._tasks = []

    def __len__(self) -> int:
        return len(self._subscriptions)

    @property
    def open(self) -> bool:
        """Whether it is connected."""
        return self._connection is not None

    async def attach(self, subscription: Subscription) -> None:
        """Subscribe; the desk is told when the server has confirmed, now or after the next connection."""
        self._subscriptions[subscription.channel] = subscription
        await self._ask("SSUBSCRIBE", subscription.channel)

    async def detach(self, subscription: Subscription) -> None:
        """Unsubscribe; from now on nothing more is heard of it."""
        if self._subscriptions.pop(subscription.channel, None) is not None:
            await self._ask("SUNSUBSCRIBE", subscription.channel)

    async def _ask(self, command: str, channel: bytes) -> None:
        connection = self._connection
        if connection is None:
            return  # the next connection subscribes to all that there are
        self._unanswered.append((command, channel))
        if command == "SSUBSCRIBE":
            self._asked[channel] += 1
        with contextlib.suppress(*self._failures):  # the reader finds out by itself
            await connection.send_command(command, channel, check_health=False)

    async def _run(self) -> None:
        retry_s, failed = BUS_RETRY_S_MIN, 0
        while True:
            connection = self._connect()
            try:
                await connection.connect()
                if failed:
                    log.warning("bus connection is back, after %d failures", failed)
                self._connection, failed = connection, 0
                self._heard = asyncio.get_running_loop().time()
                for channel in list(self._subscriptions):
                    if channel in self._subscriptions:
                        await self._ask("SSUBSCRIBE", channel)
                if not self.connected.done():
                    self.connected.set_result(None)
                retry_s = BUS_RETRY_S_MIN
                await self._listen(connection)
            except self._failures as error:
                failed += 1
                if failed == 1:
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
                try:
                    reply = await connection.read_response(timeout=math.inf)
                except self._refusals as error:
                    self._refused(error)
                    continue
                finally:
                    self._heard = loop.time()
                if not isinstance(reply, list):
                    continue  # PONG
                if reply[0] == b"smessage":
                    if reply[1] in self._subscriptions:
                        self._desk.frame(reply[1], reply[2])
                elif reply[0] == b"ssubscribe":
                    self._confirmed(reply[1])
                elif reply[0] == b"sunsubscribe":
                    self._unsubscribed(reply[1])
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
        self._unanswered.clear()
        self._asked.clear()
        for subscription in self._subscriptions.values():
            subscription.lost()
        self._desk.lost()

    def _answered(self, command: str, channel: bytes) -> None:
        answered = self._unanswered.popleft()
        assert answered == (command, channel), "answers come in the order of the commands"
        if command == "SSUBSCRIBE":
            self._asked[channel] -= 1

    def _confirmed(self, channel: bytes) -> None:
        self._answered("SSUBSCRIBE", channel)
        if self._asked[channel] > 0:
            return  # an older subscription, given back meanwhile
        del self._asked[channel]
        if (subscription := self._subscriptions.get(channel)) is not None:
            self._desk.confirmed(subscription)

    def _unsubscribed(self, channel: bytes) -> None:
        if self._unanswered and self._unanswered[0] == ("SUNSUBSCRIBE", channel):
            self._answered("SUNSUBSCRIBE", channel)
            return
        # Nobody asked for it: the slot of the channel has left the server.
        self._evict(channel, None)

    def _refused(self, error: Exception) -> None:
        if not self._unanswered:
            raise error  # it is no answer to a command of ours, so it is about the connection
        command, channel = self._unanswered[0]
        self._answered(command, channel)
        if command == "SSUBSCRIBE" and self._asked[channel] == 0:
            self._evict(channel, error)

    def _evict(self, channel: bytes, error: Exception | None) -> None:
        subscription = self._subscriptions.pop(channel, None)
        if subscription is not None:
            subscription.lost()
            self._desk.evicted(subscription, error)
