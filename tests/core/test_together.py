"""Who asks at the same time is answered at the same time."""

import asyncio
from collections.abc import Sequence

import pytest

from live.core.errors import Kind, Problem
from live.core.together import Together


async def test_what_is_asked_meanwhile_goes_into_one_fetch() -> None:
    fetched: list[list[int]] = []
    gate = asyncio.Event()

    async def fetch(keys: Sequence[int]) -> dict[int, int]:
        fetched.append(list(keys))
        await gate.wait()
        return {key: key * 2 for key in keys}

    together = Together(fetch, 3)
    first = asyncio.create_task(together.ask(0))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    rest = [asyncio.create_task(together.ask(key)) for key in (1, 2, 2, 3, 4)]
    await asyncio.sleep(0)
    gate.set()
    assert await asyncio.gather(first, *rest) == [0, 2, 4, 4, 6, 8]
    assert fetched == [[0], [1, 2, 3], [4]]
    assert await together.ask(9) == 18
    await together.close()


async def test_failure_is_told_to_all_who_asked_and_to_nobody_else() -> None:
    async def fetch(keys: Sequence[int]) -> dict[int, int]:
        if 1 in keys:
            raise ValueError("no")
        return dict.fromkeys(keys, 0)

    together = Together(fetch, 10)
    asked = [asyncio.create_task(together.ask(1)) for _ in range(2)]
    results = await asyncio.gather(*asked, return_exceptions=True)
    assert [type(result) for result in results] == [ValueError, ValueError]
    assert await together.ask(2) == 0


async def test_end_leaves_nobody_waiting() -> None:
    async def fetch(keys: Sequence[int]) -> dict[int, int]:
        await asyncio.Event().wait()
        raise AssertionError

    together = Together(fetch, 1)
    asked = [asyncio.create_task(together.ask(key)) for key in range(2)]
    for _ in range(3):
        await asyncio.sleep(0)
    await together.close()
    for task in asked:
        with pytest.raises(asyncio.CancelledError):
            await task


async def test_a_steady_stream_is_answered_in_few_fetches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("live.core.together.TOGETHER_INTERVAL_S", 0.3)
    fetched: list[list[int]] = []

    async def fetch(keys: Sequence[int]) -> dict[int, int]:
        fetched.append(list(keys))
        return dict.fromkeys(keys, 0)

    together = Together(fetch, 10)
    await together.ask(0)
    asked = []
    for key in (1, 2, 3):
        asked.append(asyncio.create_task(together.ask(key)))
        for _ in range(5):
            await asyncio.sleep(0)
    await asyncio.gather(*asked)
    assert fetched == [[0], [1, 2, 3]]


async def test_enough_for_a_whole_fetch_waits_for_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("live.core.together.TOGETHER_INTERVAL_S", 3600)

    async def fetch(keys: Sequence[int]) -> dict[int, int]:
        return dict.fromkeys(keys, 0)

    together = Together(fetch, 2)
    await together.ask(0)
    async with asyncio.timeout(10):
        await asyncio.gather(together.ask(1), together.ask(2))
    assert together.fetches == 2


async def test_a_question_that_cannot_be_answered_fails_alone() -> None:
    fetched: list[list[int]] = []

    async def fetch(keys: Sequence[int]) -> dict[int, int]:
        fetched.append(list(keys))
        if 3 in keys:
            raise ValueError("no")
        return {key: key * 2 for key in keys if key != 5}

    together = Together(fetch, 8)
    results = await asyncio.gather(*(together.ask(key) for key in range(8)), return_exceptions=True)
    assert [result for result in results if isinstance(result, int)] == [0, 2, 4, 8, 12, 14]
    assert (type(results[3]), type(results[5])) == (ValueError, KeyError)
    assert len(fetched) <= 1 + 2 * 2 * 3


@pytest.mark.parametrize("kind", [Kind.overloaded, Kind.unavailable])
async def test_a_store_that_refuses_is_not_asked_again_in_parts(kind: Kind) -> None:
    async def fetch(keys: Sequence[int]) -> dict[int, int]:
        raise Problem(kind)

    together = Together(fetch, 8)
    results = await asyncio.gather(*(together.ask(key) for key in range(8)), return_exceptions=True)
    assert [isinstance(result, Problem) and result.kind for result in results] == [kind] * 8
    assert together.fetches == 1


async def test_an_end_between_the_halves_leaves_nobody_waiting() -> None:
    halves = asyncio.Event()

    async def fetch(keys: Sequence[int]) -> dict[int, int]:
        if len(keys) == 4:
            raise ValueError("no")
        halves.set()
        await asyncio.Event().wait()
        raise AssertionError

    together = Together(fetch, 4)
    asked = [asyncio.create_task(together.ask(key)) for key in range(4)]
    await halves.wait()
    await together.close()
    for task in asked:
        with pytest.raises(asyncio.CancelledError):
            await task
