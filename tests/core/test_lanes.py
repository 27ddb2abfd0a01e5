"""Lanes: what is answered was committed, what fails fails alone, nobody is forgotten, and nothing is without bound."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection, text

from live.core.database import Database
from live.core.errors import Kind, Problem
from live.core.lanes import Committed, Lane
from live.core.limits import LANE_CROWD


@dataclass(frozen=True)
class Wish:
    """A command of the tests. `kind`: granted, refused, or poison for its whole transaction."""

    number: int
    key: str = "a"
    kind: str = "granted"


class Refusal(Exception):
    """Poison."""


@dataclass
class Ledger:
    """A store with scripted failures; commits one batch at a time, when its gate is open."""

    failures: list[Exception] = field(default_factory=list)  # of the next batches
    committed: list[Wish] = field(default_factory=list)
    batches: list[list[Wish]] = field(default_factory=list)  # that were tried
    gate: asyncio.Event = field(default_factory=asyncio.Event)
    told: Awaitable[None] | None = None

    def __post_init__(self) -> None:
        self.gate.set()

    async def commit(self, wishes: Sequence[Wish]) -> Committed[int]:
        self.batches.append(list(wishes))
        await self.gate.wait()
        await asyncio.sleep(0)
        if self.failures:
            raise self.failures.pop(0)
        if any(wish.kind == "poison" for wish in wishes):
            raise Refusal
        self.committed += [wish for wish in wishes if wish.kind == "granted"]
        answers = [wish.number if wish.kind == "granted" else Problem(Kind.sold_out) for wish in wishes]
        return Committed(answers, self.told)

    def lane(self, **bounds: Any) -> Lane[Wish, int]:
        return Lane("tests", self.commit, key=lambda wish: wish.key, **bounds)


async def turns(count: int = 20) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


async def outcomes(lane: Lane[Wish, int], wishes: Sequence[Wish]) -> list[int | BaseException]:
    return await asyncio.gather(*map(lane.do, wishes), return_exceptions=True)


async def test_an_idle_lane_commits_at_once_and_a_busy_one_gathers() -> None:
    ledger = Ledger()
    lane = ledger.lane(batch_max=4)
    assert await lane.do(Wish(0)) == 0
    ledger.gate.clear()
    first = asyncio.create_task(lane.do(Wish(1)))
    await turns()
    others = [asyncio.create_task(lane.do(Wish(number))) for number in range(2, 8)]
    await turns()
    assert lane.waiting == 6
    ledger.gate.set()
    assert await asyncio.gather(first, *others) == list(range(1, 8))
    assert [len(batch) for batch in ledger.batches] == [1, 1, 4, 2]
    assert (lane.batches, lane.commands, lane.waiting) == (4, 8, 0)


async def test_a_lane_that_was_busy_lets_a_few_gather() -> None:
    ledger = Ledger()
    lane = ledger.lane(pace_s=3600.0)
    ledger.gate.clear()
    first = asyncio.create_task(lane.do(Wish(0)))
    await asyncio.sleep(0.001)  # so long that a share of it is no time at all to wait for nobody
    ledger.gate.set()
    assert await first == 0
    few = [asyncio.create_task(lane.do(Wish(number))) for number in (1, 2, 3)]
    await turns()
    assert [len(batch) for batch in ledger.batches] == [1]
    assert await asyncio.gather(*few) == [1, 2, 3]
    assert [len(batch) for batch in ledger.batches] == [1, 3]


@pytest.mark.parametrize("how", ["a crowd", "closing"])
async def test_a_crowd_does_not_wait_for_company_nor_does_the_end(how: str) -> None:
    ledger = Ledger()
    lane = ledger.lane(pace_s=3600.0)
    assert await lane.do(Wish(0)) == 0
    lane._due_s = asyncio.get_running_loop().time() + 3600  # as after a batch that took long
    few = [asyncio.create_task(lane.do(Wish(number))) for number in range(1, LANE_CROWD)]
    await turns()
    assert len(ledger.batches) == 1
    if how == "a crowd":
        few.append(asyncio.create_task(lane.do(Wish(LANE_CROWD))))
    else:
        await lane.close()
    assert await asyncio.gather(*few) == list(range(1, len(few) + 1))
    assert [len(batch) for batch in ledger.batches] == [1, len(few)]


async def test_nobody_is_answered_before_the_commit() -> None:
    ledger = Ledger()
    ledger.gate.clear()
    task = asyncio.create_task(ledger.lane().do(Wish(1)))
    await turns()
    assert not task.done()
    ledger.gate.set()
    assert await task == 1


async def test_answers_wait_for_the_news_and_the_next_batch_does_not() -> None:
    ledger = Ledger()
    lane = ledger.lane()
    told = asyncio.get_running_loop().create_future()
    ledger.told = told
    first = asyncio.create_task(lane.do(Wish(1)))
    await turns()
    ledger.told = None
    assert await lane.do(Wish(2)) == 2
    assert not first.done()
    told.set_result(None)
    assert await first == 1


async def test_a_bus_that_hangs_stops_the_lane_before_too_much_is_untold(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("live.core.lanes.LANE_TELLING_MAX", 2)
    ledger = Ledger()
    lane = ledger.lane(batch_max=1)
    told = asyncio.get_running_loop().create_future()
    ledger.told = asyncio.shield(told)
    tasks = [asyncio.create_task(lane.do(Wish(number))) for number in range(4)]
    await turns()
    assert len(ledger.committed) == 2
    told.set_result(None)
    assert await asyncio.gather(*tasks) == [0, 1, 2, 3]


async def test_what_was_committed_is_acknowledged_when_telling_fails() -> None:
    ledger = Ledger()

    async def fail() -> None:
        raise ConnectionError

    ledger.told = fail()
    assert await ledger.lane().do(Wish(1)) == 1


async def test_a_full_lane_refuses_and_does_nothing() -> None:
    ledger = Ledger()
    lane = ledger.lane(waiting_max=5, key_waiting_max=3)
    ledger.gate.clear()
    tasks = [asyncio.create_task(lane.do(Wish(0, "c")))]
    await turns()
    tasks += [asyncio.create_task(lane.do(Wish(number, "a"))) for number in range(1, 5)]
    tasks += [asyncio.create_task(lane.do(Wish(number, "b"))) for number in range(5, 8)]
    await turns()
    ledger.gate.set()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    refused = [number for number, result in enumerate(results) if isinstance(result, Problem)]
    assert refused == [4, 7], "the fourth of a hot key, and whoever came when the lane was full"
    problem = results[4]
    assert isinstance(problem, Problem) and (problem.kind, problem.retry_after_s) == (Kind.overloaded, 1)
    assert sorted(wish.number for wish in ledger.committed) == [0, 1, 2, 3, 5, 6]
    assert lane.overloaded == 2


async def test_a_batch_takes_from_each_key_in_turn() -> None:
    ledger = Ledger()
    lane = ledger.lane(batch_max=4)
    ledger.gate.clear()
    blocker = asyncio.create_task(lane.do(Wish(0, "x")))
    await turns()
    wishes = [Wish(number, "hot") for number in range(1, 7)] + [Wish(10, "cold"), Wish(11, "cold"), Wish(20, "new")]
    tasks = [asyncio.create_task(lane.do(wish)) for wish in wishes]
    await turns()
    ledger.gate.set()
    await asyncio.gather(blocker, *tasks)
    assert [[wish.number for wish in batch] for batch in ledger.batches[1:]] == [[1, 10, 20, 2], [11, 3, 4, 5], [6]]


async def test_poison_fails_alone() -> None:
    ledger = Ledger()
    lane = ledger.lane()
    wishes = [Wish(number, kind="poison" if number in (3, 77) else "granted") for number in range(128)]
    results = await outcomes(lane, wishes)
    assert [number for number, result in enumerate(results) if isinstance(result, Refusal)] == [3, 77]
    assert [wish.number for wish in ledger.committed] == [n for n in range(128) if n not in (3, 77)], "in their order"
    assert len(ledger.batches) <= 2 * 2 * 7 + 1


async def test_a_store_out_of_reach_refuses_the_batch_once() -> None:
    ledger = Ledger(failures=[Problem(Kind.unavailable, retry_after_s=1)])
    lane = ledger.lane()
    results = await outcomes(lane, [Wish(number) for number in range(9)])
    assert all(isinstance(result, Problem) and result.kind is Kind.unavailable for result in results)
    assert len({id(result) for result in results}) == 9, "each has an exception, and a traceback, of its own"
    assert (len(ledger.batches), ledger.committed) == (1, [])
    assert await lane.do(Wish(9)) == 9


async def test_a_waiter_that_is_cancelled_is_done_all_the_same() -> None:
    ledger = Ledger()
    lane = ledger.lane()
    ledger.gate.clear()
    tasks = [asyncio.create_task(lane.do(Wish(number))) for number in range(3)]
    await turns()
    waiting = asyncio.create_task(lane.do(Wish(3)))
    await turns()
    tasks[1].cancel()
    waiting.cancel()
    await turns()
    ledger.gate.set()
    await lane.close()
    assert [wish.number for wish in ledger.committed] == [0, 1, 2, 3]
    assert [task.cancelled() for task in tasks] == [False, True, False]


async def test_closing_does_what_was_taken_and_takes_no_more() -> None:
    ledger = Ledger()
    lane = ledger.lane(batch_max=2)
    tasks = [asyncio.create_task(lane.do(Wish(number))) for number in range(7)]
    await asyncio.sleep(0)
    await lane.close()
    assert len(ledger.committed) == 7
    assert await asyncio.gather(*tasks) == list(range(7))
    with pytest.raises(Problem) as refused:
        await lane.do(Wish(8))
    assert (refused.value.kind, refused.value.retry_after_s) == (Kind.overloaded, 1)


async def test_a_loop_that_ends_leaves_nobody_waiting() -> None:
    ledger = Ledger()
    lane = ledger.lane(batch_max=1)
    ledger.gate.clear()
    tasks = [asyncio.create_task(lane.do(Wish(number))) for number in range(3)]
    await turns()
    [runner] = [task for task in asyncio.all_tasks() if task.get_name() == "lane tests"]
    runner.cancel()
    await asyncio.wait([*tasks, runner])
    assert all(task.cancelled() for task in tasks)


Step = tuple[str, int]
_wishes = st.tuples(st.sampled_from(["granted"] * 6 + ["refused", "poison"]), st.sampled_from("abc"), st.booleans())
_failures = st.lists(st.sampled_from([None, None, None, Kind.unavailable, Kind.overloaded]), max_size=6)


@settings(max_examples=120)
@given(st.lists(st.lists(_wishes, max_size=12), max_size=6), _failures, st.integers(1, 5), st.integers(2, 12))
def test_whatever_happens_each_command_has_one_outcome_and_it_is_true(
    waves: list[list[tuple[str, str, bool]]], failures: list[Kind | None], batch_max: int, waiting_max: int
) -> None:
    """Waves of commands, some left by their waiters, over a store that fails now and then."""

    async def run() -> None:
        ledger = Ledger()
        script = list(failures)
        commit = ledger.commit

        async def failing(wishes: Sequence[Wish]) -> Committed[int]:
            if (kind := script.pop(0) if script else None) is not None:
                ledger.failures = [Problem(kind)]
            return await commit(wishes)

        ledger.commit = failing  # type: ignore[method-assign]
        lane = ledger.lane(batch_max=batch_max, waiting_max=waiting_max)
        tasks: dict[Wish, asyncio.Task[int]] = {}
        for wave in waves:
            for kind, key, leaves in wave:
                wish = Wish(len(tasks), key, kind)
                tasks[wish] = asyncio.create_task(lane.do(wish))
                if leaves:
                    await asyncio.sleep(0)
                    tasks[wish].cancel()
            await asyncio.sleep(0)
        await asyncio.sleep(0)
        await lane.close()
        if tasks:
            await asyncio.wait(tasks.values())
        times = Counter(ledger.committed)
        assert set(times.values()) <= {1}, "nothing is done twice"
        for wish, task in tasks.items():
            if task.cancelled():
                continue
            error = task.exception()
            if error is None:
                assert task.result() == wish.number and wish in times, "acknowledged is committed"
            else:
                assert wish not in times, "refused is not"
            if isinstance(error, Refusal):
                assert wish.kind == "poison"
        for key in "abc":
            mine = [wish.number for wish in ledger.committed if wish.key == key]
            assert mine == sorted(mine), "of one key, in the order of arrival"
        assert lane.waiting == 0

    asyncio.run(run())


# --- over the real stores


@pytest.fixture
async def units(database: Database) -> Database:
    async with database.write() as conn:
        await conn.execute(text("CREATE TABLE unit (number INTEGER PRIMARY KEY, size INTEGER CHECK (size > 0))"))
    return database


async def _numbers(database: Database) -> list[int]:
    async with database.read() as conn:
        return list(await conn.scalars(text("SELECT number FROM unit ORDER BY number")))


def _lane_of(database: Database) -> Lane[tuple[int, int], int]:
    async def commit(rows: Sequence[tuple[int, int]]) -> Committed[int]:
        def work(conn: Connection) -> list[int | Problem]:
            for number, size in rows:
                conn.execute(text("INSERT INTO unit VALUES (:number, :size)"), {"number": number, "size": size})
            return [number for number, _ in rows]

        return Committed(await database.write_sync(work))

    return Lane("units", commit)


async def test_a_constraint_of_the_database_fails_the_command_that_broke_it(units: Database) -> None:
    lane = _lane_of(units)
    rows = [(number, -1 if number == 5 else 1) for number in range(20)]
    results: list[Any] = await asyncio.gather(*map(lane.do, rows), return_exceptions=True)
    assert [number for number, result in enumerate(results) if isinstance(result, Exception)] == [5]
    assert await _numbers(units) == [number for number in range(20) if number != 5]
    assert lane.split > 0


async def test_lanes_and_ordinary_transactions_take_turns(units: Database) -> None:
    lane = _lane_of(units)

    async def ordinary(number: int) -> None:
        async with units.write() as conn:
            await conn.execute(text("INSERT INTO unit VALUES (:number, 1)"), {"number": number})

    await asyncio.gather(
        *(lane.do((number, 1)) for number in range(0, 60, 2)), *(ordinary(number) for number in range(1, 60, 2))
    )
    assert await _numbers(units) == list(range(60))
