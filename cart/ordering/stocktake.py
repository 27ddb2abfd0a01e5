"""Counting by hand: somebody found more or fewer units than the books say."""

from typing import Any

from cart import audit, catalogue, shelf
from cart import store as cart_store
from cart.answers import Answer, check_key, replay, request_hash
from cart.moves import Moves
from cart.stock import Movement
from cart.stockroom import Stockroom
from cart.store import Kept, Part
from live.core.auth import Principal
from live.core.errors import Kind, Problem
from live.core.limits import STOCK_MAX


class Stocktake:
    """See the module."""

    def __init__(self, stockroom: Stockroom) -> None:
        self._stockroom = stockroom

    async def adjust(self, sku: str, change: int, principal: Principal, key: str | None = None) -> Answer:
        """Add units to a SKU (`change` negative: take some away): {sku, on_hand, allocated, held, available}.

        Raises `Problem` unknown_sku, invalid_quantity, and sold_out when carts and orders have what would be gone.
        """
        check_key(key)
        if not 0 < abs(change) <= STOCK_MAX:
            raise Problem(Kind.invalid_quantity, f"Between -{STOCK_MAX} and {STOCK_MAX}, and not 0.", field="change")
        if not catalogue.is_id(sku):
            raise Problem(Kind.unknown_sku, field="sku")
        scope, hash_ = f"stock:{sku}:{principal.subject}"[:193], request_hash(("adjust", sku, change))

        def work(moves: Moves) -> Answer:
            conn = moves.tx.conn
            cart_store.lock_carts(conn, [scope])  # requests with one key wait for each other
            found = shelf.lock_offers(conn, [sku], moves.register.standard_bp)
            if sku not in found:
                raise Problem(Kind.unknown_sku, field="sku")
            if key is not None:
                kept = cart_store.kept_answers(conn, [(scope, key)]).get((scope, key))
                if (known := replay(kept, hash_, moves.tx.now_ms)) is not None:
                    return Answer(known, replayed=True)
            offer, level = found[sku]
            if not 0 <= level.on_hand + change <= STOCK_MAX:
                raise Problem(Kind.invalid_quantity, f"There would be {level.on_hand + change}.", field="change")
            moves.actor = audit.actor(principal)
            after = moves.move(offer.product_id, sku, Movement.counted, [Part(quantity=change)])
            if after is None:
                extra = {"sku": sku, "available": level.available}
                raise Problem(Kind.sold_out, "Carts and orders have these units.", field="change", extra=extra)
            body: dict[str, Any] = {
                "sku": sku,
                "on_hand": after.on_hand,
                "allocated": after.allocated,
                "held": after.held,
                "available": after.available,
            }
            if key is not None:
                cart_store.keep_answers(conn, {(scope, key): Kept(hash_, body, moves.tx.now_ms)})
            return Answer(body)

        return await self._stockroom.change(work)
