"""SQL of what people and programs see and change of webhooks: endpoints, deliveries, tries, and asking again."""

from collections.abc import Sequence
from typing import Any, Literal

import msgspec
from sqlalchemy import Connection, Row, func, insert, select, update

from cart.webhooks.events import TEST
from cart.webhooks.store import Endpoint, as_endpoint
from cart.webhooks.tables import webhook_attempt, webhook_delivery, webhook_endpoint, webhook_event

DeliveryState = Literal["pending", "delivered", "dead", "superseded"]
Event = Row[Any]  # of webhook_event
_endpoint, _event, _delivery = webhook_endpoint.c, webhook_event.c, webhook_delivery.c


class Attempt(msgspec.Struct, frozen=True):
    """One try. `status` None: there was no answer, and `problem` says why; `response`: the answer's first bytes."""

    at_ms: int
    duration_ms: int
    status: int | None
    problem: str
    response: str


class Delivery(msgspec.Struct, frozen=True):
    """One message for one endpoint; `id` is its `webhook-id`. `due_at_ms`: when it is tried next, while pending.

    `superseded`: it waited until a newer message of its subject took its place. `settled_at_ms` None: it waits.
    """

    id: str
    type: str
    state: DeliveryState
    tries: int
    created_at_ms: int
    due_at_ms: int
    settled_at_ms: int | None


class Detail(msgspec.Struct, frozen=True):
    """A delivery with what is sent and the newest tries, the last one first."""

    delivery: Delivery
    show: str | None
    data: dict[str, Any]
    attempts: list[Attempt]


_COLUMNS = [
    _delivery.event_id.label("id"), _delivery.type, _delivery.state, _delivery.tries, _delivery.created_at_ms,
    _delivery.due_at_ms, _delivery.settled_at_ms,
]  # fmt: skip


# --- endpoints ------------------------------------------------------------------------------------------------


def insert_endpoint(conn: Connection, endpoint: Endpoint) -> None:
    """Store a new endpoint."""
    conn.execute(insert(webhook_endpoint).values(**msgspec.structs.asdict(endpoint)))


def save_endpoint(conn: Connection, endpoint: Endpoint) -> None:
    """Store an endpoint as it is now."""
    values = msgspec.structs.asdict(endpoint)
    conn.execute(update(webhook_endpoint).where(_endpoint.id == endpoint.id).values(**values))


def find_endpoint(conn: Connection, endpoint_id: str) -> Endpoint | None:
    """One endpoint that is not deleted."""
    row = conn.execute(_living().where(_endpoint.id == endpoint_id)).first()
    return None if row is None else as_endpoint(row)


def endpoints(conn: Connection) -> list[Endpoint]:
    """All endpoints that are not deleted, the oldest first."""
    return [as_endpoint(row) for row in conn.execute(_living().order_by(_endpoint.id))]


# --- deliveries -----------------------------------------------------------------------------------------------


def deliveries(
    conn: Connection, endpoint_id: str, state: DeliveryState | None, before: str | None, most: int
) -> list[Delivery]:
    """Up to `most` deliveries, the newest first; `before`: the last one's id of the page before, None: from the first.

    `state` None: all.
    """
    statement = select(*_COLUMNS).where(_delivery.endpoint_id == endpoint_id)
    if state is not None:
        statement = statement.where(_delivery.state == state)
    if before is not None:
        position = select(_event.position).where(_event.id == before).scalar_subquery()
        statement = statement.where(_delivery.position < position)
    rows = conn.execute(statement.order_by(_delivery.position.desc()).limit(most))
    return [Delivery(**row._mapping) for row in rows]


def detail(conn: Connection, endpoint_id: str, event_id: str, attempts_max: int) -> Detail | None:
    """One delivery."""
    statement = (
        select(*_COLUMNS, _event.show, _event.data)
        .join(webhook_event, _event.position == _delivery.position)
        .where(_delivery.endpoint_id == endpoint_id, _delivery.event_id == event_id)
    )
    row = conn.execute(statement).first()
    if row is None:
        return None
    members = dict(row._mapping)
    show, data = members.pop("show"), members.pop("data")
    tried = webhook_attempt.c
    attempts = (
        select(*[tried[name] for name in Attempt.__struct_fields__])
        .where(tried.endpoint_id == endpoint_id, tried.event_id == event_id)
        .order_by(tried.id.desc())
        .limit(attempts_max)
    )
    return Detail(Delivery(**members), show, data, [Attempt(**each._mapping) for each in conn.execute(attempts)])


