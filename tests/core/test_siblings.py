"""Workers that ask each other, over real sockets: who is there, who is not, who hangs."""

import asyncio
import socket
from collections.abc import Iterator
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path

import pytest

from live.core.siblings import FOLDER, Siblings


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(FOLDER, str(tmp_path))
    return tmp_path


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("live.core.siblings.SIBLING_ANSWER_S", 0.1)


@pytest.fixture
def hung(folder: Path) -> Iterator[None]:
    """Worker 1 takes connections and says nothing, as a stopped process does."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(folder / "1.socket"))
        listener.listen()
        yield


def said(worker: int, question: str) -> bytes:
    return f"{worker}: {question}".encode()


async def test_all_are_asked_and_whoever_is_away_is_told_so(folder: Path) -> None:
    async with AsyncExitStack() as stack:
        found = [await stack.enter_async_context(Siblings.open(worker, 3, partial(said, worker))) for worker in (0, 2)]
        for siblings in found:
            assert await siblings.ask("how") == {0: b"0: how", 1: None, 2: b"2: how"}


async def test_a_long_answer_arrives_whole(folder: Path) -> None:
    async with AsyncExitStack() as stack:
        for worker in (0, 1):
            siblings = await stack.enter_async_context(Siblings.open(worker, 2, lambda _: b"x" * 500_000))
        answers = await siblings.ask("how")
    assert {worker: len(answer or b"") for worker, answer in answers.items()} == {0: 500_000, 1: 500_000}


async def test_the_next_process_takes_the_place_of_one_that_was_killed(folder: Path) -> None:
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(folder / "1.socket"))
    async with Siblings.open(0, 2, lambda _: b"0") as asking:
        assert await asking.ask("how") == {0: b"0", 1: None}
        async with Siblings.open(1, 2, lambda _: b"1"):
            assert await asking.ask("how") == {0: b"0", 1: b"1"}
        assert await asking.ask("how") == {0: b"0", 1: None}


@pytest.mark.usefixtures("hung")
async def test_one_that_hangs_holds_nobody_up(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = Siblings._asked

    async def hasty(siblings: Siblings, worker: int, question: str) -> bytes | None:
        monkeypatch.setattr("live.core.siblings.SIBLING_ANSWER_S", 0.1 if worker == 1 else 10.0)  # who answers has time
        return await asked(siblings, worker, question)

    monkeypatch.setattr(Siblings, "_asked", hasty)
    async with Siblings.open(0, 3, lambda _: b"0") as first, Siblings.open(2, 3, lambda _: b"2"):
        assert await first.ask("how") == {0: b"0", 1: None, 2: b"2"}


@pytest.mark.usefixtures("hasty")
@pytest.mark.parametrize("said", [b"x" * 1000, b"\xff\n", b"no line", b""], ids=["long", "not text", "open", "nothing"])
async def test_what_is_no_question_ends_the_connection(folder: Path, said: bytes) -> None:
    async with Siblings.open(0, 2, lambda q: q.encode()):
        reader, writer = await asyncio.open_unix_connection(folder / "0.socket")
        writer.write(said)
        async with asyncio.timeout(5):
            try:
                assert await reader.read() in (b"", said)
            except ConnectionError:
                pass
        writer.close()


async def test_alone_there_is_no_socket(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with Siblings.open(0, 1, lambda _: b"0") as only:
        assert await only.ask("how") == {0: b"0"}
    monkeypatch.delenv(FOLDER)
    async with Siblings.open(3, 4, lambda _: b"3") as unknown:
        assert await unknown.ask("how") == {3: b"3"}
    assert list(folder.iterdir()) == []
