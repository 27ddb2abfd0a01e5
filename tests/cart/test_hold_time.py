"""A hold's time over both databases: it runs out, is extended, and never comes back."""

from sqlalchemy import text

from cart.service import Shop
from live.core.clock import ManualClock
from live.core.database import Database
from live.core.errors import Kind
from live.core.limits import HOLD_EXTENSIONS_MAX, HOLD_TTL_S
from tests.cart.conftest import ADA, BOB, Screens, level, refused


async def test_expiry_returns_the_units_and_tells_everybody(
    shop: Shop, database: Database, screens: Screens, clock: ManualClock
) -> None:
    await shop.add("demo", ADA, "MUG-RED")
    await shop.add("demo", BOB, "CUP", 3)
    screens.clear()
    clock.advance(HOLD_TTL_S - 0.001)
    assert await shop.keeper.sweep() == 0
    clock.advance(0.001)
    assert await shop.keeper.sweep() == 2
    assert await level(database, "MUG-RED") == (1, 0, 0)
    assert await level(database, "CUP") == (10, 0, 0)
    assert (screens.stock("MUG-RED"), screens.stock("CUP")) == ([1], [10])
    assert screens.of("product.restocked") == [{"sku": "MUG-RED", "available": 1}]
    empty = {"lines": [], "total_minor": 0, "currency": ""}
    assert sorted(screens.notices, key=lambda notice: notice[1]) == [
        ("demo", who, "cart.changed", {"cart": empty, "reason": "hold_expired"}) for who in ("ada", "bob")
    ]
    assert await shop.keeper.reconcile() == []


async def test_an_expired_hold_makes_room_before_the_sweep_comes(
    shop: Shop, screens: Screens, clock: ManualClock, database: Database
) -> None:
    await shop.add("demo", ADA, "MUG-RED")
    clock.advance(HOLD_TTL_S)
    screens.clear()
    await shop.add("demo", BOB, "MUG-RED")
    assert (await shop.cart("demo", ADA)).lines == []
    assert screens.notices[0][1:3] == ("ada", "cart.changed")
    assert screens.stock("MUG-RED") == [], "there was none before and there is none now"
    assert await level(database, "MUG-RED") == (1, 0, 1)


async def test_an_expired_hold_never_comes_back(shop: Shop, clock: ManualClock, database: Database) -> None:
    first = await shop.add("demo", ADA, "MUG-RED")
    clock.advance(HOLD_TTL_S)
    second = await shop.add("demo", ADA, "MUG-RED")
    assert second.body["hold"]["hold_id"] != first.body["hold"]["hold_id"]
    assert await level(database, "MUG-RED") == (1, 0, 1)
    clock.advance(HOLD_TTL_S)
    await shop.keeper.sweep()
    await shop.add("demo", BOB, "MUG-RED")
    assert (await refused(shop.add("demo", ADA, "MUG-RED"))).kind is Kind.sold_out


async def test_a_buyer_who_needs_longer_gets_a_full_time_again(
    shop: Shop, database: Database, screens: Screens, clock: ManualClock
) -> None:
    hold = (await shop.add("demo", ADA, "MUG-RED")).body["hold"]
    screens.clear()
    clock.advance(HOLD_TTL_S - 1)
    answer = await shop.extend("demo", ADA, "MUG-RED")
    line = hold | {"expires_at_ms": clock.now_ms() + HOLD_TTL_S * 1000}
    assert (answer.body["cart"]["lines"], answer.body["cart"]["total_minor"]) == ([line], 1500)
    assert screens.notices == [("demo", "ada", "cart.changed", answer.body | {"reason": "changed"})]
    assert screens.stock("MUG-RED") == [], "no unit moved"
    clock.advance(HOLD_TTL_S - 1)
    assert await shop.keeper.sweep() == 0
    assert (await refused(shop.add("demo", BOB, "MUG-RED"))).kind is Kind.sold_out
    assert await level(database, "MUG-RED") == (1, 0, 1)


async def test_only_a_living_hold_of_ones_own_can_be_extended(
    shop: Shop, database: Database, clock: ManualClock
) -> None:
    await shop.add("demo", ADA, "MUG-RED")
    assert (await refused(shop.extend("demo", BOB, "MUG-RED"))).kind is Kind.not_in_cart
    assert (await refused(shop.extend("demo", ADA, "NOPE"))).kind is Kind.unknown_sku
    assert (await refused(shop.extend("nowhere", ADA, "MUG-RED"))).kind is Kind.unknown_show
    clock.advance(HOLD_TTL_S)
    assert (await refused(shop.extend("demo", ADA, "MUG-RED"))).kind is Kind.hold_expired, "before the sweep"
    await shop.keeper.sweep()
    assert (await refused(shop.extend("demo", ADA, "MUG-RED"))).kind is Kind.hold_expired, "and after it"
    await shop.add("demo", BOB, "MUG-RED")
    assert (await refused(shop.extend("demo", ADA, "MUG-RED"))).kind is Kind.hold_expired
    assert await level(database, "MUG-RED") == (1, 0, 1)


async def test_a_hold_is_extended_so_often_and_no_more(shop: Shop, clock: ManualClock) -> None:
    await shop.add("demo", ADA, "CUP")
    for _ in range(HOLD_EXTENSIONS_MAX):
        clock.advance(HOLD_TTL_S - 1)
        await shop.extend("demo", ADA, "CUP")
    clock.advance(HOLD_TTL_S - 1)
    problem = await refused(shop.extend("demo", ADA, "CUP"))
    assert (problem.kind, problem.field, problem.extra) == (Kind.hold_final, "sku", {"sku": "CUP"})
    before = (await shop.cart("demo", ADA)).lines[0].expires_at_ms
    await shop.add("demo", ADA, "CUP")
    line = (await shop.cart("demo", ADA)).lines[0]
    assert (line.quantity, line.expires_at_ms) == (2, before), "more units are no way to more time"
    assert len((await shop.cart("demo", ADA)).lines) == 1, "what is left of its time stays"
    await shop.checkout("demo", ADA, name="Ada", email="ada@example.com")


async def test_what_is_being_paid_for_is_not_extended(shop: Shop, database: Database, clock: ManualClock) -> None:
    await shop.add("demo", ADA, "CUP")
    async with database.write() as conn:
        await conn.execute(text("UPDATE hold SET state = 'claiming', claim_until_ms = 0"))
    assert (await refused(shop.extend("demo", ADA, "CUP"))).kind is Kind.checkout_running


async def test_an_extension_is_done_once_a_key(shop: Shop, clock: ManualClock) -> None:
    await shop.add("demo", ADA, "CUP")
    clock.advance(60)
    first = await shop.extend("demo", ADA, "CUP", key="k1")
    clock.advance(60)
    again = await shop.extend("demo", ADA, "CUP", key="k1")
    assert (again.replayed, again.body) == (True, first.body)
    cart = await shop.cart("demo", ADA)
    assert cart.lines[0].expires_at_ms == first.body["cart"]["lines"][0]["expires_at_ms"]
    assert (await refused(shop.extend("demo", ADA, "MUG-RED", key="k1"))).kind is Kind.key_reused
