"""From a cart to an order, and what may happen to it afterwards.

States of an order:

    a  (new) → pending                 check-out began; the cart's holds are claiming
    b  pending → placed                paid (the money is set aside), or to be paid on pick-up
    c  pending → refused               the payment was refused, or was for another amount
    d  pending → lapsed                no answer from the payment within CLAIM_TTL_S
    e  lapsed → placed                 paid late, and there was still stock for it
    f  placed → captured               the money was taken
    g  captured → partly_refunded      some of it was given back; again and again
    h  captured … → refunded           all of it was given back
    i  placed, captured … → cancelled  before it was shipped; the units can be sold again, the money is given back
    j  placed, captured … → withdrawn  the buyer withdrew from the contract (BGB 355)
    k  captured …, withdrawn → returned   all of the goods came back

What is withdrawn or returned stays so while only some of its money was given back, and becomes refunded with the
last cent; what is ended before it left keeps the state that says why, and its money goes back at once. What was
ordered never changes: the words, prices and taxes of the lines are copies.
"""

import re
from collections.abc import Mapping, Sequence
from enum import Enum
from typing import Any

import msgspec
from msgspec.structs import replace

from cart.ordering.addresses import Address
from cart.ordering.shipping import Chosen
from cart.pricing.priced import Discount, Priced, PricedLine
from cart.pricing.taxes import Tax, by_rate
from cart.stock import Hold, HoldState
from live.core.errors import Kind, Problem
from live.core.limits import BUYER_NAME_CHARS_MAX, EMAIL_CHARS_MAX, ORDER_NOTE_CHARS_MAX
from live.shows import clean_line

LANGUAGES = ("en", "de")
OWN, EXTERNAL = "showcart", "external"  # sources of an order: whose check-out it came by

# Crockford's base 32: no I, L, O or U, so that a number read out over a counter is heard right.
_SYMBOLS = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_HEARD = str.maketrans({"I": "1", "L": "1", "O": "0", "-": "", " ": ""})
# What <input type="email"> accepts (WHATWG HTML, 4.10.5.1.5), with at least one dot in the domain.
_LABEL = r"[a-zA-Z0-9](?:[a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?"
_EMAIL = re.compile(rf"[a-zA-Z0-9.!#$%&'*+/=?^_`{{|}}~-]{{1,64}}@{_LABEL}(?:\.{_LABEL})+", re.ASCII)


class OrderState(Enum):
    pending = "pending"
    placed = "placed"
    captured = "captured"
    partly_refunded = "partly_refunded"
    refunded = "refunded"
    cancelled = "cancelled"
    withdrawn = "withdrawn"
    returned = "returned"
    refused = "refused"
    lapsed = "lapsed"


_AFTER_CAPTURE = frozenset(
    {OrderState.partly_refunded, OrderState.refunded, OrderState.cancelled, OrderState.withdrawn, OrderState.returned}
)
TRANSITIONS: dict[OrderState, frozenset[OrderState]] = {
    OrderState.pending: frozenset({OrderState.placed, OrderState.refused, OrderState.lapsed}),
    OrderState.placed: frozenset({OrderState.captured, OrderState.cancelled, OrderState.withdrawn}),
    OrderState.captured: _AFTER_CAPTURE,
    OrderState.partly_refunded: _AFTER_CAPTURE,
    OrderState.refunded: frozenset(),
    OrderState.cancelled: frozenset(),
    OrderState.withdrawn: frozenset({OrderState.returned, OrderState.refunded}),
    OrderState.returned: frozenset({OrderState.refunded}),
    OrderState.refused: frozenset(),
    OrderState.lapsed: frozenset({OrderState.placed}),
}
# Orders that were paid for, or are to be paid on pick-up, whatever became of them: what counts as sold.
SOLD = frozenset(OrderState) - {OrderState.pending, OrderState.refused, OrderState.lapsed, OrderState.cancelled}
OPEN = frozenset({OrderState.placed, OrderState.captured, OrderState.partly_refunded})


class OrderLine(msgspec.Struct, frozen=True, kw_only=True):
    """One SKU of an order. `pin_id` and `at_ms` say what was on screen when it was put into the cart.

    `line_minor` = price_minor × quantity - off_minor = net_minor + tax_minor: what is paid for it. `list_minor` is the
    price of one unit before any rule. `cancelled`, `refunded` and `returned` count units.
    """

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
    list_minor: int
    off_minor: int = 0
    net_minor: int
    tax_minor: int = 0
    tax_bp: int = 0
    quote: dict[str, Any] | None = None
    cancelled: int = 0
    refunded: int = 0
    returned: int = 0


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """What somebody bought. `number` is for people; times are Unix milliseconds, `placed_at_ms` None until paid.

    `total_minor` = subtotal_minor - discounts + shipping_minor = the sum of `taxes`; `subtotal_minor` are the lines at
    their unit prices. `captured_minor` was taken, `refunded_minor` of it given back. `source` "external": sold by the
    merchant's own check-out, under `external_number` (None: not sold yet), to a buyer whom only the merchant knows.
    """

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
    language: str = "en"
    subtotal_minor: int
    shipping_minor: int = 0
    shipping: Chosen | None = None
    address: Address | None = None
    discounts: list[Discount]
    taxes: list[Tax]
    captured_minor: int = 0
    refunded_minor: int = 0
    shipping_refunded_minor: int = 0
    shipped_at_ms: int | None = None
    source: str = OWN
    external_number: str | None = None

    def to(self, state: OrderState) -> "Order":
        """The order in `state`, which the table allows."""
        assert self.may(state), f"{self.state.value} → {state.value} is not a transition"
        return replace(self, state=state)

    def may(self, state: OrderState) -> bool:
        """Whether the table allows it."""
        return state in TRANSITIONS[self.state]

    def require(self, states: frozenset[OrderState], what: str) -> None:
        """Raises `Problem` illegal_order_step unless the order is in one of them."""
        if self.state not in states:
            detail = f"An order that is {self.state.value.replace('_', ' ')} cannot be {what}."
            raise Problem(Kind.illegal_order_step, detail, field="order", extra={"state": self.state.value})

    @property
    def refundable_minor(self) -> int:
        """What was taken and not given back."""
        return self.captured_minor - self.refunded_minor

    def books(self) -> Mapping[str, Any]:
        """What changes of an order, for the trail."""
        return {
            "state": self.state.value,
            "captured_minor": self.captured_minor,
            "refunded_minor": self.refunded_minor,
            "shipped_at_ms": self.shipped_at_ms,
            "lines": {
                line.sku: [line.cancelled, line.refunded, line.returned]
                for line in self.lines
                if line.cancelled or line.refunded or line.returned
            },
        }


