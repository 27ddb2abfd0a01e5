"""What the shop says of itself: who sells, and how orders reach their buyers. Changes are in the trail."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import msgspec
from sqlalchemy import Connection

from cart import audit
from cart.baskets import Cart
from cart.moves import Moves
from cart.ordering import addresses, seller, shipping, store
from cart.ordering.seller import Seller
from cart.ordering.shipping import Location, Method, Option
from cart.stockroom import Stockroom
from live.core.auth import Principal
from live.core.codec import convert, plain
from live.core.database import Database
from live.core.errors import Kind, Problem
from live.core.limits import SHIPPING_METHODS_MAX

_SELLER = "seller"


class Facts:
    """See the module. `places` gives the shop's own locations, which stay as they are until the transaction ends."""

    def __init__(self, database: Database, stockroom: Stockroom) -> None:
        self._database = database
        self._stockroom = stockroom
        self.places: Callable[[Connection], Mapping[str, Location]] = lambda _conn: {}

    async def methods(self) -> list[Method]:
        """All ways of shipping, in the shop's order."""
        return await self._database.read_sync(store.methods)

    async def save_methods(self, methods: Sequence[Method], principal: Principal) -> list[Method]:
        """Replace all ways of shipping; raises `Problem` invalid_field. Orders keep the words of theirs."""
        if len(methods) > SHIPPING_METHODS_MAX:
            raise Problem(Kind.invalid_field, f"At most {SHIPPING_METHODS_MAX} methods.", field="methods")
        if len({method.id for method in methods}) < len(methods):
            raise Problem(Kind.invalid_field, "Two methods have the same id.", field="methods")

        def save(moves: Moves) -> list[Method]:
            conn, now_ms = moves.tx.conn, moves.tx.now_ms
            places = self.places(conn)
            found = [shipping.check(shipping.placed(method, places)) for method in methods]
            before = {method.id: plain(method) for method in store.methods(conn)}
            store.save_methods(conn, found, now_ms)
            after = {method.id: plain(method) for method in found}
            change = audit.Change("shipping.changed", "shop:shipping", before, after)
            audit.write(conn, now_ms, audit.actor(principal), change)
            return found

        return await self._stockroom.change(save)

    async def options(self, cart: Cart, country: str | None, postcode: str | None) -> list[Option]:
        """How a cart can go, and for how much; `country` None: it is not known yet. Raises `Problem` invalid_field."""
        place = None if country is None else addresses.checked_country(country, "country")
        code = ""
        if place is not None and postcode:
            code = addresses.checked_postcode(postcode, place, "postcode")
        methods = await self.methods()
        return shipping.options(methods, cart.currency, cart.total_minor, cart.shipping_off, place, code)

    async def seller(self) -> Seller:
        """Who sells; an empty one until it was said."""
        return await self._database.read_sync(read_seller)

    async def save_seller(self, entry: Seller, principal: Principal) -> Seller:
        """Say who sells; raises `Problem` invalid_field."""
        checked = seller.check(entry)
        try:
            await asyncio.to_thread(ZoneInfo, checked.timezone)
        except (ZoneInfoNotFoundError, ValueError, OSError):
            raise Problem(Kind.invalid_field, "A time zone such as Europe/Berlin.", field="timezone") from None

        def save(moves: Moves) -> Seller:
            conn, now_ms = moves.tx.conn, moves.tx.now_ms
            before, after = store.fact(conn, _SELLER), plain(checked)
            store.save_fact(conn, _SELLER, after, now_ms)
            change = audit.Change("seller.changed", "shop:seller", before, after)
            audit.write(conn, now_ms, audit.actor(principal), change)
            return checked

        return await self._stockroom.change(save)


def read_seller(conn: Connection) -> Seller:
    """Who sells; an empty one until it was said."""
    found = store.fact(conn, _SELLER)
    return Seller() if found is None else convert(found, Seller)


class Methods(msgspec.Struct, forbid_unknown_fields=True):
    """All ways of shipping, in the order in which buyers see them."""

    methods: list[Method]
