"""SQL of prices: the clock that says which rules apply, rulesets, live prices, history, what was used of rules.

Locks: a show's row comes before the clock's row, and the clock's before what it guards. What was used of a rule is
counted last of all in an order's transaction, by rule and customer in their order.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec
from sqlalchemy import BigInteger, Connection, Row, bindparam, delete, func, insert, select, update
from sqlalchemy.dialects import postgresql, sqlite

from cart import audit
from cart.pricing.basket import Use
from cart.pricing.history import Point
from cart.pricing.rules import Rule
from cart.pricing.tables import (
    cart_shopper,
    live_price,
    price_change,
    price_clock,
    price_history,
    price_ruleset,
    price_use,
    price_use_order,
)
from live.core.ids import uuid7
from live.shows import OVER
from live.store import show

ALL = ""  # customers together

_STAMP = select(price_clock.c.stamp)
_CLOCK = select(price_clock)
_SHOPPERS = select(cart_shopper).where(cart_shopper.c.cart.in_(bindparam("carts", expanding=True)))
_HISTORY = (
    select(price_history)
    .where(price_history.c.sku.in_(bindparam("skus", expanding=True)))
    .order_by(price_history.c.at_ms)
)
_USES = select(price_use).where(
    price_use.c.rule.in_(bindparam("rules", expanding=True)),
    price_use.c.customer.in_(bindparam("customers", expanding=True)),
)
_more_uses, _more_minor = bindparam("more_uses", type_=BigInteger), bindparam("more_minor", type_=BigInteger)


class ClockRow(msgspec.Struct, frozen=True):
    """Which prices apply. `ruleset` 0: no rules were published; windows are told up to `told_at_ms`.

    History knows what the catalogue costs by `written_ruleset` as of `written_at_ms`; somebody writes until
    `writing_until_ms` at the latest.
    """

    id: int
    version: int
    stamp: str
    ruleset: int
    changed_at_ms: int
    told_at_ms: int
    written_ruleset: int
    written_at_ms: int
    writing_until_ms: int


class Shopper(msgspec.Struct, frozen=True):
    """Who a cart belongs to, as far as prices care. `customer` None: a guest."""

    customer: str | None = None
    segments: tuple[str, ...] = ()
    coupons: tuple[str, ...] = ()


class LivePrice(msgspec.Struct, frozen=True):
    """A price that a host started for what is pinned. `sku` None: all variants; `ends_at_ms` None: with the pin.

    Times are Unix milliseconds; `ended_at_ms` None: it runs. `ended_by` "": it ended by itself.
    """

    id: str
    show: str
    pin_id: str
    product_id: str
    sku: str | None
    rule: Rule
    started_by: str
    started_at_ms: int
    ends_at_ms: int | None
    ended_by: str | None
    ended_at_ms: int | None


class StoredRuleset(msgspec.Struct, frozen=True):
    """A set of rules with its number. `published_at_ms` None: a draft, which nobody's prices are made by."""

    number: int
    note: str
    rules: list[Rule]
    created_by: str
    created_at_ms: int
    published_by: str | None
    published_at_ms: int | None


class PriceChange(msgspec.Struct, frozen=True):
    """Who changed when what prices are made by. `kind`: published, live_started, live_ended."""

    version: int
    kind: str
    ruleset: int
    live_price_id: str | None
    changed_by: str
    changed_at_ms: int


# --- the clock ------------------------------------------------------------------------------------------------


def stamp(conn: Connection) -> str:
    """What tells the version of what applies now from all others, those that were rolled back included."""
    found = conn.scalar(_STAMP)
    assert isinstance(found, str), "the migration made the clock"
    return found


def clock(conn: Connection, *, lock: bool = False) -> ClockRow:
    """What applies now; `lock`: nobody changes it before this transaction ends."""
    row = conn.execute(_CLOCK.with_for_update() if lock else _CLOCK).one()
    return ClockRow(**row._mapping)


