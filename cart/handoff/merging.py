"""A guest who signs in: what the guest's cart holds goes over to the shopper's own.

Units change hands, not the shelf: the levels stay as they are but for what is let go. A hold goes over with its price,
its quote and its stamp. Two holds of one SKU become one as long as both have one price; of two prices the lower one is
kept, whose units the shopper would not get again, and the other's units are let go. So are those beyond what a cart or
a drop allows. What is let go is named with its reason on the shopper's screens, never lost silently.

What the guest is paying for is left alone: it belongs to the guest's order. Where the guest waits, the shopper does,
once.
"""

from collections.abc import Callable, Sequence

import msgspec
from msgspec.structs import replace

from cart import store as cart_store
from cart.baskets import cart_id
from cart.handoff import store
from cart.moves import Moves
from cart.pricing.service import shopper_of
from cart.stock import Hold, HoldState, Level, Movement
from cart.stockroom import Stockroom
from cart.store import Part
from cart.waiting import drop_store
from live.core.auth import Principal
from live.core.codec import plain
from live.core.database import Database
from live.core.limits import CART_LINES_MAX, QUANTITY_MAX


class LetGo(msgspec.Struct, frozen=True):
    """Units that did not go over. `why`: checkout_running, price_changed, mixed_currency, cart_full, quantity or
    drop_customer_limit."""

    show: str
    sku: str
    quantity: int
    why: str


class Merged(msgspec.Struct, frozen=True):
    """What became of a guest's carts: units by SKU that went over, and what was let go."""

    moved: dict[str, int]
    let_go: list[LetGo]


class Merging:
    """Merges carts; `heard` is told of every show in which one changed."""

    def __init__(self, database: Database, stockroom: Stockroom, heard: Callable[[str], None]) -> None:
        self._database = database
        self._stockroom = stockroom
        self._heard = heard

    async def merge(self, guest: str, customer: Principal) -> Merged:
        """Have a customer's carts take over what the carts of the subject `guest` hold, in one transaction.

        Again, it finds nothing to do. Raises `Problem` unavailable, overloaded; nothing has happened then.
        """
        if guest == customer.subject:
            return Merged({}, [])
        shows = await self._database.read_sync(lambda conn: store.shows_of(conn, guest))
        if not shows:
            return Merged({}, [])
        merged = await self._stockroom.change(lambda moves: merge(moves, guest, customer, shows))
        for show in shows:
            self._heard(show)
        return merged


def merge(moves: Moves, guest: str, customer: Principal, shows: Sequence[str]) -> Merged:
    """As `Merging.merge`, in these shows and in the transaction of `moves`."""
    conn = moves.tx.conn
    pairs = {show: (cart_id(show, guest), cart_id(show, customer.subject)) for show in sorted(shows)}
    carts = [cart for pair in pairs.values() for cart in pair]
    cart_store.lock_carts(conn, carts)
    found = cart_store.cart_holds(conn, carts)
    held = {hold.sku for holds in found.values() for hold in holds}
    levels = cart_store.lock_levels(conn, held | store.waited_for(conn, guest))
    found = cart_store.cart_holds(conn, carts)  # as they are now that nobody changes them
    over = [hold for holds in found.values() for hold in holds if _over(hold, moves.tx.now_ms)]
    moves.end_holds(over, HoldState.expired, Movement.expired)
    merged = Merged({}, [])
    for show, (theirs, own) in pairs.items():
        living = [[hold for hold in found[cart] if hold not in over] for cart in (theirs, own)]
        _Pair(moves, show, customer, levels, living[1], merged).take(living[0])
        for sku in sorted(store.pass_places(conn, show, guest, customer.subject, own)):
            moves.queue_moved(sku)
        _keep_coupons(moves, theirs, own, customer)
        _tell(moves, show, guest, customer, [one for one in merged.let_go if one.show == show])
    return merged


