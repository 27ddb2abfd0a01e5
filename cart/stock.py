"""How many units there are, who has them, and what may happen to a hold.

A *level* counts the units of one SKU at one place: `on_hand` are there, `allocated` of them belong to orders, `held`
to carts. What is left is `available`, and it never falls below zero: the database checks it as well.

Levels change by *movements* only, each a row that is never edited. A *hold* is units in a cart, until it expires.

States of a hold:

    a  active → claiming    check-out began while the hold was alive
    b  active → released    the buyer took it out of the cart
    c  active → expired     its time ran out
    d  claiming → claimed   paid: the units belong to an order
    e  claiming → active    not paid, and its time has not run out
    f  claiming → expired   not paid, and its time has run out meanwhile

An expired hold never comes back: its units may be somebody else's by then.
"""

from enum import Enum

import msgspec
from msgspec.structs import replace

from live.core.errors import Kind, Problem
from live.core.limits import HOLD_EXTENSIONS_MAX, QUANTITY_MAX

MAIN = "main"  # the location that shoppers buy from


class HoldState(Enum):
    active = "active"
    claiming = "claiming"
    claimed = "claimed"
    released = "released"
    expired = "expired"


TRANSITIONS: dict[HoldState, frozenset[HoldState]] = {
    HoldState.active: frozenset({HoldState.claiming, HoldState.released, HoldState.expired}),
    HoldState.claiming: frozenset({HoldState.claimed, HoldState.active, HoldState.expired}),
    HoldState.claimed: frozenset(),
    HoldState.released: frozenset(),
    HoldState.expired: frozenset(),
}
LIVE = frozenset({HoldState.active, HoldState.claiming})  # these hold units


class Movement(Enum):
    """Why a level changed; the value is stored."""

    counted = "counted"  # an import or a stock-take found more or fewer units
    held = "held"  # into a cart
    released = "released"  # out of a cart by the buyer
    expired = "expired"  # out of a cart by time
    claimed = "claimed"  # from a cart to an order
    reserved = "reserved"  # to an order without a hold: its payment came when the cart had lapsed
    cancelled = "cancelled"  # from an order back to the shelf
    shipped = "shipped"  # from an order to its buyer
    returned = "returned"  # from a buyer back to the shelf
    transferred_out = "transferred_out"  # to another location ...
    transferred_in = "transferred_in"  # ... where they are at once


# What one unit of a movement does to (on_hand, allocated, held).
EFFECTS: dict[Movement, tuple[int, int, int]] = {
    Movement.counted: (1, 0, 0),
    Movement.held: (0, 0, 1),
    Movement.released: (0, 0, -1),
    Movement.expired: (0, 0, -1),
    Movement.claimed: (0, 1, -1),
    Movement.reserved: (0, 1, 0),
    Movement.cancelled: (0, -1, 0),
    Movement.shipped: (-1, -1, 0),
    Movement.returned: (1, 0, 0),
    Movement.transferred_out: (-1, 0, 0),
    Movement.transferred_in: (1, 0, 0),
}


class Level(msgspec.Struct, frozen=True):
    """The units of one SKU at one location, with how many places of the waitlist wait for them, and its drops."""

    sku: str
    location: str
    on_hand: int
    allocated: int
    held: int
    waiting: int = 0
    drops: int = 0

    @property
    def available(self) -> int:
        """What can still be sold."""
        return self.on_hand - self.allocated - self.held

    def after(self, movement: Movement, quantity: int) -> "Level | None":
        """The level after `quantity` units moved; None when there are not enough units for that.

        `quantity` is positive, except that `counted` may be negative. The guarded UPDATE of the store says the same.
        """
        assert quantity > 0 or movement is Movement.counted, "only a count goes both ways"
        on_hand, allocated, held = (sign * quantity for sign in EFFECTS[movement])
        level = replace(
            self, on_hand=self.on_hand + on_hand, allocated=self.allocated + allocated, held=self.held + held
        )
        return level if min(level.available, level.allocated, level.held) >= 0 else None


class Hold(msgspec.Struct, frozen=True):
    """Units in a cart at the price of the moment they were taken.

    `expires_at_ms` and `claim_until_ms` (None unless claiming) are Unix milliseconds of the database's clock. `show`,
    `pin_id` (None: nothing of this product was pinned) and `at_ms` (the show's clock) say what sold it. `quote` is the
    price's, as JSON (None: of before there were any).
    """

    id: str
    cart: str
    show: str
    viewer_id: str
    sku: str
    location: str
    quantity: int
    price_minor: int
    currency: str
    state: HoldState
    expires_at_ms: int
    claim_until_ms: int | None
    order_id: str | None
    pin_id: str | None
    at_ms: int
    product_id: str
    title: str
    variant: str
    picture: str
    quote: str | None = None
    categories: tuple[str, ...] = ()

    @property
    def held_since_ms(self) -> int:
        """When the hold began: the time in its UUIDv7 (RFC 9562, section 5.7), of the database's clock."""
        return int(self.id[:12], 16)

    def extended(self, now_ms: int, ttl_ms: int) -> int:
        """The expiry when a living hold gets its full time of `ttl_ms` again; raises `Problem` hold_final.

        Bounded by the hold's age, so that each of HOLD_EXTENSIONS_MAX full times can be used up before the next.
        """
        if self.final(now_ms, ttl_ms):
            raise Problem(Kind.hold_final, "Order it before its time is over.", field="sku", extra={"sku": self.sku})
        return self.renewed(now_ms, ttl_ms)

    def renewed(self, now_ms: int, ttl_ms: int) -> int:
        """The expiry when a living hold grows: its full time of `ttl_ms` again; a final one keeps what it has."""
        assert not self.overdue(now_ms), "an expired hold never comes back"
        return self.expires_at_ms if self.final(now_ms, ttl_ms) else max(self.expires_at_ms, now_ms + ttl_ms)

    def final(self, now_ms: int, ttl_ms: int) -> bool:
        """Whether it has been held too long to get more time, by whatever way."""
        return now_ms - self.held_since_ms > HOLD_EXTENSIONS_MAX * ttl_ms

    def overdue(self, now_ms: int) -> bool:
        """Whether its time has run out. The moment itself belongs to the others."""
        return self.expires_at_ms <= now_ms

    def to(self, state: HoldState) -> HoldState:
        """`state`, if the table allows it."""
        assert state in TRANSITIONS[self.state], f"{self.state.value} → {state.value} is not a transition"
        return state

    def unpaid(self, now_ms: int) -> HoldState:
        """Where a claiming hold goes when it was not paid (e, f)."""
        return self.to(HoldState.expired if self.overdue(now_ms) else HoldState.active)


class Stamp(msgspec.Struct, frozen=True):
    """What was on screen when the buyer clicked: the pin (None: another product, or none) and the show's clock."""

    pin_id: str | None
    at_ms: int


def check_quantity(quantity: int) -> None:
    """Raises `Problem` invalid_quantity unless 1 … QUANTITY_MAX."""
    if not 1 <= quantity <= QUANTITY_MAX:
        raise Problem(Kind.invalid_quantity, f"The quantity must be between 1 and {QUANTITY_MAX}.", field="quantity")


def sold_out(level: Level) -> Problem:
    """The refusal of a buyer who came too late; `available` says how many are left for a smaller wish."""
    available = level.available
    detail = f"Only {available} left." if available > 0 else "Sold out."
    return Problem(Kind.sold_out, detail, field="sku", extra={"sku": level.sku, "available": available})
