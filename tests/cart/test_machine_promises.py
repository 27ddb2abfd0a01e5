"""Whoever waits, signs in, withdraws or is sold elsewhere, and wherever goods are moved: the books stay right.

The other machine's shoppers, with all that promises units: queues, drops, hand-offs to the merchant's check-out, two
places, carts that merge, withdrawals. Beside the books: nobody who clicks is served before those who wait, drops sell
no more than they say, a hand-off becomes one order, and when nothing is left to do nobody waits beside free units.
"""

import asyncio
from typing import Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import invariant, rule
from msgspec.structs import replace

from cart.handoff import links
from cart.handoff.reports import Report, Sold
from cart.ordering.orders import SOLD, Order, OrderState
from cart.ordering.refunds import Units
from cart.places.locations import TransferLine
from cart.waiting.planning import NewDrop
from live.core.clock import ManualClock
from live.core.errors import Kind, Problem
from tests.cart.commerce import Books, Premises, check_money
from tests.cart.conftest import viewer
from tests.cart.handoff.conftest import WAY
from tests.cart.machine import EXPECTED, NAMES, SKU, WHICH, WHO, WORKER, Shoppers, play
from tests.cart.ordering.conftest import HOST, OPS

ELSEWHERE = {"CUP": 2, "MUG": 1}  # in the other place
DROPS = {
    Kind.drop_not_open, Kind.drop_over, Kind.drop_limit_reached, Kind.drop_customer_limit, Kind.drop_exists,
    Kind.invalid_field,
}  # fmt: skip
LIMITS = st.sampled_from(((2, 1), (3, None), (None, 1), (4, 2)))  # of a drop in all, and for a customer
UNDOING = ("change", "remove", "remove", "leave", "take back")
PAIR = st.sampled_from((("main", "berlin"), ("berlin", "main")))


