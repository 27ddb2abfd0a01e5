"""Commerce over HTTP (`/api/products…`, `/api/shows/{show}/cart…`, `/api/orders…`) and over WebSocket (`cart.*`)."""

from io import BytesIO
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from cart.baskets import Cart, Line
from cart.feeds.formats import Format
from cart.feeds.importer import Options, import_stream
from cart.feeds.report import ImportReport
from cart.handoff import api as handoff
from cart.insight import api as insight
from cart.keeper import Figures
from cart.offering import api as offering
from cart.offering import staff
from cart.ordering.addresses import AddressEntry
from cart.ordering.api import OrderView
from cart.ordering.shipping import Choice
from cart.places import api as places
from cart.pricing.quotes import Quote
from cart.service import Answer, Shop
from cart.waiting import api as waiting
from live.core.auth import Principal, Role
from live.core.errors import Kind, Problem
from live.core.limits import IMPORT_FILE_BYTES_MAX
from live.core.rest import Operation, idempotency_key, principal_of, read_bytes, respond
from live.realtime.commands import Commands, Context, Replayed
from live.service import Shows

_FORMATS: dict[str, Format] = {
    "text/csv": "csv",
    "application/json": "json",
    "application/x-ndjson": "json",
    "application/jsonl": "json",
}


# --- what comes in --------------------------------------------------------------------------------------------


class Add(msgspec.Struct, forbid_unknown_fields=True):
    """What to put into the cart. `quote`, or its `price_minor`: what the viewer saw; another price is refused.

    None: not said.
    """

    sku: str
    quantity: int = 1
    price_minor: int | None = None
    quote: Quote | None = None


class Change(msgspec.Struct, forbid_unknown_fields=True):
    """How many of a SKU the cart holds from now on."""

    sku: str
    quantity: int


class Quantity(msgspec.Struct, forbid_unknown_fields=True):
    """How many of the address's SKU the cart holds from now on."""

    quantity: int


class Extend(msgspec.Struct, forbid_unknown_fields=True):
    """Whose time starts again."""

    sku: str


class Coupons(msgspec.Struct, forbid_unknown_fields=True):
    """The coupons that the cart has from now on; none takes all off."""

    codes: list[str]


class Remove(msgspec.Struct, forbid_unknown_fields=True):
    """What to take out of the cart."""

    sku: str


class Buy(msgspec.Struct, forbid_unknown_fields=True):
    """Who orders, how it goes and where. `total_minor`: what the buyer saw; another total is refused. None: not said.

    `language`: en or de, of what the buyer is written. `shipping` None: only where the shop offers no choice.
    """

    name: str
    email: str
    note: str | None = None
    total_minor: int | None = None
    language: str = "en"
    shipping: Choice | None = None
    address: AddressEntry | None = None


class Nothing(msgspec.Struct, forbid_unknown_fields=True):
    """A command without arguments."""


# --- what goes out --------------------------------------------------------------------------------------------


class CartView(msgspec.Struct):
    """The cart as it is now."""

    cart: Cart


class Added(msgspec.Struct):
    """The cart as it is now, and the line that grew."""

    cart: Cart
    hold: Line


# --- operations -----------------------------------------------------------------------------------------------


