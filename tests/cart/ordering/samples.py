"""Orders, holds and ways of shipping as values."""

from msgspec.structs import replace

from cart.ordering import orders
from cart.ordering.addresses import Address, AddressEntry
from cart.ordering.orders import Buyer, Order, OrderState
from cart.ordering.seller import Seller
from cart.ordering.shipping import Location, Method, MethodKind, Opening, Rate, Title
from cart.pricing.priced import Discount, Priced, PricedLine
from cart.pricing.taxes import Tax, by_rate, included
from cart.stock import Hold, HoldState

BUYER = Buyer(name="Ada", email="ada@example.com", note="")
HOLD = Hold(
    id="h1", cart="demo:ada", show="demo", viewer_id="ada", sku="CUP", location="main", quantity=2, price_minor=1000,
    currency="EUR", state=HoldState.active, expires_at_ms=1000, claim_until_ms=None, order_id=None, pin_id=None,
    at_ms=0, product_id="cup", title="Cup", variant="", picture="",
)  # fmt: skip
ADDRESS = Address("Ada", "Uferweg 1", "Berlin", "DE", "10115", "", "", "")
ENTRY = AddressEntry(name="Ada", street="Uferweg 1", city="Berlin", country="DE", postcode="10115")
POST = Method(
    id="post",
    kind=MethodKind.delivery,
    title=Title(en="Parcel", de="Paket"),
    rates=(Rate("EUR", 490, free_from_minor=5000), Rate("CHF", 900)),
    days_min=2,
    days_max=4,
    countries=("DE", "AT"),
)
COUNTER = Location("mitte", "Mitte", "Uferweg 1", "Berlin", "DE", "10115", (Opening(("mon", "sat"), "09:00", "18:30"),))
PICKUP = Method(
    id="counter",
    kind=MethodKind.pickup,
    title=Title(en="Pick-up", de="Abholung"),
    rates=(Rate("EUR", 0),),
    locations=(COUNTER,),
)

SELLER = Seller(
    name="Becher GmbH", street="Uferweg 1", postcode="10115", city="Berlin", country="DE", email="shop@becher.example",
    register="HRB 1 B", vat_id="DE123456789", site="https://becher.example", timezone="Europe/Berlin",
)  # fmt: skip


def line(
    sku: str = "CUP", quantity: int = 2, unit_minor: int = 1000, off_minor: int = 0, tax_bp: int = 1900
) -> PricedLine:
    """A priced line whose key is its SKU."""
    gross = unit_minor * quantity - off_minor
    tax = included(gross, tax_bp)
    return PricedLine(sku, sku, unit_minor, unit_minor, quantity, gross, off_minor, gross - tax, tax, tax_bp)


def priced(*lines: PricedLine, discounts: tuple[Discount, ...] = ()) -> Priced:
    """A cart of lines."""
    return Priced(
        currency="EUR", ruleset=1, lines=list(lines), discounts=list(discounts), shipping_off=[],
        subtotal_minor=sum(one.unit_minor * one.quantity for one in lines),
        total_minor=sum(one.line_minor for one in lines),
        taxes=by_rate(Tax(one.tax_bp, one.net_minor, one.tax_minor) for one in lines),
        gifts=[], hints=[], trace=[],
    )  # fmt: skip


def order(*lines: PricedLine, shipping_minor: int = 0, state: OrderState = OrderState.placed) -> Order:
    """An order of these lines, whose money was taken unless it is only placed."""
    found = list(lines) or [line()]
    made = orders.check_out(
        [replace(HOLD, id=one.key, sku=one.sku, quantity=one.quantity) for one in found],
        priced(*found),
        now_ms=5,
        order_id="0" * 32,
        buyer=BUYER,
        payment="test",
        total_minor=None,
    )
    total = made.total_minor + shipping_minor
    captured = 0 if state in (OrderState.pending, OrderState.placed) else total
    return replace(made, state=state, shipping_minor=shipping_minor, total_minor=total, captured_minor=captured)
