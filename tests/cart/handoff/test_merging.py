"""A guest's cart goes over to the signed-in shopper's: nothing is lost silently, and no unit is counted twice."""

from typing import Any

from cart.catalogue import VariantEntry
from cart.handoff.merging import LetGo, Merged
from cart.handoff.syncing import Wish
from cart.pricing import store as price_store
from cart.service import Shop
from live.core.clock import ManualClock
from live.core.database import Database
from live.core.errors import Kind
from live.core.limits import CART_LINES_MAX, HOLD_TTL_S, QUANTITY_MAX
from live.service import Shows
from tests.cart.conftest import ADA, Screens, level, product, refused, stock, viewer
from tests.cart.handoff.conftest import ONE_STORE, SHOP, customer
from tests.cart.waiting.conftest import plan, positions, told, wait

CUSTOMER = customer()


async def _cart(shop: Shop, who: Any) -> dict[str, int]:
    return {line.sku: line.quantity for line in (await shop.cart("demo", who)).lines}


async def test_the_guests_holds_are_the_shoppers(
    shop: Shop, database: Database, screens: Screens, clock: ManualClock
) -> None:
    await shop.add("demo", CUSTOMER, "CUP", 1)
    clock.advance(60)
    await shop.add("demo", ADA, "CUP", 2)
    await shop.add("demo", ADA, "MUG-BLUE", 1)
    before = {line.sku: line for line in (await shop.cart("demo", ADA)).lines}
    screens.clear()
    merged = await shop.handing.merging.merge("ada", CUSTOMER)
    assert merged == Merged({"CUP": 2, "MUG-BLUE": 1}, [])
    assert await _cart(shop, CUSTOMER) == {"CUP": 3, "MUG-BLUE": 1} and await _cart(shop, ADA) == {}
    after = {line.sku: line for line in (await shop.cart("demo", CUSTOMER)).lines}
    assert after["MUG-BLUE"] == before["MUG-BLUE"], "with its price, its quote and its time"
    assert after["CUP"].expires_at_ms == before["CUP"].expires_at_ms, "the later of the two"
    assert (await level(database, "CUP"), await level(database, "MUG-BLUE")) == ((10, 0, 3), (5, 0, 1))
    told = {to: data for _, to, name, data in screens.notices if name == "cart.changed"}
    assert told.keys() == {"ada", "c-c42"} and {data["reason"] for data in told.values()} == {"merged"}
    assert told["ada"]["cart"]["lines"] == [] and len(told["c-c42"]["cart"]["lines"]) == 2
    assert screens.stock("CUP") == [], "the shelf is as it was"
    assert await shop.handing.merging.merge("ada", CUSTOMER) == Merged({}, [])
    assert await shop.handing.merging.merge(CUSTOMER.subject, CUSTOMER) == Merged({}, [])
    assert await shop.keeper.reconcile() == []
    answer = await shop.checkout("demo", CUSTOMER, name="Cleo", email="cleo@example.com", total_minor=4500)
    assert len(answer.body["order"]["lines"]) == 2


@ONE_STORE
async def test_what_no_cart_can_hold_is_let_go_and_named(
    shop: Shop, shows: Shows, database: Database, screens: Screens
) -> None:
    await stock(shows, product("pen", VariantEntry(sku="PEN", price_minor=100, stock=500), title="Pen"))
    await shop.add("demo", CUSTOMER, "PEN", QUANTITY_MAX - 1)
    await shop.add("demo", ADA, "PEN", 3)
    await shop.add("demo", viewer("eve"), "YEN", 1)
    merged = await shop.handing.merging.merge("ada", CUSTOMER)
    assert merged == Merged({"PEN": 1}, [LetGo("demo", "PEN", 2, "quantity")])
    assert await level(database, "PEN") == (500, 0, QUANTITY_MAX)
    assert screens.notices[-1][3]["let_go"] == [{"sku": "PEN", "quantity": 2, "why": "quantity"}]
    second = await shop.handing.merging.merge("eve", CUSTOMER)
    assert second == Merged({}, [LetGo("demo", "YEN", 1, "mixed_currency")])
    await shop.add("demo", viewer("zoe"), "PEN", 1)
    full = await shop.handing.merging.merge("zoe", CUSTOMER)
    assert full == Merged({}, [LetGo("demo", "PEN", 1, "quantity")])
    assert (await level(database, "YEN"), await shop.keeper.reconcile()) == ((5, 0, 0), [])


