"""Moves units at any location, within one transaction. Those of `main` move as all that is sold: the screens hear of
it, and whoever waits is served."""

from collections.abc import Mapping, Sequence

from cart import audit, shelf
from cart import store as cart_store
from cart.moves import Moves
from cart.places import store
from cart.places.locations import Transfer
from cart.places.store import Pair
from cart.stock import MAIN, Level, Movement
from cart.store import Part
from live.core.errors import Kind, Problem
from live.core.limits import STOCK_MAX


def check_open(moves: Moves, named: Sequence[tuple[str, str]]) -> None:
    """Nobody closes these locations (field, id) meanwhile; raises `Problem` unknown_location, location_closed."""
    found = store.share(moves.tx.conn, [id_ for _, id_ in named])
    for field, id_ in named:
        if id_ not in found:
            raise Problem(Kind.unknown_location, field=field)
        if not found[id_].active:
            raise Problem(Kind.location_closed, field=field)


def set_on_hand(moves: Moves, counts: Mapping[Pair, int], reason: str = "") -> dict[Pair, Level]:
    """Say how many units there are now, by (SKU, location); the levels afterwards. `moves.actor` has counted them.

    What carts and orders have stays: where a count is lower, the level keeps so many, and nothing is left to sell.
    All pairs of a transaction at once, and before it locks any level, or two of them may wait for each other.
    Raises `Problem` unknown_sku, unknown_location, location_closed, invalid_quantity.
    """
    for count in counts.values():
        if not 0 <= count <= STOCK_MAX:
            raise Problem(Kind.invalid_quantity, f"Between 0 and {STOCK_MAX}.", field="on_hand")
    check_open(moves, [("location", at) for _, at in sorted(counts)])
    owners = known(moves, {sku: "sku" for sku, _ in counts})
    levels = store.lock_levels(moves.tx.conn, counts)
    for pair, level in sorted(levels.items()):
        more = max(counts[pair], level.allocated + level.held) - level.on_hand
        if more:
            levels[pair] = recount(moves, owners[level.sku], level, more, reason)
    return levels


def known(moves: Moves, fields: Mapping[str, str]) -> dict[str, str]:
    """SKU → product of these (SKU → the field that names it); raises `Problem` unknown_sku."""
    owners = shelf.owners(moves.tx.conn, list(fields))
    for sku, field in fields.items():
        if sku not in owners:
            raise Problem(Kind.unknown_sku, field=field, extra={"sku": sku})
    return owners


def recount(moves: Moves, product_id: str, level: Level, more: int, reason: str) -> Level:
    """There are `more` units (negative: fewer) at a locked level than the books said; the level afterwards.

    Raises `Problem` stock_short when carts and orders have what would be gone, invalid_quantity for too many.
    """
    sku, at, conn = level.sku, level.location, moves.tx.conn
    if level.on_hand + more > STOCK_MAX:
        raise Problem(Kind.invalid_quantity, f"There would be {level.on_hand + more}.", field="change")
    after = _move(moves, product_id, level, Movement.counted, more)
    if after is None:
        raise short(level, "change")
    store.write(conn, moves.tx.now_ms, [(sku, at, Movement.counted, more)], reason)
    said = {"on_hand": after.on_hand, "location": at} | ({"reason": reason} if reason else {})
    change = audit.Change("stock.counted", f"sku:{sku}", {"on_hand": level.on_hand}, said)
    audit.write(conn, moves.tx.now_ms, moves.actor, change)
    return after


def transfer(moves: Moves, wanted: Transfer, fields: Mapping[str, str]) -> None:
    """Units leave one location and are at the other in the same moment; raises `Problem` and moves nothing.

    `fields`: SKU → the member that names its units. Raises unknown_location, location_closed, unknown_sku, stock_short
    for units that are not there, or that carts, orders and those who wait have, invalid_quantity for too many.
    """
    conn, now_ms = moves.tx.conn, moves.tx.now_ms
    source, to = wanted.source, wanted.to
    check_open(moves, [("from", source), ("to", to)])
    owners = known(moves, {line.sku: f"{fields[line.sku]}.sku" for line in wanted.lines})
    levels = store.lock_levels(conn, [(line.sku, at) for line in wanted.lines for at in (source, to)])
    changes, moved = [], []
    for line in wanted.lines:
        sku, field, product_id = line.sku, f"{fields[line.sku]}.quantity", owners[line.sku]
        here, there = levels[sku, source], levels[sku, to]
        if source == MAIN:
            moves.line_up(here)
            here = cart_store.levels(conn, [sku])[sku] if here.waiting else here
            if sku in moves.reserved:
                raise short(here, field, "Those who wait come first; try again.", retry_after_s=1)
        if there.on_hand + line.quantity > STOCK_MAX:
            raise Problem(Kind.invalid_quantity, f"There would be {there.on_hand + line.quantity}.", field=field)
        out = _move(moves, product_id, here, Movement.transferred_out, line.quantity)
        if out is None:
            raise short(here, field)
        arrived = _move(moves, product_id, there, Movement.transferred_in, line.quantity)
        assert arrived is not None, "there is always room"
        moved += [(sku, source, Movement.transferred_out, line.quantity)]
        moved += [(sku, to, Movement.transferred_in, line.quantity)]
        before = {"on_hand": {source: here.on_hand, to: there.on_hand}}
        after = {"on_hand": {source: out.on_hand, to: arrived.on_hand}, "transfer": wanted.id}
        after |= {"reason": wanted.reason} if wanted.reason else {}
        changes.append(audit.Change("stock.transferred", f"sku:{sku}", before, after))
    store.write(conn, now_ms, moved, wanted.reason, wanted.id)
    audit.write(conn, now_ms, moves.actor, *changes)


def short(level: Level, field: str, detail: str | None = None, *, retry_after_s: int | None = None) -> Problem:
    """The refusal of who wants more units of a level than are free."""
    extra = {"sku": level.sku, "location": level.location, "available": level.available}
    why = detail or f"Of {level.on_hand} units, {level.allocated + level.held} are in carts and orders."
    return Problem(Kind.stock_short, why, field=field, extra=extra, retry_after_s=retry_after_s)


def _move(moves: Moves, product_id: str, level: Level, kind: Movement, quantity: int) -> Level | None:
    if level.location == MAIN:
        return moves.move(product_id, level.sku, kind, [Part(quantity)], written=True)
    return cart_store.change_level(moves.tx.conn, level.sku, kind, quantity, level.location)