class Buyer(msgspec.Struct, frozen=True):
    """Who orders. `note` is "" for none."""

    name: str
    email: str
    note: str
    language: str = "en"


def buyer(name: str, email: str, note: str | None, language: str = "en") -> Buyer:
    """The checked and cleaned words of a check-out form; raises `Problem` invalid_field."""
    if language not in LANGUAGES:
        raise Problem(Kind.invalid_field, f"One of {', '.join(LANGUAGES)}.", field="language")
    return Buyer(
        name=clean_line(name, "name", BUYER_NAME_CHARS_MAX),
        email=email_address(email),
        note=clean_line(note, "note", ORDER_NOTE_CHARS_MAX) if note and note.strip() else "",
        language=language,
    )


def email_address(text: str) -> str:
    """An e-mail address without blanks around it; raises `Problem` invalid_field."""
    text = text.strip()
    if len(text) > EMAIL_CHARS_MAX or _EMAIL.fullmatch(text) is None:
        raise Problem(Kind.invalid_field, "An e-mail address such as ada@example.com is needed.", field="email")
    return text


def order_number(order_id: str) -> str:
    """The number that people use, such as "7K3M9-2QX4T": the last 50 random bits of the order's UUIDv7.

    It does not tell how many orders there are. With a million orders, the next one's number is taken with
    probability 1e-9; the table's unique index then refuses the check-out.
    """
    bits = int(order_id, 16)
    symbols = "".join(_SYMBOLS[bits >> 5 * place & 31] for place in range(9, -1, -1))
    return f"{symbols[:5]}-{symbols[5:]}"


def read_number(text: str) -> str | None:
    """An order's number as people write it: small letters, no dash, O for 0. None: it cannot be one."""
    symbols = text[:40].upper().translate(_HEARD)
    if len(symbols) != 10 or any(symbol not in _SYMBOLS for symbol in symbols):
        return None
    return f"{symbols[:5]}-{symbols[5:]}"


def check_holds(holds: Sequence[Hold], now_ms: int, *, lost: bool) -> None:
    """Raises `Problem` checkout_running, hold_expired or cart_empty for a cart that cannot be ordered.

    `lost`: the cart's newest hold has expired already.
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


def check_out(
    holds: Sequence[Hold],
    priced: Priced,
    *,
    now_ms: int,
    order_id: str,
    buyer: Buyer,
    payment: str,
    total_minor: int | None,
    chosen: Chosen | None = None,
    address: Address | None = None,
    shipping_taxes: Sequence[Tax] = (),
) -> Order:
    """The pending order (a) for a cart's living holds, all of one viewer, at its prices, sent the `chosen` way.

    `total_minor` is what the buyer saw (None: not said). Raises `Problem` price_changed when that is not the total.
    """
    shipping_minor = 0 if chosen is None else chosen.price_minor
    total = priced.total_minor + shipping_minor
    if total_minor is not None and total_minor != total:
        raise Problem(
            Kind.price_changed,
            "The cart is not what you saw; look at it again.",
            field="total_minor",
            extra={"total_minor": total, "currency": priced.currency},
        )
    prices = {line.key: line for line in priced.lines}
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
        currency=priced.currency,
        total_minor=total,
        created_at_ms=now_ms,
        placed_at_ms=None,
        lines=[_line(hold, prices[hold.id]) for hold in holds],
        language=buyer.language,
        subtotal_minor=priced.subtotal_minor,
        shipping_minor=shipping_minor,
        shipping=chosen,
        address=address,
        discounts=list(priced.discounts),
        taxes=by_rate([*priced.taxes, *shipping_taxes]),
    )


def _line(hold: Hold, priced: PricedLine) -> OrderLine:
    return OrderLine(
        sku=hold.sku,
        product_id=hold.product_id,
        title=hold.title,
        variant=hold.variant,
        picture=hold.picture,
        quantity=hold.quantity,
        price_minor=priced.unit_minor,
        line_minor=priced.line_minor,
        hold_id=hold.id,
        pin_id=hold.pin_id,
        at_ms=hold.at_ms,
        list_minor=priced.list_minor,
        off_minor=priced.off_minor,
        net_minor=priced.net_minor,
        tax_minor=priced.tax_minor,
        tax_bp=priced.tax_bp,
        quote=None if hold.quote is None else msgspec.json.decode(hold.quote),
    )
