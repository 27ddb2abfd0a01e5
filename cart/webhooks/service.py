"""What can be done with webhook endpoints; every verb is one transaction, done once for an Idempotency-Key."""

from collections.abc import Callable, Sequence
from typing import Any, Self

import msgspec
from sqlalchemy import Connection

from cart import store as shop_store
from cart.store import Kept
from cart.webhooks import events, records, signature
from cart.webhooks.exchange import Exchange
from cart.webhooks.metrics import WebhookCollector
from cart.webhooks.records import Delivery, DeliveryState, Detail
from cart.webhooks.sealing import Seal
from cart.webhooks.sender import Sender
from cart.webhooks.store import Endpoint, State
from live.core.addresses import networks
from live.core.auth import Principal
from live.core.clock import Clock
from live.core.codec import digest
from live.core.database import Database
from live.core.errors import Kind, Problem
from live.core.ids import uuid7
from live.core.limits import (
    IDEMPOTENCY_KEY_CHARS_MAX,
    LABEL_CHARS_MAX,
    TIME_MS_MAX,
    WEBHOOK_ATTEMPTS_SHOWN,
    WEBHOOK_ENDPOINTS_MAX,
    WEBHOOK_OVERLAP_S,
    WEBHOOK_OVERLAP_S_MAX,
    WEBHOOK_PAGE,
    WEBHOOK_REPLAY_MAX,
)
from live.core.settings import Settings
from live.shows import clean_line

_LOCK = "webhooks"  # one change at a time: there are few, and an endpoint too many would be one for ever
_Effect = Callable[[Connection, int], dict[str, Any]]


class Asked(msgspec.Struct, frozen=True):
    """Who asks for a change, and under which Idempotency-Key (None: without one)."""

    principal: Principal
    key: str | None


class Done(msgspec.Struct, frozen=True):
    """What a change is answered. `replayed`: it had been done before, under the same key."""

    body: dict[str, Any]
    replayed: bool = False


