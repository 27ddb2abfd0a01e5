"""From a cart to an order: who buys, what it costs, and who takes the money.

States of an order:

    a  (new) → pending      check-out began; the cart's holds are claiming
    b  pending → placed     paid, or to be paid on pick-up
    c  pending → refused    the payment was refused
    d  pending → lapsed     no answer from the payment within CLAIM_TTL_S; what it took is voided

What was ordered never changes; the words and prices of the lines are copies.
"""

import re
from collections.abc import Sequence
from enum import Enum
from typing import Protocol

import msgspec

from cart import prices
from cart.baskets import cart_of
from cart.stock import Hold, HoldState
from live.core.errors import Kind, Problem
from live.core.limits import BUYER_NAME_CHARS_MAX, EMAIL_CHARS_MAX, ORDER_NOTE_CHARS_MAX
from live.shows import clean_line

# Crockford's base 32: no I, L, O or U, so that a number read out over a counter is heard right.
_SYMBOLS = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
# What <input type="email"> accepts (WHATWG HTML, 4.10.5.1.5), with at least one dot in the domain.
_LABEL = r"[a-zA-Z0-9](?:[a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?"
_EMAIL = re.compile(rf"[a-zA-Z0-9.!#$%&'*+/=?^_`{{|}}~-]{{1,64}}@{_LABEL}(?:\.{_LABEL})+", re.ASCII)


class OrderState(Enum):
    pending = "pending"
    placed = "placed"
    refused = "refused"
    lapsed = "lapsed"


TRANSITIONS: dict[OrderState, frozenset[OrderState]] = {
    OrderState.pending: frozenset({OrderState.placed, OrderState.refused, OrderState.lapsed}),
    OrderState.placed: frozenset(),
    OrderState.refused: frozenset(),
    OrderState.lapsed: frozenset(),
}


class OrderLine(msgspec.Struct, frozen=True):
    """One SKU of an order. `pin_id` and `at_ms` say what was on screen when it was put into the cart."""

    sku: str
    product_id: str
    title: str
    variant: str
    picture: str
    quantity: int
    price_minor: int
    line_minor: int
    hold_id: str
    pin_id: str | None
    at_ms: int


class Order(msgspec.Struct, frozen=True):
    """What somebody bought. `number` is for people; times are Unix milliseconds, `placed_at_ms` None until paid."""

    id: str
    number: str
    show: str
    viewer_id: str
    state: OrderState
    name: str
    email: str
    note: str
    payment: str
    currency: str
    total_minor: int
    created_at_ms: int
    placed_at_ms: int | None
    lines: list[OrderLine]

    def to(self, state: OrderState) -> OrderState:
        """`state`, if the table allows it."""
        assert state in TRANSITIONS[self.state], f"{self.state.value} → {state.value} is not a transition"
        return state


class PaymentRefused(Exception):
    """The provider said no; the text is for the buyer."""


class Payment(Protocol):
    """Takes the money for an order. `name` is stored with the order.

    `authorise` raises `PaymentRefused`; its answer counts only within PAYMENT_TIMEOUT_S. `void` gives back what an
    authorisation took, if there was one; it may be called more than once and for an order that was never paid.
    Both take the order's id as the provider's idempotency key.
    """

    name: str

    async def authorise(self, order: Order) -> None: ...

    async def void(self, order: Order) -> None: ...


class PayOnPickup:
    """The buyer pays at the counter: there is nothing to ask now and nothing to give back."""

    name = "pay_on_pickup"

    async def authorise(self, order: Order) -> None:
        """Always granted."""

    async def void(self, order: Order) -> None:
        """Nothing was taken."""


class Buyer(msgspec.Struct, frozen=True):
    """Who orders. `note` is "" for none."""

    name: str
    email: str
    note: str


def buyer(name: str, email: str, note: str | None) -> Buyer:
    """The checked and cleaned words of a check-out form; raises `Problem` invalid_field."""
    email = email.strip()
    if len(email) > EMAIL_CHARS_MAX or _EMAIL.fullmatch(email) is None:
        raise Problem(Kind.invalid_field, "An e-mail address such as ada@example.com is needed.", field="email")
    return Buyer(
        name=clean_line(name, "name", BUYER_NAME_CHARS_MAX),
        email=email,
        note=clean_line(note, "note", ORDER_NOTE_CHARS_MAX) if note and note.strip() else "",
    )


def order_number(order_id: str) -> str:
    """The number that people use, such as "7K3M9-2QX4T": the last 50 random bits of the order's UUIDv7.

    It does not tell how many orders there are. With a million orders, the next one's number is taken with
    probability 1e-9; the table's unique index then refuses the check-out.
    """
    bits = int(order_id, 16)
    symbols = "".join(_SYMBOLS[bits >> 5 * place & 31] for place in range(9, -1, -1))
    return f"{symbols[:5]}-{symbols[5:]}"


def check_out(
    holds: Sequence[Hold],
    *,
    now_ms: int,
    order_id: str,
    buyer: Buyer,
    payment: str,
    total_minor: int | None,
    lost: bool,
) -> Order:
    """The pending order (a) for a cart's living holds, all of one viewer.

    `total_minor` is what the buyer saw (None: not said). `lost`: the cart's newest hold has expired already.
    Raises `Problem` checkout_running, hold_expired, cart_empty, mixed_currency, and price_changed when the cart is
    not what the buyer saw.
    """
    if any(hold.state is HoldState.claiming for hold in holds):
        raise Problem(Kind.checkout_running, retry_after_s=2)
    expired = [hold.sku for hold in holds if hold.overdue(now_ms)]
    if expired or (lost and not holds):
        raise Problem(
            Kind.hold_expired,
            "The time for this is over; add it again if there is still some.",
            extra={"skus": expired},
        )
    if not holds:
        raise Problem(Kind.cart_empty)
    cart = cart_of(holds)
    if total_minor is not None and total_minor != cart.total_minor:
        raise Problem(
            Kind.price_changed,
            "The cart is not what you saw; look at it again.",
            field="total_minor",
            extra={"total_minor": cart.total_minor, "currency": cart.currency},
        )
    return Order(
        id=order_id,
        number=order_number(order_id),
        show=holds[0].show,
        viewer_id=holds[0].viewer_id,
        state=OrderState.pending,
        name=buyer.name,
        email=buyer.email,
        note=buyer.note,
        payment=payment,
        currency=cart.currency,
        total_minor=cart.total_minor,
        created_at_ms=now_ms,
        placed_at_ms=None,
        lines=[_line(hold) for hold in holds],
    )


def _line(hold: Hold) -> OrderLine:
    return OrderLine(
        sku=hold.sku,
        product_id=hold.product_id,
        title=hold.title,
        variant=hold.variant,
        picture=hold.picture,
        quantity=hold.quantity,
        price_minor=hold.price_minor,
        line_minor=prices.line_total(hold.price_minor, hold.quantity),
        hold_id=hold.id,
        pin_id=hold.pin_id,
        at_ms=hold.at_ms,
    )
