"""Orders over HTTP: for their buyers, for the staff of shows, and for other systems (`/api/orders…`)."""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from cart.answers import Answer
from cart.audit import Entry
from cart.ordering import facts_api
from cart.ordering.facts_api import Carts, Take
from cart.ordering.office import Office
from cart.ordering.orders import Order
from cart.ordering.refunds import Units
from cart.ordering.service import Orders
from cart.ordering.stocktake import Stocktake
from live.core.auth import ALL_SHOWS, Principal, Role
from live.core.errors import Kind
from live.core.limits import AUDIT_LISTED_MAX, ORDERS_LISTED_MAX
from live.core.rest import Operation, idempotency_key, principal_of, respond


class Reason(msgspec.Struct, forbid_unknown_fields=True):
    """Why, in words for the buyer; "" for none."""

    reason: str = ""


class RefundWish(msgspec.Struct, forbid_unknown_fields=True):
    """What to give money back for. `goodwill_minor` has no line of its own."""

    lines: list[Units] = []
    shipping_minor: int = 0
    goodwill_minor: int = 0
    reason: str = ""


class Return(msgspec.Struct, forbid_unknown_fields=True):
    """What came back. `restock`: it can be sold again; `refund`: its money is given back, too."""

    lines: list[Units]
    restock: bool = True
    refund: bool = False
    reason: str = ""


class Adjustment(msgspec.Struct, forbid_unknown_fields=True):
    """So many units more than the books say; negative: fewer."""

    change: int


class StockView(msgspec.Struct):
    """The units of a SKU as they are now."""

    sku: str
    on_hand: int
    allocated: int
    held: int
    available: int


class OrderView(msgspec.Struct):
    """The order."""

    order: Order


class OrderAnswer(msgspec.Struct):
    """The order, and what its payment's provider was asked and said."""

    order: Order
    payments: list[dict[str, Any]]


class OrderPage(msgspec.Struct):
    """Orders, the newest first. `next` None: the last page; else the value of `before` for the next."""

    orders: list[Order]
    next: str | None


class Trail(msgspec.Struct):
    """What happened, the oldest first. `next` None: the last page; else the value of `after` for the next."""

    entries: list[Entry]
    next: str | None


class _Operations:
    def __init__(self, orders: Orders, stocktake: Stocktake) -> None:
        self._orders = orders
        self._stocktake = stocktake

    async def adjust(self, request: Request, body: Adjustment) -> Response:
        """What carts and orders have cannot be taken away. The trail says who did it."""
        key = idempotency_key(request)
        sku = request.path_params["sku"]
        return _respond(await self._stocktake.adjust(sku, body.change, _principal(request), key))

    async def mine(self, request: Request) -> OrderPage:
        """One's own, without those that were never paid."""
        return _page(await self._orders.mine(_principal(request), request.query_params.get("before", "")))

    async def of_show(self, request: Request) -> OrderPage:
        query = request.query_params
        found = await self._orders.of_show(
            request.path_params["show"], query.get("state") or None, query.get("before", "")
        )
        return _page(found)

    async def all(self, request: Request) -> OrderPage:
        query = request.query_params
        principal = _principal(request)
        show = None if principal.show == ALL_SHOWS else principal.show
        return _page(await self._orders.of_show(show, query.get("state") or None, query.get("before", "")))

    async def get(self, request: Request) -> OrderView:
        """For its buyer, and for hosts of its show."""
        return OrderView(order=await self._orders.get(_order(request), _principal(request)))

    async def payments(self, request: Request) -> OrderAnswer:
        """What the payment's provider was asked, and what it said."""
        principal = _principal(request)
        order = await self._orders.get(_order(request), principal)
        principal.require(Role.host, order.show)
        return OrderAnswer(order, [dict(step) for step in await self._orders.payments(order.id)])

    async def trail(self, request: Request) -> Trail:
        """Who changed what of an order, and when."""
        principal = _principal(request)
        order = await self._orders.get(_order(request), principal)
        principal.require(Role.host, order.show)
        return _trail(await self._orders.trail(f"order:{order.id}", request.query_params.get("after", "")))

    async def everything(self, request: Request) -> Trail:
        """Every change of orders, prices and stock; `subject` such as `sku:CUP` or `order:<id>` narrows it."""
        query = request.query_params
        return _trail(await self._orders.trail(query.get("subject", "")[:200], query.get("after", "")))

    async def capture(self, request: Request) -> Response:
        """Takes the money that was set aside; what is captured stays so."""
        key = idempotency_key(request)
        return _respond(await self._orders.capture(_order(request), _principal(request), key))

    async def ship(self, request: Request) -> Response:
        """The goods have left, or were picked up. Where money is taken on shipping, it is taken first."""
        key = idempotency_key(request)
        return _respond(await self._orders.ship(_order(request), _principal(request), key))

    async def cancel(self, request: Request, body: Reason) -> Response:
        """For the staff and for the buyer, before it has left. The units can be sold again, the money goes back."""
        key = idempotency_key(request)
        return _respond(await self._orders.cancel(_order(request), _principal(request), body.reason, key))

    async def refund(self, request: Request, body: RefundWish) -> Response:
        """Units that have not left are not delivered any more, and can be sold again."""
        answer = await self._orders.refund(
            _order(request),
            _principal(request),
            body.lines,
            shipping_minor=body.shipping_minor,
            goodwill_minor=body.goodwill_minor,
            reason=body.reason,
            key=idempotency_key(request),
        )
        return _respond(answer)

    async def take_back(self, request: Request, body: Return) -> Response:
        """Units that came back from the buyer."""
        answer = await self._orders.take_back(
            _order(request),
            _principal(request),
            body.lines,
            restock=body.restock,
            refund=body.refund,
            reason=body.reason,
            key=idempotency_key(request),
        )
        return _respond(answer)


