"""The withdrawal function (BGB 356a): whoever bought can withdraw from the contract without signing in, in two steps.

The first names the order by its number and the buyer's e-mail address, and is answered with what would be withdrawn
and a token; nothing is changed. The second confirms it: the declaration is stored with its time, the buyer is told
both by e-mail, and an order that has not left is ended at once, its money given back. One that has left waits for the
goods. A declaration is taken however late it comes: whether it was in time, the merchant judges.

A wrong number and a wrong address are answered alike, so that nobody learns which orders there are.
"""

import hashlib
import hmac
from typing import Any

import msgspec
from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import OctKey
from sqlalchemy import Connection, Row, insert, select

from cart import audit
from cart.moves import Moves
from cart.ordering import orders, post, refunds, store
from cart.ordering.orders import Order, OrderState, email_address
from cart.ordering.post import LetterKind
from cart.ordering.refunds import Units
from cart.ordering.service import Orders
from cart.ordering.tables import withdrawal
from cart.ordering.till import book, locked
from cart.stockroom import Stockroom
from live.core.clock import Clock
from live.core.codec import convert, plain
from live.core.database import Database
from live.core.errors import Kind, Problem
from live.core.ids import uuid7
from live.core.limits import BUYER_NAME_CHARS_MAX, TOKEN_BYTES_MAX, WITHDRAWAL_TOKEN_TTL_S
from live.shows import clean_line

_ALGORITHM = "HS256"


class Withdrawable(msgspec.Struct, frozen=True):
    """A line that one can withdraw from."""

    sku: str
    title: str
    variant: str
    quantity: int


class Begun(msgspec.Struct, frozen=True):
    """What would be withdrawn. `token` is good for the second step until `expires_at_ms`."""

    number: str
    placed_at_ms: int
    name: str
    lines: list[Withdrawable]
    token: str
    expires_at_ms: int


class Withdrawal(msgspec.Struct, frozen=True):
    """A declaration as it was stored, at `at_ms` (Unix milliseconds of the database's clock)."""

    id: str
    order_id: str
    number: str
    name: str
    email: str
    language: str
    lines: list[Units]
    at_ms: int


