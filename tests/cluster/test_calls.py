"""One worker asks another: answers, refusals, silence and nobody there."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from live.core.bus import Bus
from live.core.errors import Kind, Problem
from stream.cluster.calls import Calls
from tests.cluster.conftest import until


class Worker:
    """Answers what it was asked; "wait" waits for `go`."""

    def __init__(self, name: str, bus: Bus) -> None:
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self.go = asyncio.Event()
        self.calls = Calls(bus, name, self.answer)

    async def answer(self, name: str, arguments: dict[str, Any]) -> Any:
        self.asked.append((name, arguments))
        if name == "refuse":
            raise Problem(Kind.precondition_failed, "No.", field="If-Match", retry_after_s=3, extra={"a": 1})
        if name == "fail":
            raise RuntimeError("a bug of ours")
        if name == "wait":
            await self.go.wait()
        return {"name": name} | arguments


@pytest.fixture
async def workers(buses: list[Bus]) -> AsyncIterator[tuple[Worker, Worker]]:
    made = Worker("a", buses[0]), Worker("b", buses[1])
    for each in made:
        await each.calls.start()
    yield made
    for each in made:
        await each.calls.stop()


async def test_answers_find_those_who_asked(workers: tuple[Worker, Worker]) -> None:
    a, b = workers
    answers = await asyncio.gather(*[a.calls.ask("b", "echo", number=i, none=None) for i in range(50)])
    assert [answer["number"] for answer in answers] == list(range(50))
    assert (await b.calls.ask("a", "echo", text="x"))["text"] == "x"
    assert len(b.asked) == 50
    assert (await a.calls.ask("a", "echo"))["name"] == "echo"


async def test_a_refusal_crosses_whole(workers: tuple[Worker, Worker]) -> None:
    with pytest.raises(Problem) as caught:
        await workers[0].calls.ask("b", "refuse")
    problem = caught.value
    assert (problem.kind, problem.detail, problem.field) == (Kind.precondition_failed, "No.", "If-Match")
    assert (problem.retry_after_s, problem.extra) == (3, {"a": 1})


async def test_a_bug_there_is_an_error_here(workers: tuple[Worker, Worker], caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(Problem) as caught:
        await workers[0].calls.ask("b", "fail")
    assert caught.value.kind is Kind.internal
    assert "the call fail failed" in caplog.text


async def test_a_worker_that_is_gone_took_its_sessions_with_it(workers: tuple[Worker, Worker]) -> None:
    await workers[1].calls.stop()
    with pytest.raises(Problem) as caught:
        await workers[0].calls.ask("b", "echo")
    assert caught.value.kind is Kind.unknown_session


async def test_silence_is_unavailable_and_what_was_asked_is_done_once(
    workers: tuple[Worker, Worker], monkeypatch: pytest.MonkeyPatch
) -> None:
    a, b = workers
    with monkeypatch.context() as hasty, pytest.raises(Problem) as caught:
        hasty.setattr("stream.cluster.calls.CALL_TIMEOUT_S", 0.1)  # an answer that is given has the time it needs
        await a.calls.ask("b", "wait")
    assert caught.value.kind is Kind.unavailable
    b.go.set()  # its answer comes too late, and disturbs nobody
    assert (await a.calls.ask("b", "echo"))["name"] == "echo"
    assert [name for name, _ in b.asked] == ["wait", "echo"]


async def test_more_than_can_be_served_is_refused(
    workers: tuple[Worker, Worker], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stream.cluster.calls.CALLS_MAX", 2)
    a, b = workers
    waiting = [asyncio.create_task(a.calls.ask("b", "wait")) for _ in range(2)]
    await until(lambda: len(b.asked) == 2)
    with pytest.raises(Problem) as caught:
        await a.calls.ask("b", "echo")
    assert caught.value.kind is Kind.overloaded
    b.go.set()
    await asyncio.gather(*waiting)


async def test_noise_is_ignored(workers: tuple[Worker, Worker], buses: list[Bus]) -> None:
    await buses[2].send("worker/b", b"\xc1", "direct")
    assert (await workers[0].calls.ask("b", "echo"))["name"] == "echo"