def applying(conn: Connection) -> tuple[ClockRow, list[Rule]]:
    """What applies now and its rules, live prices included, which belong together."""
    while True:  # each statement may see what was committed before it
        now = clock(conn)
        statement = select(price_ruleset.c.rules).where(price_ruleset.c.number == now.ruleset)
        rules: list[Rule] = msgspec.convert(conn.scalar(statement) or [], list[Rule])
        rules += [live.rule for live in running(conn)]
        if stamp(conn) == now.stamp:
            return now, rules


def advance(
    conn: Connection, now_ms: int, kind: str, by: str, *, ruleset: int | None = None, live_price_id: str | None = None
) -> PriceChange:
    """Let something else apply from now on, and write down who did it; `ruleset` None: the one of before."""
    values: dict[str, Any] = {"version": price_clock.c.version + 1, "stamp": uuid7(now_ms), "changed_at_ms": now_ms}
    if ruleset is not None:
        values["ruleset"] = ruleset
    row = conn.execute(update(price_clock).values(values).returning(*price_clock.c)).one()
    change = PriceChange(
        version=row.version,
        kind=kind,
        ruleset=row.ruleset,
        live_price_id=live_price_id,
        changed_by=by,
        changed_at_ms=now_ms,
    )
    conn.execute(insert(price_change).values(msgspec.structs.asdict(change)))
    after = {"version": row.version, "ruleset": row.ruleset, "live_price_id": live_price_id}
    who = audit.Actor(by, "staff") if by else audit.SERVER
    audit.write(conn, now_ms, who, audit.Change(f"price.{kind}", "price:rules", {"version": row.version - 1}, after))
    return change


def told(conn: Connection, until_ms: int) -> bool:
    """Take it upon this transaction to tell the windows up to `until_ms`; False: somebody has."""
    statement = update(price_clock).where(price_clock.c.told_at_ms < until_ms).values(told_at_ms=until_ms)
    return conn.execute(statement).rowcount == 1


def writing(conn: Connection, until_ms: int) -> None:
    """Somebody writes down what the catalogue costs, until then; nobody else begins with it."""
    conn.execute(update(price_clock).values(writing_until_ms=until_ms))


def written(conn: Connection, number: int, at_ms: int) -> None:
    """What the catalogue costs by the ruleset `number` as of then is written down."""
    values = {"written_ruleset": number, "written_at_ms": at_ms, "writing_until_ms": 0}
    conn.execute(update(price_clock).values(values))


def changes(conn: Connection, limit: int) -> list[PriceChange]:
    """The newest changes first."""
    rows = conn.execute(select(price_change).order_by(price_change.c.version.desc()).limit(limit))
    return [PriceChange(**row._mapping) for row in rows]


def published_before(conn: Connection, number: int) -> int:
    """The ruleset that was in force before `number` came into force the last time; 0: none."""
    mine = select(func.max(price_change.c.version)).where(price_change.c.ruleset != number).scalar_subquery()
    return int(conn.scalar(select(price_change.c.ruleset).where(price_change.c.version == mine)) or 0)


def open_shows(conn: Connection, limit: int) -> list[str]:
    """The newest shows that are not over."""
    states = [state.value for state in OVER]
    statement = select(show.c.id).where(show.c.state.not_in(states)).order_by(show.c.created_at_ms.desc()).limit(limit)
    return list(conn.scalars(statement))


# --- rulesets -------------------------------------------------------------------------------------------------


def _ruleset(row: Row[Any]) -> StoredRuleset:
    return StoredRuleset(**{**row._mapping, "rules": msgspec.convert(row.rules, list[Rule])})


def find_ruleset(conn: Connection, number: int) -> StoredRuleset | None:
    """One ruleset."""
    row = conn.execute(select(price_ruleset).where(price_ruleset.c.number == number)).first()
    return None if row is None else _ruleset(row)


