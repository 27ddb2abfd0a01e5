"""What is told last is what is left, whoever commits, reads or leaves in the wrong moment."""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pytest
from sqlalchemy import event, text
from sqlalchemy.util import await_only

from cart.moves import Moves
from cart.stock import Movement
from cart.stockroom import Stockroom
from cart.store import Part
from live.core.clock import ManualClock
from live.core.database import Database
from live.realtime.news import News
from live.service import Shows
from tests.cart.conftest import Screens, level

_SOON_S = 0.01
_NEVER_S = 3600.0


def hold(units: int, before: Callable[[], None] = lambda: None) -> Callable[[Moves], None]:
    def work(moves: Moves) -> None:
        before()
        assert moves.move("cup", "CUP", Movement.held, [Part(quantity=units)]) is not None

    return work


class Commits:
    """Counts the transactions that are about to commit; the one with the number `hold` waits there until `go`."""

    def __init__(self) -> None:
        self.begun = 0
        self.hold = 0
        self.held, self.go = asyncio.Event(), asyncio.Event()

    def __call__(self, _: Any) -> None:
        self.begun += 1
        if self.begun == self.hold:
            self.held.set()
            await_only(self.go.wait())


@contextmanager
def watched(database: Database) -> Iterator[Commits]:
    commits = Commits()
    engine = database._writers.engine.sync_engine
    event.listen(engine, "commit", commits)
    try:
        yield commits
    finally:
        event.remove(engine, "commit", commits)


async def quiet(stockroom: Stockroom) -> None:
    """Until it has looked again at what was told."""
    async with asyncio.timeout(10):
        while stockroom.board._flushing is not None:
            await asyncio.sleep(_SOON_S)


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)  # SQLite has one writer
@pytest.mark.parametrize("units", [2, 8])  # 6 are left, or none: the transaction tells that by itself
async def test_what_is_read_while_a_change_commits_is_not_told_after_it(
    database: Database, database_url: str, shows: Shows, clock: ManualClock, screens: Screens, units: int
) -> None:
    looker = await Database.open(database_url, clock)
    stockroom = Stockroom(shows, clock, stock_interval_s=_NEVER_S)
    for _ in range(2):
        await stockroom.change(hold(1))
    assert screens.stock("CUP") == [9]

    async def somebody_waits() -> bool:
        async with looker.read() as conn:
            return bool(await conn.scalar(text("SELECT count(*) FROM pg_locks WHERE NOT granted")))

    with watched(database) as commits:
        commits.hold = 1
        change = asyncio.create_task(stockroom.change(hold(units)))
        await commits.held.wait()
        flush = asyncio.create_task(stockroom.board.flush())
        async with asyncio.timeout(10):
            while commits.begun == 1 and not await somebody_waits():
                await asyncio.sleep(_SOON_S)
        commits.go.set()
        await asyncio.gather(change, flush)
    on_hand, _, held = await level(database, "CUP")
    assert screens.stock("CUP")[-1] == on_hand - held == 8 - units
    await stockroom.close()
    assert screens.stock("CUP")[-1] == 8 - units
    await looker.close()


class SlowScreens(Screens):
    """Screens whose next state is on its way until `come`."""

    slow = False

    def __init__(self) -> None:
        super().__init__()
        self.under_way, self.come = asyncio.Event(), asyncio.Event()

    async def tell(self, show: str, news: Sequence[News]) -> None:
        if self.slow and any(one.kind == "state" for one in news):
            self.slow = False
            self.under_way.set()
            await self.come.wait()
        await super().tell(show, news)


async def test_workers_whose_words_overtake_each_other_end_with_the_newest(
    database: Database, shows: Shows, clock: ManualClock
) -> None:
    screens = SlowScreens()
    one, other = (Stockroom(Shows(database, screens, clock), clock, stock_interval_s=_NEVER_S) for _ in range(2))
    screens.slow = True
    first = asyncio.create_task(one.change(hold(1)))
    await screens.under_way.wait()
    await other.change(hold(1))
    screens.come.set()
    await first
    assert screens.stock("CUP") == [8, 9]
    await one.board.flush()
    assert screens.stock("CUP") == [8, 9, 8]
    for stockroom in (one, other):
        await stockroom.board.flush()
        await stockroom.close()
    assert screens.stock("CUP") == [8, 9, 8], "what is still so is not told again"


async def test_what_a_caller_who_left_has_changed_is_told(
    database: Database, shows: Shows, clock: ManualClock, screens: Screens
) -> None:
    stockroom = Stockroom(shows, clock, stock_interval_s=_SOON_S)
    await stockroom.change(hold(1))
    await quiet(stockroom)
    loop = asyncio.get_running_loop()

    def leave() -> None:
        loop.call_soon_threadsafe(change.cancel)

    change = asyncio.create_task(stockroom.change(hold(1, leave)))
    with pytest.raises(asyncio.CancelledError):
        await change
    async with asyncio.timeout(10):
        while screens.stock("CUP") != [9, 8]:
            await asyncio.sleep(_SOON_S)
    await stockroom.close()
    assert await level(database, "CUP") == (10, 0, 2)


async def test_the_end_waits_for_a_change_whose_caller_left(
    database: Database, shows: Shows, clock: ManualClock, screens: Screens
) -> None:
    stockroom = Stockroom(shows, clock, stock_interval_s=_NEVER_S)
    await stockroom.change(hold(1))
    loop = asyncio.get_running_loop()

    def leave() -> None:
        loop.call_soon_threadsafe(change.cancel)

    change = asyncio.create_task(stockroom.change(hold(1, leave)))
    with pytest.raises(asyncio.CancelledError):
        await change
    await stockroom.close()
    assert screens.stock("CUP") == [9, 8]


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
async def test_the_end_waits_for_a_telling_that_is_under_way(
    database: Database, shows: Shows, clock: ManualClock, screens: Screens
) -> None:
    stockroom = Stockroom(shows, clock, stock_interval_s=_SOON_S)
    await stockroom.change(hold(1))
    await quiet(stockroom)
    with watched(database) as commits:
        commits.hold = 2
        await stockroom.change(hold(1))
        await commits.held.wait()  # the telling has read what is left
        end = asyncio.create_task(stockroom.close())
        for _ in range(3):
            await asyncio.sleep(0)
        assert not end.done()
        commits.go.set()
        await end
    assert screens.stock("CUP") == [9, 8]
