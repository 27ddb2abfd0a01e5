"""What buyers are written: a row in the transaction of what it is about; sent afterwards, again until it is taken.

An order never waits for a mail server. A letter is sent at least once: a worker that dies between the server's yes and
its own COMMIT sends it again, with the same Message-ID, by which mail programs know it.
"""

from enum import Enum
from typing import Any

import msgspec
from sqlalchemy import Connection, Row, insert, select, update

from cart.ordering.orders import Order
from cart.ordering.tables import letter
from live.core.ids import serial7


class LetterKind(Enum):
    confirmation = "confirmation"  # of an order
    cancelled = "cancelled"
    refunded = "refunded"
    shipped = "shipped"
    withdrawal = "withdrawal"  # that it has arrived, and when (BGB 356a)


class LetterState(Enum):
    wanted = "wanted"
    sent = "sent"
    dead = "dead"  # tried in vain for days: somebody must look


class Letter(msgspec.Struct, frozen=True, kw_only=True):
    """A letter. `facts` are what is not the order's; `due_at_ms` None: nothing is left to do."""

    id: str
    kind: LetterKind
    order_id: str
    recipient: str
    language: str
    facts: dict[str, Any]
    state: LetterState
    attempts: int
    due_at_ms: int | None
    created_at_ms: int
    sent_at_ms: int | None
    subject: str | None
    body: str | None


def put(
    conn: Connection,
    now_ms: int,
    kind: LetterKind,
    order: Order,
    facts: dict[str, Any],
    recipient: str = "",
    language: str = "",
) -> str:
    """Write to an order's buyer once this transaction is committed; the letter's id.

    `recipient`, `language`: another than the order's. "": nobody is written to, because only the merchant, whose
    check-out sold it, knows the buyer.
    """
    if not (recipient or order.email):
        return ""
    id_ = serial7(now_ms)
    conn.execute(
        insert(letter).values(
            id=id_,
            kind=kind.value,
            order_id=order.id,
            recipient=recipient or order.email,
            language=language or order.language,
            facts=facts,
            state=LetterState.wanted.value,
            attempts=0,
            due_at_ms=now_ms,
            created_at_ms=now_ms,
        )
    )
    return id_


def due(conn: Connection, now_ms: int, limit: int) -> list[Letter]:
    """Letters whose time has come, the oldest first."""
    statement = (
        select(letter).where(letter.c.due_at_ms <= now_ms).order_by(letter.c.due_at_ms, letter.c.id).limit(limit)
    )
    return [_letter(row) for row in conn.execute(statement)]


def of_order(conn: Connection, order_id: str) -> list[Letter]:
    """All letters about an order, the oldest first."""
    statement = select(letter).where(letter.c.order_id == order_id).order_by(letter.c.id)
    return [_letter(row) for row in conn.execute(statement)]


def take(conn: Connection, one: Letter, until_ms: int) -> bool:
    """Have a letter to oneself until then; False: another worker has taken it."""
    statement = (
        update(letter).where(letter.c.id == one.id, letter.c.due_at_ms == one.due_at_ms).values(due_at_ms=until_ms)
    )
    return conn.execute(statement).rowcount == 1


def save(conn: Connection, one: Letter) -> None:
    """Write what became of a letter."""
    values = {name: getattr(one, name) for name in ("attempts", "due_at_ms", "sent_at_ms", "subject", "body")}
    conn.execute(update(letter).where(letter.c.id == one.id).values(**values, state=one.state.value))


def _letter(row: Row[Any]) -> Letter:
    return Letter(**{**row._mapping, "kind": LetterKind(row.kind), "state": LetterState(row.state)})