class Promises(Shoppers):
    """See the module."""

    expected = EXPECTED | DROPS | {
        Kind.not_sold_out, Kind.handoff_over, Kind.handoff_reported, Kind.stock_short, Kind.unknown_order,
        Kind.unknown_sku, Kind.key_reused,
    }  # fmt: skip

    def __init__(self, loop: asyncio.AbstractEventLoop, premises: Premises) -> None:
        super().__init__(loop, premises)
        self.handoffs: list[str] = []
        self.reported: dict[str, dict[str, Any]] = {}  # what was answered, by hand-off
        self.made: dict[str, tuple[int, dict[str, int]]] = {}  # what was taken of drops when they were made

    def books(self) -> Books:
        return self.run(self.premises.books())

    # --- carts and queues

    @rule(worker=WORKER, who=WHO, sku=SKU, quantity=st.integers(1, 3))
    def add(self, worker: int, who: str, sku: str, quantity: int) -> None:
        before = len(self.acked)
        self.run(self.click(worker, self.ask(who, sku, quantity)))
        if len(self.acked) > before:
            assert not self.eligible(self.books(), sku), "whoever waits comes first"

    @rule(worker=WORKER, who=WHO, sku=SKU, quantity=st.integers(1, 3), what=st.sampled_from(UNDOING))
    def undo(self, worker: int, who: str, sku: str, quantity: int, what: str) -> None:
        """Somebody has some, perhaps waits for more, and thinks better of it."""
        self.add(worker, who, sku, quantity)
        self.join(1 - worker, who, sku, 1)
        shop, principal = self.at(worker), viewer(who)
        calls: dict[str, Any] = {
            "change": lambda: shop.change("demo", principal, sku, quantity),
            "remove": lambda: shop.remove("demo", principal, sku),
            "leave": lambda: shop.waiting.leave("demo", principal, sku, key=None),
            "take back": lambda: shop.handing.handoffs.take_back("demo", principal, key=None),
        }
        done = self.attempt(calls[what]())
        if done is not None and what == "remove":
            assert not [one for one in self.books().living() if (one.viewer_id, one.sku) == (who, sku)], "it came back"

    @rule(worker=WORKER, who=WHO, sku=SKU, quantity=st.integers(1, 3))
    def join(self, worker: int, who: str, sku: str, quantity: int) -> None:
        self.attempt(self.at(worker).waiting.join("demo", viewer(who), sku, quantity, key=None))

    @rule(worker=WORKER, sku=SKU, who=st.permutations(NAMES), late=st.booleans())
    def queue_up(self, worker: int, sku: str, who: list[str], late: bool) -> None:
        """One has the rest, the others wait, and its time runs out; `late`: it clicks again at that very moment."""
        free = sum(one.on_hand - one.allocated - one.held for one in self.main(self.books()) if one.sku == sku)
        if free:
            self.add(worker, who[0], sku, free)
        for waiter in who[1:]:
            self.join(1 - worker, waiter, sku, 1)
        self.wait(601)
        if late:
            self.add(1 - worker, who[0], sku, 1)
        self.look(worker)

    @rule(worker=WORKER)
    def look(self, worker: int) -> None:
        """What a worker does each second."""
        self.run(self.at(worker).keeper.sweep())
        self.run(self.at(worker).waiting.look())
        books = self.books()
        for sku in ("CUP", "MUG"):
            assert not self.passed_over(books, sku), "nobody waits beside free units"

    def main(self, books: Books) -> list[Any]:
        return [level for level in books.levels if level.location == "main"]

    def passed_over(self, books: Books, sku: str) -> list[Any]:
        """Who waits though there is something for them."""
        [level] = [one for one in self.main(books) if one.sku == sku]
        return self.eligible(books, sku) if level.on_hand > level.allocated + level.held else []

    def eligible(self, books: Books, sku: str) -> list[Any]:
        """Who waits and is to be served next. Those whose cart is being paid for are served later."""
        drops = [one for one in books.drops if one.sku == sku]
        now_ms = self.premises.clock.now_ms()
        for drop in drops:
            shut = drop.opens_at_ms > now_ms or (drop.closes_at_ms is not None and drop.closes_at_ms <= now_ms)
            if shut or (drop.total_limit is not None and drop.taken >= drop.total_limit):
                return []
        busy = {one.cart for one in books.living() if one.sku == sku and one.state == "claiming"}
        busy |= {one.cart for one in books.living() if one.sku == sku and one.expires_at_ms <= now_ms}
        return [one for one in books.places if one.sku == sku and one.hold_id is None and one.cart not in busy]

    # --- drops

    @rule(worker=WORKER, sku=SKU, limits=LIMITS, opens_s=st.sampled_from([0, 0, 0, 61]),
          closes_s=st.sampled_from([None, 300]), quantity=st.integers(1, 3), who=WHO)  # fmt: skip
    def plan(
        self, worker: int, sku: str, limits: tuple[int | None, int | None], opens_s: int, closes_s: int | None,
        quantity: int, who: str,
    ) -> None:  # fmt: skip
        """A drop, and the first who click."""
        self.open_drop(worker, sku, limits, opens_s, closes_s)
        for _ in range(2):
            self.add(1 - worker, who, sku, quantity)

    def open_drop(
        self, worker: int, sku: str, limits: tuple[int | None, int | None], opens_s: int, closes_s: int | None
    ) -> None:
        self.premises.clock.advance(1)  # what was ordered before is told by the time
        now_ms = self.premises.clock.now_ms()
        closes_at_ms = None if closes_s is None else now_ms + 1000 * closes_s
        new = NewDrop(sku, now_ms + 1000 * opens_s, closes_at_ms, *limits)
        answer = self.attempt(self.at(worker).planning.create("demo", HOST, new))
        if answer is not None:
            drop = answer.body["drop"]
            shares = {viewer: units for (id_, viewer), units in self.books().shares.items() if id_ == drop["id"]}
            self.made[drop["id"]] = drop["taken"], shares

    @rule(worker=WORKER)
    def cancel_drop(self, worker: int) -> None:
        for drop in self.run(self.at(worker).planning.drops("demo"))[:1]:
            self.run(self.at(worker).planning.cancel("demo", HOST, drop.id))

    # --- orders

    def sold(self) -> list[Order]:
        """Orders that were paid for, in an order that is the same in each run."""
        found = [order for order in self.run(self.premises.orders()) if order.state in SOLD]
        return sorted(found, key=lambda order: (order.placed_at_ms, order.viewer_id, order.total_minor))

    @rule(worker=WORKER, who=WHO, sku=SKU, quantity=st.integers(1, 2))
    def check_out(self, worker: int, who: str, sku: str, quantity: int) -> None:
        self.add(worker, who, sku, quantity)
        self.attempt(self.buy(worker, who))

    @rule(worker=WORKER, which=WHICH, what=st.sampled_from(("cancel", "ship", "return", "withdraw", "withdraw")),
          sku=st.sampled_from(("CUP", "MUG", None)), who=WHO)  # fmt: skip
    def after(self, worker: int, which: int, what: str, sku: str | None, who: str) -> None:
        """Something becomes of an order that was paid for; `sku` None: of all of it."""
        self.check_out(worker, who, "CUP", 2)
        found = self.sold()
        if what == "withdraw":
            self.withdraw(worker, [order for order in found if order.email], which, sku)
        elif found:
            orders, id_ = self.at(worker).office.orders, found[which % len(found)].id
            calls: dict[str, Any] = {
                "cancel": lambda: orders.cancel(id_, HOST),
                "ship": lambda: orders.ship(id_, HOST),
                "return": lambda: orders.take_back(id_, HOST, [Units(sku or "CUP", 1)], restock=True, refund=True),
            }
            self.attempt(calls[what]())

    def withdraw(self, worker: int, found: list[Order], which: int, sku: str | None) -> None:
        """In two steps at two workers; the second one twice."""
        if not found:
            return
        order = found[which % len(found)]
        begun = self.attempt(self.at(worker).office.withdrawals.begin(order.number, order.email))
        if begun is None:
            return
        lines = None if sku is None else [Units(sku, 1)]
        for there in (1 - worker, worker):
            made = self.attempt(self.at(there).office.withdrawals.confirm(begun.token, order.name, order.email, lines))
        self.run(self.at(worker).office.till.idle())
        told = self.run(self.at(worker).office.withdrawals.of_order(order.id))
        assert made is None or [one for one in told if one.id == made.id] == [made], "declared once"

    # --- the merchant's own check-out

    @rule(worker=WORKER, who=WHO, sku=SKU, quantity=st.integers(1, 3), back=st.booleans())
    def hand_over(self, worker: int, who: str, sku: str, quantity: int, back: bool) -> None:
        self.add(worker, who, sku, quantity)
        answer = self.attempt(self.at(worker).handing.handoffs.open("demo", viewer(who), None, key=None))
        if answer is None:
            return
        made = answer.body["handoff"]
        expires_s = made["expires_at_ms"] // 1000
        signed = links.signature(made["id"], expires_s, WAY.secrets[0])
        assert made["url"].endswith(f"handoff={made['id']}&expires={expires_s}&signature={signed}")
        if made["id"] not in self.handoffs:
            self.handoffs.append(made["id"])
        if back:
            self.attempt(self.at(1 - worker).handing.handoffs.take_back("demo", viewer(who), key=None))

    @rule(worker=WORKER, which=WHICH, late=st.booleans(), state=st.sampled_from(("placed", "placed", "cancelled")),
          more=st.sampled_from([None, -1, 1]), clash=st.booleans(), paid=st.booleans())  # fmt: skip
    def report(
        self, worker: int, which: int, late: bool, state: Any, more: int | None, clash: bool, paid: bool
    ) -> None:
        """The order comes back, at both workers; perhaps late, with other units, under a number that is taken."""
        if not self.handoffs:
            self.hand_over(worker, "bob", "CUP", 2, back=False)
        if not self.handoffs:
            return
        id_ = self.handoffs[which % len(self.handoffs)]
        if late:
            self.wait(1801)
            self.look(1 - worker)
        [order] = [one for one in self.run(self.premises.orders()) if one.id == id_]
        sold = None if more is None else [Sold(line.sku, max(1, line.quantity + more)) for line in order.lines]
        facts = Report(number="M-taken" if clash else f"M-{id_}", state=state, lines=sold, paid=paid)
        once = self.attempt(self.at(worker).handing.handoffs.report(id_, facts, OPS, None))
        again = self.attempt(self.at(1 - worker).handing.handoffs.report(id_, replace(facts), OPS, None))
        for there in (worker, 1 - worker):
            self.run(self.at(there).office.till.idle())
        if once is not None and state == "placed":
            assert again is not None and again.body == once.body, "the same report is answered alike"
            if id_ in self.reported:
                assert self.reported[id_]["order"]["id"] == once.body["order"]["id"] == id_
            self.reported[id_] = once.body

    # --- places, and who shoppers are

    @rule(worker=WORKER, sku=SKU, way=PAIR, quantity=st.integers(1, 3), change=st.sampled_from([-1, 0, 2]))
    def move_stock(self, worker: int, sku: str, way: tuple[str, str], quantity: int, change: int) -> None:
        """Units go elsewhere, and somebody counts what is left there."""
        before = sum(level.on_hand for level in self.books().levels if level.sku == sku)
        self.attempt(self.at(worker).places.transfer(*way, [TransferLine(sku, quantity)], OPS))
        assert sum(level.on_hand for level in self.books().levels if level.sku == sku) == before
        if change:
            self.attempt(self.at(1 - worker).places.adjust(way[0], sku, change, OPS))

    @rule(worker=WORKER, guest=st.sampled_from(("ada", "bob")), sku=SKU, quantity=st.integers(1, 2), own=st.booleans(),
          drop=st.booleans())  # fmt: skip
    def sign_in(self, worker: int, guest: str, sku: str, quantity: int, own: bool, drop: bool) -> None:
        """A guest turns out to be Cleo, and goes on as a guest on another device."""
        if drop:
            self.open_drop(worker, sku, (4, 2), 0, None)
        self.add(worker, guest, sku, quantity)
        if own:
            self.add(1 - worker, "cleo", sku, 1)
        before = {one.id: one.quantity for one in self.books().living() if one.viewer_id in (guest, "cleo")}
        cleo = replace(viewer("cleo"), customer="cleo")
        merged = self.run(self.at(worker).handing.merging.merge(guest, cleo))
        books = self.books()
        after = {one.id: one.quantity for one in books.living() if one.viewer_id in (guest, "cleo")}
        assert not [one for one in books.living() if one.viewer_id == guest and one.state == "active"]
        gone = sum(one.quantity for one in merged.let_go)
        assert sum(after.values()) >= sum(before.values()) - gone - self.lapsed(before), "nothing is lost silently"

    def lapsed(self, before: dict[str, int]) -> int:
        """How many of these units are in holds whose time is over."""
        now_ms = self.premises.clock.now_ms()
        return sum(before[one.id] for one in self.books().holds if one.id in before and one.expires_at_ms <= now_ms)

    # --- all at once

    @rule(sku=SKU)
    def race(self, sku: str) -> None:
        one, other = self.at(0), self.at(1)
        self.premises.clock.advance(601)

        async def tried(doing: Any) -> None:
            try:
                await doing
            except Problem as problem:
                assert problem.kind in self.expected, problem

        async def everybody() -> None:
            await asyncio.gather(
                tried(one.waiting.join("demo", viewer("ada"), sku, 1, key=None)),
                tried(other.remove("demo", viewer("bob"), sku)),
                tried(other.add("demo", viewer("cleo"), sku, 1)),
                tried(one.places.transfer("berlin", "main", [TransferLine(sku, 1)], OPS)),
                tried(other.waiting.look()), tried(one.keeper.sweep()),
                tried(one.handing.merging.merge("bob", replace(viewer("cleo"), customer="cleo"))),
            )  # fmt: skip

        self.run(everybody())

    # --- what must hold

    @invariant()
    def the_books_are_right(self) -> None:
        books = self.books()
        books.check(merging=True)
        for drop in books.drops:
            taken, shares = self.made[drop.id]
            assert drop.total_limit is None or drop.taken <= max(drop.total_limit, taken), "more than the drop has"
            for (id_, who), units in books.shares.items():
                limit = drop.per_customer_limit
                assert id_ != drop.id or limit is None or units <= max(limit, shares.get(who, 0)), "more than a share"
        orders = {order.id: order for order in books.orders}
        for id_ in self.reported:
            assert orders[id_].state in SOLD | {OrderState.cancelled} and orders[id_].external_number is not None
        numbers = [order.external_number for order in books.orders if order.external_number is not None]
        assert len(numbers) == len(set(numbers)), "a hand-off is one order"

    async def _end(self) -> None:
        shop = self.premises.workers[0].shop
        for drop in await shop.planning.drops("demo"):
            await shop.planning.cancel("demo", HOST, drop.id)
        await self.premises.settle()
        for _ in range(4):
            self.premises.clock.advance(1801)
            await shop.keeper.sweep()
            await shop.waiting.look()
        books = await self.premises.books()
        books.check(merging=True)
        check_money(books.orders, self.premises.bank)
        assert await shop.keeper.reconcile() == [] and await shop.waiting.check() == []
        assert not self.passed_over(books, "CUP") and not self.passed_over(books, "MUG")


@pytest.mark.timeout(300)
async def test_what_is_promised_is_kept(database_url: str, clock: ManualClock) -> None:
    await play(Promises, Premises(database_url, clock, ELSEWHERE), seeds=12 if database_url.startswith("sqlite") else 4)
