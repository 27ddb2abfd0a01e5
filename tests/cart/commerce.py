"""A shop of two workers over one database, which may lose its power at any time, and what must hold of its books.

The provider of payments is outside of it: it keeps what it took.
"""

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
from sqlalchemy import Connection, Row, select, text

from cart import tables
from cart.catalogue import VariantEntry
from cart.ordering import store as order_store
from cart.ordering import tables as order_tables
from cart.ordering.office import Trade
from cart.ordering.orders import EXTERNAL, SOLD, Order, OrderState
from cart.ordering.payments import Charge, Receipt, StepKind
from cart.ordering.provider import Rehearsal
from cart.pricing import tables as price_tables
from cart.service import Shop
from cart.stock import EFFECTS, LIVE, MAIN, HoldState, Movement
from cart.waiting.tables import CURRENT, sale_drop, sale_drop_share, waitlist
from live.core.clock import ManualClock
from live.core.database import Database
from live.core.limits import PAYMENT_LATE_S
from live.service import Shows
from live.shows import ShowState
from tests.cart.conftest import Screens, product, stock
from tests.cart.handoff.conftest import WAY
from tests.cart.offering.conftest import publish, rule
from tests.cart.ordering.conftest import OPS, Box
from tests.cart.ordering.samples import POST
from tests.cart.places.conftest import BERLIN

STOCK = {"CUP": 6, "MUG": 1}
RULES = (
    rule(id="twice", lane="order", coupon={"code": "TWICE", "limit": 2}, group="coupons"),
    rule(id="purse", lane="shipping", then=[{"kind": "amount", "minor": 100}], budget_minor=250, currency="EUR"),
)
_EMPTIED = (
    "handoff", "withdrawal", "hold", "stock_movement", "idempotency", "payment_step", "letter", "order_line", "orders",
    "price_use", "price_use_order", "cart_shopper", "waitlist", "sale_drop", "sale_drop_share",
)  # fmt: skip
_KEEPING = frozenset({OrderState.pending}) | SOLD  # what they used of coupons and budgets


class Bank(Rehearsal):
    """A provider whose answer may be one that nobody is there to hear; `asked_s`: how long it thinks."""

    def __init__(self) -> None:
        super().__init__()
        self.unheard: asyncio.Event | None = None  # set when it has answered and waits for ever

    async def authorise(self, charge: Charge) -> Receipt:
        receipt = await super().authorise(charge)
        if self.unheard is not None:
            self.unheard.set()
            await asyncio.Event().wait()
        return receipt


@dataclass
class Worker:
    database: Database
    shows: Shows
    shop: Shop

    @classmethod
    async def open(cls, url: str, clock: ManualClock, bank: Bank) -> "Worker":
        database = await Database.open(url, clock)
        shows = Shows(database, Screens(), clock)
        trade = Trade(payment=bank, mail=Box())
        shop = Shop(
            database, shows, clock, stock_interval_s=0, pace_s=0, trade=trade, secret="theirs", tax_bp=1900, way=WAY
        )
        shop.attach()
        return cls(database, shows, shop)

    async def close(self) -> None:
        await self.shop.close()
        await self.shows.close()
        await self.database.close()


