"""Commands that are done once: an Idempotency-Key is stored with its answer in the transaction of the effect.

The same key with the same request is answered alike; with another request it is refused. The viewer's cart is locked
meanwhile, so two requests with one key wait for each other. A refusal changes nothing and is not kept.
"""

import hashlib
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec

from cart import store
from cart.baskets import cart_id
from cart.moves import Moves
from live.core.auth import Principal
from live.core.codec import encode
from live.core.errors import Kind, Problem
from live.core.limits import CLAIM_TTL_S, IDEMPOTENCY_KEY_CHARS_MAX
from live.service import Shows

Effect = Callable[[Moves, str], Awaitable[dict[str, Any] | None]]


class Answer(msgspec.Struct, frozen=True):
    """What a command is answered. `replayed`: it had been done before, under the same key."""

    body: dict[str, Any]
    replayed: bool = False


def request_hash(request: tuple[Any, ...]) -> str:
    """What tells two requests apart."""
    return hashlib.sha256(encode(request, "msgpack")).hexdigest()


async def once(
    shows: Shows, show: str, principal: Principal, request: tuple[Any, ...], key: str | None, effect: Effect
) -> Answer:
    """Do `effect(moves, cart)` with the viewer's cart locked, or answer as before under `key` (None: no key).

    `effect` gives the answer; None: it comes later, and the key is in flight until then, CLAIM_TTL_S at most.
    Raises `Problem` unknown_show, invalid_field, key_reused, key_in_flight, and what `effect` raises.
    """
    if key is not None and not (0 < len(key) <= IDEMPOTENCY_KEY_CHARS_MAX and key.isprintable()):
        detail = f"1 to {IDEMPOTENCY_KEY_CHARS_MAX} printable characters."
        raise Problem(Kind.invalid_field, detail, field="Idempotency-Key")
    cart = cart_id(show, principal.subject)
    async with shows.transaction() as tx:
        await shows.find(tx.conn, show)
        await store.lock_cart(tx.conn, cart)
        moves = Moves(tx, shows)
        if key is not None and (kept := await _kept(moves, cart, key, request_hash(request))) is not None:
            return Answer(body=kept, replayed=True)
        body = await effect(moves, cart)
        if key is not None:
            await store.keep_answer(tx.conn, cart, key, request_hash(request), body, tx.now_ms)
        await moves.announce()
    return Answer(body=body or {})


async def _kept(moves: Moves, cart: str, key: str, hash_: str) -> dict[str, Any] | None:
    """The answer under a key; None: it is new, or whoever worked on it is dead."""
    kept = await store.kept_answer(moves.tx.conn, cart, key)
    if kept is None:
        return None
    if kept.request_hash != hash_:
        raise Problem(Kind.key_reused, field="Idempotency-Key")
    if kept.response is None:
        if moves.tx.now_ms < kept.created_at_ms + CLAIM_TTL_S * 1000:
            raise Problem(Kind.key_in_flight, retry_after_s=2)
        await store.forget_answer(moves.tx.conn, cart, key)
    return kept.response