class _Operations:
    def __init__(self, shop: Shop, shows: Shows) -> None:
        self._shop = shop
        self._shows = shows

    async def import_file(self, request: Request) -> ImportReport:
        """The body is a CSV file (text/csv), a JSON array (application/json) or JSON Lines (application/x-ndjson).

        Good lines land, also when others are refused; when none is good, the answer is import_failed.
        """
        media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        format_ = _FORMATS.get(media_type)
        if format_ is None:
            raise Problem(Kind.unsupported_media_type, f"Send {' or '.join(_FORMATS)}.", field="Content-Type")
        body = await read_bytes(request, IMPORT_FILE_BYTES_MAX)
        dry_run = request.query_params.get("dry_run", "").lower() in ("1", "true", "yes")
        report = (await import_stream(BytesIO(body), self._shows, format_, Options(dry_run=dry_run))).report
        if report.errors and not report.accepted:
            first = report.errors[0]
            errors = msgspec.to_builtins(report.errors)
            raise Problem(Kind.import_failed, f"Line {first.line}: {first.detail}.", extra={"errors": errors})
        return report

    async def cart(self, request: Request) -> CartView:
        return CartView(cart=await self._shop.cart(_show(request), _viewer(request)))

    async def add(self, request: Request, body: Add) -> Response:
        """One click: units are held for the viewer until the hold expires. Adding again starts its time again."""
        key = idempotency_key(request)
        answer = await self._shop.add(
            _show(request),
            _viewer(request),
            body.sku,
            body.quantity,
            price_minor=body.price_minor,
            quote=body.quote,
            key=key,
        )
        return _respond(answer, 201)

    async def change(self, request: Request, body: Quantity) -> Response:
        """Sets the quantity; the time that is left does not change."""
        key = idempotency_key(request)
        sku = request.path_params["sku"]
        return _respond(await self._shop.change(_show(request), _viewer(request), sku, body.quantity, key=key))

    async def extend(self, request: Request) -> Response:
        """Only what has not expired gets its full time again, and only so often."""
        key = idempotency_key(request)
        return _respond(await self._shop.extend(_show(request), _viewer(request), request.path_params["sku"], key=key))

    async def remove(self, request: Request) -> Response:
        """What is not there is out of the cart already."""
        key = idempotency_key(request)
        return _respond(await self._shop.remove(_show(request), _viewer(request), request.path_params["sku"], key=key))

    async def coupons(self, request: Request, body: Coupons) -> Response:
        """Puts these codes in place of those that the cart had. The cart says of each what it does, or why nothing."""
        key = idempotency_key(request)
        return _respond(await self._shop.coupons(_show(request), _viewer(request), body.codes, key=key))

    async def checkout(self, request: Request, body: Buy) -> Response:
        """All that the cart holds becomes one order; when any of it has expired, nothing does."""
        key = idempotency_key(request)
        answer = await self._shop.checkout(
            _show(request),
            _viewer(request),
            name=body.name,
            email=body.email,
            note=body.note,
            total_minor=body.total_minor,
            language=body.language,
            shipping=body.shipping,
            to=body.address,
            key=key,
        )
        return _respond(answer, 201)

    async def figures(self, request: Request) -> Figures:
        return await self._shop.keeper.figures(_show(request))


def operations(shop: Shop, shows: Shows) -> list[Operation]:
    """The HTTP operations of commerce."""
    on = _Operations(shop, shows)
    cart = "/api/shows/{show}/cart"
    line = (Kind.unknown_show, Kind.unknown_sku, Kind.checkout_running, Kind.key_reused)
    taking = (
        *line,
        Kind.invalid_quantity,
        Kind.invalid_quote,
        Kind.quote_expired,
        Kind.sold_out,
        Kind.price_changed,
        Kind.mixed_currency,
        Kind.cart_full,
    )

    def viewer(method: str, path: str, handler: Any, summary: str, **more: Any) -> Operation:
        return Operation(method, path, handler, summary, role=Role.viewer, tag="commerce", **more)

    return [
        *offering.operations(shop.window),
        *staff.operations(shop.offering),
        *insight.operations(shop.insight),
        *handoff.operations(shop.handing),
        *waiting.operations(shop.waiting, shop.planning),
        *places.operations(shop.places),
        Operation(
            "POST", "/api/products/import", on.import_file, "Import products", result=ImportReport, role=Role.ops,
            scope="catalogue:write", tag="commerce",
            errors=(Kind.import_failed, Kind.unsupported_media_type, Kind.too_large),
            query={"dry_run": "1: only say what would happen"},
        ),
        viewer("GET", cart, on.cart, "Read one's cart", result=CartView, errors=(Kind.unknown_show,)),
        viewer("POST", f"{cart}/lines", on.add, "Put something into the cart", body=Add, result=Added, status=201,
               errors=taking, keyed=True),
        viewer("PATCH", f"{cart}/lines/{{sku}}", on.change, "Change a quantity", body=Quantity, result=CartView,
               errors=(*taking, Kind.hold_expired, Kind.not_in_cart), keyed=True),
        viewer("POST", f"{cart}/lines/{{sku}}/extend", on.extend, "Hold something for longer", result=CartView,
               errors=(*line, Kind.hold_expired, Kind.hold_final, Kind.not_in_cart), keyed=True),
        viewer("DELETE", f"{cart}/lines/{{sku}}", on.remove, "Take something out of the cart", result=CartView,
               errors=line, keyed=True),
        viewer("PUT", f"{cart}/coupons", on.coupons, "Use coupons", body=Coupons, result=CartView, keyed=True,
               errors=(Kind.unknown_show, Kind.coupon_refused, Kind.key_reused)),
        viewer("POST", "/api/shows/{show}/checkout", on.checkout, "Order what is in the cart", body=Buy,
               result=OrderView, status=201, keyed=True, key_required=True,
               errors=(Kind.unknown_show, Kind.cart_empty, Kind.hold_expired, Kind.price_changed, Kind.checkout_running,
                       Kind.payment_refused, Kind.key_reused, Kind.key_in_flight, Kind.shipping_required,
                       Kind.shipping_unavailable, Kind.unknown_shipping_method, Kind.mixed_currency)),
        Operation("GET", "/api/shows/{show}/figures", on.figures, "Read how a show sells", result=Figures,
                  role=Role.host, scope="reports:read", tag="commerce", errors=(Kind.unknown_show,)),
    ]  # fmt: skip