def insert_own(conn: Connection, endpoint_id: str, event: dict[str, Any]) -> None:
    """Store an event that is for one endpoint only; it waits for nothing."""
    conn.execute(insert(webhook_event).values(**event, newest=None, spread=True))
    row = conn.execute(select(webhook_event).where(_event.id == event["id"])).one()
    values = {name: getattr(row, name) for name in ("position", "type", "subject")}
    times = {"due_at_ms": row.at_ms, "created_at_ms": row.at_ms}
    conn.execute(
        insert(webhook_delivery).values(
            **values, **times, endpoint_id=endpoint_id, event_id=row.id, state="pending", tries=0
        )
    )


# --- asking again ---------------------------------------------------------------------------------------------


def ask_again(conn: Connection, endpoint_id: str, positions: Sequence[int], now_ms: int) -> None:
    """Have deliveries that are over sent again, from the first delay on; what waits anyway goes at once."""
    conn.execute(
        update(webhook_delivery)
        .where(
            _delivery.endpoint_id == endpoint_id,
            _delivery.position.in_(positions),
            _delivery.lease_until_ms.is_(None),
        )
        .values(state="pending", tries=0, due_at_ms=now_ms, created_at_ms=now_ms, settled_at_ms=None)
    )


def position_of(conn: Connection, endpoint_id: str, event_id: str) -> int | None:
    """Where a delivery stands; None: there is none."""
    where = _delivery.endpoint_id == endpoint_id, _delivery.event_id == event_id
    return conn.scalar(select(_delivery.position).where(*where))


def dead_since(conn: Connection, endpoint_id: str, since_ms: int, until_ms: int, most: int) -> list[Event]:
    """Up to `most` events from `since_ms` to before `until_ms` whose deliveries to an endpoint are dead."""
    statement = (
        select(webhook_event)
        .join(webhook_delivery, _event.position == _delivery.position)
        .where(
            _delivery.endpoint_id == endpoint_id,
            _delivery.state == "dead",
            _event.at_ms >= since_ms,
            _event.at_ms < until_ms,
        )
    )
    return list(conn.execute(statement.order_by(_event.at_ms, _event.position).limit(most)))


def happened_since(conn: Connection, endpoint: Endpoint, since_ms: int, until_ms: int, most: int) -> list[Event]:
    """Up to `most` events of that time that the endpoint wants, and has or has not been told of.

    What it has no delivery of gets one. Events that nobody wanted when they happened were never written down.
    """
    told = select(_delivery.position).where(_delivery.endpoint_id == endpoint.id)
    statement = select(webhook_event).where(
        _event.at_ms >= since_ms,
        _event.at_ms < until_ms,
        _event.spread.is_(True),
        (_event.type != TEST) | _event.position.in_(told),
    )
    if endpoint.types:
        statement = statement.where(_event.type.in_(endpoint.types))
    events = list(conn.execute(statement.order_by(_event.at_ms, _event.position).limit(most)))
    known = set(conn.scalars(told.where(_delivery.position.in_([event.position for event in events]))))
    fresh = [
        {
            "endpoint_id": endpoint.id,
            "position": event.position,
            "event_id": event.id,
            "type": event.type,
            "subject": event.subject,
            "state": "dead",  # until it is asked for, in the same transaction
            "tries": 0,
            "due_at_ms": event.at_ms,
            "created_at_ms": event.at_ms,
        }
        for event in events
        if event.position not in known
    ]
    if fresh:
        conn.execute(insert(webhook_delivery), fresh)
    return events


def count_endpoints(conn: Connection) -> int:
    """How many endpoints there are."""
    return conn.scalar(select(func.count()).select_from(webhook_endpoint).where(_endpoint.state != "deleted")) or 0


def _living() -> Any:
    return select(webhook_endpoint).where(_endpoint.state != "deleted")
