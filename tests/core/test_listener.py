"""The bus's ear over scripted connections: what a server on this machine cannot be made to do."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from live.core.listeners import Listeners
from live.core.slots import Address


class Scripted:
    """A connection that confirms subscriptions and says what is put into `answers`."""

    def __init__(self, hangs: str = "") -> None:
        self.hangs = hangs  # the command that is never done being written
        self.sent: list[tuple[Any, ...]] = []
        self.answers: asyncio.Queue[Any] = asyncio.Queue()

    async def connect(self) -> None:
        pass

    async def disconnect(self, nowait: bool = False) -> None:
        pass

    async def send_command(self, *args: Any, **options: Any) -> None:
        self.sent.append(args)
        if args[0] == self.hangs:
            await asyncio.Event().wait()
        if args[0] == "SSUBSCRIBE":
            self.answers.put_nowait([b"ssubscribe", args[1], 1])

    async def read_response(self, **options: Any) -> Any:
        answer = await self.answers.get()
        if isinstance(answer, Exception):
            raise answer
        return answer


class Alone:
    """One server; each new connection to it is the next of those given."""

    home: Address | None = Address("", 0)

    def __init__(self, *connections: Scripted) -> None:
        self.waiting = list(connections)
        self.doubted = asyncio.Event()

    def owner(self, name: bytes) -> Address | None:
        return self.home

    def connection(self, address: Address) -> Any:
        return self.waiting.pop(0)

    def refused(self, name: bytes, error: Exception) -> None:
        self.doubted.set()

    async def refresh(self) -> None:
        pass


async def _until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.003)


async def test_who_gives_up_while_the_server_takes_no_command_is_forgotten() -> None:
    connection = Scripted(hangs="SSUBSCRIBE")
    listener = Listeners(Alone(connection), (OSError,))
    await listener.start()
    try:
        for _ in range(2):
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.02):
                    await listener.add(b"a", lambda message: None)
            assert not listener._subscriptions
            assert not listener._at
        assert [command for command, *_ in connection.sent] == ["SSUBSCRIBE", "SUNSUBSCRIBE"] * 2
    finally:
        await listener.stop()


async def test_the_ear_outlives_what_nobody_expected(caplog: pytest.LogCaptureFixture) -> None:
    first, second = Scripted(), Scripted()
    listener = Listeners(Alone(first, second), (OSError,))
    await listener.start()
    try:
        heard: list[str] = []
        await listener.add(b"a", lambda message: heard.append(message.kind))
        first.answers.put_nowait(KeyError("a bug of ours"))
        await _until(lambda: heard == ["gone"])
        second.answers.put_nowait([b"smessage", b"a", b"sx"])
        await _until(lambda: heard == ["gone", "state"])
        assert "a bug of ours" in caplog.text
    finally:
        await listener.stop()