def rulesets(conn: Connection, before: int | None, limit: int) -> list[StoredRuleset]:
    """A page, the newest first; `before` None: from the newest on."""
    statement = select(price_ruleset).order_by(price_ruleset.c.number.desc()).limit(limit)
    if before is not None:
        statement = statement.where(price_ruleset.c.number < before)
    return [_ruleset(row) for row in conn.execute(statement)]


def add_ruleset(conn: Connection, note: str, rules: Sequence[Rule], by: str, now_ms: int) -> StoredRuleset:
    """A new draft; the clock is locked."""
    last = conn.scalar(select(func.max(price_ruleset.c.number))) or 0
    draft = StoredRuleset(
        number=last + 1,
        note=note,
        rules=list(rules),
        created_by=by,
        created_at_ms=now_ms,
        published_by=None,
        published_at_ms=None,
    )
    conn.execute(insert(price_ruleset).values(msgspec.structs.asdict(draft) | {"rules": msgspec.to_builtins(rules)}))
    return draft


def mark_published(conn: Connection, number: int, by: str, now_ms: int) -> None:
    """Write down who published a ruleset, the last time."""
    where = price_ruleset.c.number == number
    conn.execute(update(price_ruleset).where(where).values(published_by=by, published_at_ms=now_ms))


# --- live prices ----------------------------------------------------------------------------------------------


def _live_price(row: Row[Any]) -> LivePrice:
    return LivePrice(**{**row._mapping, "rule": msgspec.convert(row.rule, Rule)})


def running(conn: Connection, of: str | None = None) -> list[LivePrice]:
    """The live prices that nobody has ended, of one show (None: of all)."""
    statement = select(live_price).where(live_price.c.ended_at_ms.is_(None))
    if of is not None:
        statement = statement.where(live_price.c.show == of)
    # Not by the database: SQLite reads all there ever were in that order, to sort the few that run.
    return sorted((_live_price(row) for row in conn.execute(statement)), key=lambda one: one.id)


def insert_live_price(conn: Connection, started: LivePrice) -> None:
    """Store a live price; its show is locked, and has no other."""
    values = msgspec.structs.asdict(started) | {"rule": msgspec.to_builtins(started.rule)}
    conn.execute(insert(live_price).values(values))


def end_live_price(conn: Connection, id_: str, by: str, at_ms: int) -> None:
    """A live price ends; its show is locked."""
    conn.execute(update(live_price).where(live_price.c.id == id_).values(ended_by=by, ended_at_ms=at_ms))


# --- history --------------------------------------------------------------------------------------------------


def record(conn: Connection, place: str, prices: Mapping[str, int | None], at_ms: int) -> None:
    """Write down what SKUs cost in a place from `at_ms` on."""
    dialect = postgresql if conn.dialect.name == "postgresql" else sqlite
    rows = [{"sku": sku, "show": place, "at_ms": at_ms, "price_minor": price} for sku, price in prices.items()]
    if rows:
        statement = dialect.insert(price_history)
        statement = statement.on_conflict_do_update(
            index_elements=["sku", "show", "at_ms"], set_={"price_minor": statement.excluded.price_minor}
        )
        conn.execute(statement, rows)


def history(conn: Connection, skus: Iterable[str]) -> dict[str, list[Point]]:
    """What these SKUs have cost, in the order of time."""
    found: dict[str, list[Point]] = {sku: [] for sku in skus}
    for row in conn.execute(_HISTORY, {"skus": list(found)}):
        found[row.sku].append(Point(place=row.show, at_ms=row.at_ms, price_minor=row.price_minor))
    return found


# --- shoppers and what they used ------------------------------------------------------------------------------


def shoppers(conn: Connection, carts: Sequence[str]) -> dict[str, Shopper]:
    """Who these carts belong to; guests without coupons are left out."""
    rows = conn.execute(_SHOPPERS, {"carts": list(carts)})
    return {row.cart: Shopper(row.customer, tuple(row.segments), tuple(row.coupons)) for row in rows}