@ONE_STORE
async def test_a_full_cart_takes_no_further_thing(shop: Shop, shows: Shows, database: Database) -> None:
    many = [
        VariantEntry(sku=f"B{number}", title=str(number), price_minor=1, stock=2) for number in range(CART_LINES_MAX)
    ]
    await stock(shows, product("bead", *many, title="Bead"))
    await shop.handing.sync.put("c42", "demo", [Wish(one.sku, 1) for one in many], SHOP, version="*", key=None)
    await shop.add("demo", ADA, "CUP")
    await shop.add("demo", ADA, "B7")
    merged = await shop.handing.merging.merge("ada", CUSTOMER)
    assert merged == Merged({"B7": 1}, [LetGo("demo", "CUP", 1, "cart_full")])
    assert await level(database, "CUP") == (10, 0, 0)


@ONE_STORE
async def test_of_two_prices_the_lower_one_is_kept(shop: Shop, shows: Shows, database: Database) -> None:
    await shop.add("demo", ADA, "CUP", 2)
    await shop.add("demo", CUSTOMER, "MUG-BLUE", 1)
    await stock(shows, product("cup", VariantEntry(sku="CUP", price_minor=1200, stock=10)))
    await stock(shows, product("mug", VariantEntry(sku="MUG-BLUE", title="Blue", price_minor=1700, stock=5)))
    await shop.add("demo", CUSTOMER, "CUP", 3)
    await shop.add("demo", ADA, "MUG-BLUE", 2)
    merged = await shop.handing.merging.merge("ada", CUSTOMER)
    gone = {LetGo("demo", "CUP", 3, "price_changed"), LetGo("demo", "MUG-BLUE", 2, "price_changed")}
    assert set(merged.let_go) == gone and merged.moved == {"CUP": 2}
    lines = {line.sku: (line.quantity, line.price_minor) for line in (await shop.cart("demo", CUSTOMER)).lines}
    assert lines == {"CUP": (2, 1000), "MUG-BLUE": (1, 1500)}
    assert await _cart(shop, ADA) == {} and await level(database, "CUP") == (10, 0, 2)


async def test_what_is_being_paid_for_stays_with_whom_it_is(shop: Shop, database: Database) -> None:
    await shop.add("demo", ADA, "CUP", 2)
    await shop.handing.handoffs.open("demo", ADA, None, key=None)
    await shop.add("demo", ADA, "MUG-BLUE", 1)
    assert await shop.handing.merging.merge("ada", CUSTOMER) == Merged({"MUG-BLUE": 1}, [])
    assert await _cart(shop, ADA) == {"CUP": 2}
    await shop.handing.handoffs.open("demo", CUSTOMER, None, key=None)
    await shop.add("demo", viewer("eve"), "MUG-BLUE", 2)
    busy = await shop.handing.merging.merge("eve", CUSTOMER)
    assert busy == Merged({}, [LetGo("demo", "MUG-BLUE", 2, "checkout_running")])
    assert (await level(database, "MUG-BLUE"), await level(database, "CUP")) == ((5, 0, 1), (10, 0, 2))


async def test_what_has_expired_never_comes_back(
    shop: Shop, database: Database, clock: ManualClock, screens: Screens
) -> None:
    await shop.add("demo", ADA, "CUP", 2)
    await shop.add("demo", CUSTOMER, "MUG-BLUE", 1)
    clock.advance(HOLD_TTL_S)
    assert await shop.handing.merging.merge("ada", CUSTOMER) == Merged({}, [])
    assert await _cart(shop, CUSTOMER) == {} == await _cart(shop, ADA)
    assert await level(database, "CUP") == (10, 0, 0)
    assert screens.stock("CUP")[-1] == 10


