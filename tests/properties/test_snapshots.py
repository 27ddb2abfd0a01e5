"""Snapshot + events = fresh snapshot, over shows and chats that people run at random."""

import itertools
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from chat.service import Chat
from live import timeline
from live.core.auth import Principal, Role
from live.core.clock import ManualClock
from live.core.database import Database
from live.core.errors import Problem
from live.service import Shows
from live.shows import ShowState
from tests.chat.conftest import Rates
from tests.live.recorder import Catalogue, Recorder

PRODUCTS = st.sampled_from(["a", "b", "c"])
VIEWERS = st.sampled_from(["ann", "bob"])
MOD = Principal("mod", Role.moderator, "*", "Mod")
NUMBERS = itertools.count()

STEPS = st.one_of(
    st.tuples(st.just("go"), st.sampled_from(ShowState)),
    st.tuples(st.just("publisher"), st.booleans()),
    st.tuples(st.just("title"), st.sampled_from(["One", "Two"])),
    st.tuples(st.just("lineup"), st.lists(PRODUCTS, unique=True)),
    st.tuples(st.just("pin"), PRODUCTS),
    st.tuples(st.just("unpin"), st.none()),
    st.tuples(st.just("product"), PRODUCTS),
    st.tuples(st.just("post"), VIEWERS),
    st.tuples(st.just("room"), st.integers(0, 3)),  # for messages on the screens; the rest is left out
    st.tuples(st.just("delete"), st.integers(0, 5)),
    st.tuples(st.just("timeout"), VIEWERS),
    st.tuples(st.just("unban"), VIEWERS),
    st.tuples(st.just("slow"), st.integers(0, 2)),
    st.tuples(st.just("restage"), st.none()),
)


class Stage:
    """One show, all that can be done to it, and what its screens were told."""

    def __init__(self, database: Database, clock: ManualClock) -> None:
        self.show_id = f"s{next(NUMBERS)}"
        self.outlet = Recorder()
        self.catalogue = Catalogue()
        self.clock = clock
        self.shows = Shows(database, self.outlet, clock, products=self.catalogue)
        self.rates = Rates()
        self.chat = Chat(self.shows, database, self.rates.take_each, pace_s=0)

    async def snapshot(self) -> timeline.Snapshot:
        return await self.shows.snapshot(self.show_id) | {"chat": await self.chat.snapshot(self.show_id)}

    async def do(self, verb: str, value: Any) -> None:
        self.clock.advance(0.7)
        try:
            await getattr(self, f"_{verb}")(value)
        except Problem:
            pass  # a refusal changes nothing, which is part of what is shown here

    async def _go(self, to: ShowState) -> None:
        await self.shows.transition(self.show_id, to)

    async def _publisher(self, present: bool) -> None:
        await self.shows.publisher_changed(self.show_id, present)

    async def _title(self, title: str) -> None:
        await self.shows.update(self.show_id, title=title)

    async def _lineup(self, product_ids: list[str]) -> None:
        await self.shows.set_lineup(self.show_id, product_ids)

    async def _pin(self, product_id: str) -> None:
        await self.shows.pin(self.show_id, product_id)

    async def _unpin(self, _: None) -> None:
        await self.shows.unpin(self.show_id)

    async def _product(self, product_id: str) -> None:
        self.catalogue.titles[product_id] = f"{product_id} {self.clock.now_ms()}"
        async with self.shows.transaction() as tx:
            tx.event(self.show_id, "product.changed", {"product": self.catalogue.product(product_id)})

    async def _post(self, viewer: str) -> None:
        await self.chat.post(self.show_id, Principal(viewer, Role.viewer, "*", viewer), f"at {self.clock.now_ms()}")

    async def _room(self, messages: int) -> None:
        self.rates.room = messages

    async def _delete(self, index: int) -> None:
        messages = await self.chat.history(self.show_id)
        if index < len(messages):
            await self.chat.delete(self.show_id, MOD, messages[index].id)

    async def _timeout(self, viewer: str) -> None:
        await self.chat.timeout(self.show_id, MOD, viewer, 2)

    async def _unban(self, viewer: str) -> None:
        await self.chat.unban(self.show_id, MOD, viewer)

    async def _slow(self, seconds: int) -> None:
        await self.chat.set_slow_mode(self.show_id, MOD, seconds)

    async def _restage(self, _: None) -> None:
        await self.shows.restage(self.show_id)


@settings(max_examples=20, deadline=None, suppress_health_check=list(HealthCheck))
@given(steps=st.lists(STEPS, min_size=12, max_size=24), joined=st.integers(0, 8), overlap=st.integers(0, 5))
async def test_a_snapshot_and_the_events_since_are_a_fresh_snapshot(
    database: Database, clock: ManualClock, steps: list[tuple[str, Any]], joined: int, overlap: int
) -> None:
    """The viewer joins after `joined` steps; `overlap` events before that come again, as after a recovery."""
    stage = Stage(database, clock)
    await stage.shows.create(stage.show_id, "Demo", auto_live=True, scheduled_at_ms=1)
    for verb, value in [("lineup", ["a", "b"]), ("pin", "a"), ("post", "ann"), ("post", "bob")]:
        await stage.do(verb, value)
    for verb, value in steps[:joined]:
        await stage.do(verb, value)
    screen = await stage.snapshot()
    position = max(0, len(stage.outlet.told) - overlap)
    for verb, value in steps[joined:]:
        await stage.do(verb, value)
    for told in stage.outlet.told[position:]:
        if told.kind == "event":
            screen = timeline.apply(screen, told.name, told.data)
    assert screen == await stage.snapshot()
