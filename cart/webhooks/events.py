"""What other systems are told of: each type with its data as a struct, its subject, and what it means.

The body of a message is {type, timestamp, show, data}, as Standard Webhooks have it. Data is thin and absolute: it says
how things are afterwards, so that a message which comes twice, or late, does no harm. The *subject* is what a message
is about; an endpoint gets what concerns one subject in the order in which it happened. Of a type that says the newest
value only, an older message that waits gives way to a newer one of its subject.
"""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

import msgspec
import orjson

from live.core.codec import convert, plain
from live.core.limits import WEBHOOK_PAYLOAD_BYTES_MAX, WEBHOOK_TYPE_CHARS_MAX

_ENVELOPE_BYTES = 256  # of a body without its data


class OrderItem(msgspec.Struct, frozen=True):
    """One SKU of an order; amounts are gross but for `net_minor`, in minor units.

    `line_minor` = `price_minor` × quantity less `off_minor`, its share of discounts = `net_minor` + `tax_minor`, at
    `tax_bp` basis points; `list_minor` is a unit's price before any rule. `cancelled`, `refunded` and `returned` count
    units. `pin_id` (None: nothing of it was pinned) and `at_ms`, the show's clock, say what was on screen at the click.
    """

    sku: str
    product_id: str
    title: str
    variant: str
    quantity: int
    list_minor: int
    price_minor: int
    off_minor: int
    line_minor: int
    net_minor: int
    tax_minor: int
    tax_bp: int
    pin_id: str | None
    at_ms: int
    cancelled: int = 0
    refunded: int = 0
    returned: int = 0


class OrderTax(msgspec.Struct, frozen=True):
    """What of an order is taxed at one rate, in basis points."""

    tax_bp: int
    net_minor: int
    tax_minor: int


class OrderDiscount(msgspec.Struct, frozen=True):
    """What a rule took off an order."""

    rule: str
    version: int
    label: str
    amount_minor: int


class OrderPlace(msgspec.Struct, frozen=True):
    """Where an order is picked up."""

    id: str
    name: str


class OrderShipping(msgspec.Struct, frozen=True):
    """How an order goes. `location` None: it is delivered."""

    method: str
    kind: str
    price_minor: int
    location: OrderPlace | None = None


class OrderAddress(msgspec.Struct, frozen=True):
    """Where an order goes; what is "" was not given. `country` is ISO 3166-1 alpha-2."""

    name: str
    street: str
    city: str
    country: str
    postcode: str
    extra: str
    region: str
    phone: str


class OrderData(msgspec.Struct, frozen=True):
    """An order as it is now; amounts in minor units, times in Unix milliseconds (None: it has not happened).

    `total_minor` = `subtotal_minor` less discounts, with `shipping_minor`; `captured_minor` was taken, `refunded_minor`
    of it given back. `source` "external": the merchant's own check-out sold it, under `external_number`; else null.
    `lines_left_out`: of so many lines there was no room; read the order by its id.
    """

    id: str
    number: str
    show: str
    viewer_id: str
    state: str
    name: str
    email: str
    note: str
    language: str
    payment: str
    currency: str
    subtotal_minor: int
    discounts: list[OrderDiscount]
    shipping_minor: int
    total_minor: int
    taxes: list[OrderTax]
    captured_minor: int
    refunded_minor: int
    created_at_ms: int
    placed_at_ms: int | None
    shipped_at_ms: int | None
    source: str
    external_number: str | None
    shipping: OrderShipping | None
    address: OrderAddress | None
    lines: list[OrderItem]
    lines_left_out: int = 0


class HoldData(msgspec.Struct, frozen=True):
    """Units that a cart holds, or held. `at_ms` is the show's clock, `expires_at_ms` Unix milliseconds."""

    id: str
    show: str
    viewer_id: str
    sku: str
    product_id: str
    quantity: int
    price_minor: int
    currency: str
    expires_at_ms: int
    pin_id: str | None
    at_ms: int


class CartItem(msgspec.Struct, frozen=True):
    """One SKU of a cart; amounts are gross, in minor units.

    `line_minor` = `price_minor` × quantity less `off_minor`, its share of discounts; it holds `tax_minor` at `tax_bp`
    basis points.
    """

    hold_id: str
    sku: str
    product_id: str
    quantity: int
    price_minor: int
    line_minor: int
    expires_at_ms: int
    off_minor: int = 0
    tax_bp: int = 0
    tax_minor: int = 0


class CartData(msgspec.Struct, frozen=True):
    """A cart as it is now, and why it changed. `currency` is "" while it is empty.

    `version` is the same exactly as long as the cart holds the same units at the same prices. `origin` is the service
    whose change this is, so that it need not follow itself; "": the shopper's, or ours. `customer` is who that is in
    the shop that signed them in (None: a guest).
    """

    show: str
    viewer_id: str
    customer: str | None
    reason: str
    version: str
    origin: str
    currency: str
    total_minor: int
    lines: list[CartItem]
    lines_left_out: int = 0


class HandoffData(msgspec.Struct, frozen=True):
    """A cart that was handed to the merchant's own check-out; its `id` is the order's.

    `state` is the order's: pending as long as its units are kept for it, then placed, refused or lapsed.
    """

    id: str
    show: str
    viewer_id: str
    state: str
    currency: str
    total_minor: int


