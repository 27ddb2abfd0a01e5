"""Another price, or another number of units, of one SKU, as another system says it: mid-show, and on every screen."""

from typing import Any, Literal

import msgspec
from msgspec import UNSET, UnsetType

from cart import audit, catalogue, shelf
from cart import store as cart_store
from cart.answers import Answer, check_key, replay, request_hash
from cart.catalogue import Price
from cart.feeds.diff import units
from cart.feeds.report import StockCount
from cart.moves import Moves
from cart.stock import Movement
from cart.stockroom import Stockroom
from cart.store import Kept, Part
from live.core.auth import Principal
from live.core.errors import Kind, Problem
from live.pinning import Pinning


class Push(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is other now; what is left out stays. `list_price_minor` null: it is not reduced any more.

    `stock` counts the units that are there, those in carts and orders included (`on_hand`), or what can still be sold
    (`available`).
    """

    price_minor: Price | UnsetType = UNSET
    list_price_minor: Price | UnsetType | None = UNSET
    stock: StockCount | UnsetType = UNSET
    stock_means: Literal["on_hand", "available"] = "on_hand"


class Pushes:
    """See the module."""

    def __init__(self, stockroom: Stockroom, pinning: Pinning) -> None:
        self._stockroom = stockroom
        self._pinning = pinning

    async def push(self, sku: str, push: Push, principal: Principal, key: str | None = None) -> Answer:
        """Change one SKU: {sku, price_minor, list_price_minor, on_hand, allocated, held, available, short}.

        `short`: there are fewer units than carts and orders were promised; nothing is left to sell. The price is the
        catalogue's own, before any rule. Raises `Problem` unknown_sku, invalid_field, key_reused.
        """
        check_key(key)
        if not catalogue.is_id(sku):
            raise Problem(Kind.unknown_sku, field="sku")
        scope = f"push:{sku}:{principal.subject}"[:193]
        hash_ = request_hash(("push", sku, msgspec.to_builtins(push)))

        def work(moves: Moves) -> Answer:
            conn = moves.tx.conn
            cart_store.lock_carts(conn, [scope])
            shelf.lock_catalogue(conn)
            found = shelf.lock_offers(conn, [sku], moves.register.standard_bp)
            if sku not in found:
                raise Problem(Kind.unknown_sku, field="sku")
            if key is not None:
                kept = cart_store.kept_answers(conn, [(scope, key)]).get((scope, key))
                if (known := replay(kept, hash_, moves.tx.now_ms)) is not None:
                    return Answer(known, replayed=True)
            offer, level = found[sku]
            price_minor = offer.list_minor if push.price_minor is UNSET else push.price_minor
            struck_minor = offer.struck_minor if push.list_price_minor is UNSET else push.list_price_minor
            if struck_minor is not None and struck_minor <= price_minor:
                if push.list_price_minor is not UNSET:
                    detail = "The list price must be higher than the price."
                    raise Problem(Kind.invalid_field, detail, field="list_price_minor")
                struck_minor = None  # of another price
            if (price_minor, struck_minor) != (offer.list_minor, offer.struck_minor):
                shelf.save_variant(conn, sku, {"price_minor": price_minor, "list_price_minor": struck_minor})
                self._pinning.changed(moves.tx, conn, [offer.product_id])
                moves.forget_prices()
            moves.actor = audit.actor(principal)
            short = False
            if push.stock is not UNSET:
                promised = level.allocated + level.held if push.stock_means == "on_hand" else 0
                short = push.stock < promised
                more = max(push.stock, promised) - units(level, push.stock_means)
                if more:
                    moved = moves.move(offer.product_id, sku, Movement.counted, [Part(quantity=more)])
                    assert moved is not None, "what is promised stays"
                    level = moved
            names = ("on_hand", "allocated", "held", "available")
            body: dict[str, Any] = {"sku": sku, "price_minor": price_minor, "list_price_minor": struck_minor}
            body |= {name: getattr(level, name) for name in names} | {"short": short}
            if key is not None:
                cart_store.keep_answers(conn, {(scope, key): Kept(hash_, body, moves.tx.now_ms)})
            return Answer(body)

        return await self._stockroom.change(work)
