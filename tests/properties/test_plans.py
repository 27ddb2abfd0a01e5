"""No statement reads a table whole that grows, and none begins at an index that says next to nothing.

A shop sells for years: what takes a millisecond in a test takes seconds when there have been a hundred thousand orders.
So everything that a show, a shop and its back office do is done once, and each database is asked how it would find
the rows of every statement that was needed for it.
"""

import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sqlalchemy import select, tuple_, update

from cart.feeds.fetching import Fetcher
from cart.feeds.importer import Options
from cart.feeds.pushing import Push
from cart.feeds.service import Feeds
from cart.handoff.reports import Sold
from cart.handoff.syncing import Wish
from cart.offering.live_prices import Start
from cart.ordering.office import Trade
from cart.ordering.payments import StepKind
from cart.ordering.provider import Fault, Rehearsal
from cart.ordering.refunds import Units
from cart.ordering.shipping import Choice
from cart.ordering.tables import orders
from cart.places.locations import LocationChange
from cart.service import Shop
from cart.tables import hold
from cart.waiting.planning import DropChange
from cart.webhooks import outbox
from cart.webhooks.exchange import Exchange
from cart.webhooks.service import Webhooks
from chat.service import Chat
from chat.tables import chat_message
from live.access.holders import Holders
from live.access.service import Keys
from live.core.addresses import networks
from live.core.clock import ManualClock
from live.core.database import Database
from live.core.errors import Problem
from live.core.limits import CLAIM_TTL_S, HOLD_TTL_S, PAYMENT_LATE_S
from live.service import Shows
from live.shows import ShowState
from live.store import followed_shows
from tests.cart.conftest import ADA, BOB, viewer
from tests.cart.conftest import screens as screens
from tests.cart.conftest import shows as shows
from tests.cart.handoff.conftest import SHOP, WAY, customer, hand_over, report
from tests.cart.offering.conftest import publish, rule, start, stop
from tests.cart.ordering.conftest import HOST, OPS, Box, buy
from tests.cart.ordering.conftest import payment as payment
from tests.cart.ordering.samples import ENTRY, POST
from tests.cart.places.conftest import BERLIN, send
from tests.cart.waiting.conftest import plan
from tests.cart.webhooks.conftest import LOOPBACK, NEVER_S, asked, endpoint, rounds
from tests.chat.conftest import MOD, Rates
from tests.properties.plans import faults, recorded

_CSV = b"product_id,title,sku,price,currency,stock,variant\ncup,Cup,CUP,11,EUR,12,\npen,Pen,PEN,2,EUR,9,\n"
_NOBODY = "http://127.0.0.1:1/"  # where nobody listens; nothing is sent to the world
_DAY_S = 86_400.0
_COUPON = rule(id="twice", lane="order", coupon={"code": "TWICE", "limit": 2}, group="coupons")

# What may read all of something, known by a part of its words, and why.
RIGHT = {
    "DELETE FROM waitlist WHERE": "looks at all who wait, once a minute",
    "FROM stock_level LEFT OUTER JOIN (SELECT waitlist.sku": "compares all places with all levels, once a minute",
    "FROM stock_level LEFT OUTER JOIN (SELECT hold.sku": "compares all holds with all levels, once a minute",
    "SELECT count(*) AS count_1 FROM feed_item": "is said of a feed that has just been read whole",
    "sum(anon_1.line_minor) AS gross_minor": "a report of all that a show sold",
    "count(*) AS adds": "a report of all that was put into a show's carts",
    "SELECT orders.currency, count(*) AS orders": "what a show has sold in all, once a second while it sells",
    "webhook_delivery.state = ? AND webhook_event.at_ms >=": "what the staff has sent again, of one endpoint",
    "DELETE FROM webhook_endpoint": "an endpoint goes when there is no delivery of it; it asks for the first",
}


async def _csv() -> AsyncIterator[bytes]:
    yield _CSV


@pytest.fixture
async def shop(database: Database, shows: Shows, clock: ManualClock, payment: Rehearsal) -> AsyncIterator[Shop]:
    trade = Trade(payment=payment, mail=Box())
    made = Shop(
        database, shows, clock, stock_interval_s=0, pace_s=0, trade=trade, secret="theirs", tax_bp=1900, way=WAY
    )
    made.attach()
    shows.transactions.also = outbox.put_news
    yield made
    await made.close()
    await shows.close()