class Webhooks:
    """The endpoints of this installation, and what sends to them: somebody must `run` it.

    `secret` seals the endpoints' own; `kept_days`: what was sent is kept so long.
    """

    def __init__(self, database: Database, clock: Clock, secret: str, exchange: Exchange, kept_days: int) -> None:
        self._database = database
        self._seal = Seal(secret)
        self._exchange = exchange
        self.sender = Sender(database, clock, self._seal, exchange.send, exchange.keep, kept_days=kept_days)
        self.collector = WebhookCollector(self.sender.figures)

    @classmethod
    def of(cls, settings: Settings, database: Database, clock: Clock) -> Self:
        """The one that `settings` describe."""
        exchange = Exchange(clock, networks(settings.webhook_networks))
        return cls(database, clock, settings.secret, exchange, settings.webhook_kept_days)

    async def run(self) -> None:
        """Send until cancelled."""
        try:
            await self.sender.run()
        finally:
            await self._exchange.close()

    # --- reading ----------------------------------------------------------------------------------------------

    async def endpoints(self) -> list[Endpoint]:
        """All endpoints, the oldest first."""
        return await self._database.read_sync(records.endpoints)

    async def endpoint(self, endpoint_id: str) -> Endpoint:
        """One endpoint; raises `Problem` unknown_endpoint."""
        return await self._database.read_sync(lambda conn: _find(conn, endpoint_id))

    async def deliveries(self, endpoint_id: str, state: DeliveryState | None, before: str | None) -> list[Delivery]:
        """A page of an endpoint's deliveries, the newest first; raises `Problem` unknown_endpoint, unknown_delivery.

        `state` None: all; `before`: the id of the last one of the page before.
        """
        if before is not None and not (before.isascii() and before.isalnum()):
            raise Problem(Kind.unknown_delivery, field="before")

        def read(conn: Connection) -> list[Delivery]:
            _find(conn, endpoint_id)
            return records.deliveries(conn, endpoint_id, state, before, WEBHOOK_PAGE)

        return await self._database.read_sync(read)

    async def delivery(self, endpoint_id: str, delivery_id: str) -> Detail:
        """One delivery with its newest tries; raises `Problem` unknown_endpoint, unknown_delivery."""

        def read(conn: Connection) -> Detail:
            _find(conn, endpoint_id)
            found = records.detail(conn, endpoint_id, _id(delivery_id), WEBHOOK_ATTEMPTS_SHOWN)
            if found is None:
                raise Problem(Kind.unknown_delivery, field="delivery")
            return found

        return await self._database.read_sync(read)

    # --- endpoints --------------------------------------------------------------------------------------------

    async def create(self, asked: Asked, url: str, types: Sequence[str], label: str) -> Done:
        """A new endpoint, and its secret: {endpoint, secret}. `types`: what it is told of, none is everything.

        Raises `Problem` invalid_field, webhook_target_forbidden, too_many_endpoints, key_reused.
        """
        types, label = _types(types), _label(label)
        await self._exchange.check(url)
        secret = signature.new_secret()

        def effect(conn: Connection, now_ms: int) -> dict[str, Any]:
            if records.count_endpoints(conn) >= WEBHOOK_ENDPOINTS_MAX:
                raise Problem(Kind.too_many_endpoints, f"At most {WEBHOOK_ENDPOINTS_MAX}; delete one first.")
            id_ = uuid7(now_ms)
            made = Endpoint(
                id=id_, url=url, label=label, types=types, state="active", reason="",
                secret=self._seal.seal(secret, id_), old_secret=None, old_until_ms=None, failing_since_ms=None,
                created_at_ms=now_ms,
            )  # fmt: skip
            records.insert_endpoint(conn, made)
            return {"endpoint": seen(made)}

        return await self._with_secret(asked, ("create", url, types, label), effect)

    async def change(
        self,
        asked: Asked,
        endpoint_id: str,
        *,
        url: str | None = None,
        types: Sequence[str] | None = None,
        label: str | None = None,
        state: State | None = None,
    ) -> Done:
        """Change what is not None: {endpoint}. `state` active also ends a disabled one's rest; paused: messages wait.

        Raises `Problem` as `create`, and unknown_endpoint.
        """
        types = None if types is None else _types(types)
        label = None if label is None else _label(label)
        if url is not None:
            await self._exchange.check(url)

        def effect(conn: Connection, _now_ms: int) -> dict[str, Any]:
            found = _find(conn, endpoint_id)
            changes = {"url": url, "types": types, "label": label, "state": state}
            changes = {name: value for name, value in changes.items() if value is not None}
            if state is not None:
                changes |= {"reason": "", "failing_since_ms": None}
            changed = msgspec.structs.replace(found, **changes)
            records.save_endpoint(conn, changed)
            return {"endpoint": seen(changed)}

        return await self._once(asked, ("change", endpoint_id, url, types, label, state), effect)

    async def rotate(self, asked: Asked, endpoint_id: str, overlap_s: int = WEBHOOK_OVERLAP_S) -> Done:
        """A new secret; the one before signs beside it for `overlap_s`: {endpoint, secret}.

        Raises `Problem` invalid_field, unknown_endpoint, key_reused.
        """
        if not 0 <= overlap_s <= WEBHOOK_OVERLAP_S_MAX:
            raise Problem(Kind.invalid_field, f"Between 0 and {WEBHOOK_OVERLAP_S_MAX}.", field="overlap_s")
        secret = signature.new_secret()

        def effect(conn: Connection, now_ms: int) -> dict[str, Any]:
            found = _find(conn, endpoint_id)
            changed = msgspec.structs.replace(
                found,
                secret=self._seal.seal(secret, found.id),
                old_secret=found.secret if overlap_s else None,
                old_until_ms=now_ms + overlap_s * 1000 if overlap_s else None,
            )
            records.save_endpoint(conn, changed)
            return {"endpoint": seen(changed)}

        return await self._with_secret(asked, ("rotate", endpoint_id, overlap_s), effect)

    async def delete(self, asked: Asked, endpoint_id: str) -> Done:
        """Send nothing more, and forget what waits and what was sent: {}. Raises `Problem` unknown_endpoint."""

        def effect(conn: Connection, _now_ms: int) -> dict[str, Any]:
            records.save_endpoint(conn, msgspec.structs.replace(_find(conn, endpoint_id), state="deleted"))
            return {}

        return await self._once(asked, ("delete", endpoint_id), effect)

    # --- messages ---------------------------------------------------------------------------------------------

    async def test(self, asked: Asked, endpoint_id: str) -> Done:
        """Send a message that says nothing: {id} of its delivery.

        Raises `Problem` unknown_endpoint, endpoint_disabled.
        """

        def effect(conn: Connection, now_ms: int) -> dict[str, Any]:
            found = _able(conn, endpoint_id)
            made = events.message(events.TEST, {"endpoint_id": found.id, "text": "Hello from Showcart."}, None)
            id_ = uuid7(now_ms)
            event = {"id": id_, "type": made.type, "show": None, "subject": made.subject, "data": made.data}
            records.insert_own(conn, found.id, event | {"at_ms": now_ms})
            return {"id": id_}

        return await self._once(asked, ("test", endpoint_id), effect)

    async def replay(self, asked: Asked, endpoint_id: str, delivery_id: str) -> Done:
        """Send a message again, under the same id: {id}.

        Raises `Problem` unknown_endpoint, unknown_delivery, endpoint_disabled.
        """

        def effect(conn: Connection, now_ms: int) -> dict[str, Any]:
            found = _able(conn, endpoint_id)
            position = records.position_of(conn, found.id, _id(delivery_id))
            if position is None:
                raise Problem(Kind.unknown_delivery, field="delivery")
            records.ask_again(conn, found.id, [position], now_ms)
            return {"id": delivery_id}

        return await self._once(asked, ("replay", endpoint_id, delivery_id), effect)

    async def replay_range(
        self, asked: Asked, endpoint_id: str, since_ms: int, until_ms: int, *, everything: bool
    ) -> Done:
        """Send again what is dead, or `everything`, of what happened from `since_ms` to before `until_ms`:
        {replayed, next_since_ms}. `next_since_ms` None: that was all; else there is more, from then on.

        Raises `Problem` invalid_field, unknown_endpoint, endpoint_disabled.
        """
        for field, value in (("since_ms", since_ms), ("until_ms", until_ms)):
            if not 0 <= value <= TIME_MS_MAX:
                raise Problem(Kind.invalid_field, "Unix milliseconds.", field=field)
        if until_ms <= since_ms:
            raise Problem(Kind.invalid_field, "Later than since_ms.", field="until_ms")

        def effect(conn: Connection, now_ms: int) -> dict[str, Any]:
            found = _able(conn, endpoint_id)
            if everything:
                found_events = records.happened_since(conn, found, since_ms, until_ms, WEBHOOK_REPLAY_MAX)
            else:
                found_events = records.dead_since(conn, found.id, since_ms, until_ms, WEBHOOK_REPLAY_MAX)
            records.ask_again(conn, found.id, [event.position for event in found_events], now_ms)
            more = len(found_events) == WEBHOOK_REPLAY_MAX
            # What happened at the last one's very time may be sent once more; a step forward there must be.
            next_ms = max(found_events[-1].at_ms, since_ms + 1) if more else None
            return {"replayed": len(found_events), "next_since_ms": next_ms}

        return await self._once(asked, ("replay", endpoint_id, since_ms, until_ms, everything), effect)

    # --- once -------------------------------------------------------------------------------------------------

    async def _with_secret(self, asked: Asked, request: tuple[Any, ...], effect: _Effect) -> Done:
        """As `_once`; the answer has the endpoint's secret, which is not kept with it but read from the endpoint."""
        done = await self._once(asked, request, effect)
        found = await self.endpoint(done.body["endpoint"]["id"])
        return Done(done.body | {"secret": self._seal.open(found.secret, found.id)}, done.replayed)

    async def _once(self, asked: Asked, request: tuple[Any, ...], effect: _Effect) -> Done:
        key = asked.key
        if key is not None and not (0 < len(key) <= IDEMPOTENCY_KEY_CHARS_MAX and key.isprintable()):
            detail = f"1 to {IDEMPOTENCY_KEY_CHARS_MAX} printable characters."
            raise Problem(Kind.invalid_field, detail, field="Idempotency-Key")
        try:
            hash_ = digest(*request)
        except UnicodeEncodeError:  # half a surrogate
            raise Problem(Kind.invalid_field, "A text must be Unicode.") from None
        scope = f"{_LOCK}:{asked.principal.subject}"

        def work(conn: Connection) -> Done:
            shop_store.lock_carts(conn, [_LOCK])
            now_ms = self._database.now_ms_sync(conn)
            if key is not None and (kept := shop_store.kept_answers(conn, [(scope, key)]).get((scope, key))):
                if kept.request_hash != hash_:
                    raise Problem(Kind.key_reused, field="Idempotency-Key")
                return Done(kept.response or {}, replayed=True)
            body = effect(conn, now_ms)
            if key is not None:
                shop_store.keep_answers(conn, {(scope, key): Kept(hash_, body, now_ms)})
            return Done(body)

        return await self._database.write_sync(work)


