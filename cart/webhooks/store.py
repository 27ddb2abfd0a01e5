"""SQL of webhooks: endpoints, what waits for them, what has become of it.

A delivery that is being sent has a *lease*. A worker that dies leaves its leases behind, and when they have run out the
messages are sent again, under the same id. Of several pending messages of one subject only the first is ever sent.
"""

from collections.abc import Iterable, Sequence
from typing import Any, Literal

import msgspec
from sqlalchemy import (
    Connection,
    Row,
    String,
    and_,
    bindparam,
    delete,
    exists,
    func,
    insert,
    literal_column,
    or_,
    select,
    text,
    update,
)

from cart.webhooks.outbox import LISTENING
from cart.webhooks.schedule import Try
from cart.webhooks.tables import webhook_attempt, webhook_delivery, webhook_endpoint, webhook_event
from live.core.ids import uuid7

State = Literal["active", "paused", "disabled", "deleted"]
_SPREAD_LOCK = 0x53485752  # one worker at a time gives events to endpoints, in the order of their positions
_endpoint, _event, _delivery = webhook_endpoint.c, webhook_event.c, webhook_delivery.c


class Endpoint(msgspec.Struct, frozen=True):
    """Who is told. `types`: of what, an empty list is everything. The secrets are sealed; see `tables`."""

    id: str
    url: str
    label: str
    types: list[str]
    state: State
    reason: str
    secret: bytes
    old_secret: bytes | None
    old_until_ms: int | None
    failing_since_ms: int | None
    created_at_ms: int

    def wants(self, type_: str) -> bool:
        return not self.types or type_ in self.types


class Claim(msgspec.Struct, frozen=True):
    """A message that this worker sends to an endpoint until `lease_until_ms`. `tries` counts this one."""

    endpoint_id: str
    position: int
    event_id: str
    type: str
    show: str | None
    data: dict[str, Any]
    at_ms: int
    tries: int
    lease_until_ms: int


class Settled(msgspec.Struct, frozen=True):
    """What became of a claim: the try, and the state and time that follow from it."""

    claim: Claim
    result: Try
    state: str
    due_at_ms: int


# Written out: by a parameter, a database sees only each time anew that the index of what waits is of use.
_PENDING = literal_column("'pending'", String)
_ready = webhook_delivery.alias("ready")
_before = webhook_delivery.alias("before")
_READY = and_(
    _ready.c.state == _PENDING,
    _ready.c.due_at_ms <= bindparam("now_ms"),
    or_(_ready.c.lease_until_ms.is_(None), _ready.c.lease_until_ms <= bindparam("now_ms")),
    ~exists().where(
        _before.c.endpoint_id == _ready.c.endpoint_id,
        _before.c.subject == _ready.c.subject,
        _before.c.state == _PENDING,
        _before.c.position < _ready.c.position,
    ),
)
_ENDPOINTS = select(webhook_endpoint).where(_endpoint.state.in_(LISTENING)).order_by(_endpoint.id)
_WAITING = select(exists().where(_event.spread.is_(False)))
_WITH_READY = select(_endpoint.id).where(
    _endpoint.state == "active", exists().where(_ready.c.endpoint_id == _endpoint.id, _READY)
)
_TAKE = (
    select(_ready.c.position)
    .where(_ready.c.endpoint_id == bindparam("of_endpoint"), _READY)
    .order_by(_ready.c.due_at_ms, _ready.c.position)
    .limit(bindparam("most"))
    .with_for_update(skip_locked=True, of=_ready)
)
_LEASE = (
    update(webhook_delivery)
    .where(
        _delivery.endpoint_id == bindparam("of_endpoint"),
        _delivery.position.in_(bindparam("positions", expanding=True)),
    )
    .values(lease_until_ms=bindparam("until_ms"), tries=_delivery.tries + 1)
)
_CLAIMED = (
    select(
        _delivery.endpoint_id, _delivery.position, _delivery.event_id, _delivery.type, _delivery.tries,
        _delivery.lease_until_ms, _event.show, _event.data, _event.at_ms,
    )
    .join(webhook_event, _event.position == _delivery.position)
    .where(
        _delivery.endpoint_id == bindparam("of_endpoint"),
        _delivery.position.in_(bindparam("positions", expanding=True)),
    )
    .order_by(_delivery.position)
)  # fmt: skip
_SETTLE = (
    update(webhook_delivery)
    .where(
        _delivery.endpoint_id == bindparam("of_endpoint"),
        _delivery.position == bindparam("at"),
        _delivery.state == _PENDING,
        _delivery.lease_until_ms == bindparam("lease_ms"),  # else another worker has it by now
    )
    .values(
        state=bindparam("to_state"),
        due_at_ms=bindparam("to_due_ms"),
        lease_until_ms=None,
        settled_at_ms=bindparam("to_settled_ms"),
    )
)
_SUPERSEDE = (
    update(webhook_delivery)
    .where(
        _delivery.endpoint_id == bindparam("of_endpoint"),
        _delivery.subject == bindparam("about"),
        _delivery.type == bindparam("of_type"),
        _delivery.state == _PENDING,
        or_(_delivery.lease_until_ms.is_(None), _delivery.lease_until_ms <= bindparam("now_ms")),
    )
    .values(state="superseded", settled_at_ms=bindparam("now_ms"))
)


