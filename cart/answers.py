"""Commands that are done once: an Idempotency-Key is stored with its answer in the transaction of the effect.

The same key with the same request is answered alike; with another request it is refused. The viewer's cart is locked
meanwhile, so two requests with one key wait for each other. A refusal changes nothing and is not kept.
"""

from collections.abc import Callable
from typing import Any

import msgspec

from cart import store
from cart.baskets import cart_id
from cart.moves import Moves
from cart.store import Kept
from live import store as shows_store
from live.core.auth import Principal
from live.core.codec import digest
from live.core.errors import Kind, Problem
from live.core.limits import CLAIM_TTL_S, IDEMPOTENCY_KEY_CHARS_MAX
from live.shows import is_show_id

Effect = Callable[[Moves, str], dict[str, Any] | None]


class Answer(msgspec.Struct, frozen=True):
    """What a command is answered. `replayed`: it had been done before, under the same key."""

    body: dict[str, Any]
    replayed: bool = False


def request_hash(request: tuple[Any, ...]) -> str:
    """What tells two requests apart; raises `Problem` invalid_field for what is no text."""
    try:
        return digest(*request)
    except UnicodeEncodeError:  # half a surrogate
        raise Problem(Kind.invalid_field, "A text must be Unicode.") from None
    except OverflowError:  # beyond 64 bits
        raise Problem(Kind.invalid_field, "A number is too large.") from None


def check_key(key: str | None) -> None:
    """Raises `Problem` invalid_field for a key that no table should hold."""
    if key is not None and not (0 < len(key) <= IDEMPOTENCY_KEY_CHARS_MAX and key.isprintable()):
        detail = f"1 to {IDEMPOTENCY_KEY_CHARS_MAX} printable characters."
        raise Problem(Kind.invalid_field, detail, field="Idempotency-Key")


def once(
    moves: Moves, show: str, principal: Principal, request: tuple[Any, ...], key: str | None, effect: Effect
) -> Answer:
    """Do `effect(moves, cart)` with the viewer's cart locked, or answer as before under `key` (None: no key).

    `effect` gives the answer; None: it comes later, and the key is in flight until then, CLAIM_TTL_S at most.
    Raises `Problem` unknown_show, key_reused, key_in_flight, and what `effect` raises.
    """
    tx = moves.tx
    cart = cart_id(show, principal.subject)
    # An id that cannot be one never reaches SQL, where a NUL or half a surrogate would be our error.
    if not is_show_id(show) or not shows_store.on_screen(tx.conn, [show]):
        raise Problem(Kind.unknown_show, field="show")
    store.lock_carts(tx.conn, [cart])
    hash_ = "" if key is None else request_hash(request)
    if key is not None:
        kept = store.kept_answers(tx.conn, [(cart, key)]).get((cart, key))
        if (body := replay(kept, hash_, tx.now_ms)) is not None:
            return Answer(body=body, replayed=True)
        if kept is not None:
            store.forget_answer(tx.conn, cart, key)
    body = effect(moves, cart)
    if key is not None:
        store.keep_answers(tx.conn, {(cart, key): Kept(hash_, body, tx.now_ms)})
    return Answer(body=body or {})


def replay(kept: Kept | None, hash_: str, now_ms: int) -> dict[str, Any] | None:
    """The answer that was kept for this request; None: there is none, or whoever worked on it is dead.

    Raises `Problem` key_reused, key_in_flight.
    """
    if kept is None:
        return None
    if kept.request_hash != hash_:
        raise Problem(Kind.key_reused, field="Idempotency-Key")
    if kept.response is None and now_ms < kept.created_at_ms + CLAIM_TTL_S * 1000:
        raise Problem(Kind.key_in_flight, retry_after_s=2)
    return kept.response