def save_customers(conn: Connection, met: Mapping[str, Shopper], now_ms: int) -> None:
    """Write down who carts belong to, their coupons excepted; the carts are locked."""
    rows = [msgspec.structs.asdict(one) | {"cart": cart, "changed_at_ms": now_ms} for cart, one in met.items()]
    if rows:
        conn.execute(_upsert(conn, "customer", "segments", "changed_at_ms"), rows)


def save_coupons(conn: Connection, cart: str, coupons: Sequence[str], now_ms: int) -> None:
    """Write down the coupons of a cart, which is locked."""
    row = {"cart": cart, "customer": None, "segments": [], "coupons": list(coupons), "changed_at_ms": now_ms}
    conn.execute(_upsert(conn, "coupons", "changed_at_ms"), [row])


def _upsert(conn: Connection, *names: str) -> postgresql.Insert | sqlite.Insert:
    dialect = postgresql if conn.dialect.name == "postgresql" else sqlite
    statement = dialect.insert(cart_shopper)
    set_ = {name: statement.excluded[name] for name in names}
    upsert: postgresql.Insert | sqlite.Insert = statement.on_conflict_do_update(index_elements=["cart"], set_=set_)
    return upsert


def uses(conn: Connection, rules: Sequence[str], customers: Iterable[str]) -> dict[tuple[str, str], tuple[int, int]]:
    """(rule, customer) → times used, minor units taken off; `ALL` stands for all customers together."""
    rows = conn.execute(_USES, {"rules": list(rules), "customers": [ALL, *customers]})
    return {(row.rule, row.customer): (row.uses, row.amount_minor) for row in rows}


def use_of(found: Mapping[tuple[str, str], tuple[int, int]], rule: str, customer: str | None) -> Use:
    """What the evaluation wants to know of a rule."""
    used, spent_minor = found.get((rule, ALL), (0, 0))
    mine = 0 if customer is None else found.get((rule, customer), (0, 0))[0]
    return Use(used=used, mine=mine, spent_minor=spent_minor)


def take(
    conn: Connection, rule: str, customer: str, amount_minor: int, *, uses_max: int | None, amount_max: int | None
) -> bool:
    """Use a rule once more, unless a limit (None: there is none) forbids it; False: it does, and nothing was done."""
    dialect = postgresql if conn.dialect.name == "postgresql" else sqlite
    row = {"rule": rule, "customer": customer, "uses": 0, "amount_minor": 0}
    conn.execute(dialect.insert(price_use).values(row).on_conflict_do_nothing())
    statement = (
        update(price_use)
        .where(price_use.c.rule == rule, price_use.c.customer == customer)
        .values(uses=price_use.c.uses + 1, amount_minor=price_use.c.amount_minor + amount_minor)
    )
    if uses_max is not None:
        statement = statement.where(price_use.c.uses + 1 <= uses_max)
    if amount_max is not None:
        statement = statement.where(price_use.c.amount_minor + amount_minor <= amount_max)
    return conn.execute(statement).rowcount == 1


def note_use(conn: Connection, order_id: str, rule: str, customer: str, amount_minor: int) -> None:
    """Remember what an order has used, to give it back."""
    row = {"order_id": order_id, "rule": rule, "customer": customer, "amount_minor": amount_minor}
    conn.execute(insert(price_use_order).values(row))


def give_back(conn: Connection, order_id: str) -> bool:
    """Undo what `take` counted for an order; once, however often it is called. False: there was nothing."""
    where = price_use_order.c.order_id == order_id
    rows = conn.execute(delete(price_use_order).where(where).returning(*price_use_order.c)).all()
    for row in sorted(rows, key=lambda row: str(row.rule)):
        for customer in sorted({ALL, row.customer}):
            conn.execute(
                update(price_use)
                .where(price_use.c.rule == row.rule, price_use.c.customer == customer)
                .values(uses=price_use.c.uses - 1, amount_minor=price_use.c.amount_minor - row.amount_minor)
            )
    return bool(rows)
