"""News leave after COMMIT, in the order of the commits, whatever happens to those who caused them."""

import asyncio
import itertools
from collections.abc import Callable

import pytest
from sqlalchemy import Connection, event, text
from sqlalchemy.exc import OperationalError

from live import store
from live.core.database import Database
from live.core.errors import Kind, Problem
from live.service import Batch, Shows
from live.shows import Show, ShowState
from tests.live.recorder import Recorder


@pytest.fixture(autouse=True)
async def demo(shows: Shows) -> Show:
    return await shows.create("demo", "Demo")


async def test_news_are_told_after_commit_in_the_order_of_the_calls(shows: Shows, outlet: Recorder) -> None:
    async with shows.transaction() as tx:
        tx.state("demo", "stock", {"sku": "s", "available": 1}, key="s")
        tx.event("demo", "product.sold_out", {"sku": "s"})
        tx.broadcast("demo", 7, "chat.message", {"id": "m"}, key="m")
        tx.notice("demo", "v1", "cart.changed", {"reason": "changed"})
        tx.state("demo", "figures", {"orders": 1}, staff=True)
        assert outlet.told == []
    assert [told[:1] + told[2:] for told in outlet.told] == [
        ("state", "stock", {"sku": "s", "available": 1}, None, "s"),
        ("event", "product.sold_out", {"sku": "s"}, 0, ""),
        ("event", "chat.message", {"id": "m"}, 7, ""),
        ("notice", "cart.changed", {"reason": "changed"}, None, "v1"),
        ("staff", "figures", {"orders": 1}, None, ""),
    ]
    assert [entry.name for entry in await shows.timeline("demo")] == ["product.sold_out"]


async def test_every_event_has_a_key_of_its_own(shows: Shows, outlet: Recorder) -> None:
    async with shows.transaction() as tx:
        for _ in range(3):
            tx.event("demo", "note", {})
        tx.broadcast("demo", 0, "chat.message", {}, key="m1")
    assert len(set(outlet.keys)) == 4
    assert "m1" in outlet.keys
    assert None not in outlet.keys


async def test_what_is_rolled_back_is_not_told(shows: Shows, outlet: Recorder) -> None:
    with pytest.raises(Problem):
        async with shows.transaction() as tx:
            tx.event("demo", "note", {})
            tx.state("demo", "viewers", {"count": 1})
            raise Problem(Kind.sold_out)
    assert outlet.told == []
    assert await shows.timeline("demo") == []
    async with shows.transaction() as tx:
        tx.event("demo", "note", {})
    assert [entry.seq for entry in await shows.timeline("demo")] == [1]


async def test_an_event_in_an_unknown_show_rolls_everything_back(shows: Shows, outlet: Recorder) -> None:
    with pytest.raises(Problem) as refused:
        async with shows.transaction() as tx:
            tx.event("demo", "note", {})
            tx.event("nowhere", "note", {})
    assert refused.value.kind is Kind.unknown_show
    assert outlet.told == []
    assert await shows.timeline("demo") == []


async def test_a_commit_that_fails_tells_nothing_and_holds_nobody_up(
    shows: Shows, outlet: Recorder, database: Database
) -> None:
    def fail(_connection: object) -> None:
        raise OperationalError("COMMIT", {}, Exception("the disk is full"))

    event.listen(database._writers.engine.sync_engine, "commit", fail)
    with pytest.raises(Problem) as refused:
        await shows.transition("demo", ShowState.live)
    assert refused.value.kind is Kind.unavailable
    event.remove(database._writers.engine.sync_engine, "commit", fail)
    await shows.transition("demo", ShowState.lobby)
    assert [told.data["state"] for told in outlet.told] == ["lobby"]


async def test_a_cancelled_request_is_done_and_told_or_neither(shows: Shows, outlet: Recorder) -> None:
    for turns in range(0, 80, 2):  # of the loop: before, during or after COMMIT
        show_id = f"s{turns}"
        await shows.create(show_id, "Demo")
        request = asyncio.create_task(shows.transition(show_id, ShowState.live))
        for _ in range(turns):
            await asyncio.sleep(0)
        request.cancel()
        await asyncio.wait([request])
        await shows.close()
        entries = await shows.timeline(show_id)
        assert [told.data for told in outlet.told if told.show == show_id] == [entry.data for entry in entries]
        assert ((await shows.get(show_id)).state is ShowState.live) == bool(entries)


async def test_several_shows_are_told_and_numbered_apart(shows: Shows, outlet: Recorder) -> None:
    await shows.create("other", "Other")

    async def tell(number: int) -> None:
        async with shows.transaction() as tx:
            for show_id in ("other", "demo") if number % 2 else ("demo", "other"):
                tx.event(show_id, "note", {"number": number})

    await asyncio.gather(*(tell(number) for number in range(12)))
    for show_id in ("demo", "other"):
        entries = await shows.timeline(show_id)
        assert [entry.seq for entry in entries] == list(range(1, 13))
        assert [told.data for told in outlet.told if told.show == show_id] == [entry.data for entry in entries]


async def test_the_order_of_commits_survives_a_slow_bus(shows: Shows, outlet: Recorder) -> None:
    outlet.gate = asyncio.Event()

    async def tell(number: int) -> None:
        async with shows.transaction() as tx:
            tx.event("demo", "note", {"number": number})

    writers = [asyncio.create_task(tell(number)) for number in range(10)]
    while len(entries := await shows.timeline("demo")) < 10:
        pass
    assert outlet.told == []
    outlet.gate.set()
    await asyncio.gather(*writers)
    assert [told.data for told in outlet.told] == [entry.data for entry in entries]
    assert all(later.seq == earlier.seq + 1 for earlier, later in itertools.pairwise(entries))