class Premises:
    """See the module. `elsewhere`: what is in `berlin`, by SKU (none: there is only the place that sells)."""

    def __init__(self, url: str, clock: ManualClock, elsewhere: Mapping[str, int] | None = None) -> None:
        self._url = url
        self._elsewhere = elsewhere or {}
        self.clock = clock
        self.bank = Bank()
        self.workers: list[Worker] = []
        self._others: set[asyncio.Task[Any]] = set()  # tasks that were there before

    async def open(self) -> None:
        """Goods on the shelf, a show on air, rules in force; no cart and no order."""
        self._others = asyncio.all_tasks()
        await self._start()
        shows = self.workers[0].shows
        entries = [
            product(sku.lower(), VariantEntry(sku=sku, price_minor=price, stock=0), title=sku)
            for sku, price in (("CUP", 1000), ("MUG", 1499))
        ]
        await stock(shows, *entries)
        await shows.create("demo", "Demo")
        await shows.transition("demo", ShowState.live)
        self.clock.advance(3600)
        await publish(self.workers[0].shop.offering, *RULES)
        await self.workers[0].shop.office.facts.save_methods([POST], OPS)
        if self._elsewhere:
            await self.workers[0].shop.places.create(BERLIN, OPS)

    async def fresh(self) -> None:
        """As after `open`, with STOCK on the shelf."""
        self.bank.__init__()  # type: ignore[misc]

        def empty(conn: Connection) -> None:
            for table in _EMPTIED:
                conn.execute(text(f"DELETE FROM {table}"))
            conn.execute(text("UPDATE stock_level SET on_hand = 0, allocated = 0, held = 0, waiting = 0, drops = 0"))

        await self.workers[0].database.write_sync(empty)
        for sku, units in STOCK.items():
            await self.workers[0].shop.office.stocktake.adjust(sku, units, OPS)
        for sku, units in self._elsewhere.items():
            await self.workers[0].shop.places.adjust("berlin", sku, units, OPS)

    async def _start(self) -> None:
        self.workers = [await Worker.open(self._url, self.clock, self.bank) for _ in range(2)]

    async def crash(self, *doing: asyncio.Future[Any]) -> None:
        """The power goes and comes back.

        Nobody goes on: neither who asked nor what works by itself. A transaction ends as a whole all the same, with
        or without COMMIT, as the database promises; what is cut within one is tried in `tests/faults/test_stampede.py`.
        """
        mine = asyncio.all_tasks() - self._others - {asyncio.current_task()}
        for task in mine:
            if task in doing or task.get_name().startswith(("lane ", "till")):
                task.cancel()
        if mine:
            await asyncio.wait(mine, timeout=20)
        for worker in self.workers:
            await worker.database.close()
        self.bank.meanwhile = self.bank.unheard = None
        await self._start()

    async def close(self) -> None:
        for worker in self.workers:
            await worker.close()

    async def notices(self, worker: Worker) -> None:
        """The provider tells by itself what it did, all of it again."""
        for order_id, receipt in self.bank.notices:
            await worker.shop.office.checkout.heard(order_id, receipt)
        await worker.shop.office.till.idle()

    async def settle(self) -> None:
        """Wait until nothing is left to be asked of the provider."""
        shop = self.workers[0].shop
        for kind in StepKind:
            self.bank.script[kind].clear()
        for _ in range(12):
            for worker in self.workers:
                await worker.shop.office.till.idle()
            self.clock.advance(PAYMENT_LATE_S)
            await shop.keeper.sweep()
            if not await shop.office.clerk.pay():
                return
        raise AssertionError("it never settles")

    async def orders(self) -> list[Order]:
        """All orders, the newest first."""
        return await self.workers[0].database.read_sync(lambda conn: order_store.list_orders(conn, before=""))

    async def books(self) -> "Books":
        return await self.workers[0].database.read_sync(read_books)


class Books(msgspec.Struct):
    """What the tables say."""

    levels: Sequence[Row[Any]]
    holds: Sequence[Row[Any]]
    moved: Sequence[Row[Any]]
    orders: Sequence[Order]
    uses: Mapping[str, tuple[int, int]]
    places: Sequence[Row[Any]]  # of the waitlist
    drops: Sequence[Row[Any]]  # that count
    shares: Mapping[tuple[str, str], int]  # by drop and viewer

    def check(self, *, merging: bool = False) -> None:
        """What must hold at any time. `merging`: units go from one cart's hold to another's."""
        self._check_units()
        self._check_holds(merging=merging)
        self._check_queues()
        for drop in self.drops:
            self._check_drop(drop)
        for order in self.orders:
            _check_order(order)
        for one in RULES:
            taken = [off for order in self.orders if _keeps(order) for rule, off in _offs(order) if rule == one.id]
            assert self.uses.get(one.id, (0, 0)) == (len(taken), sum(taken)), one.id
            assert one.coupon is None or one.coupon.limit is None or len(taken) <= one.coupon.limit
            assert one.budget_minor is None or sum(taken) <= one.budget_minor

    def _check_units(self) -> None:
        for level in self.levels:
            assert level.on_hand >= level.allocated + level.held, "sold twice"
            sums = [0, 0, 0]
            for row in self.moved:
                if (row.sku, row.location) == (level.sku, level.location):
                    for place, sign in enumerate(EFFECTS[Movement(row.kind)]):
                        sums[place] += sign * row.quantity
            assert (level.on_hand, level.allocated, level.held) == tuple(sums)
            at_home = level.location == MAIN
            assert level.held == sum(hold.quantity for hold in self.living() if hold.sku == level.sku and at_home)
            unsent = [order for order in self.orders if order.state in SOLD and order.shipped_at_ms is None]
            assert level.allocated == sum(
                line.quantity - line.cancelled
                for order in unsent
                for line in order.lines
                if line.sku == level.sku and at_home
            )
        sent: Counter[tuple[str, str]] = Counter()
        for row in self.moved:
            if row.transfer_id is not None:
                sent[row.transfer_id, row.sku] += row.quantity * EFFECTS[Movement(row.kind)][0]
        assert not any(sent.values()), "what leaves one place is at the other"

    def _check_holds(self, *, merging: bool) -> None:
        ins: Counter[str] = Counter()
        for row in self.moved:
            if row.hold_id is not None:
                ins[row.sku if merging else row.hold_id] += EFFECTS[Movement(row.kind)][2] * row.quantity
        held: Counter[str] = Counter()
        for hold in self.living():
            held[hold.sku if merging else hold.id] += hold.quantity
        assert +ins == +held and not -ins
        pending = {order.id for order in self.orders if order.state is OrderState.pending}
        paying = {hold.order_id for hold in self.living() if HoldState(hold.state) is HoldState.claiming}
        assert paying <= pending, "nobody pays for an order that has ended"

    def _check_queues(self) -> None:
        holds = {hold.id: hold for hold in self.holds}
        waiting = Counter(place.sku for place in self.places if place.hold_id is None)
        for level in self.levels:
            assert level.waiting == (waiting[level.sku] if level.location == MAIN else 0)
        for place in self.places:
            if place.hold_id is not None:
                assert holds[place.hold_id].sku == place.sku and place.offered > 0, "an offer is units of a cart"

    def _check_drop(self, drop: Row[Any]) -> None:
        """What is taken of a drop is in carts of its show, or was ordered since it was made."""
        taken: Counter[str] = Counter()
        for hold in self.living():
            if (hold.show, hold.sku) == (drop.show, drop.sku):
                taken[hold.viewer_id] += hold.quantity
        for order in self.orders:
            if order.state in SOLD and order.show == drop.show and (order.placed_at_ms or 0) >= drop.created_at_ms:
                for line in order.lines:
                    taken[order.viewer_id] += (line.quantity - line.cancelled) * (line.sku == drop.sku)
        shares = Counter({viewer: units for (id_, viewer), units in self.shares.items() if id_ == drop.id})
        assert drop.taken == taken.total(), (drop, taken)
        assert +shares == +taken, (drop, taken)

    def living(self) -> list[Row[Any]]:
        """The holds that hold units."""
        return [hold for hold in self.holds if HoldState(hold.state) in LIVE]

    def taken(self) -> Counter[str]:
        """By hold: the units that were ever put into it."""
        found: Counter[str] = Counter()
        for row in self.moved:
            if row.kind == Movement.held.value:
                found[row.hold_id] += row.quantity
        return found


