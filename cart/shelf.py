"""SQL of the catalogue: products and variants, with what is left of each. What they cost is said in `showing.py`."""

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec
from sqlalchemy import ColumnElement, Connection, Integer, Row, Select, bindparam, func, insert, select, text, update

from cart.catalogue import Facts
from cart.pricing import basket
from cart.pricing.reductions import Content, Measure
from cart.stock import MAIN, Level
from cart.tables import product, stock_level, variant

_IMPORT_LOCK = 0x53484C46  # one batch of an import at a time

_tax_bp: ColumnElement[int] = func.coalesce(
    variant.c.tax_bp, product.c.tax_bp, bindparam("standard_bp", type_=Integer)
).label("tax_bp")
_OFFERED = (
    variant.c.sku,
    variant.c.product_id,
    product.c.currency,
    variant.c.price_minor.label("list_minor"),
    _tax_bp,
    product.c.categories,
    product.c.title,
    variant.c.title.label("variant"),
    product.c.picture,
    variant.c.list_price_minor.label("struck_minor"),
    variant.c.content_amount,
    variant.c.content_unit,
)
_OFFERS: Select[Any] = (
    select(*_OFFERED)
    .join(product, product.c.id == variant.c.product_id)
    .where(variant.c.sku.in_(bindparam("skus", expanding=True)))
)
_LEVEL = Level.__struct_fields__[1:]
_LOCK_OFFERS = (
    _OFFERS.add_columns(*(stock_level.c[name] for name in _LEVEL))
    .join(stock_level, (stock_level.c.sku == variant.c.sku) & (stock_level.c.location == MAIN))
    .order_by(stock_level.c.sku, stock_level.c.location)  # everybody's order
    .with_for_update(of=stock_level)
)
_PRODUCTS = select(product).where(product.c.id.in_(bindparam("product_ids", expanding=True)))
_VARIANTS = (
    select(variant, (stock_level.c.on_hand - stock_level.c.allocated - stock_level.c.held).label("available"))
    # Every variant has its level. An inner join, SQLite begins with: at all levels of the location.
    .outerjoin(stock_level, (stock_level.c.sku == variant.c.sku) & (stock_level.c.location == MAIN))
    .where(variant.c.product_id.in_(bindparam("product_ids", expanding=True)))
    .order_by(variant.c.product_id, variant.c.position, variant.c.sku)
)


_ADD_PRODUCT, _ADD_VARIANT, _ADD_LEVEL = insert(product), insert(variant), insert(stock_level)


class Listed(msgspec.Struct, frozen=True):
    """A variant as the catalogue has it. `price_minor` is its own price, before any rule; None: nothing is said.

    `hidden`: it is not shown beside others of its product. `facts`: what feeds say of it beside.
    """

    sku: str
    title: str
    price_minor: int
    list_price_minor: int | None
    available: int
    tax_bp: int | None
    content: Content | None
    hidden: bool
    facts: Facts | None


class Item(msgspec.Struct, frozen=True):
    """A product as the catalogue has it. `tax_bp` None: the installation's own rate."""

    id: str
    title: str
    description: str
    picture: str
    currency: str
    categories: list[str]
    tax_bp: int | None
    variants: list[Listed]


class Offer(basket.Offer, frozen=True, kw_only=True):
    """A SKU as it can be bought. `struck_minor`: what the catalogue says that it cost before (None: nothing)."""

    title: str
    variant: str
    picture: str
    struck_minor: int | None
    content: Content | None


def _content(row: Row[Any]) -> Content | None:
    return None if row.content_amount is None else Content(row.content_amount, Measure(row.content_unit))


def _offer(row: Row[Any]) -> Offer:
    return Offer(
        sku=row.sku,
        product_id=row.product_id,
        currency=row.currency,
        list_minor=row.list_minor,
        tax_bp=row.tax_bp,
        categories=tuple(row.categories),
        title=row.title,
        variant=row.variant,
        picture=row.picture,
        struck_minor=row.struck_minor,
        content=_content(row),
    )


def offers(conn: Connection, skus: Iterable[str], standard_bp: int) -> dict[str, Offer]:
    """What these SKUs are and cost by themselves. `standard_bp`: the tax of those whose own is not said."""
    rows = conn.execute(_OFFERS, {"skus": sorted(set(skus)), "standard_bp": standard_bp})
    return {row.sku: _offer(row) for row in rows}