def seen(endpoint: Endpoint) -> dict[str, Any]:
    """An endpoint as people and programs see it: without its secrets."""
    hidden = ("secret", "old_secret")
    return {name: getattr(endpoint, name) for name in Endpoint.__struct_fields__ if name not in hidden}


def _find(conn: Connection, endpoint_id: str) -> Endpoint:
    found = records.find_endpoint(conn, endpoint_id) if endpoint_id.isascii() and endpoint_id.isalnum() else None
    if found is None:
        raise Problem(Kind.unknown_endpoint, field="endpoint")
    return found


def _able(conn: Connection, endpoint_id: str) -> Endpoint:
    found = _find(conn, endpoint_id)
    if found.state == "disabled":
        raise Problem(Kind.endpoint_disabled, found.reason)
    return found


def _id(value: str) -> str:
    if not (value.isascii() and value.isalnum()):  # what cannot be one never reaches SQL
        raise Problem(Kind.unknown_delivery, field="delivery")
    return value


def _types(types: Sequence[str]) -> list[str]:
    for index, type_ in enumerate(types):
        if type_ not in events.KINDS or type_ == events.TEST:
            known = ", ".join(name for name in events.KINDS if name != events.TEST)
            raise Problem(Kind.invalid_field, f"Not one of {known}.", field=f"types[{index}]")
    return sorted(set(types))


def _label(label: str) -> str:
    return clean_line(label, "label", LABEL_CHARS_MAX) if label.strip() else ""