async def _show(shows: Shows, clock: ManualClock) -> None:
    await shows.create("late", "Later", scheduled_at_ms=10**13, key="k")
    await shows.update("late", title="Much later")
    await shows.set_lineup("late", ["mug", "cup"])
    key, secret = await shows.stream_keys.create("late", "OBS", key="1")
    await shows.stream_keys.good("late")
    await shows.stream_keys.authorise("late", str(secret))
    await shows.stream_keys.revoke("late", key.id)
    for to in (ShowState.live, ShowState.ended):
        await shows.transition("late", to)
    for before in (None, "demo"):
        await shows.list_shows(before=before)
    await shows.pin("demo", "cup")
    clock.advance(1)
    await shows.pin("demo", "mug")
    await shows.publisher_changed("demo", True)
    await shows.publishing()
    await shows.read_sync(followed_shows)
    await shows.snapshot("demo")
    await shows.timeline("demo", 1)


async def _chat(chat: Chat, clock: ManualClock) -> None:
    first, _ = await chat.post("demo", ADA, "Hello", key="k1")
    await chat.post("demo", ADA, "Hello", key="k1")
    clock.advance(1)
    await chat.post("demo", BOB, "Well", reply_to=first.id)
    for before in (None, first.id):
        await chat.history("demo", before=before)
        await chat.log("demo", MOD, before=before)
    await chat.snapshot("demo")
    await chat.known("demo", ["ada", "bob", "cy"])
    for who in (ADA, MOD):
        await chat.personal("demo", who)
    await chat.delete("demo", MOD, first.id)
    await chat.timeout("demo", MOD, "bob", 60)
    await chat.ban("demo", MOD, "bob", "rude")
    await chat.unban("demo", MOD, "bob")
    await chat.set_slow_mode("demo", MOD, 5)


async def _cart(shop: Shop, clock: ManualClock) -> None:
    await publish(shop.offering, _COUPON)
    for _ in range(2):
        await shop.add("demo", ADA, "CUP", 1, key="a")
    await shop.change("demo", ADA, "CUP", 3, key="b")
    await shop.extend("demo", ADA, "CUP", key="c")
    await shop.add("demo", ADA, "MUG-BLUE", 1)
    await shop.remove("demo", ADA, "MUG-BLUE", key="d")
    await shop.coupons("demo", ADA, ["TWICE"], key="e")
    await shop.carts("demo", ["ada", "bob"])
    await shop.seen.personal("demo", ["ada", "bob"])
    await shop.seen.besides("demo", ADA)
    await shop.products(["cup", "mug"])
    clock.advance(HOLD_TTL_S + 1)
    await shop.keeper.sweep()


async def _orders(shop: Shop, clock: ManualClock) -> None:
    office, orders = shop.office, shop.office.orders
    await office.facts.save_methods([POST], OPS)
    kept = await buy(shop, "ada", (("CUP", 2), ("MUG-BLUE", 1)), key="k", shipping=Choice("post"), to=ENTRY)
    number = (await orders.get(kept, ADA)).number
    await orders.mine(ADA)
    for show, state, before in (("demo", None, ""), ("demo", "placed", kept), (None, None, kept), (None, "placed", "")):
        await orders.of_show(show, state, before)
    await orders.payments(kept)
    await orders.trail(f"order:{kept}")
    await orders.ship(kept, HOST, "s")
    await orders.refund(kept, OPS, [Units("CUP", 1)], goodwill_minor=10, key="r")
    await orders.take_back(kept, HOST, [Units("CUP", 1)], refund=True, key="t")
    begun = await office.withdrawals.begin(number, "ada@example.com")
    await office.withdrawals.confirm(begun.token, "Ada", "ada@example.com")
    await office.withdrawals.of_order(kept)
    await orders.cancel(await buy(shop, "bob", (("CUP", 1),), shipping=Choice("post"), to=ENTRY), OPS, key="c")
    await office.stocktake.adjust("CUP", 5, OPS, "n")
    await office.till.idle()
    await office.clerk.pay()
    await office.clerk.send()
    await office.facts.save_methods([], OPS)


