"""What the staff and services do with locations and the stock there; every verb is one transaction.

Shoppers buy from `main`. Stock elsewhere is counted, and sold once it has come there.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec
from sqlalchemy import Connection

from cart import audit, catalogue
from cart import store as cart_store
from cart.answers import Answer, check_key, replay, request_hash
from cart.moves import Moves
from cart.ordering import shipping
from cart.ordering import store as ordering_store
from cart.ordering.facts import Facts
from cart.places import locations, moving, store
from cart.places.locations import LocationChange, StockLocation, Transfer, TransferLine
from cart.places.moving import set_on_hand
from cart.stock import Level
from cart.stockroom import Cost, Stockroom
from cart.store import Kept
from live.core.auth import Principal
from live.core.codec import plain
from live.core.database import Database
from live.core.errors import Kind, Problem
from live.core.ids import uuid7
from live.core.limits import LOCATION_STOCK_PAGE, LOCATIONS_MAX, STOCK_MAX

__all__ = ["Places", "set_on_hand"]

_HERE_LINES_MAX = 4  # of a transfer that the loop does itself

Work = Callable[[Moves], dict[str, Any]]


class Places:
    """See the module. `facts` learns what the locations say where orders are picked up."""

    def __init__(self, database: Database, stockroom: Stockroom, facts: Facts) -> None:
        self._database = database
        self._stockroom = stockroom
        self._cost = Cost(_HERE_LINES_MAX)
        facts.places = pickups

    # --- locations ----------------------------------------------------------------------------------------------

    async def locations(self) -> list[StockLocation]:
        """All of them, by id."""
        return await self._database.read_sync(store.locations)

    async def location(self, id_: str) -> StockLocation:
        """One of them; raises `Problem` unknown_location."""
        found = await self._database.read_sync(lambda conn: store.find(conn, _id(id_)))
        if found is None:
            raise Problem(Kind.unknown_location, field="location")
        return found

    async def create(self, new: StockLocation, principal: Principal, key: str | None = None) -> Answer:
        """A new location: {location}.

        Raises `Problem` invalid_field, location_exists, too_many_locations, key_reused.
        """
        checked = locations.check(new)

        def work(moves: Moves) -> dict[str, Any]:
            conn = moves.tx.conn
            store.lock_all(conn)
            if store.find(conn, checked.id) is not None:
                raise Problem(Kind.location_exists, field="id")
            if store.count(conn) >= LOCATIONS_MAX:
                raise Problem(Kind.too_many_locations, f"At most {LOCATIONS_MAX}.")
            store.add(conn, checked, moves.tx.now_ms)
            _trail(moves, principal, "location.created", None, checked)
            return {"location": plain(checked)}

        return await self._once(principal, ("location", plain(checked)), key, work)

    async def change(self, id_: str, change: LocationChange, principal: Principal, key: str | None = None) -> Answer:
        """Change a location, also where orders are picked up: {location}. Orders keep the words of theirs.

        Raises `Problem` unknown_location, invalid_field, location_in_use, key_reused.
        """
        _id(id_)

        def work(moves: Moves) -> dict[str, Any]:
            conn = moves.tx.conn
            store.lock_all(conn)
            before = store.lock(conn, id_)
            if before is None:
                raise Problem(Kind.unknown_location, field="location")
            after = locations.changed(before, change)
            if before.active and not after.active:
                _check_empty(conn, id_)
            if after != before:
                store.save(conn, after, moves.tx.now_ms)
                _reword(conn, after, moves.tx.now_ms)
                _trail(moves, principal, "location.changed", before, after)
            return {"location": plain(after)}

        return await self._once(principal, ("location change", id_, plain(change)), key, work)

    # --- stock --------------------------------------------------------------------------------------------------

    async def levels(self, sku: str) -> list[Level]:
        """What there is of a SKU, by location; raises `Problem` unknown_sku."""
        found = await self._database.read_sync(lambda conn: store.levels(conn, sku) if catalogue.is_id(sku) else [])
        if not found:
            raise Problem(Kind.unknown_sku, field="sku")
        return found

    async def stock(self, id_: str, after: str = "") -> list[Level]:
        """A page of what a location has, by SKU. `after`: the last SKU of the page before ("": from the first on).

        Raises `Problem` unknown_location, invalid_field.
        """
        if after and not catalogue.is_id(after):
            raise Problem(Kind.invalid_field, "The `next` of the page before.", field="after")

        def read(conn: Connection) -> list[Level]:
            if store.find(conn, _id(id_)) is None:
                raise Problem(Kind.unknown_location, field="location")
            return store.page(conn, id_, after, LOCATION_STOCK_PAGE)

        return await self._database.read_sync(read)

    async def adjust(
        self, at: str, sku: str, change: int, principal: Principal, *, reason: str = "", key: str | None = None
    ) -> Answer:
        """Somebody found more units at a location (`change` negative: fewer): {sku, location, on_hand, …, available}.

        Raises `Problem` unknown_location, location_closed, unknown_sku, invalid_quantity, invalid_field, key_reused,
        and stock_short when carts and orders have what would be gone.
        """
        if not 0 < abs(change) <= STOCK_MAX:
            raise Problem(Kind.invalid_quantity, f"Between -{STOCK_MAX} and {STOCK_MAX}, and not 0.", field="change")
        if not catalogue.is_id(sku):
            raise Problem(Kind.unknown_sku, field="sku")
        _id(at)
        why = locations.reason(reason)

        def work(moves: Moves) -> dict[str, Any]:
            moves.actor = audit.actor(principal)
            moving.check_open(moves, [("location", at)])
            owners = moving.known(moves, {sku: "sku"})
            level = store.lock_levels(moves.tx.conn, [(sku, at)])[sku, at]
            return view(moving.recount(moves, owners[sku], level, change, why))

        return await self._once(principal, ("adjust", at, sku, change, why), key, work)

    async def transfer(
        self,
        source: str,
        to: str,
        lines: Sequence[TransferLine],
        principal: Principal,
        *,
        reason: str = "",
        key: str | None = None,
    ) -> Answer:
        """Move units from one location to another, all of them or none: {transfer}.

        Raises `Problem` unknown_location, location_closed, unknown_sku, invalid_quantity, invalid_field, key_reused,
        and stock_short for units that are not there, or that carts and orders have.
        """
        _id(source, "from"), _id(to, "to")
        if source == to:
            raise Problem(Kind.invalid_field, "Another location than `from`.", field="to")
        whole, why = locations.merged(lines), locations.reason(reason)
        fields = {line.sku: f"lines[{place}]" for place, line in reversed(list(enumerate(lines)))}

        def work(moves: Moves) -> dict[str, Any]:
            moves.actor = audit.actor(principal)
            now_ms = moves.tx.now_ms
            made = Transfer(id=uuid7(now_ms), source=source, to=to, at_ms=now_ms, reason=why, lines=whole)
            moving.transfer(moves, made, fields)
            return {"transfer": plain(made)}

        return await self._once(principal, ("transfer", source, to, plain(whole), why), key, work, len(whole))

    async def find_transfer(self, id_: str) -> Transfer:
        """What went where; raises `Problem` unknown_transfer."""
        found = await self._database.read_sync(lambda conn: store.transfer(conn, id_) if catalogue.is_id(id_) else None)
        if found is None:
            raise Problem(Kind.unknown_transfer, field="transfer")
        return found

    async def _once(
        self, principal: Principal, request: tuple[Any, ...], key: str | None, work: Work, size: int = 1
    ) -> Answer:
        """Do `work`, of so many SKUs, or answer as before under `key` (None: no key)."""
        check_key(key)
        scope, hash_ = f"places:{principal.subject}", request_hash(request)

        def body(moves: Moves) -> Answer:
            conn, now_ms = moves.tx.conn, moves.tx.now_ms
            cart_store.lock_carts(conn, [scope])  # requests with one key wait for each other
            if key is not None:
                kept = cart_store.kept_answers(conn, [(scope, key)]).get((scope, key))
                if (known := replay(kept, hash_, now_ms)) is not None:
                    return Answer(known, replayed=True)
            answer = work(moves)
            if key is not None:
                cart_store.keep_answers(conn, {(scope, key): Kept(hash_, answer, now_ms)})
            return Answer(answer)

        # In a transaction of its own: what has many SKUs must not hold up the changes of carts that would share it.
        answer, told = await self._stockroom.begin(body, size, self._cost)
        await told
        return answer


def pickups(conn: Connection) -> Mapping[str, shipping.Location]:
    """The open locations, as those where orders are picked up; they stay as they are until the transaction ends."""
    store.lock_all(conn)
    return {one.id: locations.as_pickup(one) for one in store.locations(conn) if one.active}


def view(level: Level) -> dict[str, Any]:
    """A level, plain, without what is only known of `main`."""
    names = ("sku", "location", "on_hand", "allocated", "held", "available")
    return {name: getattr(level, name) for name in names}


def _check_empty(conn: Connection, id_: str) -> None:
    """Raises `Problem` location_in_use."""
    if units := store.units(conn, id_):
        detail = "Move its stock elsewhere first."
        raise Problem(Kind.location_in_use, detail, field="active", extra={"units": units})
    for method in ordering_store.methods(conn):
        if any(one.place and one.id == id_ for one in method.locations):
            detail = f"Orders are picked up there: {method.id}."
            raise Problem(Kind.location_in_use, detail, field="active", extra={"method": method.id})


def _reword(conn: Connection, after: StockLocation, now_ms: int) -> None:
    """Say the new words where orders are picked up; raises `Problem` invalid_field for an address that is not one."""
    before = ordering_store.methods(conn)
    words = locations.as_pickup(after)
    changed = []
    for method in before:
        places = tuple(words if one.place and one.id == after.id else one for one in method.locations)
        changed.append(method if places == method.locations else msgspec.structs.replace(method, locations=places))
    if changed != before:
        ordering_store.save_methods(conn, [shipping.check(method) for method in changed], now_ms)


def _trail(moves: Moves, by: Principal, action: str, before: StockLocation | None, after: StockLocation) -> None:
    change = audit.Change(action, f"location:{after.id}", None if before is None else plain(before), plain(after))
    audit.write(moves.tx.conn, moves.tx.now_ms, audit.actor(by), change)


def _id(text: str, field: str = "location") -> str:
    """`text`, if it can be an id at all: what cannot never reaches SQL. Raises `Problem` unknown_location."""
    if not catalogue.is_id(text):
        raise Problem(Kind.unknown_location, field=field)
    return text