def read_books(conn: Connection) -> Books:
    rows = conn.execute(select(price_tables.price_use).where(price_tables.price_use.c.customer == ""))
    return Books(
        levels=conn.execute(select(tables.stock_level)).all(),
        holds=conn.execute(select(tables.hold)).all(),
        moved=conn.execute(select(tables.stock_movement)).all(),
        orders=order_store._orders(conn, list(conn.execute(select(order_tables.orders)))),
        uses={row.rule: (row.uses, row.amount_minor) for row in rows},
        places=conn.execute(select(waitlist)).all(),
        drops=conn.execute(select(sale_drop).where(CURRENT)).all(),
        shares={(row.drop_id, row.viewer_id): row.quantity for row in conn.execute(select(sale_drop_share))},
    )


def _keeps(order: Order) -> bool:
    """Whether what an order used of coupons and budgets stays used: not when it ended before its goods left."""
    ended = order.state is OrderState.withdrawn and order.shipped_at_ms is None
    return order.state in _KEEPING and not ended


def _offs(order: Order) -> list[tuple[str, int]]:
    shipped = () if order.shipping is None else order.shipping.discounts
    return [(one.rule, one.amount_minor) for one in (*order.discounts, *shipped)]


def _check_order(order: Order) -> None:
    for line in order.lines:
        assert line.line_minor == line.price_minor * line.quantity - line.off_minor == line.net_minor + line.tax_minor
        assert 0 <= line.cancelled <= line.quantity and 0 <= line.refunded <= line.quantity
        assert line.returned + line.cancelled <= line.quantity
    assert order.total_minor == sum(line.line_minor for line in order.lines) + order.shipping_minor
    assert order.total_minor == sum(tax.net_minor + tax.tax_minor for tax in order.taxes)
    assert sum(line.off_minor for line in order.lines) == sum(one.amount_minor for one in order.discounts)
    assert 0 <= order.refunded_minor <= order.captured_minor in (0, order.total_minor)


def check_money(orders: Sequence[Order], bank: Bank) -> None:
    """Nothing is under way: what was taken is what the books say, and is kept or was given back, to the cent.

    Of what the merchant's own check-out sells, the merchant has the money: nobody here was asked for any.
    """
    for order in orders:
        if order.source == EXTERNAL:
            assert not [account for account in bank.accounts.values() if account.order_id == order.id]
            continue
        assert order.state is not OrderState.pending
        accounts = [account for account in bank.accounts.values() if account.order_id == order.id]
        assert sum(account.captured for account in accounts) == order.captured_minor, (order, accounts)
        assert sum(account.refunded for account in accounts) == order.refunded_minor, (order, accounts)
        waits = order.total_minor if order.state is OrderState.placed else 0
        assert bank.kept(order.id) == waits + order.refundable_minor, (order, accounts)
        if order.state in (OrderState.cancelled, OrderState.refused, OrderState.lapsed):
            assert bank.kept(order.id) == 0
