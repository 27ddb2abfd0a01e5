"""Changes that share a transaction: each is done or refused by itself, and told of only when it was done."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from cart.moves import Moves
from cart.stock import Movement
from cart.stockroom import Cost, Stockroom
from cart.store import Part
from live.core.clock import ManualClock
from live.core.database import Database
from live.core.errors import Kind, Problem
from live.core.limits import CHANGES_BATCH_MAX, HERE_S_MAX
from live.service import Shows
from tests.cart.conftest import Screens, level


class Bug(Exception):
    """Not a refusal."""


@pytest.fixture
async def room(database: Database, shows: Shows, clock: ManualClock) -> AsyncIterator[Stockroom]:
    room = Stockroom(shows, clock, stock_interval_s=0, shared=True)
    yield room
    await room.close()


def hold(moves: Moves) -> str:
    moves.move("cup", "CUP", Movement.held, [Part(quantity=1, show="demo")])
    moves.tx.notice("demo", "ann", "held", {})
    return "held"


def refuse(moves: Moves) -> str:
    hold(moves)
    hold(moves)
    raise Problem(Kind.cart_empty)


def break_(moves: Moves) -> str:
    hold(moves)
    raise Bug


async def test_a_refusal_among_others_leaves_nothing_behind(
    room: Stockroom, database: Database, screens: Screens
) -> None:
    works = [hold, hold, refuse, hold]
    outcomes = await asyncio.gather(*map(room.change, works), return_exceptions=True)
    assert [o if isinstance(o, str) else type(o) for o in outcomes] == ["held", "held", Problem, "held"]
    assert (await level(database, "CUP"))[2] == 3
    assert screens.stock("CUP") == [7], "one transaction told what all of them left"


async def test_a_bug_of_one_is_nobody_elses(room: Stockroom, database: Database) -> None:
    works = [hold, hold, break_, hold, hold]
    outcomes = await asyncio.gather(*map(room.change, works), return_exceptions=True)
    assert [o if isinstance(o, str) else type(o) for o in outcomes] == ["held", "held", Bug, "held", "held"]
    assert (await level(database, "CUP"))[2] == 4


async def test_a_crowd_of_changes_leaves_the_loop_to_others_in_between(
    room: Stockroom, shows: Shows, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An embedded store is asked by the loop itself: a hundred check-outs at once would keep it for 160 ms."""
    done: list[str] = []
    shared: list[int] = []
    batch = shows.batch

    async def counted(work: Any, *, here: bool) -> Any:
        begun = len(done)
        outcome = await batch(work, here=here)
        shared.append(len(done) - begun)
        return outcome

    monkeypatch.setattr(shows, "batch", counted)
    count = 2 * CHANGES_BATCH_MAX + 1
    await asyncio.gather(*(room.change(lambda _moves: done.append("one")) for _ in range(count)))
    assert sum(shared) == count and max(shared) == CHANGES_BATCH_MAX


def test_the_loop_does_what_was_quick_lately() -> None:
    cost = Cost(most=8)
    assert cost.allows(8) and not cost.allows(9)
    cost.took(2, 2 * HERE_S_MAX)
    assert cost.allows(1) and not cost.allows(2) and not cost.allows(8), "more of what was slow is slower"
    quick = 0
    while not cost.allows(2):
        cost.took(2, HERE_S_MAX / 2)
        quick += 1
    assert 30 < quick < 60, "who sends what is slow by turns does not keep the loop"
    assert Cost().allows(1000)


async def test_at_the_end_what_was_taken_is_done_and_what_comes_later_too(room: Stockroom, database: Database) -> None:
    taken = [asyncio.create_task(room.change(hold)) for _ in range(3)]
    await asyncio.sleep(0)
    await room.close()
    assert await asyncio.gather(*taken) == ["held"] * 3
    assert await room.change(hold) == "held", "a check-out that ends is not stopped half-way"
    assert (await level(database, "CUP"))[2] == 4
