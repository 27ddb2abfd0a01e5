"""Over HTTP: how orders reach their buyers, who sells, and the withdrawal function (`/api/withdrawals…`)."""

import math
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
from starlette.requests import Request

from cart.baskets import Cart
from cart.ordering.facts import Facts, Methods
from cart.ordering.refunds import Units
from cart.ordering.seller import Seller
from cart.ordering.shipping import Option
from cart.ordering.withdrawals import Begun, Withdrawal, Withdrawals
from live.core.addresses import network
from live.core.auth import Principal, Role
from live.core.errors import Kind, Problem
from live.core.limits import WITHDRAWALS_BURST, WITHDRAWALS_PER_S
from live.core.rest import Operation, principal_of

Take = Callable[[str, float, int], Awaitable[float]]
Carts = Callable[[str, Principal], Awaitable[Cart]]


class WithdrawalWish(msgspec.Struct, forbid_unknown_fields=True):
    """Which order: its number, as in its confirmation, and the e-mail address that it was made with."""

    number: str
    email: str


class WithdrawalConfirmation(msgspec.Struct, forbid_unknown_fields=True):
    """The declaration. `token` is of the first step; `lines` null: all; the receipt is confirmed to `email`."""

    token: str
    name: str
    email: str
    lines: list[Units] | None = None
    language: str | None = None


class WithdrawalView(msgspec.Struct):
    """What was declared, and when it arrived."""

    withdrawal: Withdrawal


class Options(msgspec.Struct):
    """How a cart can go."""

    options: list[Option]


class _Operations:
    def __init__(self, facts: Facts, withdrawals: Withdrawals, cart: Carts, take: Take) -> None:
        self._facts = facts
        self._withdrawals = withdrawals
        self._cart = cart
        self._take = take

    async def methods(self, request: Request) -> Methods:
        return Methods(await self._facts.methods())

    async def save_methods(self, request: Request, body: Methods) -> Methods:
        """Replaces all of them. Orders keep the words and prices of theirs."""
        return Methods(await self._facts.save_methods(body.methods, _principal(request)))

    async def options(self, request: Request) -> Options:
        """With the price of the cart as it is now; without a country, all that could come into question."""
        query = request.query_params
        cart = await self._cart(request.path_params["show"], _principal(request))
        return Options(await self._facts.options(cart, query.get("country") or None, query.get("postcode")))

    async def seller(self, request: Request) -> Seller:
        return await self._facts.seller()

    async def save_seller(self, request: Request, body: Seller) -> Seller:
        """It stands in every confirmation."""
        return await self._facts.save_seller(body, _principal(request))

    async def begin_withdrawal(self, request: Request, body: WithdrawalWish) -> Begun:
        """First step, for anybody: what would be withdrawn, and the token for the second. Changes nothing.

        A wrong number and a wrong address are answered alike, and only so many tries are taken from one address.
        """
        address = network(request.client.host) if request.client else ""
        if wait_s := await self._take(f"withdrawals:{address}", WITHDRAWALS_PER_S, WITHDRAWALS_BURST):
            raise Problem(Kind.rate_limited, retry_after_s=math.ceil(wait_s))
        return await self._withdrawals.begin(body.number, body.email)

    async def confirm_withdrawal(self, request: Request, body: WithdrawalConfirmation) -> WithdrawalView:
        """Second step: declared. The buyer is told so by e-mail; the same token again is answered alike."""
        made = await self._withdrawals.confirm(body.token, body.name, body.email, body.lines, body.language)
        return WithdrawalView(made)


def operations(facts: Facts, withdrawals: Withdrawals, cart: Carts, take: Take) -> list[Operation]:
    """The HTTP operations. `cart` reads a viewer's cart, `take` counts rates over all workers."""
    on = _Operations(facts, withdrawals, cart, take)

    def ops(method: str, path: str, handler: Any, summary: str, body: Any) -> Operation:
        return Operation(method, path, handler, summary, body=body, result=body, role=Role.ops, tag="orders",
                         errors=(Kind.invalid_field,))  # fmt: skip

    return [
        Operation("GET", "/api/shipping-methods", on.methods, "List the ways of shipping", result=Methods,
                  tag="orders"),
        ops("PUT", "/api/shipping-methods", on.save_methods, "Replace the ways of shipping", Methods),
        Operation("GET", "/api/shows/{show}/cart/shipping", on.options, "List how one's cart can go", result=Options,
                  role=Role.viewer, tag="orders", errors=(Kind.unknown_show, Kind.invalid_field),
                  query={"country": "such as DE (ISO 3166-1)", "postcode": "where it goes"}),
        Operation("GET", "/api/seller", on.seller, "Read who sells", result=Seller, tag="orders"),
        ops("PUT", "/api/seller", on.save_seller, "Say who sells", Seller),
        Operation("POST", "/api/withdrawals", on.begin_withdrawal, "Begin to withdraw from a contract",
                  body=WithdrawalWish, result=Begun, tag="orders", errors=(Kind.unknown_order, Kind.rate_limited)),
        Operation("POST", "/api/withdrawals/confirm", on.confirm_withdrawal, "Withdraw from a contract",
                  body=WithdrawalConfirmation, result=WithdrawalView, status=201, tag="orders",
                  errors=(Kind.withdrawal_expired, Kind.unknown_sku, Kind.invalid_quantity, Kind.refund_exceeds)),
    ]  # fmt: skip


def _principal(request: Request) -> Principal:
    principal = principal_of(request)
    assert principal is not None, "the operation has a role"
    return principal
