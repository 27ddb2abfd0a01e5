"""The tables of the waitlist and of drops. Rows of a SKU change only while its `stock_level` is locked.

`stock_level.waiting` counts the places of a SKU that have no offer yet, `stock_level.drops` its drops of now, so that
whoever moves units knows without asking whether there is anything to look at.
"""

from sqlalchemy import BigInteger, CheckConstraint, Column, Index, Integer, String, Table

from cart.tables import CART_CHARS
from live.core.database import metadata
from live.core.limits import ID_CHARS_MAX, SHOW_ID_CHARS_MAX, VIEWER_ID_CHARS_MAX

waitlist = Table(
    "waitlist",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("sku", String(ID_CHARS_MAX), nullable=False),
    Column("number", Integer, nullable=False),  # the order of a SKU's queue; it begins again when nobody waits
    Column("product_id", String(ID_CHARS_MAX), nullable=False),
    Column("viewer_id", String(VIEWER_ID_CHARS_MAX), nullable=False),
    Column("show", String(SHOW_ID_CHARS_MAX), nullable=False),
    Column("cart", String(CART_CHARS), nullable=False),
    Column("quantity", Integer, nullable=False),
    Column("joined_at_ms", BigInteger, nullable=False),
    Column("hold_id", String(32)),  # NULL: still waiting
    Column("offered", Integer),  # units
)
Index("uq_waitlist_viewer_id", waitlist.c.viewer_id, waitlist.c.sku, unique=True)
WAITING = waitlist.c.hold_id.is_(None)
Index("ix_waitlist_sku", waitlist.c.sku, waitlist.c.number, sqlite_where=WAITING, postgresql_where=WAITING)

sale_drop = Table(
    "sale_drop",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("show", String(SHOW_ID_CHARS_MAX), nullable=False),
    Column("sku", String(ID_CHARS_MAX), nullable=False),
    Column("product_id", String(ID_CHARS_MAX), nullable=False),
    Column("opens_at_ms", BigInteger, nullable=False),
    Column("closes_at_ms", BigInteger),
    Column("total_limit", BigInteger),
    Column("per_customer_limit", BigInteger),
    Column("taken", BigInteger, nullable=False),
    Column("created_by", String(VIEWER_ID_CHARS_MAX), nullable=False),
    Column("created_at_ms", BigInteger, nullable=False),
    Column("ended_at_ms", BigInteger),  # cancelled, or another one took its place; NULL: it counts
    CheckConstraint("taken >= 0", name="taken"),
)
CURRENT = sale_drop.c.ended_at_ms.is_(None)
Index(
    "uq_sale_drop_sku", sale_drop.c.sku, sale_drop.c.show,
    unique=True, sqlite_where=CURRENT, postgresql_where=CURRENT,
)  # fmt: skip
Index("ix_sale_drop_show", sale_drop.c.show, sqlite_where=CURRENT, postgresql_where=CURRENT)

sale_drop_share = Table(
    "sale_drop_share",
    metadata,
    Column("drop_id", String(32), primary_key=True),
    Column("viewer_id", String(VIEWER_ID_CHARS_MAX), primary_key=True),
    Column("quantity", BigInteger, nullable=False),
    CheckConstraint("quantity >= 0", name="quantity"),
)
