"""What a host does with drops."""

from typing import Any

from msgspec import UNSET, Struct, UnsetType
from msgspec.structs import asdict, replace
from sqlalchemy import Connection

from cart import catalogue, shelf
from cart import store as cart_store
from cart.answers import Answer, Effect, check_key, once
from cart.moves import Moves
from cart.stockroom import Stockroom
from cart.waiting import drop_store as store
from cart.waiting.drops import Drop, StaffDropView, check_plan, staff_view, view
from live.core.auth import Principal
from live.core.codec import plain
from live.core.database import Database
from live.core.errors import Kind, Problem
from live.core.ids import uuid7
from live.core.limits import DROPS_MAX
from live.service import Shows


class NewDrop(Struct, forbid_unknown_fields=True):
    """A drop to be. None: open until it is cancelled; it sells what there is; a customer takes what a cart holds."""

    sku: str
    opens_at_ms: int
    closes_at_ms: int | None = None
    total_limit: int | None = None
    per_customer_limit: int | None = None


class DropChange(Struct, forbid_unknown_fields=True):
    """What is another way from now on; what is left out stays, and null takes a limit away."""

    opens_at_ms: int | UnsetType = UNSET
    closes_at_ms: int | UnsetType | None = UNSET
    total_limit: int | UnsetType | None = UNSET
    per_customer_limit: int | UnsetType | None = UNSET


class Planning:
    """See the module. Screens hear of each change by the event `drop.changed`."""

    def __init__(self, database: Database, shows: Shows, stockroom: Stockroom) -> None:
        self._database = database
        self._shows = shows
        self._stockroom = stockroom

    async def drops(self, show: str) -> list[StaffDropView]:
        """The drops of a show that count, in the order of their making; raises `Problem` unknown_show."""

        def read(conn: Connection) -> list[StaffDropView]:
            self._shows.on_screen(conn, show)
            return [staff_view(drop, available) for drop, available in store.of_show(conn, show)]

        return await self._database.read_sync(read)

    async def create(self, show: str, by: Principal, new: NewDrop, *, key: str | None = None) -> Answer:
        """A drop, in place of one that is over: {drop}.

        Raises `Problem` unknown_show, unknown_sku, invalid_field, drop_exists, key_reused.
        """

        def effect(moves: Moves, _scope: str) -> dict[str, Any]:
            conn, now_ms = moves.tx.conn, moves.tx.now_ms
            found = shelf.lock_offers(conn, [new.sku], 0) if catalogue.is_id(new.sku) else {}
            if new.sku not in found:
                raise Problem(Kind.unknown_sku, field="sku")
            offer, level = found[new.sku]
            drop = Drop(
                id=uuid7(now_ms), show=show, product_id=offer.product_id, taken=0, created_at_ms=now_ms, **asdict(new)
            )
            check_plan(drop, now_ms)
            of_show = [one for one, _ in store.of_show(conn, show)]
            before = next((one for one in of_show if one.sku == new.sku), None)
            if before is not None and not before.over(now_ms):
                raise Problem(Kind.drop_exists, field="sku", extra={"drop": before.id})
            if before is not None:
                store.end(conn, before, now_ms)
            elif len(of_show) >= DROPS_MAX:
                raise Problem(Kind.invalid_field, f"A show has {DROPS_MAX} drops at most.", field="sku")
            return self._told(moves, store.save(conn, drop, by.subject), level.available)

        return await self._once(show, by, ("drop", plain(new)), key, effect)

    async def change(self, show: str, by: Principal, id_: str, to: DropChange, *, key: str | None = None) -> Answer:
        """Change a drop that has not opened: {drop}. Raises `Problem` as `create`, and unknown_drop, drop_open."""
        values = {name: value for name, value in asdict(to).items() if value is not UNSET}

        def effect(moves: Moves, _scope: str) -> dict[str, Any]:
            drop, available = _locked(moves, show, id_)
            if drop.opens_at_ms <= moves.tx.now_ms:
                raise Problem(Kind.drop_open, field="drop", extra={"opens_at_ms": drop.opens_at_ms})
            after = replace(drop, **values)
            check_plan(after, moves.tx.now_ms)
            store.change(moves.tx.conn, after)
            return self._told(moves, after, available)

        return await self._once(show, by, ("drop", id_, values), key, effect)

    async def cancel(self, show: str, by: Principal, id_: str, *, key: str | None = None) -> Answer:
        """From now on the SKU sells as usual: {drop}, as it was. Raises `Problem` unknown_show, unknown_drop."""

        def effect(moves: Moves, _scope: str) -> dict[str, Any]:
            drop, available = _locked(moves, show, id_)
            store.end(moves.tx.conn, drop, moves.tx.now_ms)
            moves.tx.event(show, "drop.changed", {"sku": drop.sku, "drop": None})
            return {"drop": plain(staff_view(drop, available))}

        return await self._once(show, by, ("no drop", id_), key, effect)

    async def _once(self, show: str, by: Principal, request: tuple[Any, ...], key: str | None, do: Effect) -> Answer:
        check_key(key)
        return await self._stockroom.change(lambda moves: once(moves, show, by, request, key, do))

    def _told(self, moves: Moves, drop: Drop, available: int) -> dict[str, Any]:
        moves.tx.event(drop.show, "drop.changed", {"sku": drop.sku, "drop": plain(view(drop, available))})
        return {"drop": plain(staff_view(drop, available))}


def on_screen(conn: Connection, show: str) -> dict[str, Any]:
    """What a show's snapshot says of drops."""
    return {"drops": [plain(view(drop, available)) for drop, available in store.of_show(conn, show)]}


def _locked(moves: Moves, show: str, id_: str) -> tuple[Drop, int]:
    """A show's drop, with the units that are available, locked; raises `Problem` unknown_drop."""
    conn = moves.tx.conn
    drop = store.find(conn, id_) if catalogue.is_id(id_) else None
    if drop is None or drop.show != show:
        raise Problem(Kind.unknown_drop, field="drop")
    level = cart_store.lock_levels(conn, [drop.sku])[drop.sku]
    drop = store.find(conn, id_)  # as it is now that nobody changes it
    if drop is None:
        raise Problem(Kind.unknown_drop, field="drop")
    return drop, level.available
