"""The catalogue as Google's product feed, with the prices of now: the same ones that the shop shows, by the same rules.

What costs less than it did has the former price as `price` and the one of now as `sale_price`. It is written page by
page, so it may be as long as the catalogue is.
"""

import asyncio
from collections.abc import AsyncGenerator
from functools import partial
from xml.sax.saxutils import escape

from sqlalchemy import Connection

from cart import prices, shelf
from cart.catalogue import Facts, Product, Variant
from cart.offering.window import Window
from live.core.errors import Kind, Problem
from live.core.limits import FEED_EXPORTS_MAX, PRODUCTS_PAGE
from live.service import Shows

_NOTHING = Facts()
_NOT_XML = {0xFFFE: None, 0xFFFF: None}  # XML 1.0, section 2.2; the catalogue has no control characters
_BEGIN = """<?xml version="1.0" encoding="UTF-8"?>
<rss version="2.0" xmlns:g="http://base.google.com/ns/1.0">
<channel>
<title>{title}</title>
<link>{link}</link>
<description>{title}</description>
"""
_END = "</channel>\n</rss>\n"


class Export:
    """See the module."""

    def __init__(self, shows: Shows, window: Window) -> None:
        self._shows = shows
        self._window = window
        self._open = 0

    async def xml(self, origin: str, title: str, channel: str | None) -> AsyncGenerator[bytes, None]:
        """The feed. `origin`: what the addresses of pictures and products begin with, such as https://shop.example.

        `channel` None: prices as in the shop. Raises `Problem` overloaded when others are being written.
        """
        if self._open >= FEED_EXPORTS_MAX:
            raise Problem(Kind.overloaded, "Other feeds are being written.", retry_after_s=5)
        self._open += 1
        try:
            yield _BEGIN.format(title=escape(title), link=escape(origin)).encode()
            after = ""
            while products := await self._window.page(after, channel=channel):
                ids = [product.id for product in products]
                facts = await self._shows.read_sync(partial(_facts, ids=ids))
                for items in await asyncio.to_thread(_items, products, facts, origin):  # it may be thousands
                    yield items
                if len(products) < PRODUCTS_PAGE:
                    break
                after = ids[-1]
            yield _END.encode()
        finally:
            self._open -= 1


def _facts(conn: Connection, ids: list[str]) -> dict[str, Facts | None]:
    return {variant.sku: variant.facts for item in shelf.items(conn, ids) for variant in item.variants}


def _items(products: list[Product], facts: dict[str, Facts | None], origin: str) -> list[bytes]:
    """The items of each product."""
    return [
        "".join(
            _item(product, variant, facts.get(variant.sku) or _NOTHING, origin) for variant in product.variants
        ).encode()
        for product in products
    ]


def _item(product: Product, variant: Variant, facts: Facts, origin: str) -> str:
    reduced = variant.list_price_minor is not None
    title = f"{product.title} – {variant.title}" if variant.title else product.title
    content = variant.content
    values = {
        "id": variant.sku,
        "item_group_id": product.id if len(product.variants) > 1 or product.id != variant.sku else "",
        "title": title,
        "description": product.description or title,
        "link": facts.link or f"{origin}/#product={product.id}",
        "image_link": origin + product.picture if product.picture.startswith("/") else product.picture,
        "price": _money(variant.price_minor if variant.list_price_minor is None else variant.list_price_minor, product),
        "sale_price": _money(variant.price_minor, product) if reduced else "",
        "availability": "in_stock" if variant.available > 0 else "out_of_stock",
        "quantity": str(max(0, variant.available)),
        "gtin": facts.gtin,
        "mpn": facts.mpn,
        "brand": facts.brand,
        "condition": facts.condition or "new",
        "unit_pricing_measure": "" if content is None else f"{content.amount} {content.unit.value}",
        "unit_pricing_base_measure": facts.base_measure,
        "product_type": " > ".join(max(product.categories, key=len, default="").split("/")),
    } | {f"custom_label_{number}": label for number, label in enumerate(facts.labels)}
    lines = "".join(f"<g:{name}>{escape(value)}</g:{name}>\n" for name, value in values.items() if value)
    return f"<item>\n{lines.translate(_NOT_XML)}</item>\n"


def _money(minor: int, product: Product) -> str:
    digits = prices.minor_digits(product.currency)
    text = str(minor).rjust(digits + 1, "0")
    return f"{text[:-digits]}.{text[-digits:]} {product.currency}" if digits else f"{text} {product.currency}"
