"""Hand-offs and carts for other systems, over HTTP (`…/cart/handoff`, `/api/handoffs…`, `/api/customers/…/cart`) and
over WebSocket (`cart.handoff`, `cart.take_back`)."""

from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from cart.answers import Answer
from cart.baskets import Cart
from cart.handoff.parts import Handing
from cart.handoff.reports import Report
from cart.handoff.service import Handoffs, Link
from cart.handoff.syncing import CustomerCart, Sync, Wish
from cart.ordering.orders import OrderLine
from cart.pricing.priced import Discount
from cart.pricing.taxes import Tax
from live.core.auth import Principal, Role
from live.core.errors import Kind, Problem
from live.core.rest import Operation, idempotency_key, principal_of, read_bytes, respond
from live.realtime.commands import Commands, Context, Replayed


class HandOver(msgspec.Struct, forbid_unknown_fields=True):
    """`total_minor`: what the buyer saw, without shipping; another total is refused. None: not said."""

    total_minor: int | None = None


class TakeBack(msgspec.Struct, forbid_unknown_fields=True):
    """A command without arguments."""


class Wishes(msgspec.Struct, forbid_unknown_fields=True):
    """All that a cart shall hold."""

    lines: list[Wish]


class HandedOver(msgspec.Struct):
    """Where the shopper goes. None: the cart is here."""

    handoff: Link | None


class CartBack(msgspec.Struct):
    """The cart as it is now."""

    cart: Cart


class HandoffView(msgspec.Struct):
    """A cart that was handed over, with its prices; times are Unix milliseconds.

    `state` is its order's: `pending` as long as the units are kept, until `expires_at_ms`. `customer` is who signed in
    (None: a guest). A line's `pin_id` and `at_ms` say what was on screen when it was put into the cart.
    """

    id: str
    state: str
    show: str
    viewer_id: str
    customer: str | None
    created_at_ms: int
    expires_at_ms: int
    currency: str
    subtotal_minor: int
    discounts: list[Discount]
    total_minor: int
    taxes: list[Tax]
    lines: list[OrderLine]
    number: str
    external_number: str | None


class ReportedOrder(msgspec.Struct):
    """The order in our books; `number` is ours."""

    id: str
    number: str
    external_number: str | None
    currency: str
    total_minor: int
    state: str


class Reported(msgspec.Struct):
    """What was booked. `state`: placed, or how the hand-off ended."""

    handoff: str
    state: str
    order: ReportedOrder


class Received(msgspec.Struct, omit_defaults=True):
    """A webhook was taken. `handled` False: it is of a type that is not for us; else what was booked."""

    handled: bool
    handoff: str | None = None
    state: str | None = None
    order: ReportedOrder | None = None


class _Operations:
    def __init__(self, handoffs: Handoffs, sync: Sync) -> None:
        self._handoffs = handoffs
        self._sync = sync

    async def open(self, request: Request, body: HandOver) -> Response:
        """The units wait for the merchant's check-out until the link expires; again, it answers the same link."""
        key = idempotency_key(request)
        return _respond(await self._handoffs.open(_show(request), _principal(request), body.total_minor, key=key), 201)

    async def current(self, request: Request) -> HandedOver:
        """The link of the hand-off that runs, if there is one."""
        return HandedOver(await self._handoffs.current(_show(request), _principal(request)))

    async def take_back(self, request: Request) -> Response:
        """The shopper came back without buying: the cart can be changed again, as far as its time is not over."""
        key = idempotency_key(request)
        return _respond(await self._handoffs.take_back(_show(request), _principal(request), key=key))

    async def read(self, request: Request) -> HandoffView:
        """What was handed over, at which prices, and what became of it."""
        order, handoff, customer = await self._handoffs.read(request.path_params["handoff"])
        _principal(request).require(Role.ops, order.show)
        given = {name: getattr(order, name) for name in HandoffView.__struct_fields__ if hasattr(order, name)}
        return HandoffView(
            **given
            | {
                "state": order.state.value,
                "customer": customer,
                "created_at_ms": handoff.created_at_ms,
                "expires_at_ms": handoff.expires_at_ms,
            }
        )

    async def report(self, request: Request, body: Report) -> Response:
        """One order, however often it is reported. What was sold after the deadline takes stock again, or is refused
        as sold_out with what is `missing`."""
        key = idempotency_key(request)
        return _respond(await self._handoffs.report(request.path_params["handoff"], body, _principal(request), key))

    async def webhook(self, request: Request) -> Response:
        """As the report, by a Standard Webhook: `order.placed` or `order.cancelled`, signed with the shared secret."""
        return _respond(await self._handoffs.inbound(request.headers, await read_bytes(request)))

    async def cart(self, request: Request) -> Response:
        """Its ETag is the cart's version."""
        show = request.query_params.get("show", "")
        _principal(request).require(Role.ops, show)
        found = await self._sync.read(request.path_params["customer"], show)
        return respond(found, headers={"etag": f'"{found.version}"'})

    async def put(self, request: Request, body: Wishes) -> Response:
        """The cart holds this and nothing else, as far as there is enough; `refused` names each line that is not.

        `If-Match` is the version that the caller knows; `*` for whatever it is.
        """
        key, principal = idempotency_key(request), _principal(request)
        customer, show = request.path_params["customer"], request.query_params.get("show", "")
        principal.require(Role.ops, show)
        answer = await self._sync.put(customer, show, body.lines, principal, version=_known(request), key=key)
        return _respond(answer, etag=answer.body["version"])