async def _late(shop: Shop, payment: Rehearsal, clock: ManualClock) -> None:
    """The provider answers when the order has lapsed, and what was taken is given back."""
    payment.script[StepKind.authorise].append(Fault.unheard)
    payment.blind = True
    await shop.add("demo", BOB, "CUP", 2)
    with contextlib.suppress(Problem):
        await shop.checkout("demo", BOB, name="Bob", email="bob@example.com")
    clock.advance(PAYMENT_LATE_S + CLAIM_TTL_S + 1)
    await shop.keeper.sweep()
    payment.blind = False
    clock.advance(PAYMENT_LATE_S + 1)
    await shop.keeper.sweep()
    await shop.office.till.idle()
    for _ in range(3):
        clock.advance(3600)
        await shop.office.clerk.pay()


async def _handoffs(shop: Shop) -> None:
    handing, signed_in = shop.handing, customer()
    for number, who in (("S-1", ADA), ("", BOB)):
        id_ = await hand_over(shop, ("CUP", 2), ("MUG-BLUE", 1), who=who)
        await handing.handoffs.current("demo", who)
        await handing.handoffs.read(id_)
        if number:
            await report(shop, id_, number=number, lines=[Sold("CUP", 3)])
        else:
            await handing.handoffs.take_back("demo", who, key="t")
    read = await handing.sync.read("c42", "demo")
    await handing.sync.put("c42", "demo", [Wish("CUP", 1)], SHOP, version=read.version, key="p")
    await handing.merging.merge("bob", signed_in)


async def _waiting(shop: Shop, clock: ManualClock) -> None:
    waiting, planning = shop.waiting, shop.planning
    ann, ben = viewer("ann"), viewer("ben")
    await shop.add("demo", ann, "MUG-RED", 1)
    await waiting.join("demo", ben, "MUG-RED", key="j")
    await waiting.join("demo", viewer("cat"), "MUG-RED", key="j")
    await waiting.places("demo", ben)
    await waiting.queues("demo")
    opens = clock.now_ms() + 1000
    drop = await plan(shop, "CUP", total_limit=5, per_customer_limit=2, opens_at_ms=opens, closes_at_ms=opens + 59_000)
    await planning.change("demo", HOST, drop["id"], DropChange(total_limit=6))
    clock.advance(1)
    await shop.add("demo", ben, "CUP", 1)
    await planning.drops("demo")
    await shop.remove("demo", ann, "MUG-RED")
    await waiting.leave("demo", viewer("cat"), "MUG-RED", key="l")
    clock.advance(61)
    for _ in range(2):
        await waiting.look()
        await waiting.tell()
    await planning.cancel("demo", HOST, drop["id"])
    await waiting.check()


async def _prices(shop: Shop, shows: Shows, clock: ManualClock) -> None:
    offering = shop.offering
    await publish(offering, rule(), _COUPON)
    await offering.rulesets.roll_back("ops", "b")
    await offering.rulesets.page(None)
    await offering.rulesets.page(2)
    await offering.rulesets.changes()
    await start(offering, Start(off_bp=2000, duration_s=60))
    await offering.personal("demo", ADA)
    clock.advance(61)
    await offering.watch.look()
    await start(offering, Start(off_bp=1000))
    await stop(offering)
    await shows.unpin("demo")


async def _webhooks(webhooks: Webhooks, id_: str, clock: ManualClock) -> None:
    await rounds(webhooks.sender)
    await webhooks.change(asked("c"), id_, label="Mine")
    await webhooks.rotate(asked("r"), id_)
    await webhooks.test(asked("t"), id_)
    page = await webhooks.deliveries(id_, None, None)
    await webhooks.deliveries(id_, "dead", page[-1].id)
    await webhooks.delivery(id_, page[0].id)
    await webhooks.replay(asked("p"), id_, page[0].id)
    for everything in (True, False):
        await webhooks.replay_range(asked(), id_, 0, clock.now_ms(), everything=everything)
    await rounds(webhooks.sender)
    await webhooks.sender.count()
    clock.advance(30 * _DAY_S)
    await webhooks.sender.prune()
    await webhooks.delete(asked("d"), id_)
    await webhooks.endpoints()


