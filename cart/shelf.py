"""SQL of the catalogue: products and variants, with what is left of each."""

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec
from sqlalchemy import Connection, bindparam, func, insert, select, text, update

from cart.catalogue import Product, Variant
from cart.stock import MAIN, Level
from cart.tables import product, stock_level, variant

_IMPORT_LOCK = 0x53484C46  # one batch of an import at a time


_LOCK_OFFERS = (
    select(
        variant.c.sku,
        variant.c.product_id,
        product.c.title,
        variant.c.title.label("variant"),
        product.c.picture,
        product.c.currency,
        variant.c.price_minor,
        stock_level.c.location,
        stock_level.c.on_hand,
        stock_level.c.allocated,
        stock_level.c.held,
    )
    .join(product, product.c.id == variant.c.product_id)
    .join(stock_level, (stock_level.c.sku == variant.c.sku) & (stock_level.c.location == MAIN))
    .where(variant.c.sku.in_(bindparam("skus", expanding=True)))
    .order_by(stock_level.c.sku, stock_level.c.location)  # everybody's order
    .with_for_update(of=stock_level)
)
_PRODUCTS = select(product).where(product.c.id.in_(bindparam("product_ids", expanding=True)))
_VARIANTS = (
    select(variant, (stock_level.c.on_hand - stock_level.c.allocated - stock_level.c.held).label("available"))
    .join(stock_level, (stock_level.c.sku == variant.c.sku) & (stock_level.c.location == MAIN))
    .where(variant.c.product_id.in_(bindparam("product_ids", expanding=True)))
    .order_by(variant.c.product_id, variant.c.position, variant.c.sku)
)


class Offer(msgspec.Struct, frozen=True):
    """A SKU as it can be bought now."""

    sku: str
    product_id: str
    title: str
    variant: str
    picture: str
    currency: str
    price_minor: int


def lock_offers(conn: Connection, skus: Iterable[str]) -> dict[str, tuple[Offer, Level]]:
    """What these SKUs are and cost, with their levels, which nobody else changes before this transaction ends."""
    found: dict[str, tuple[Offer, Level]] = {}
    for row in conn.execute(_LOCK_OFFERS, {"skus": sorted(set(skus))}):
        members = dict(row._mapping)
        level = Level(row.sku, *(members.pop(name) for name in ("location", "on_hand", "allocated", "held")))
        found[row.sku] = Offer(**members), level
    return found


def products(conn: Connection, ids: Sequence[str]) -> list[Product]:
    """These products with their variants, in the order of `ids`; unknown ones are left out."""
    variants: dict[str, list[Variant]] = {}
    for row in conn.execute(_VARIANTS, {"product_ids": list(ids)}):
        members = {name: row._mapping[name] for name in Variant.__struct_fields__}
        variants.setdefault(row.product_id, []).append(Variant(**members))
    found: dict[str, Product] = {}
    for row in conn.execute(_PRODUCTS, {"product_ids": list(ids)}):
        members = {name: row._mapping[name] for name in Product.__struct_fields__ if name != "variants"}
        found[row.id] = Product(**members, variants=variants.get(row.id, []))
    return [found[id_] for id_ in ids if id_ in found]


def product_ids(conn: Connection, after: str, limit: int) -> list[str]:
    """A page of product ids in their order; `after` "": from the first on."""
    return list(conn.scalars(select(product.c.id).where(product.c.id > after).order_by(product.c.id).limit(limit)))


def currency(conn: Connection) -> str | None:
    """The currency of the catalogue's first product; None: it is empty."""
    found: str | None = conn.scalar(select(product.c.currency).order_by(product.c.id).limit(1))
    return found


def lock_catalogue(conn: Connection) -> None:
    """Another import waits until this transaction ends."""
    if conn.dialect.name == "postgresql":
        conn.execute(text(f"SELECT pg_advisory_xact_lock({_IMPORT_LOCK})"))


def owners(conn: Connection, skus: Sequence[str]) -> dict[str, str]:
    """SKU → product, of those that exist."""
    rows = conn.execute(select(variant.c.sku, variant.c.product_id).where(variant.c.sku.in_(skus)))
    return {row.sku: row.product_id for row in rows}


def save_product(conn: Connection, id_: str, values: dict[str, Any], *, new: bool) -> None:
    """Write a product's own members."""
    if new:
        conn.execute(insert(product).values(values | {"id": id_}))
    else:
        conn.execute(update(product).where(product.c.id == id_).values(values))


def save_variant(conn: Connection, sku: str, values: dict[str, Any]) -> None:
    """Write the members of a variant that exists."""
    conn.execute(update(variant).where(variant.c.sku == sku).values(values))


def add_variant(conn: Connection, product_id: str, sku: str, values: dict[str, Any]) -> None:
    """A new variant, behind the product's others, of which there is nothing in stock."""
    last = conn.scalar(select(func.max(variant.c.position)).where(variant.c.product_id == product_id))
    position = 0 if last is None else last + 1
    conn.execute(insert(variant).values(values | {"product_id": product_id, "sku": sku, "position": position}))
    conn.execute(insert(stock_level).values(sku=sku, location=MAIN, on_hand=0, allocated=0, held=0))
