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
    """One SKU of an order; amounts are gross, in minor units. `pin_id` None: nothing of it was pinned."""

    sku: str
    product_id: str
    title: str
    variant: str
    quantity: int
    price_minor: int
    line_minor: int
    pin_id: str | None


class OrderData(msgspec.Struct, frozen=True):
    """An order as it is now. `lines_left_out`: of so many lines there was no room; read the order by its id."""

    id: str
    number: str
    show: str
    viewer_id: str
    state: str
    name: str
    email: str
    note: str
    payment: str
    currency: str
    total_minor: int
    created_at_ms: int
    placed_at_ms: int | None
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
    """One SKU of a cart; amounts are gross, in minor units."""

    hold_id: str
    sku: str
    product_id: str
    quantity: int
    price_minor: int
    line_minor: int
    expires_at_ms: int


class CartData(msgspec.Struct, frozen=True):
    """A cart as it is now, and why it changed. `currency` is "" while it is empty."""

    show: str
    viewer_id: str
    reason: str
    currency: str
    total_minor: int
    lines: list[CartItem]
    lines_left_out: int = 0


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
        Kind("order.cancelled", OrderData, "An order was cancelled; its units can be sold again.", _order),
        Kind("order.refunded", OrderData, "Money of an order was given back.", _order),
        Kind("hold.created", HoldData, "Units were put into a cart.", _hold),
        Kind("hold.expired", HoldData, "The time of units in a cart ran out.", _hold),
        Kind("cart.changed", CartData, "A cart holds something else, or at another price.", _cart, newest=True),
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
    """`data`, with as many of its lines as there is room for."""
    spare = WEBHOOK_PAYLOAD_BYTES_MAX - _ENVELOPE_BYTES - len(orjson.dumps(data))
    while spare < 0:
        left_out = data["lines"].pop()  # only what has lines can be too large
        data["lines_left_out"] += 1
        spare += len(orjson.dumps(left_out))
    return data


def schema() -> dict[str, Any]:
    """The JSON Schemas of all types' data, by type, and what they share under `$defs`."""
    schemas, shared = msgspec.json.schema_components([kind.data for kind in KINDS.values()])
    return {"types": dict(zip(KINDS, schemas, strict=True)), "$defs": shared}
