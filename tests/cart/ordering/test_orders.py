"""Orders, refunds and payments as values: nothing here asks anybody."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from cart.ordering import payments, refunds
from cart.ordering.orders import (
    SOLD,
    TRANSITIONS,
    Order,
    OrderState,
    buyer,
    check_holds,
    check_out,
    order_number,
    read_number,
)
from cart.ordering.payments import PayOnPickup, Receipt, Step, StepKind, StepState, Verdict, judge
from cart.ordering.refunds import Units, refund, worth
from cart.ordering.shipping import Chosen
from cart.pricing.taxes import Tax
from cart.stock import Hold, HoldState
from live.core.errors import Kind, Problem
from live.core.ids import uuid7
from live.core.limits import PRICE_MINOR_MAX
from tests.cart.ordering.samples import ADDRESS, BUYER, HOLD, POST, line, order, priced

STATES = st.sampled_from(list(OrderState))


def test_order_numbers_are_for_people() -> None:
    assert order_number("0" * 32) == "00000-00000"
    assert order_number("f" * 32) == "ZZZZZ-ZZZZZ"
    assert len({order_number(uuid7()) for _ in range(1000)}) == 1000


@pytest.mark.parametrize("text", ["7k3m9-2qx4t", "7K3M92QX4T", " 7K3M9 2QX4T "])
def test_order_numbers_are_read_as_people_write_them(text: str) -> None:
    assert read_number(text) == "7K3M9-2QX4T"
    assert read_number("OIL00-00000") == "01100-00000"


@pytest.mark.parametrize("text", ["", "7K3M9", "7K3M9-2QX4U", "7K3M9-2QX4T0", "ä" * 10, "0" * 10_000])
def test_what_is_no_order_number(text: str) -> None:
    assert read_number(text) is None


def test_an_order_copies_what_was_in_the_cart() -> None:
    chosen = Chosen(POST.id, POST.kind, POST.title, 490, 2, 4)
    made = check_out(
        [HOLD],
        priced(replace(line(), key="h1")),
        now_ms=5,
        order_id="0" * 32,
        buyer=BUYER,
        payment="test",
        total_minor=2490,
        chosen=chosen,
        address=ADDRESS,
        shipping_taxes=[Tax(1900, 412, 78)],
    )
    assert (made.total_minor, made.subtotal_minor, made.shipping_minor) == (2490, 2000, 490)
    assert (made.lines[0].hold_id, made.placed_at_ms, made.address) == ("h1", None, ADDRESS)
    assert sum(tax.net_minor + tax.tax_minor for tax in made.taxes) == made.total_minor
    assert made.books()["lines"] == {}
    assert replace(made, lines=[replace(made.lines[0], refunded=1)]).books()["lines"] == {"CUP": [0, 1, 0]}


@pytest.mark.parametrize(
    ("holds", "lost", "kind"),
    [
        ([], False, Kind.cart_empty),
        ([], True, Kind.hold_expired),
        ([replace(HOLD, state=HoldState.claiming)], False, Kind.checkout_running),
        ([replace(HOLD, expires_at_ms=5)], False, Kind.hold_expired),
    ],
)
def test_what_is_not_ordered(holds: list[Hold], lost: bool, kind: Kind) -> None:
    with pytest.raises(Problem) as caught:
        check_holds(holds, 5, lost=lost)
    assert caught.value.kind is kind


def test_what_the_buyer_did_not_see_is_not_ordered() -> None:
    check_holds([HOLD], 5, lost=False)
    with pytest.raises(Problem) as caught:
        check_out(
            [HOLD], priced(replace(line(), key="h1")),
            now_ms=5, order_id="0" * 32, buyer=BUYER, payment="test", total_minor=1999,
        )  # fmt: skip
    assert (caught.value.kind, caught.value.extra) == (
        Kind.price_changed,
        {"total_minor": 2000, "currency": "EUR"},
    )


@given(STATES, STATES)
def test_orders_move_by_their_table(before: OrderState, after: OrderState) -> None:
    one = order(state=before)
    if one.may(after):
        assert one.to(after).state is after
    else:
        with pytest.raises(AssertionError):
            one.to(after)


def test_what_ends_an_order() -> None:
    finals = {state for state, nexts in TRANSITIONS.items() if not nexts}
    assert finals == {OrderState.refunded, OrderState.cancelled, OrderState.refused}
    assert OrderState.cancelled not in SOLD and OrderState.withdrawn in SOLD
    reached = {OrderState.pending}.union(*TRANSITIONS.values())
    assert reached == set(OrderState), "every state has a way to it"
    with pytest.raises(Problem) as caught:
        order(state=OrderState.partly_refunded).require(frozenset({OrderState.placed}), "captured")
    assert caught.value.detail == "An order that is partly refunded cannot be captured."


@pytest.mark.parametrize("email", ["ada@example.com", " a.b+c@x-y.example.co ", "o'hara@example.ie"])
def test_addresses_that_people_have(email: str) -> None:
    assert buyer("Ada", email, " Please  ring. ") == buyer("Ada", email.strip(), "Please ring.")


@pytest.mark.parametrize(
    ("name", "email", "note", "field"),
    [
        ("", "ada@example.com", None, "name"),
        ("Ada\x00", "ada@example.com", None, "name"),
        ("A" * 101, "ada@example.com", None, "name"),
        ("Ada", "ada", None, "email"),
        ("Ada", "ada@localhost", None, "email"),
        ("Ada", "ada@@example.com", None, "email"),
        ("Ada", "ada@example.com\nBcc: eve@example.com", None, "email"),
        ("Ada", f"{'a' * 60}@{'b' * 60}.{'c' * 60}.{'d' * 60}.{'e' * 60}", None, "email"),
        ("Ada", "ada@example.com", "x" * 501, "note"),
    ],
)
def test_forms_are_refused_by_the_field(name: str, email: str, note: str | None, field: str) -> None:
    with pytest.raises(Problem) as caught:
        buyer(name, email, note)
    assert (caught.value.kind, caught.value.field) == (Kind.invalid_field, field)
    with pytest.raises(Problem) as caught:
        buyer("Ada", "ada@example.com", None, "fr")
    assert caught.value.field == "language"


# --- refunds --------------------------------------------------------------------------------------------------


@given(
    st.lists(st.tuples(st.integers(1, 7), st.integers(0, 5000), st.integers(0, 100)), min_size=1, max_size=4),
    st.integers(0, 900),
    st.data(),
)
def test_units_refunded_in_whatever_steps_come_to_what_was_paid(
    goods: list[tuple[int, int, int]], shipping_minor: int, data: st.DataObject
) -> None:
    lines = [
        line(f"S{place}", quantity, unit, min(off, unit * quantity))
        for place, (quantity, unit, off) in enumerate(goods)
    ]
    now = order(*lines, shipping_minor=shipping_minor, state=OrderState.captured)
    given_back = 0
    for one in now.lines:
        while (left := next(each for each in now.lines if each.sku == one.sku)).refunded < one.quantity:
            if now.state is OrderState.refunded:
                return  # what is left costs nothing
            count = data.draw(st.integers(1, one.quantity - left.refunded))
            what, now = refund(now, {one.sku: count}, 0, 0)
            assert sum(tax.net_minor + tax.tax_minor for tax in what.taxes) == what.amount_minor
            given_back += what.amount_minor
    assert given_back == sum(one.line_minor for one in now.lines)
    assert now.refunded_minor == given_back
    if shipping_minor:
        _, now = refund(now, {}, shipping_minor, 0)
    assert (now.state, now.refundable_minor) == (OrderState.refunded, 0)


def test_a_refund_has_the_taxes_of_what_it_is_for() -> None:
    now = order(
        line("A", 3, 999, tax_bp=1900), line("B", 1, 500, tax_bp=700), shipping_minor=490, state=OrderState.captured
    )
    what, now = refund(now, {"A": 1, "B": 1}, 490, 0)
    assert (what.amount_minor, now.state) == (999 + 500 + 490, OrderState.partly_refunded)
    assert [tax.tax_bp for tax in what.taxes] == [700, 1900]
    assert sum(tax.net_minor + tax.tax_minor for tax in what.taxes) == what.amount_minor
    assert worth(now.lines[0], 3) == 2997


@pytest.mark.parametrize(
    ("state", "wanted", "shipping_minor", "goodwill_minor", "kind", "field"),
    [
        (OrderState.placed, {"CUP": 1}, 0, 0, Kind.illegal_order_step, "order"),
        (OrderState.captured, {"CUP": 3}, 0, 0, Kind.refund_exceeds, "lines"),
        (OrderState.captured, {}, 491, 0, Kind.refund_exceeds, "shipping_minor"),
        (OrderState.captured, {}, 0, 2491, Kind.refund_exceeds, ""),
        (OrderState.captured, {}, 0, 0, Kind.invalid_field, "lines"),
        (OrderState.captured, {}, -1, 0, Kind.invalid_field, "shipping_minor"),
        (OrderState.captured, {}, 0, PRICE_MINOR_MAX + 1, Kind.invalid_field, "goodwill_minor"),
    ],
)
def test_what_is_not_refunded(
    state: OrderState, wanted: dict[str, int], shipping_minor: int, goodwill_minor: int, kind: Kind, field: str
) -> None:
    with pytest.raises(Problem) as caught:
        refund(order(shipping_minor=490, state=state), wanted, shipping_minor, goodwill_minor)
    assert (caught.value.kind, caught.value.field) == (kind, field)


def test_goodwill_and_units_together_never_exceed_what_was_paid() -> None:
    _, now = refund(order(state=OrderState.captured), {}, 0, 1500)
    with pytest.raises(Problem) as caught:
        refund(now, {"CUP": 1}, 0, 0)
    assert caught.value.extra == {"left_minor": 500, "currency": "EUR"}
    what, now = refunds.everything(now)
    assert (what.amount_minor, what.goodwill_minor, now.refundable_minor) == (500, -1500, 0)
    again, _ = refunds.everything(now)
    assert again.amount_minor == 0


@pytest.mark.parametrize("state", [OrderState.withdrawn, OrderState.returned])
def test_what_came_back_stays_so_until_the_last_cent(state: OrderState) -> None:
    _, now = refund(order(state=state), {"CUP": 1}, 0, 0)
    assert now.state is state
    _, now = refund(now, {"CUP": 1}, 0, 0)
    assert now.state is OrderState.refunded


def test_units_of_an_order() -> None:
    one = order()
    assert refunds.units(one, [Units("CUP", 1), Units("CUP", 1)]) == {"CUP": 2}
    for wanted, kind in (
        ([Units("MUG", 1)], Kind.unknown_sku),
        ([Units("CUP", 0)], Kind.invalid_quantity),
        ([Units("CUP", 1)] * 51, Kind.invalid_field),
    ):
        with pytest.raises(Problem) as caught:
            refunds.units(one, wanted)
        assert caught.value.kind is kind


# --- payments -------------------------------------------------------------------------------------------------


def _step(kind: StepKind, state: StepState = StepState.done, reference: str = "") -> Step:
    return Step(
        id=uuid7(1), order_id="o", kind=kind, key=f"{kind.value}:{reference}", amount_minor=1, currency="EUR",
        reference=reference, state=state, due_at_ms=None, created_at_ms=1,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("state", "receipt", "gone", "verdict"),
    [
        (OrderState.pending, Receipt("a", 2000, "EUR"), False, Verdict.place),
        (OrderState.pending, Receipt("a", 2001, "EUR"), False, Verdict.wrong),
        (OrderState.pending, Receipt("a", 2000, "USD"), False, Verdict.wrong),
        (OrderState.lapsed, Receipt("a", 2000, "EUR"), False, Verdict.retake),
        (OrderState.lapsed, Receipt("a", 2000, "EUR"), True, Verdict.surplus),
        (OrderState.placed, Receipt("a", 2000, "EUR"), False, Verdict.surplus),
        (OrderState.refused, Receipt("a", 2000, "EUR"), False, Verdict.surplus),
        (OrderState.pending, Receipt("known", 2000, "EUR"), False, Verdict.known),
    ],
)
def test_what_an_authorisation_means(state: OrderState, receipt: Receipt, gone: bool, verdict: Verdict) -> None:
    assert judge(order(state=state), receipt, {"known"}, gone=gone) is verdict


def test_what_pays_for_an_order_is_what_was_not_let_go() -> None:
    steps = [
        _step(StepKind.authorise, reference="a"),
        _step(StepKind.void, reference="a"),
        _step(StepKind.authorise, reference="b"),
        _step(StepKind.capture, StepState.wanted),
    ]
    assert payments.tender(steps) == "b"
    assert payments.tender([]) == ""
    assert payments.capturing(steps) is steps[3] and payments.capturing(steps[:3]) is None
    assert not payments.letting_go(steps) and payments.letting_go([_step(StepKind.void)])
    assert payments.numbered_key("o", StepKind.refund, steps) == "o:refund:1"
    assert payments.numbered_key("o", StepKind.capture, steps) == "o:capture:2"
    assert payments.heard_key("o", "a") != payments.void_key("o", "a")
    assert [view["kind"] for view in payments.views(steps)] == ["authorise", "void", "authorise", "capture"]


def test_a_reference_that_cannot_be_stored_is_noticed() -> None:
    assert payments.checked(Receipt("a", 1, "EUR")).reference == "a"
    for reference in ("", "a\n", "x" * 200):
        with pytest.raises(ValueError, match="reference"):
            payments.checked(Receipt(reference, 1, "EUR"))


def test_failures_are_tried_again_more_and_more_rarely() -> None:
    assert [payments.retry_at_ms(1000, attempts, (5, 30)) for attempts in (1, 2, 3)] == [6000, 31_000, None]
    assert payments.reason(TimeoutError()) == "TimeoutError"
    assert payments.reason(ValueError("x" * 900)) == "x" * 500


async def test_paying_on_pick_up_asks_nobody() -> None:
    one: Order = order()
    asked = payments.charge(one, _step(StepKind.capture))
    desk = PayOnPickup()
    assert await desk.authorise(asked) == await desk.look(asked) == await desk.capture(asked)
    assert (await desk.refund(asked)).amount_minor == 1
    await desk.void(asked)
