"""The bus's ear over scripted connections: what a server on this machine cannot be made to do."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from live.core.listener import Listener


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


async def _identify(connection: Any) -> str:
    return ""


def _in_order(*connections: Scripted) -> Callable[[], Scripted]:
    """The given connections, one after the other."""
    waiting = list(connections)
    return lambda: waiting.pop(0)


async def _until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.003)


async def test_who_gives_up_while_the_server_takes_no_command_is_forgotten() -> None:
    connection = Scripted(hangs="SSUBSCRIBE")
    listener = Listener(_in_order(connection), _identify, (OSError,))
    await listener.start()
    try:
        for _ in range(2):
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.02):
                    await listener.add(b"a", lambda message: None)
            assert not listener._handlers
            assert not listener._unconfirmed
        assert [command for command, *_ in connection.sent] == ["SSUBSCRIBE", "SUNSUBSCRIBE"] * 2
    finally:
        await listener.stop()


async def test_the_ear_outlives_what_nobody_expected(caplog: pytest.LogCaptureFixture) -> None:
    first, second = Scripted(), Scripted()
    listener = Listener(_in_order(first, second), _identify, (OSError,))
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