class Withdrawals:
    """See the module. `secret` signs what lies between the two steps."""

    def __init__(self, database: Database, stockroom: Stockroom, clock: Clock, found: Orders, secret: str) -> None:
        self._database = database
        self._stockroom = stockroom
        self._clock = clock
        self._orders = found
        self._key = OctKey.import_key(hashlib.sha256(b"showcart withdrawal" + secret.encode()).digest())

    async def begin(self, number: str, email: str) -> Begun:
        """The first step; raises `Problem` unknown_order, also when the address is not the order's."""
        read = orders.read_number(number)
        order = None
        if read is not None:
            order = await self._database.read_sync(lambda conn: store.find_number(conn, read))
        asked = email.strip().casefold().encode("utf-8", "replace")
        if order is None or not asked or not hmac.compare_digest(order.email.casefold().encode(), asked):
            raise Problem(Kind.unknown_order, "No order has this number and this e-mail address.", field="number")
        if order.placed_at_ms is None or order.state is OrderState.cancelled:
            raise Problem(Kind.unknown_order, "No order has this number and this e-mail address.", field="number")
        expires_s = self._clock.now_ms() // 1000 + WITHDRAWAL_TOKEN_TTL_S
        claims = {"order": order.id, "exp": expires_s, "jti": uuid7(self._clock.now_ms())}
        return Begun(
            number=order.number,
            placed_at_ms=order.placed_at_ms,
            name=order.name,
            lines=[
                Withdrawable(line.sku, line.title, line.variant, left)
                for line in order.lines
                if (left := line.quantity - line.cancelled) > 0
            ],
            token=jwt.encode({"alg": _ALGORITHM}, claims, self._key),
            expires_at_ms=expires_s * 1000,
        )

    async def confirm(
        self, token: str, name: str, email: str, lines: list[Units] | None = None, language: str | None = None
    ) -> Withdrawal:
        """The second step: declared and stored. The same token again is answered alike.

        `lines` None: all of the order. `email`: where the receipt is confirmed to. Raises `Problem`
        withdrawal_expired, invalid_field, unknown_sku, invalid_quantity, refund_exceeds.
        """
        order_id, id_ = self._read(token)
        who = clean_line(name, "name", BUYER_NAME_CHARS_MAX)
        to = email_address(email)
        if language is not None and language not in orders.LANGUAGES:
            raise Problem(Kind.invalid_field, f"One of {', '.join(orders.LANGUAGES)}.", field="language")

        def declare(moves: Moves) -> Withdrawal:
            order = store.find_order(moves.tx.conn, order_id)
            assert order is not None, "orders are never deleted"
            order = locked(moves, order)
            if (known := _find(moves.tx.conn, id_)) is not None:
                return known
            wanted = _units(order, lines)
            made = Withdrawal(
                id=id_,
                order_id=order.id,
                number=order.number,
                name=who,
                email=to,
                language=language or order.language,
                lines=wanted,
                at_ms=moves.tx.now_ms,
            )
            self._declare(moves, order, made)
            return made

        made = await self._stockroom.change(declare)
        self._orders.till.soon(made.order_id)
        return made

    async def of_order(self, order_id: str) -> list[Withdrawal]:
        """What was declared about an order, the oldest first."""
        return await self._database.read_sync(lambda conn: _of_order(conn, order_id))

    def _read(self, token: str) -> tuple[str, str]:
        try:
            if len(token) > TOKEN_BYTES_MAX:
                raise ValueError
            claims = jwt.decode(token, self._key, algorithms=[_ALGORITHM]).claims
            order_id, id_, expires_s = str(claims["order"]), str(claims["jti"]), int(claims["exp"])
        except (JoseError, ValueError, KeyError, TypeError):
            raise Problem(Kind.invalid_field, "The token of the first step is needed.", field="token") from None
        if self._clock.now_ms() >= expires_s * 1000:
            raise Problem(Kind.withdrawal_expired, field="token")
        return order_id, id_

    def _declare(self, moves: Moves, order: Order, made: Withdrawal) -> None:
        tx = moves.tx
        values = plain(made)
        del values["number"]
        tx.conn.execute(insert(withdrawal).values(**values))
        whole = {line.sku: line.quantity for line in made.lines} == {
            line.sku: line.quantity - line.cancelled for line in order.lines if line.quantity > line.cancelled
        }
        after = order
        if whole and order.may(OrderState.withdrawn):
            unsent = order.shipped_at_ms is None
            after = self._orders.end(moves, order, OrderState.withdrawn) if unsent else order.to(OrderState.withdrawn)
        book(moves, audit.BUYER, "order.withdrawn", order, after)
        what = audit.Change("withdrawal.declared", f"order:{order.id}", None, values, order.show)
        audit.write(tx.conn, tx.now_ms, audit.BUYER, what)
        facts = {"name": made.name, "at_ms": made.at_ms, "lines": plain(made.lines)}
        post.put(tx.conn, tx.now_ms, LetterKind.withdrawal, order, facts, made.email, made.language)
        tx.staff_notice(order.show, "order.withdrawn", {"order_id": order.id, "number": order.number, "whole": whole})


def _units(order: Order, lines: list[Units] | None) -> list[Units]:
    """What is withdrawn from: all that was not cancelled, or some of it."""
    left = {line.sku: line.quantity - line.cancelled for line in order.lines}
    if lines is None:
        return [Units(sku, count) for sku, count in left.items() if count > 0]
    wanted = refunds.units(order, lines)
    if not wanted:
        raise Problem(Kind.invalid_field, "Say what you withdraw from.", field="lines")
    for sku, count in wanted.items():
        if count > left[sku]:
            raise Problem(Kind.refund_exceeds, f"The order has only {left[sku]} of {sku}.", field="lines")
    return [Units(sku, count) for sku, count in wanted.items()]


def _of_order(conn: Connection, order_id: str) -> list[Withdrawal]:
    statement = select(withdrawal).where(withdrawal.c.order_id == order_id).order_by(withdrawal.c.id)
    return [_row(conn, row) for row in conn.execute(statement)]


def _find(conn: Connection, id_: str) -> Withdrawal | None:
    row = conn.execute(select(withdrawal).where(withdrawal.c.id == id_)).first()
    return None if row is None else _row(conn, row)


def _row(conn: Connection, row: Row[Any]) -> Withdrawal:
    order = store.find_order(conn, row.order_id)
    assert order is not None, "orders are never deleted"
    values = {name: row._mapping[name] for name in Withdrawal.__struct_fields__ if name != "number"}
    return convert(values | {"number": order.number}, Withdrawal)