def as_endpoint(row: Row[Any]) -> Endpoint:
    """The endpoint of a row."""
    return Endpoint(**row._mapping)


# --- what a worker looks at -----------------------------------------------------------------------------------


class Look(msgspec.Struct, frozen=True):
    """What there is to do. `waiting`: events are not spread yet; `ready`: endpoints with something to send."""

    endpoints: list[Endpoint]
    waiting: bool
    ready: list[str]


def look(conn: Connection, now_ms: int) -> Look:
    """Who listens, and whether there is anything to do for them."""
    endpoints = [as_endpoint(row) for row in conn.execute(_ENDPOINTS)]
    ready = list(conn.scalars(_WITH_READY, {"now_ms": now_ms})) if endpoints else []
    return Look(endpoints, bool(conn.scalar(_WAITING)), ready)


def spread(conn: Connection, now_ms: int, most: int) -> int:
    """Give up to `most` waiting events to the endpoints that want them; how many, 0 when another worker does it."""
    if conn.dialect.name == "postgresql" and not conn.scalar(text(f"SELECT pg_try_advisory_xact_lock({_SPREAD_LOCK})")):
        return 0
    waiting = (
        select(webhook_event)
        .where(_event.spread.is_(False))
        .order_by(_event.position)
        .limit(most)
        .with_for_update(skip_locked=True)
    )
    events = list(conn.execute(waiting))
    if not events:
        return 0
    endpoints = [as_endpoint(row) for row in conn.execute(_ENDPOINTS)]
    given = [(endpoint.id, event) for event in events for endpoint in endpoints if endpoint.wants(event.type)]
    replaced = [
        {"of_endpoint": endpoint_id, "about": event.subject, "of_type": event.type, "now_ms": now_ms}
        for endpoint_id, event in given
        if event.newest is not None
    ]
    if replaced:
        conn.execute(_SUPERSEDE, replaced)
    if given:
        conn.execute(insert(webhook_delivery), [_fresh(endpoint_id, event, now_ms) for endpoint_id, event in given])
    positions = [event.position for event in events]
    conn.execute(update(webhook_event).where(_event.position.in_(positions)).values(spread=True, newest=None))
    return len(events)


def claim(conn: Connection, endpoint_id: str, now_ms: int, until_ms: int, most: int) -> list[Claim]:
    """Up to `most` messages that can be sent to an endpoint now; nobody else sends them until `until_ms`."""
    positions = list(conn.scalars(_TAKE, {"of_endpoint": endpoint_id, "now_ms": now_ms, "most": most}))
    if not positions:
        return []
    where = {"of_endpoint": endpoint_id, "positions": positions}
    conn.execute(_LEASE, where | {"until_ms": until_ms})
    return [Claim(**row._mapping) for row in conn.execute(_CLAIMED, where)]


def settle(conn: Connection, settled: Sequence[Settled], now_ms: int) -> None:
    """Write down what became of claims, and the tries."""
    ordered = sorted(settled, key=lambda each: (each.claim.endpoint_id, each.claim.position))
    conn.execute(
        _SETTLE,
        [
            {
                "of_endpoint": each.claim.endpoint_id,
                "at": each.claim.position,
                "lease_ms": each.claim.lease_until_ms,
                "to_state": each.state,
                "to_due_ms": each.due_at_ms,
                "to_settled_ms": None if each.state == "pending" else now_ms,
            }
            for each in ordered
        ],
    )
    conn.execute(insert(webhook_attempt), [_attempt(each, now_ms) for each in ordered])


def release(conn: Connection, claims: Sequence[Claim]) -> None:
    """Let others send what this worker began, and does not know what became of."""
    for each in sorted(claims, key=lambda claim: (claim.endpoint_id, claim.position)):
        conn.execute(
            update(webhook_delivery)
            .where(
                _delivery.endpoint_id == each.endpoint_id,
                _delivery.position == each.position,
                _delivery.lease_until_ms == each.lease_until_ms,
            )
            .values(lease_until_ms=None)
        )