def lock_offers(conn: Connection, skus: Iterable[str], standard_bp: int) -> dict[str, tuple[Offer, Level]]:
    """As `offers`, with their levels, which nobody else changes before this transaction ends."""
    rows = conn.execute(_LOCK_OFFERS, {"skus": sorted(set(skus)), "standard_bp": standard_bp})
    return {row.sku: (_offer(row), Level(row.sku, *(row._mapping[name] for name in _LEVEL))) for row in rows}


def items(conn: Connection, ids: Sequence[str], *, hidden: bool = False) -> list[Item]:
    """These products with their variants, in the order of `ids`; unknown ones are left out.

    Hidden variants are left out beside others (`hidden`: they are not).
    """
    variants: dict[str, list[Listed]] = {}
    for row in conn.execute(_VARIANTS, {"product_ids": list(ids)}):
        members = {name: row._mapping[name] for name in Listed.__struct_fields__ if name not in ("content", "facts")}
        facts = None if row.facts is None else msgspec.convert(row.facts, Facts)
        variants.setdefault(row.product_id, []).append(Listed(**members, content=_content(row), facts=facts))
    if not hidden:
        variants = {id_: [one for one in all_ if not one.hidden] or all_ for id_, all_ in variants.items()}
    found: dict[str, Item] = {}
    for row in conn.execute(_PRODUCTS, {"product_ids": list(ids)}):
        members = {name: row._mapping[name] for name in Item.__struct_fields__ if name != "variants"}
        found[row.id] = Item(**members, variants=variants.get(row.id, []))
    return [found[id_] for id_ in ids if id_ in found]


def product_ids(conn: Connection, after: str, limit: int) -> list[str]:
    """A page of ids of products of which not all is hidden, in their order; `after` "": from the first on."""
    shown = select(variant.c.sku).where(variant.c.product_id == product.c.id, variant.c.hidden.is_(False)).exists()
    statement = select(product.c.id).where(product.c.id > after, shown).order_by(product.c.id).limit(limit)
    return list(conn.scalars(statement))


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


def add_products(conn: Connection, products: Sequence[dict[str, Any]]) -> None:
    """New products, with all their own members."""
    if products:
        conn.execute(_ADD_PRODUCT, products)


def save_product(conn: Connection, id_: str, values: dict[str, Any]) -> None:
    """Write own members of a product that exists."""
    conn.execute(update(product).where(product.c.id == id_).values(values))


def save_variant(conn: Connection, sku: str, values: dict[str, Any]) -> None:
    """Write the members of a variant that exists."""
    conn.execute(update(variant).where(variant.c.sku == sku).values(_columns(values)))


def hide(conn: Connection, skus: Sequence[str]) -> list[str]:
    """Show these no longer; those that were shown."""
    statement = update(variant).where(variant.c.sku.in_(skus), variant.c.hidden.is_(False)).values(hidden=True)
    return list(conn.scalars(statement.returning(variant.c.sku)))


def add_variants(conn: Connection, variants: Sequence[tuple[str, str, dict[str, Any]]]) -> None:
    """New variants (product, SKU, members), behind their products' others, of which there is nothing in stock."""
    if not variants:
        return
    statement = select(variant.c.product_id, func.max(variant.c.position)).group_by(variant.c.product_id)
    ids = {product_id for product_id, _, _ in variants}
    last: dict[str, int] = {row[0]: row[1] for row in conn.execute(statement.where(variant.c.product_id.in_(ids)))}
    rows = []
    for product_id, sku, values in variants:
        last[product_id] = last.get(product_id, -1) + 1
        rows.append(_columns(values) | {"product_id": product_id, "sku": sku, "position": last[product_id]})
    conn.execute(_ADD_VARIANT, rows)
    levels = [{"sku": sku, "location": MAIN, "on_hand": 0, "allocated": 0, "held": 0} for _, sku, _ in variants]
    conn.execute(_ADD_LEVEL, levels)


def _columns(values: dict[str, Any]) -> dict[str, Any]:
    """`values` with their `content`, if they have the member, in its two columns, and `facts` as JSON."""
    if "facts" in values:
        values = values | {"facts": msgspec.to_builtins(values["facts"])}
    if "content" not in values:
        return values
    content: Content | None = values["content"]
    amount, unit = (None, None) if content is None else (content.amount, content.unit.value)
    return {name: value for name, value in values.items() if name != "content"} | {
        "content_amount": amount,
        "content_unit": unit,
    }
