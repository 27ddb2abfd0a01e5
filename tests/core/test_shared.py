"""What many ask for at once is fetched once, and given no longer than it is new."""

import asyncio

import pytest

from live.core.shared import Shared


class Source:
    """Answers with how often it was asked for a key; key 1 fails, key 2 hangs until it is `let` go."""

    def __init__(self) -> None:
        self.asked: list[int] = []
        self.let = asyncio.Event()
        self.now_s = 0.0
        self.shared = Shared(self.fetch, 0.25, lambda: self.now_s)

    async def fetch(self, key: int) -> int:
        self.asked.append(key)
        if key == 1:
            raise ValueError("no")
        if key == 2:
            await self.let.wait()
        return self.asked.count(key)


@pytest.fixture
async def source() -> Source:
    return Source()


async def test_one_fetch_serves_all_who_ask_until_it_is_too_old(source: Source) -> None:
    assert await asyncio.gather(*(source.shared.get(0) for _ in range(10))) == [1] * 10
    source.now_s = 0.25
    assert await source.shared.get(0) == 1
    assert await source.shared.get(3) == 1, "another question"
    source.now_s = 0.26
    assert await source.shared.get(0) == 2


async def test_what_takes_longer_than_that_is_asked_for_anew(source: Source) -> None:
    slow = asyncio.create_task(source.shared.get(2))
    await asyncio.sleep(0)
    source.now_s = 1.0
    late = asyncio.create_task(source.shared.get(2))
    while len(source.asked) < 2:
        await asyncio.sleep(0)
    source.let.set()
    assert [await slow, await late] == [2, 2]
    assert source.asked == [2, 2]


async def test_failures_are_not_kept(source: Source) -> None:
    results = await asyncio.gather(*(source.shared.get(1) for _ in range(3)), return_exceptions=True)
    assert [type(result) for result in results] == [ValueError] * 3
    assert source.asked == [1]
    with pytest.raises(ValueError, match="no"):
        await source.shared.get(1)
    assert source.asked == [1, 1]


async def test_who_leaves_takes_nobody_along(source: Source) -> None:
    first, second = (asyncio.create_task(source.shared.get(2)) for _ in range(2))
    await asyncio.sleep(0)
    first.cancel()
    await asyncio.wait([first])
    source.let.set()
    assert await second == 1


async def test_only_what_is_new_stays_in_memory(source: Source) -> None:
    for key in range(10, 1010):
        source.now_s += 0.01
        await source.shared.get(key)
    with pytest.raises(ValueError, match="no"):
        await source.shared.get(1)
    assert len(source.shared._kept) <= 27


async def test_the_end_leaves_nobody_waiting(source: Source) -> None:
    waiting = asyncio.create_task(source.shared.get(2))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    await source.shared.close()
    with pytest.raises(asyncio.CancelledError):
        await waiting
