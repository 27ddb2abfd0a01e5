"""The tables of prices.

Nothing here is a price that somebody pays: that is made from a SKU's own price by the rules of now. A change of what
applies, be it of the rules or of a live price, raises `price_clock.version` in its transaction, so one small read says
whether the rules that a worker remembers are still the ones.
"""

from sqlalchemy import JSON, BigInteger, Column, Index, Integer, String, Table

from live.core.database import metadata
from live.core.limits import ID_CHARS_MAX, LABEL_CHARS_MAX, RULE_ID_CHARS_MAX, SHOW_ID_CHARS_MAX, VIEWER_ID_CHARS_MAX

CART_CHARS = SHOW_ID_CHARS_MAX + 1 + VIEWER_ID_CHARS_MAX

price_clock = Table(
    "price_clock",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),  # 1: there is one row
    Column("version", BigInteger, nullable=False),
    Column("stamp", String(32), nullable=False),  # of the version: no other one ever has it, even after a rollback
    Column("ruleset", Integer, nullable=False),  # the published one; 0: none
    Column("changed_at_ms", BigInteger, nullable=False),
    Column("told_at_ms", BigInteger, nullable=False),  # the windows that opened or closed until then are told
    # History knows what the catalogue costs everywhere by this ruleset as of then; somebody writes until then at most.
    Column("written_ruleset", Integer, nullable=False, server_default="0"),
    Column("written_at_ms", BigInteger, nullable=False, server_default="0"),
    Column("writing_until_ms", BigInteger, nullable=False, server_default="0"),
)
price_ruleset = Table(
    "price_ruleset",
    metadata,
    Column("number", Integer, primary_key=True, autoincrement=False),
    Column("note", String(LABEL_CHARS_MAX), nullable=False),
    Column("rules", JSON, nullable=False),
    Column("created_by", String(VIEWER_ID_CHARS_MAX), nullable=False),
    Column("created_at_ms", BigInteger, nullable=False),
    Column("published_by", String(VIEWER_ID_CHARS_MAX)),
    Column("published_at_ms", BigInteger),  # NULL: a draft
)
price_change = Table(
    "price_change",
    metadata,
    Column("version", BigInteger, primary_key=True, autoincrement=False),
    Column("kind", String(16), nullable=False),
    Column("ruleset", Integer, nullable=False),
    Column("live_price_id", String(32)),
    Column("changed_by", String(VIEWER_ID_CHARS_MAX), nullable=False),  # "" when it ended by itself
    Column("changed_at_ms", BigInteger, nullable=False),
)
live_price = Table(
    "live_price",
    metadata,
    Column("id", String(32), primary_key=True),
    Column("show", String(SHOW_ID_CHARS_MAX), nullable=False),
    Column("pin_id", String(32), nullable=False),
    Column("product_id", String(ID_CHARS_MAX), nullable=False),
    Column("sku", String(ID_CHARS_MAX)),  # NULL: all variants
    Column("rule", JSON, nullable=False),
    Column("started_by", String(VIEWER_ID_CHARS_MAX), nullable=False),
    Column("started_at_ms", BigInteger, nullable=False),
    Column("ends_at_ms", BigInteger),
    Column("ended_by", String(VIEWER_ID_CHARS_MAX)),
    Column("ended_at_ms", BigInteger),
)
_RUNS = live_price.c.ended_at_ms.is_(None)
# The database's own guard: a show has one live price at a time, because it has one pin.
Index("uq_live_price_show", live_price.c.show, unique=True, sqlite_where=_RUNS, postgresql_where=_RUNS)

price_history = Table(
    "price_history",
    metadata,
    Column("sku", String(ID_CHARS_MAX), primary_key=True),
    Column("show", String(SHOW_ID_CHARS_MAX), primary_key=True),  # "": everywhere else
    Column("at_ms", BigInteger, primary_key=True, autoincrement=False),
    Column("price_minor", BigInteger),  # NULL, of a show: as everywhere else
)
price_use = Table(
    "price_use",
    metadata,
    Column("rule", String(RULE_ID_CHARS_MAX), primary_key=True),
    Column("customer", String(VIEWER_ID_CHARS_MAX), primary_key=True),  # "": all together
    Column("uses", BigInteger, nullable=False),
    Column("amount_minor", BigInteger, nullable=False),
)
price_use_order = Table(
    "price_use_order",
    metadata,
    Column("order_id", String(32), primary_key=True),
    Column("rule", String(RULE_ID_CHARS_MAX), primary_key=True),
    Column("customer", String(VIEWER_ID_CHARS_MAX), nullable=False),
    Column("amount_minor", BigInteger, nullable=False),
)
cart_shopper = Table(
    "cart_shopper",
    metadata,
    Column("cart", String(CART_CHARS), primary_key=True),
    Column("customer", String(VIEWER_ID_CHARS_MAX)),  # NULL: a guest
    Column("segments", JSON, nullable=False),
    Column("coupons", JSON, nullable=False),
    Column("changed_at_ms", BigInteger, nullable=False),
)