class _Pair:
    """Two carts of one show, both locked; `own` are the shopper's living holds, and `merged` is filled in."""

    def __init__(
        self, moves: Moves, show: str, customer: Principal, levels: dict[str, Level], own: list[Hold], merged: Merged
    ) -> None:
        self._moves = moves
        self._cart = cart_id(show, customer.subject)
        self._customer = customer
        self._levels = levels
        self._own = {hold.sku: hold for hold in own}
        self._merged = merged

    def take(self, guests: Sequence[Hold]) -> None:
        """Take over the guest's living holds, the oldest first."""
        for hold in guests:
            if hold.state is HoldState.claiming:
                continue
            mine = self._own.get(hold.sku)
            why = self._refusal(hold, mine)
            if not why and mine is not None and mine.price_minor > hold.price_minor:
                self._let_go(mine, mine.quantity, "price_changed")
                mine = None
            elif not why and mine is not None and mine.price_minor < hold.price_minor:
                why = "price_changed"
            if why:
                self._let_go(hold, hold.quantity, why)
            else:
                self._pass(hold, mine)

    def _refusal(self, hold: Hold, mine: Hold | None) -> str:
        """Why nothing of a hold can go over; "": it can."""
        if mine is not None and mine.state is HoldState.claiming:
            return "checkout_running"
        others = [one for sku, one in self._own.items() if sku != hold.sku]
        if any(one.currency != hold.currency for one in others) or (mine and mine.currency != hold.currency):
            return "mixed_currency"
        return "cart_full" if len(others) >= CART_LINES_MAX else ""

    def _pass(self, hold: Hold, mine: Hold | None) -> None:
        """Let units change hands, as many as there is room for: to the shopper's hold, or (None) with the guest's."""
        conn = self._moves.tx.conn
        quantity = hold.quantity if mine is None else min(hold.quantity, QUANTITY_MAX - mine.quantity)
        if quantity < hold.quantity:
            self._let_go(hold, hold.quantity - quantity, "quantity")
        allowed = self._count(hold, quantity)
        if allowed < quantity:
            self._let_go(replace(hold, quantity=quantity), quantity - allowed, "drop_customer_limit")
        quantity = allowed
        if quantity == 0:
            return
        if mine is None:
            store.pass_on(conn, hold.id, self._cart, self._customer.subject)
            held = replace(hold, cart=self._cart, viewer_id=self._customer.subject, quantity=quantity)
        else:
            cart_store.set_state(conn, [hold], HoldState.released)
            expires_at_ms = max(mine.expires_at_ms, hold.expires_at_ms)
            held = replace(mine, quantity=mine.quantity + quantity, expires_at_ms=expires_at_ms)
            cart_store.resize_holds(conn, [held])
        self._own[hold.sku] = held
        self._merged.moved[hold.sku] = self._merged.moved.get(hold.sku, 0) + quantity

    def _count(self, hold: Hold, quantity: int) -> int:
        """How many of so many units the SKU's drop lets the shopper have; it counts them as the shopper's from now on.

        What is let go of the others is given back as the guest's.
        """
        if not self._levels[hold.sku].drops:
            return quantity
        conn, subject = self._moves.tx.conn, self._customer.subject
        for drop in drop_store.of_skus(conn, [hold.sku]):
            if drop.show == hold.show:
                spare = drop.left_for(drop_store.shares(conn, [(drop.id, subject)]).get((drop.id, subject), 0))
                quantity = quantity if spare is None else min(quantity, spare)
                drop_store.count(conn, drop, {hold.viewer_id: -quantity, subject: quantity})
        return quantity

    def _let_go(self, hold: Hold, quantity: int, why: str) -> None:
        """Units of a hold are anybody's; the rest of it stays."""
        moves = self._moves
        if quantity == hold.quantity:
            moves.end_holds([hold], HoldState.released, Movement.released)
        else:
            part = Part(quantity=quantity, hold_id=hold.id, show=hold.show)
            assert moves.move(hold.product_id, hold.sku, Movement.released, [part]), "a level holds its holds' units"
            cart_store.resize_holds(moves.tx.conn, [replace(hold, quantity=hold.quantity - quantity)])
        if self._own.get(hold.sku) == hold:
            del self._own[hold.sku]
        self._merged.let_go.append(LetGo(hold.show, hold.sku, quantity, why))


def _over(hold: Hold, now_ms: int) -> bool:
    return hold.state is HoldState.active and hold.overdue(now_ms)


def _keep_coupons(moves: Moves, theirs: str, own: str, customer: Principal) -> None:
    """The guest's coupons are the shopper's, who has none; prices know from now on who that is."""
    register = moves.register
    register.meet({own: shopper_of(customer)})
    register.remember()
    coupons = store.coupons_of(moves.tx.conn, [theirs, own])
    if coupons.get(theirs):
        if not coupons.get(own):
            register.give_coupons(own, coupons[theirs])
        register.give_coupons(theirs, ())


def _tell(moves: Moves, show: str, guest: str, customer: Principal, let_go: Sequence[LetGo]) -> None:
    """Show both their carts as they are now."""
    owners = {subject: cart_id(show, subject) for subject in (guest, customer.subject)}
    found = cart_store.cart_holds(moves.tx.conn, list(owners.values()))
    moves.register.look(owners.values())
    for subject, cart in owners.items():
        data = {"cart": plain(moves.register.cart(cart, show, found[cart])), "reason": "merged"}
        if subject != guest and let_go:
            data["let_go"] = [{"sku": one.sku, "quantity": one.quantity, "why": one.why} for one in let_go]
        moves.tx.notice(show, subject, "cart.changed", data)
