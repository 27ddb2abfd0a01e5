"""The withdrawal function: two steps without a token of ours, a time stamp, and a confirmation."""

from cart.ordering.clerk import Clerk
from cart.ordering.office import Office
from cart.ordering.orders import OrderState
from cart.ordering.provider import Rehearsal
from cart.ordering.refunds import Units
from cart.service import Shop
from live.core.clock import ManualClock
from live.core.database import Database
from live.core.errors import Kind
from live.core.limits import WITHDRAWAL_TOKEN_TTL_S
from tests.cart.conftest import ADA, Screens, level, refused
from tests.cart.ordering.conftest import HOST, Box, buy


async def test_what_has_not_left_is_ended_at_once(
    shop: Shop, office: Office, clerk: Clerk, box: Box, database: Database, payment: Rehearsal, clock: ManualClock,
    screens: Screens,
) -> None:  # fmt: skip
    order_id = await buy(shop, language="de")
    number = (await office.orders.get(order_id, ADA)).number
    begun = await office.withdrawals.begin(f" {number.lower()} ", "ADA@example.com")
    assert [(line.sku, line.quantity) for line in begun.lines] == [("CUP", 2)]
    assert (await office.orders.get(order_id, ADA)).state is OrderState.placed, "the first step changes nothing"
    clock.advance(60)
    made = await office.withdrawals.confirm(begun.token, "Ada", "ada@other.example")
    await office.till.idle()
    assert (made.number, made.at_ms, made.lines) == (number, clock.now_ms(), [Units("CUP", 2)])
    assert (await office.orders.get(order_id, ADA)).state is OrderState.withdrawn
    assert await level(database, "CUP") == (10, 0, 0)
    assert payment.kept(order_id) == 0
    clock.advance(60)
    assert await office.withdrawals.confirm(begun.token, "Ada", "ada@other.example") == made, "twice is once"
    assert await office.withdrawals.of_order(order_id) == [made]
    await clerk.send()
    [told] = [message for message in box.letters.values() if "Widerruf" in str(message["Subject"])]
    assert str(told["To"]) == "ada@other.example"
    part = told.get_body(("plain",))
    assert part is not None and "ist am" in part.get_content() and "2 x Cup" in part.get_content()
    trail = await office.orders.trail(f"order:{order_id}")
    assert [(entry.action, entry.role) for entry in trail[1:]] == [
        ("order.withdrawn", "buyer"),
        ("withdrawal.declared", "buyer"),
    ]


async def test_what_has_left_waits_for_the_goods(
    shop: Shop, office: Office, database: Database, payment: Rehearsal
) -> None:
    order_id = await buy(shop)
    await office.orders.ship(order_id, HOST)
    number = (await office.orders.get(order_id, ADA)).number
    begun = await office.withdrawals.begin(number, "ada@example.com")
    await office.withdrawals.confirm(begun.token, "Ada", "ada@example.com")
    assert (await office.orders.get(order_id, ADA)).state is OrderState.withdrawn
    assert payment.kept(order_id) == 2000
    answer = await office.orders.take_back(order_id, HOST, [Units("CUP", 2)], refund=True)
    assert (answer.body["order"]["state"], payment.kept(order_id)) == ("refunded", 0)
    assert await level(database, "CUP") == (10, 0, 0)


async def test_some_of_an_order_is_declared_and_left_to_the_merchant(
    shop: Shop, office: Office, database: Database
) -> None:
    order_id = await buy(shop)
    number = (await office.orders.get(order_id, ADA)).number
    begun = await office.withdrawals.begin(number, "ada@example.com")
    made = await office.withdrawals.confirm(begun.token, "Ada", "ada@example.com", [Units("CUP", 1)], "de")
    assert (made.lines, made.language) == ([Units("CUP", 1)], "de")
    assert (await office.orders.get(order_id, ADA)).state is OrderState.placed
    assert await level(database, "CUP") == (10, 2, 0)


async def test_nobody_learns_which_orders_there_are(shop: Shop, office: Office) -> None:
    order_id = await buy(shop)
    number = (await office.orders.get(order_id, ADA)).number
    answers = [
        await refused(office.withdrawals.begin(number, "eve@example.com")),
        await refused(office.withdrawals.begin("7K3M9-2QX4T", "ada@example.com")),
        await refused(office.withdrawals.begin("\x00", "\ud800")),
    ]
    await office.orders.cancel(order_id, HOST)
    answers.append(await refused(office.withdrawals.begin(number, "ada@example.com")))
    assert {(answer.kind, answer.detail) for answer in answers} == {
        (Kind.unknown_order, "No order has this number and this e-mail address.")
    }


_SAYS_NOTHING: list[tuple[dict[str, object], Kind, str]] = [
    ({"token": "x"}, Kind.invalid_field, "token"),
    ({"token": "x" * 9000}, Kind.invalid_field, "token"),
    ({"name": ""}, Kind.invalid_field, "name"),
    ({"email": "ada"}, Kind.invalid_field, "email"),
    ({"language": "fr"}, Kind.invalid_field, "language"),
    ({"lines": []}, Kind.invalid_field, "lines"),
    ({"lines": [Units("MUG-RED", 1)]}, Kind.unknown_sku, "lines"),
    ({"lines": [Units("CUP", 3)]}, Kind.refund_exceeds, "lines"),
]


async def test_declarations_that_say_nothing(shop: Shop, office: Office) -> None:
    order_id = await buy(shop)
    number = (await office.orders.get(order_id, ADA)).number
    begun = await office.withdrawals.begin(number, "ada@example.com")
    for change, kind, field in _SAYS_NOTHING:
        values = {"token": begun.token, "name": "Ada", "email": "ada@example.com"} | change
        problem = await refused(office.withdrawals.confirm(**values))  # type: ignore[arg-type]
        assert (problem.kind, problem.field) == (kind, field)
    assert await office.withdrawals.of_order(order_id) == []


async def test_too_much_time_between_the_steps(shop: Shop, office: Office, clock: ManualClock) -> None:
    number = (await office.orders.get(await buy(shop), ADA)).number
    begun = await office.withdrawals.begin(number, "ada@example.com")
    clock.advance(WITHDRAWAL_TOKEN_TTL_S)
    assert (
        await refused(office.withdrawals.confirm(begun.token, "Ada", "a@b.example"))
    ).kind is Kind.withdrawal_expired
