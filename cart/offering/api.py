"""Products and quotes over HTTP: `/api/products…`, `/api/quotes`, `/api/shows/{show}/quotes`."""

from typing import Annotated

import msgspec
from msgspec import Meta
from starlette.requests import Request

from cart.catalogue import Product
from cart.offering.window import Window
from cart.pricing.quotes import Quote
from cart.pricing.rules import Name
from cart.pricing.service import shopper_of
from live.core.auth import Role
from live.core.errors import Kind, Problem
from live.core.limits import CART_LINES_MAX, PRODUCTS_PAGE
from live.core.rest import Operation, principal_of

_WHERE = {"show": "as it costs on this show's screens; else as in the shop", "channel": "another channel than the shop"}


class Wanted(msgspec.Struct, forbid_unknown_fields=True):
    """So many units of a SKU."""

    sku: str
    quantity: int = 1


Lines = Annotated[list[Wanted], Meta(min_length=1, max_length=CART_LINES_MAX)]


class QuoteRequest(msgspec.Struct, forbid_unknown_fields=True):
    """What to quote; a SKU once."""

    lines: Lines


class ChannelQuoteRequest(msgspec.Struct, forbid_unknown_fields=True):
    """What to quote, and for which channel; None: the shop. The channel `live` belongs to a show's own screens."""

    lines: Lines
    channel: Name | None = None


class Quotes(msgspec.Struct):
    """A quote for each line, in their order. A quote is the price of now; it stands until a rule or a price changes."""

    quotes: list[Quote]


class ProductPage(msgspec.Struct):
    """Products by id. `next` None: the last page; else the value of `after` for the next."""

    products: list[Product]
    next: str | None


class _Operations:
    def __init__(self, window: Window) -> None:
        self._window = window

    async def list_products(self, request: Request) -> ProductPage:
        """With the prices of now for whoever asks."""
        show, channel = _where(request)
        after = request.query_params.get("after", "")
        products = await self._window.page(after, shopper_of(principal_of(request)), show, channel)
        return ProductPage(products=products, next=products[-1].id if len(products) == PRODUCTS_PAGE else None)

    async def product(self, request: Request) -> Product:
        """With the prices of now for whoever asks."""
        id_ = request.path_params["product"]
        return await self._window.product(id_, shopper_of(principal_of(request)), *_where(request))

    async def show_quotes(self, request: Request, body: QuoteRequest) -> Quotes:
        """What units cost on a show's screens, now and for whoever asks; nothing is held by it."""
        shopper = shopper_of(principal_of(request))
        return Quotes(await self._window.quotes(_wanted(body.lines), shopper, request.path_params["show"]))

    async def channel_quotes(self, request: Request, body: ChannelQuoteRequest) -> Quotes:
        """What units cost in the shop or on another channel, now and for whoever asks; nothing is held by it."""
        shopper = shopper_of(principal_of(request))
        return Quotes(await self._window.quotes(_wanted(body.lines), shopper, None, body.channel))


def operations(window: Window) -> list[Operation]:
    """The HTTP operations of what is offered."""
    on = _Operations(window)
    quoting = (Kind.unknown_sku, Kind.invalid_quantity)
    return [
        Operation(
            "GET", "/api/products", on.list_products, "List products", result=ProductPage, tag="commerce",
            errors=(Kind.invalid_field, Kind.unknown_show),
            query={"after": "the `next` of the page before"} | _WHERE,
        ),
        Operation(
            "GET", "/api/products/{product}", on.product, "Read a product", result=Product, tag="commerce",
            errors=(Kind.unknown_product, Kind.unknown_show, Kind.invalid_field), query=_WHERE,
        ),
        Operation(
            "POST", "/api/shows/{show}/quotes", on.show_quotes, "Quote prices in a show", body=QuoteRequest,
            result=Quotes, role=Role.viewer, scope="catalogue:read", tag="prices",
            errors=(Kind.unknown_show, *quoting),
        ),
        Operation(
            "POST", "/api/quotes", on.channel_quotes, "Quote prices in the shop or on another channel",
            body=ChannelQuoteRequest, result=Quotes, tag="prices", errors=quoting,
        ),
    ]  # fmt: skip


def _where(request: Request) -> tuple[str | None, str | None]:
    query = request.query_params
    channel = query.get("channel")
    if channel is not None:
        try:
            msgspec.convert(channel, Name)
        except msgspec.ValidationError:
            raise Problem(Kind.invalid_field, "Not a channel's name.", field="channel") from None
    return query.get("show"), channel


def _wanted(lines: list[Wanted]) -> dict[str, int]:
    wanted: dict[str, int] = {}
    for place, line in enumerate(lines):
        if line.sku in wanted:
            raise Problem(Kind.invalid_field, "Twice among the lines.", field=f"lines[{place}].sku")
        wanted[line.sku] = line.quantity
    return wanted