async def test_coupons_stay_with_whoever_has_them_and_go_to_who_has_none(shop: Shop, database: Database) -> None:
    def give(cart: str, *codes: str) -> Any:
        return database.write_sync(lambda conn: price_store.save_coupons(conn, cart, codes, 1))

    async def coupons(cart: str) -> tuple[str, ...]:
        found = await database.read_sync(lambda conn: price_store.shoppers(conn, [cart]))
        return found[cart].coupons

    await shop.add("demo", ADA, "CUP")
    await give("demo:ada", "HELLO")
    await shop.handing.merging.merge("ada", CUSTOMER)
    assert (await coupons("demo:c-c42"), await coupons("demo:ada")) == (("HELLO",), ())
    await shop.add("demo", viewer("eve"), "CUP")
    await give("demo:eve", "OTHER")
    await shop.handing.merging.merge("eve", CUSTOMER)
    assert (await coupons("demo:c-c42"), await coupons("demo:eve")) == (("HELLO",), ())


async def test_signing_in_gets_nobody_more_of_a_drop_and_keeps_places(shop: Shop, database: Database) -> None:
    await plan(shop, "CUP", per_customer_limit=3)
    await shop.add("demo", ADA, "CUP", 2)
    await shop.add("demo", CUSTOMER, "CUP", 2)
    merged = await shop.handing.merging.merge("ada", CUSTOMER)
    assert merged == Merged({"CUP": 1}, [LetGo("demo", "CUP", 1, "drop_customer_limit")])
    assert await level(database, "CUP") == (10, 0, 3)
    more = await refused(shop.add("demo", CUSTOMER, "CUP", 1))
    assert more.kind is Kind.drop_customer_limit
    assert [drop.taken for drop in await shop.planning.drops("demo")] == [3]
    await shop.remove("demo", CUSTOMER, "CUP")
    await shop.add("demo", CUSTOMER, "CUP", 3)
    await shop.add("demo", viewer("eve"), "MUG-RED", 1)
    await wait(shop, ADA, viewer("zoe"))
    await shop.handing.merging.merge("ada", CUSTOMER)
    assert await positions(shop, ADA, CUSTOMER) == [None, 1]
    await shop.remove("demo", viewer("eve"), "MUG-RED")
    assert await _cart(shop, CUSTOMER) == {"CUP": 3, "MUG-RED": 1}


async def test_of_two_places_the_one_further_ahead_is_kept_and_an_offer_of_before_is_in_nobodys_way(
    shop: Shop, screens: Screens, clock: ManualClock
) -> None:
    eve, zoe = viewer("eve"), viewer("zoe")
    await shop.add("demo", eve, "MUG-RED", 1)
    await wait(shop, ADA, zoe, CUSTOMER)
    await shop.handing.merging.merge("ada", CUSTOMER)
    assert await positions(shop, ADA, CUSTOMER, zoe) == [None, 1, 2], "one person waits once"
    await shop.waiting.tell()
    assert told(screens, zoe, "waitlist.changed")[-1]["place"]["position"] == 2
    await shop.remove("demo", eve, "MUG-RED")
    await wait(shop, viewer("ben"))
    assert await shop.handing.merging.merge("ben", CUSTOMER) == Merged({}, [])
    assert await positions(shop, viewer("ben"), zoe) == [None, 1], "nobody waits who has an offer"
    clock.advance(HOLD_TTL_S)
    await shop.keeper.sweep()
    assert await _cart(shop, zoe) == {"MUG-RED": 1}, "the customer's offer is over"
    await wait(shop, ADA)
    await shop.handing.merging.merge("ada", CUSTOMER)
    assert await positions(shop, ADA, CUSTOMER) == [None, 1]
    assert await shop.waiting.check() == []