async def _feeds(feeds: Feeds) -> None:
    for options in (Options(feed="goods"), Options(feed="goods", missing="hidden"), Options(dry_run=True)):
        sent = await feeds.upload(OPS, None, _csv(), None, options)
        await feeds.idle()
        await feeds.one_run(sent.body["run"])
    await feeds.runs("goods", None)
    await feeds.runs(None, sent.body["run"])
    await feeds.runner.turn()
    await feeds.pushes.push("CUP", Push(price_minor=900, stock=20), OPS, "k")
    assert [part async for part in feeds.export.xml("https://shop.example", "Shop", None)]


async def _places(shop: Shop) -> None:
    places = shop.places
    await places.create(BERLIN, OPS, "c")
    sent = await send(shop, "main", "berlin", {"CUP": 2}, "s")
    await places.find_transfer(sent["id"])
    await places.adjust("berlin", "CUP", 1, OPS, reason="found", key="a")
    await places.levels("CUP")
    await places.stock("berlin", "AAA")
    await places.change("berlin", LocationChange(name="Berlin Mitte"), OPS, "n")
    await places.locations()


async def _keys(database: Database, clock: ManualClock) -> None:
    holders = Holders(database, clock)
    keys = Keys(database, holders)
    made = await keys.create("ops", "Shop", ["orders:read"], key="k")
    await keys.rotate("ops", made.key.id, key="r")
    await keys.all()
    await keys.revoke(made.key.id)
    await holders.close()


async def _figures(shop: Shop, clock: ManualClock) -> None:
    await shop.insight.revenue("demo")
    await shop.keeper.figures("demo")
    await shop.keeper.reconcile()
    clock.advance(2 * _DAY_S)
    await shop.keeper.prune()


async def test_nothing_that_grows_is_read_whole(
    database: Database, database_url: str, shows: Shows, shop: Shop, payment: Rehearsal, clock: ManualClock,
    tmp_path: Path,
) -> None:  # fmt: skip
    exchange = Exchange(clock, LOOPBACK, timeout_s=NEVER_S)
    webhooks = Webhooks(database, clock, "theirs", exchange, kept_days=14)
    feeds = Feeds(database, shows, shop.offering, "theirs", Fetcher(tmp_path / "feeds", networks([]), 0.1))
    chat = Chat(shows, database, Rates().take_each, pace_s=0)
    with recorded() as statements:
        id_ = await endpoint(webhooks, _NOBODY)
        await _show(shows, clock)
        await _chat(chat, clock)
        await _cart(shop, clock)
        await _places(shop)
        await _orders(shop, clock)
        await _late(shop, payment, clock)
        await _handoffs(shop)
        await _waiting(shop, clock)
        await _feeds(feeds)
        await _prices(shop, shows, clock)
        await _keys(database, clock)
        await _figures(shop, clock)
        await _webhooks(webhooks, id_, clock)
    await chat.close()
    await exchange.close()
    assert len(statements) > 250, "the run does what it is for"
    found = await faults(database_url, statements)
    wrong = {words: fault for words, fault in found.items() if not any(part in words for part in RIGHT)}
    assert not wrong, "\n".join(f"{fault}: {words}" for words, fault in wrong.items())
    unused = {part for part in RIGHT if not any(part in words for words in found)}
    assert database.dialect == "postgresql" or not unused, unused


async def test_what_reads_too_much_is_seen(database: Database, database_url: str) -> None:
    message = chat_message.c
    pairs = [("ada", "k1"), ("bob", "k2")]
    bad = [
        select(hold.c.id).where(hold.c.quantity == 5),
        update(orders).where(orders.c.email == "ada@example.com").values(note=""),
        # Point look-ups that SQLite begins at all messages of the show.
        select(message.id).where(message.show_id == "demo", tuple_(message.viewer_id, message.post_key).in_(pairs)),
    ]
    good = [
        select(hold.c.id).where(hold.c.cart == "demo:ada"),
        select(message.id).where(message.show_id == "demo").order_by(message.id.desc()).limit(50),
    ]
    with recorded() as statements:
        async with database.write() as conn:
            for statement in (*bad, *good):
                await conn.execute(statement)
    found = list((await faults(database_url, statements)).values())
    tables = ["hold", "orders", "chat_message"] if database.dialect == "sqlite" else ["hold", "orders"]
    assert len(statements) == 5 and [any(table in fault for fault in found) for table in tables] == [True] * len(tables)
    assert len(found) == len(tables)
