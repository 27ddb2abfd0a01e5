"""What other systems will be told of, written down in the transaction that makes it happen.

Nothing is written, and next to nothing is done, while no endpoint wants the type: each connection remembers the wanted
types for WEBHOOK_WANTED_S, so an endpoint gets what happens from that much later than it was made.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec
from sqlalchemy import Connection, insert, select
from sqlalchemy.dialects import postgresql, sqlite

from cart.baskets import cart_id, version
from cart.pricing.store import shoppers
from cart.stock import Hold
from cart.webhooks.events import Message, message
from cart.webhooks.tables import webhook_endpoint, webhook_event
from live.core.ids import uuid7
from live.core.limits import WEBHOOK_WANTED_S
from live.realtime.news import News
from live.shows import ShowState

LISTENING = ("active", "paused")  # states of the endpoints that get what happens now

_KNOWN = "showcart webhook types"
_TYPES = select(webhook_endpoint.c.types).where(webhook_endpoint.c.state.in_(LISTENING))
_INSERT = insert(webhook_event)
_REPLACE = {
    name: statement.on_conflict_do_update(
        index_elements=[webhook_event.c.newest],
        set_={column: statement.excluded[column] for column in ("data", "at_ms", "show")},
    )
    for name, statement in (
        ("postgresql", postgresql.insert(webhook_event)),
        ("sqlite", sqlite.insert(webhook_event)),
    )
}


class _Wanted(NamedTuple):
    """What a connection knows. `types` None: all are wanted."""

    until_ms: int
    types: frozenset[str] | None


def wants(conn: Connection, now_ms: int, type_: str) -> bool:
    """Whether any endpoint wants messages of this type: what is not wanted need not be put together."""
    known = conn.info.get(_KNOWN)
    if known is None or not 0 < known.until_ms - now_ms <= WEBHOOK_WANTED_S * 1000:
        known = conn.info[_KNOWN] = _Wanted(now_ms + round(WEBHOOK_WANTED_S * 1000), _types(conn))
    return known.types is None or type_ in known.types


def put(conn: Connection, now_ms: int, type_: str, data: Mapping[str, Any], show: str | None) -> None:
    """Tell the endpoints that want it, once this transaction is committed.

    `data` has at least the members of the type's struct in `events`; `show`: where it happened, None: in none. What the
    message is about must be locked by this transaction, or messages of one subject may change places.
    """
    put_all(conn, now_ms, type_, [(data, show)])


def put_all(
    conn: Connection, now_ms: int, type_: str, happened: Sequence[tuple[Mapping[str, Any], str | None]]
) -> None:
    """As `put`, for many of one type, in one statement."""
    if happened and wants(conn, now_ms, type_):
        _write(conn, now_ms, [message(type_, data, show) for data, show in happened])


def put_holds(conn: Connection, now_ms: int, type_: str, holds: Sequence[Hold]) -> None:
    """Tell of holds, which are locked; `type_` is one of theirs."""
    if holds and wants(conn, now_ms, type_):
        put_all(conn, now_ms, type_, [(msgspec.structs.asdict(hold), hold.show) for hold in holds])


def put_news(conn: Connection, now_ms: int, show: str, news: Iterable[News]) -> None:
    """Tell of what a show's screens are told as well: its start, its end, its pins and its carts."""
    happened: dict[str, list[tuple[dict[str, Any], str | None]]] = {}
    for each in news:
        if (found := _TOLD.get(each.name)) and (told := found(show, now_ms, each)):
            happened.setdefault(told[0], []).append((told[1], show))
    for type_, facts in happened.items():
        if type_ == "cart.changed" and wants(conn, now_ms, type_):
            known = shoppers(conn, sorted({cart_id(show, data["viewer_id"]) for data, _ in facts}))
            customers = {cart: one.customer for cart, one in known.items()}
            facts = [(data | {"customer": customers.get(cart_id(show, data["viewer_id"]))}, show) for data, _ in facts]
        put_all(conn, now_ms, type_, facts)


_Told = tuple[str, dict[str, Any]] | None


def _show_state(_show: str, now_ms: int, news: News) -> _Told:
    state, data = news.data["state"], news.data
    if state == ShowState.live.value and data["started_at_ms"] == now_ms:
        return "show.started", data
    return ("show.ended", data) if state == ShowState.ended.value and data["ended_at_ms"] == now_ms else None


def _pinned(show: str, _now_ms: int, news: News) -> _Told:
    pin = {name: news.data[name] for name in ("pin_id", "pinned_at_ms")}
    return "pin.changed", pin | {"show": show, "product_id": news.data["product"]["id"]}


def _unpinned(show: str, _now_ms: int, _news: News) -> _Told:
    return "pin.changed", {"show": show, "pin_id": None, "product_id": None, "pinned_at_ms": None}


def _cart(show: str, _now_ms: int, news: News) -> _Told:
    cart = news.data["cart"]
    lines = ((line["sku"], line["quantity"], line["price_minor"]) for line in cart["lines"])
    facts = {"show": show, "viewer_id": news.key, "reason": news.data["reason"]}
    known = {"version": version(cart["currency"], lines), "origin": news.data.get("origin", "")}
    return "cart.changed", cart | facts | known


_TOLD: dict[str, Callable[[str, int, News], _Told]] = {
    "show.state": _show_state,
    "product.pinned": _pinned,
    "product.unpinned": _unpinned,
    "cart.changed": _cart,
}


def _types(conn: Connection) -> frozenset[str] | None:
    lists = list(conn.scalars(_TYPES))
    return None if any(not types for types in lists) else frozenset(type_ for types in lists for type_ in types)


def _write(conn: Connection, now_ms: int, messages: Sequence[Message]) -> None:
    rows = [
        {
            "id": uuid7(now_ms),
            "type": each.type,
            "show": each.show,
            "subject": each.subject,
            "newest": each.subject if each.newest else None,
            "data": each.data,
            "at_ms": now_ms,
            "spread": False,
        }
        for each in messages
    ]
    if rows[0]["newest"] is None:  # they are of one type
        conn.execute(_INSERT, rows)
        return
    # One row a subject, in one order for all, so that two transactions never wait for each other.
    newest = {str(row["newest"]): row for row in rows}
    conn.execute(_REPLACE[conn.dialect.name], [newest[subject] for subject in sorted(newest)])