def operations(office: Office, cart: Carts, take: Take) -> list[Operation]:
    """The HTTP operations of orders. `cart` reads a viewer's cart, `take` counts rates over all workers."""
    on = _Operations(office.orders, office.stocktake)
    order = "/api/orders/{order}"
    page = {"before": "the `next` of the page before"}
    step = (Kind.unknown_order, Kind.illegal_order_step, Kind.key_reused)

    def viewer(method: str, path: str, handler: Any, summary: str, **more: Any) -> Operation:
        return Operation(method, path, handler, summary, role=Role.viewer, tag="orders", **more)

    def change(path: str, handler: Any, summary: str, *errors: Kind, body: Any = None, **more: Any) -> Operation:
        return viewer("POST", f"{order}/{path}", handler, summary, body=body, result=OrderAnswer, keyed=True,
                      scope="orders:write", errors=(*step, *errors), **more)  # fmt: skip

    return [
        *facts_api.operations(office.facts, office.withdrawals, cart, take),
        viewer("GET", "/api/orders", on.mine, "List one's orders", result=OrderPage, query=page,
               errors=(Kind.invalid_field,)),
        viewer("GET", order, on.get, "Read an order", result=OrderView, scope="orders:read",
               errors=(Kind.unknown_order,)),
        viewer("GET", f"{order}/payments", on.payments, "Read an order's payments", result=OrderAnswer,
               scope="orders:read", errors=(Kind.unknown_order,)),
        viewer("GET", f"{order}/trail", on.trail, "Read who changed an order", result=Trail, scope="orders:read",
               query={"after": "the `next` of the page before"}, errors=(Kind.unknown_order, Kind.invalid_field)),
        Operation("GET", "/api/shows/{show}/orders", on.of_show, "List a show's orders", result=OrderPage,
                  role=Role.host, scope="orders:read", tag="orders",
                  query=page | {"state": "only orders in this state"}, errors=(Kind.invalid_field,)),
        Operation("GET", "/api/all-orders", on.all, "List all orders", result=OrderPage, role=Role.ops, tag="orders",
                  scope="orders:read", finds_show=True, query=page | {"state": "only orders in this state"},
                  errors=(Kind.invalid_field,)),
        Operation("GET", "/api/trail", on.everything, "Read who changed what", result=Trail, role=Role.ops,
                  scope="reports:read", tag="orders", errors=(Kind.invalid_field,),
                  query={"after": "the `next` of the page before", "subject": "such as `sku:CUP`"}),
        Operation("POST", "/api/stock/{sku}/adjust", on.adjust, "Say how many more units there are", body=Adjustment,
                  result=StockView, role=Role.ops, scope="stock:write", tag="orders", keyed=True,
                  key_required=True,
                  errors=(Kind.unknown_sku, Kind.invalid_quantity, Kind.sold_out, Kind.key_reused)),
        change("capture", on.capture, "Take an order's money", Kind.payment_refused),
        change("ship", on.ship, "Say that an order has left", Kind.payment_refused, Kind.payment_pending),
        change("cancel", on.cancel, "Cancel an order", body=Reason),
        change("refund", on.refund, "Give money back", Kind.refund_exceeds, Kind.unknown_sku, Kind.invalid_quantity,
               body=RefundWish, key_required=True),
        change("return", on.take_back, "Take units back", Kind.refund_exceeds, Kind.unknown_sku,
               Kind.invalid_quantity, body=Return, key_required=True),
    ]  # fmt: skip


def _page(found: Sequence[Order]) -> OrderPage:
    return OrderPage(list(found), found[-1].id if len(found) == ORDERS_LISTED_MAX else None)


def _trail(found: Sequence[Entry]) -> Trail:
    return Trail(list(found), found[-1].id if len(found) == AUDIT_LISTED_MAX else None)


def _order(request: Request) -> str:
    order: str = request.path_params["order"]
    return order


def _principal(request: Request) -> Principal:
    principal = principal_of(request)
    assert principal is not None, "the operation has a role"
    return principal


def _respond(answer: Answer, headers: Mapping[str, str] | None = None) -> Response:
    replayed = {"idempotency-replayed": "true"} if answer.replayed else {}
    return respond(answer.body, headers={**replayed, **(headers or {})})