async def test_news_are_told_even_when_the_request_is_cancelled(shows: Shows, outlet: Recorder) -> None:
    outlet.gate = asyncio.Event()
    request = asyncio.create_task(shows.transition("demo", ShowState.live))
    await outlet.reached.wait()
    request.cancel()
    with pytest.raises(asyncio.CancelledError):
        await request
    outlet.gate.set()
    await shows.close()
    assert outlet.names == ["show.state"]


async def test_what_is_committed_succeeds_when_telling_fails(shows: Shows, outlet: Recorder) -> None:
    outlet.broken = True
    assert (await shows.transition("demo", ShowState.live)).state is ShowState.live
    outlet.broken = False
    await shows.transition("demo", ShowState.paused)
    assert [told.data["state"] for told in outlet.told] == ["paused"]
    assert [entry.data["state"] for entry in await shows.timeline("demo")] == ["live", "paused"]


async def test_a_chat_message_does_not_wait_for_a_locked_show(shows: Shows, database: Database) -> None:
    """A foreign key to a row that is FOR UPDATE would wait; the lock must leave references alone."""
    if database.dialect == "sqlite":
        pytest.skip("SQLite has one writer")
    async with database.write() as host, database.write() as viewer:
        assert await store.find_show(host, "demo", lock=True)
        key = store.StreamKey(id="k", label="", created_at_ms=1, revoked_at_ms=None)
        await asyncio.wait_for(store.insert_stream_key(viewer, "demo", key, "hash", None, "body"), 5)


# --- batches


def _note(number: int) -> Callable[[Batch], int]:
    def work(tx: Batch) -> int:
        tx.event("demo", "note", {"number": number})
        tx.notice("demo", "v1", "cart.changed", {"number": number})
        tx.notice("demo", "v2", "cart.changed", {"number": number})
        return number

    return work


async def test_a_batch_is_told_after_commit_and_apart_from_it(shows: Shows, outlet: Recorder) -> None:
    outlet.gate = asyncio.Event()
    result, told = await shows.batch(_note(1))
    assert (result, outlet.told) == (1, [])
    assert len(await shows.timeline("demo")) == 1
    outlet.gate.set()
    await told
    assert outlet.names == ["note", "cart.changed", "cart.changed"]
    assert [told.to for told in outlet.told] == ["", "v1", "v2"]


async def test_batches_and_transactions_are_told_in_the_order_of_their_commits(shows: Shows, outlet: Recorder) -> None:
    async def transaction(number: int) -> None:
        async with shows.transaction() as tx:
            tx.event("demo", "note", {"number": number})

    async def batch(number: int) -> None:
        _, told = await shows.batch(_note(number))
        await told

    await asyncio.gather(*((batch, transaction)[number % 2](number) for number in range(20)))
    entries = await shows.timeline("demo")
    assert len(entries) == 20
    assert [told.data for told in outlet.told if told.name == "note"] == [entry.data for entry in entries]


async def test_a_batch_that_raises_changes_nothing_and_holds_nobody_up(shows: Shows, outlet: Recorder) -> None:
    def work(tx: Batch) -> None:
        tx.event("demo", "note", {})
        tx.conn.execute(text("UPDATE show SET title = 'Other'"))
        raise Problem(Kind.sold_out)

    def nowhere(tx: Batch) -> None:
        tx.conn.execute(text("UPDATE show SET title = 'Other'"))
        tx.event("nowhere", "note", {})

    for failing, kind in ((work, Kind.sold_out), (nowhere, Kind.unknown_show)):
        with pytest.raises(Problem) as refused:
            await shows.batch(failing)
        assert refused.value.kind is kind
    assert ((await shows.get("demo")).title, outlet.told) == ("Demo", [])
    await (await shows.batch(_note(1)))[1]
    assert [entry.seq for entry in await shows.timeline("demo")] == [1]


async def test_a_batch_whose_commit_fails_tells_nothing_and_holds_nobody_up(
    shows: Shows, outlet: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise OperationalError("COMMIT", {}, Exception("the disk is full"))

    with monkeypatch.context() as patch:
        patch.setattr(Connection, "_commit_impl", fail)
        with pytest.raises(Problem) as refused:
            await shows.batch(_note(1))
    assert refused.value.kind is Kind.unavailable
    await (await shows.batch(_note(2)))[1]
    assert [told.data for told in outlet.told if told.name == "note"] == [{"number": 2}]
    assert [entry.data for entry in await shows.timeline("demo")] == [{"number": 2}]


async def test_a_batch_goes_through_when_nobody_waits_for_it_any_more(shows: Shows, outlet: Recorder) -> None:
    for turns in range(12):
        request = asyncio.create_task(shows.batch(_note(turns)))
        for _ in range(turns):
            await asyncio.sleep(0)
        request.cancel()
        await asyncio.wait([request])
        await shows.close()
    entries = await shows.timeline("demo")
    assert [told.data for told in outlet.told if told.name == "note"] == [entry.data for entry in entries]
    assert len(entries) >= 10, "only who was cancelled before the first step has done nothing"