def mark_health(conn: Connection, working: Iterable[str], failing: Iterable[str], now_ms: int) -> None:
    """Note which endpoints have taken a message, and since when others have not."""
    working = sorted(working)
    if working:
        where = _endpoint.id.in_(working), _endpoint.failing_since_ms.is_not(None)
        conn.execute(update(webhook_endpoint).where(*where).values(failing_since_ms=None))
    failing = sorted(failing)
    if failing:
        where = _endpoint.id.in_(failing), _endpoint.failing_since_ms.is_(None)
        conn.execute(update(webhook_endpoint).where(*where).values(failing_since_ms=now_ms))


def disable(conn: Connection, endpoint_id: str, reason: str) -> bool:
    """Send an endpoint nothing any more; False: somebody else has stopped it."""
    where = _endpoint.id == endpoint_id, _endpoint.state.in_(LISTENING)
    values = {"state": "disabled", "reason": reason}
    return conn.execute(update(webhook_endpoint).where(*where).values(**values)).rowcount == 1


def backlog(conn: Connection) -> dict[str, tuple[int, int]]:
    """For each listening endpoint with something that waits: how much, and since when."""
    statement = (
        select(_delivery.endpoint_id, func.count(), func.min(_delivery.created_at_ms))
        .join(webhook_endpoint, _endpoint.id == _delivery.endpoint_id)
        .where(_delivery.state == _PENDING, _endpoint.state.in_(LISTENING))
        .group_by(_delivery.endpoint_id)
    )
    return {endpoint_id: (count, oldest) for endpoint_id, count, oldest in conn.execute(statement)}


def prune(conn: Connection, before_ms: int, most: int) -> int:
    """Forget up to `most` rows of each kind that are older than that, and what deleted endpoints have left; how many.

    What still waits for an endpoint by then is given up.
    """
    gone = select(_endpoint.id).where(_endpoint.state == "deleted")
    unsent = and_(_delivery.state == _PENDING, _delivery.created_at_ms < before_ms)
    forgotten = 0
    for over in (_delivery.settled_at_ms < before_ms, unsent, _delivery.endpoint_id.in_(gone)):  # each by its index
        keys = conn.execute(select(_delivery.endpoint_id, _delivery.position).where(over).limit(most)).all()
        for endpoint_id in sorted({key.endpoint_id for key in keys}):
            positions = [key.position for key in keys if key.endpoint_id == endpoint_id]
            conn.execute(
                delete(webhook_delivery).where(_delivery.endpoint_id == endpoint_id, _delivery.position.in_(positions))
            )
        forgotten += len(keys)
    told = select(_event.position).where(
        _event.at_ms < before_ms, _event.spread.is_(True), ~exists().where(_delivery.event_id == _event.id)
    )
    forgotten += _delete(conn, webhook_event, list(conn.scalars(told.limit(most))))
    for over in (webhook_attempt.c.at_ms < before_ms, webhook_attempt.c.endpoint_id.in_(gone)):
        tried = select(webhook_attempt.c.id).where(over)
        forgotten += _delete(conn, webhook_attempt, list(conn.scalars(tried.limit(most))))
    empty = _endpoint.state == "deleted", ~exists().where(_delivery.endpoint_id == _endpoint.id)
    conn.execute(delete(webhook_endpoint).where(*empty))
    return forgotten


def _delete(conn: Connection, table: Any, keys: Sequence[Any]) -> int:
    if keys:
        (key,) = table.primary_key.columns
        conn.execute(delete(table).where(key.in_(keys)))
    return len(keys)


def _fresh(endpoint_id: str, event: Row[Any], now_ms: int) -> dict[str, Any]:
    return {
        "endpoint_id": endpoint_id,
        "position": event.position,
        "event_id": event.id,
        "type": event.type,
        "subject": event.subject,
        "state": "pending",
        "tries": 0,
        "due_at_ms": now_ms,
        "created_at_ms": now_ms,
    }


def _attempt(settled: Settled, now_ms: int) -> dict[str, Any]:
    result = settled.result
    return {
        "id": uuid7(now_ms),
        "endpoint_id": settled.claim.endpoint_id,
        "event_id": settled.claim.event_id,
        "at_ms": now_ms,
        "duration_ms": result.duration_ms,
        "status": result.status,
        "problem": result.problem,
        "response": result.response,
    }