def operations(handing: Handing) -> list[Operation]:
    """The HTTP operations of hand-offs and of carts for other systems."""
    on = _Operations(handing.handoffs, handing.sync)
    mine, one, cart = "/api/shows/{show}/cart/handoff", "/api/handoffs/{handoff}", "/api/customers/{customer}/cart"
    reported = (Kind.unknown_handoff, Kind.handoff_over, Kind.handoff_reported, Kind.sold_out, Kind.unknown_sku,
                Kind.invalid_quantity, Kind.invalid_field, Kind.illegal_order_step, Kind.key_reused)  # fmt: skip
    where = {"show": "the show whose cart it is"}

    def viewer(method: str, handler: Any, summary: str, **more: Any) -> Operation:
        return Operation(method, mine, handler, summary, role=Role.viewer, tag="hand-off", **more)

    def service(method: str, path: str, handler: Any, summary: str, **more: Any) -> Operation:
        return Operation(method, path, handler, summary, role=Role.ops, finds_show=True, tag="hand-off", **more)

    return [
        viewer("POST", on.open, "Hand one's cart to the shop's check-out", body=HandOver, result=HandedOver, status=201,
               keyed=True, errors=(Kind.handoff_off, Kind.unknown_show, Kind.cart_empty, Kind.hold_expired,
                                   Kind.price_changed, Kind.checkout_running, Kind.mixed_currency, Kind.key_reused)),
        viewer("GET", on.current, "Read where one's cart was handed", result=HandedOver, errors=(Kind.handoff_off,)),
        viewer("DELETE", on.take_back, "Take one's cart back", result=CartBack, keyed=True,
               errors=(Kind.unknown_show, Kind.key_reused)),
        Operation("POST", "/api/handoffs/webhook", on.webhook, "Report by webhook what was sold", result=Received,
                  tag="hand-off", errors=(Kind.handoff_off, Kind.signature_invalid, Kind.malformed, Kind.too_large,
                                          *reported)),
        service("GET", one, on.read, "Read a cart that was handed over", result=HandoffView, scope="carts:read",
                errors=(Kind.unknown_handoff,)),
        service("POST", f"{one}/order", on.report, "Report what was sold", body=Report, result=Reported, keyed=True,
                scope="orders:write", errors=reported),
        service("GET", cart, on.cart, "Read a customer's cart", result=CustomerCart, scope="carts:read", query=where,
                errors=(Kind.unknown_show, Kind.invalid_field)),
        service("PUT", cart, on.put, "Say what a customer's cart holds", body=Wishes, result=CustomerCart, keyed=True,
                scope="carts:write", query=where,
                errors=(Kind.unknown_show, Kind.precondition_required, Kind.precondition_failed,
                        Kind.checkout_running, Kind.key_reused)),
    ]  # fmt: skip


def commands(registry: Commands, handoffs: Handoffs) -> None:
    """Add the commands of viewers."""

    async def hand_over(context: Context, body: HandOver) -> dict[str, Any] | Replayed:
        return _answered(await handoffs.open(context.show, context.principal, body.total_minor, key=context.key))

    async def take_back(context: Context, _body: TakeBack) -> dict[str, Any] | Replayed:
        return _answered(await handoffs.take_back(context.show, context.principal, key=context.key))

    registry.add("cart.handoff", HandOver, hand_over)
    registry.add("cart.take_back", TakeBack, take_back)


def _known(request: Request) -> str:
    """The version that If-Match names; raises `Problem` precondition_required."""
    given = request.headers.get("if-match", "").strip().removeprefix("W/").strip('"')
    if not given:
        raise Problem(Kind.precondition_required, "Send the ETag of the cart as you know it.", field="If-Match")
    return given


def _show(request: Request) -> str:
    show: str = request.path_params["show"]
    return show


def _principal(request: Request) -> Principal:
    principal = principal_of(request)
    assert principal is not None, "the operation has a role"
    return principal


def _answered(answer: Answer) -> dict[str, Any] | Replayed:
    return Replayed(answer.body) if answer.replayed else answer.body


def _respond(answer: Answer, status: int = 200, *, etag: str = "") -> Response:
    headers = {"idempotency-replayed": "true"} if answer.replayed else {}
    return respond(answer.body, status, headers | ({"etag": f'"{etag}"'} if etag else {}))