def commands(registry: Commands, shop: Shop) -> None:
    """Add the commands `cart.*` of viewers."""

    async def get(context: Context, _body: Nothing) -> dict[str, Any]:
        return {"cart": msgspec.to_builtins(await shop.cart(context.show, context.principal))}

    async def add(context: Context, body: Add) -> dict[str, Any] | Replayed:
        answer = await shop.add(
            context.show,
            context.principal,
            body.sku,
            body.quantity,
            price_minor=body.price_minor,
            quote=body.quote,
            key=context.key,
        )
        return _answered(answer)

    async def change(context: Context, body: Change) -> dict[str, Any] | Replayed:
        return _answered(await shop.change(context.show, context.principal, body.sku, body.quantity, key=context.key))

    async def extend(context: Context, body: Extend) -> dict[str, Any] | Replayed:
        return _answered(await shop.extend(context.show, context.principal, body.sku, key=context.key))

    async def remove(context: Context, body: Remove) -> dict[str, Any] | Replayed:
        return _answered(await shop.remove(context.show, context.principal, body.sku, key=context.key))

    async def coupon(context: Context, body: Coupons) -> dict[str, Any] | Replayed:
        return _answered(await shop.coupons(context.show, context.principal, body.codes, key=context.key))

    async def checkout(context: Context, body: Buy) -> dict[str, Any] | Replayed:
        answer = await shop.checkout(
            context.show,
            context.principal,
            name=body.name,
            email=body.email,
            note=body.note,
            total_minor=body.total_minor,
            language=body.language,
            shipping=body.shipping,
            to=body.address,
            key=context.key,
        )
        return _answered(answer)

    waiting.commands(registry, shop.waiting)
    registry.add("cart.get", Nothing, get)
    registry.add("cart.add", Add, add)
    registry.add("cart.change", Change, change)
    registry.add("cart.extend", Extend, extend)
    registry.add("cart.remove", Remove, remove)
    registry.add("cart.coupon", Coupons, coupon)
    registry.add("cart.checkout", Buy, checkout, key_required=True)
    handoff.commands(registry, shop.handing.handoffs)


def _show(request: Request) -> str:
    show: str = request.path_params["show"]
    return show


def _viewer(request: Request) -> Principal:
    principal = principal_of(request)
    assert principal is not None, "the operation has a role"
    return principal


def _answered(answer: Answer) -> dict[str, Any] | Replayed:
    return Replayed(answer.body) if answer.replayed else answer.body


def _respond(answer: Answer, status: int = 200) -> Response:
    return respond(answer.body, status, {"idempotency-replayed": "true"} if answer.replayed else None)
