"""One of the bus's mouths: a connection that publishes without waiting for each answer, and says no when it is behind.

For what is worthless when it is late: a call takes its payload or refuses it at once, and nothing is tried again. What
waits is bounded by its bytes until the server has answered for it, so a server that hangs is noticed by the refusals.

Like `live.core.listener`, it drives the client library's connection itself and imports no library. At a video's pace
(300 batches a second) the library's own `spublish` costs 290 µs of this process, this 160 µs.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from typing import Any, Protocol

from live.core.limits import BUS_RETRY_S_MAX, BUS_RETRY_S_MIN, BUS_TIMEOUT_S, SPEAKER_BYTES_MAX
from live.core.tasks import end

log = logging.getLogger(__name__)


class Connection(Protocol):
    """What is used of a connection to the server."""

    async def connect(self) -> None: ...
    async def disconnect(self, nowait: bool = False) -> None: ...
    def pack_command(self, *args: Any) -> list[bytes]: ...
    async def send_packed_command(self, command: Any, check_health: bool = True) -> None: ...
    async def read_response(self, **options: Any) -> Any: ...


class Speaker:
    """Publishes on one connection, which comes back when it is lost.

    `connect` makes an unconnected connection, `failures` are the exceptions that a lost one shows itself by; those of
    them that are an answer of the server are `refusals`, and `refused` is told the channel.
    """

    def __init__(
        self,
        connect: Callable[[], Connection],
        failures: tuple[type[Exception], ...],
        refusals: tuple[type[Exception], ...] = (),
        refused: Callable[[bytes, Exception], None] = lambda channel, error: None,
    ) -> None:
        self._connect = connect
        self._failures = failures
        self._refusals = refusals
        self._refused = refused
        self._connection: Connection | None = None
        self._unwritten: list[bytes] = []
        self._unanswered: deque[tuple[bytes, int]] = deque()  # channels and sizes, in the order of the answers
        self._waiting_bytes = 0
        self._news = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to connect."""
        self._task = asyncio.create_task(self._run(), name="bus speaker")

    async def stop(self) -> None:
        """Close the connection; what was not written is lost."""
        await end(self._task)
        self._task = None

    def send(self, channel: bytes, frame: bytes) -> bool:
        """Publish `frame`, in the order of the calls; False: not connected or behind, and nothing was sent."""
        connection = self._connection
        if connection is None or self._waiting_bytes + len(frame) > SPEAKER_BYTES_MAX:
            return False
        self._unwritten += connection.pack_command("SPUBLISH", channel, frame)
        self._unanswered.append((channel, len(frame)))
        self._waiting_bytes += len(frame)
        self._news.set()
        return True

    @property
    def clear(self) -> bool:
        """Whether the connection is there and less than half of what may wait does."""
        return self._connection is not None and self._waiting_bytes < SPEAKER_BYTES_MAX // 2

    async def _run(self) -> None:
        retry_s = BUS_RETRY_S_MIN
        while True:
            connection = self._connect()
            try:
                await connection.connect()
                self._connection = connection
                retry_s = BUS_RETRY_S_MIN
                await self._talk(connection)
            except self._failures as error:
                log.debug("bus connection lost: %s", error)  # as the ears beside it say
            except Exception:  # our own bug, or the library's: a speaker that is silent for good would be worse
                log.exception("the bus speaker failed; it connects again")
            finally:
                self._connection = None
                self._unwritten = []
                self._unanswered.clear()
                self._waiting_bytes = 0
                await connection.disconnect(nowait=True)
            await asyncio.sleep(retry_s)
            retry_s = min(retry_s * 2, BUS_RETRY_S_MAX)

    async def _talk(self, connection: Connection) -> None:
        answers = asyncio.create_task(self._hear(connection), name="bus speaker's answers")
        try:
            while not answers.done():
                await self._news.wait()
                self._news.clear()
                if self._unwritten:
                    unwritten, self._unwritten = self._unwritten, []
                    await connection.send_packed_command(unwritten, check_health=False)
            await answers
        finally:
            await end(answers)

    async def _hear(self, connection: Connection) -> None:
        """Take the answers; raises one of the failures when the server owes some and says nothing."""
        try:
            while True:
                before = len(self._unanswered)
                refusal = None
                try:
                    answer = await connection.read_response(timeout=BUS_TIMEOUT_S)
                except self._refusals as error:
                    if not self._unanswered:
                        raise  # it is about the connection
                    answer = refusal = error
                if answer is not None:
                    channel, size_bytes = self._unanswered.popleft()
                    self._waiting_bytes -= size_bytes
                    if refusal is not None:
                        self._refused(channel, refusal)
                elif before:
                    raise ConnectionError("the server does not answer")
        finally:
            self._news.set()  # whoever waits for something to write must see that this is over