class ShowData(msgspec.Struct, frozen=True):
    """A show as it is now. Times are Unix milliseconds; None: it has not happened."""

    id: str
    title: str
    state: str
    scheduled_at_ms: int | None
    started_at_ms: int | None
    ended_at_ms: int | None


class PinData(msgspec.Struct, frozen=True):
    """What is on screen in a show now; None: nothing is."""

    show: str
    pin_id: str | None
    product_id: str | None
    pinned_at_ms: int | None


class StockData(msgspec.Struct, frozen=True):
    """How many units of a SKU can still be sold."""

    sku: str
    product_id: str
    available: int


class PriceData(msgspec.Struct, frozen=True):
    """What a SKU costs now, gross, in minor units. `show` None: everywhere; `list_price_minor` None: not reduced."""

    sku: str
    product_id: str
    show: str | None
    currency: str
    price_minor: int
    list_price_minor: int | None
    lowest_30d_minor: int | None = None


class TestData(msgspec.Struct, frozen=True):
    """Sent because somebody asked for it."""

    endpoint_id: str
    text: str


class Kind(msgspec.Struct, frozen=True):
    """A type of message. `newest`: an older one that waits gives way to a newer one of its subject."""

    name: str
    data: type[msgspec.Struct]
    meaning: str
    subject: Callable[[Any], str]
    newest: bool = False


class Message(msgspec.Struct, frozen=True):
    """What is kept of an event. `data` is checked, and small enough."""

    type: str
    show: str | None
    subject: str
    newest: bool
    data: dict[str, Any]


def _order(data: OrderData) -> str:
    return f"order:{data.id}"


def _hold(data: HoldData) -> str:
    return f"hold:{data.id}"


def _cart(data: CartData) -> str:
    return f"cart:{data.show}:{data.viewer_id}"


def _handoff(data: HandoffData) -> str:
    return f"handoff:{data.id}"


def _show(data: ShowData) -> str:
    return f"show:{data.id}"


def _pin(data: PinData) -> str:
    return f"show:{data.show}"


def _stock(data: StockData) -> str:
    return f"stock:{data.sku}"


def _price(data: PriceData) -> str:
    return f"price:{data.sku}:{data.show or ''}"


def _test(data: TestData) -> str:
    return f"test:{data.endpoint_id}"


TEST = "webhook.test"
KINDS: dict[str, Kind] = {
    kind.name: kind
    for kind in (
        Kind("order.placed", OrderData, "An order was paid for, or is to be paid on pick-up.", _order),
        Kind("order.captured", OrderData, "The money of an order was taken.", _order),
        Kind("order.shipped", OrderData, "An order has left, or was picked up.", _order),
        Kind("order.cancelled", OrderData, "An order was cancelled; its units can be sold again.", _order),
        Kind("order.refunded", OrderData, "Money of an order is given back.", _order),
        Kind("order.returned", OrderData, "Goods of an order came back.", _order),
        Kind("order.withdrawn", OrderData, "The buyer has withdrawn from the contract.", _order),
        Kind("hold.created", HoldData, "Units were put into a cart.", _hold),
        Kind("hold.expired", HoldData, "The time of units in a cart ran out.", _hold),
        Kind("cart.changed", CartData, "A cart holds something else, or at another price.", _cart, newest=True),
        Kind("handoff.changed", HandoffData, "A cart was handed over to be sold elsewhere, or came back.", _handoff),
        Kind("show.started", ShowData, "A show went on air for the first time.", _show),
        Kind("show.ended", ShowData, "A show is over.", _show),
        Kind("pin.changed", PinData, "Another product is on screen, or none.", _pin),
        Kind("stock.changed", StockData, "More or fewer units of a SKU can be sold.", _stock, newest=True),
        Kind("price.changed", PriceData, "A SKU costs another amount.", _price, newest=True),
        Kind(TEST, TestData, "Somebody tries whether messages arrive.", _test),
    )
}
assert all(len(name) <= WEBHOOK_TYPE_CHARS_MAX for name in KINDS)


def message(type_: str, data: Mapping[str, Any], show: str | None) -> Message:
    """The message of an event. `data` has the members of the type's struct; others are left out.

    A member that is missing or wrong is a bug of the caller, and raises `Malformed`.
    """
    kind = KINDS[type_]
    checked = convert(dict(data), kind.data)
    return Message(type_, show, kind.subject(checked), kind.newest, _fitted(plain(checked)))


def body(type_: str, at_ms: int, show: str | None, data: Mapping[str, Any]) -> bytes:
    """The JSON that is sent and signed; the same bytes whenever it is sent again."""
    stamp = datetime.fromtimestamp(at_ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return orjson.dumps({"type": type_, "timestamp": stamp, "show": show, "data": data})


def _fitted(data: dict[str, Any]) -> dict[str, Any]:
    """`data`, with as many of its lines as there is room for, and then of its discounts."""
    spare = WEBHOOK_PAYLOAD_BYTES_MAX - _ENVELOPE_BYTES - len(orjson.dumps(data))
    for name in ("lines", "discounts"):
        while spare < 0 and data[name]:  # only what has lists can be too large
            spare += len(orjson.dumps(data[name].pop()))
            data["lines_left_out"] += name == "lines"
    return data


def schema() -> dict[str, Any]:
    """The JSON Schemas of all types' data, by type, and what they share under `$defs`."""
    schemas, shared = msgspec.json.schema_components([kind.data for kind in KINDS.values()])
    return {"types": dict(zip(KINDS, schemas, strict=True)), "$defs": shared}
