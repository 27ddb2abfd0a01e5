"""A shopper's place on the waitlist of a SKU, and how much of what is free its turn brings."""

import msgspec

from live.core.limits import QUANTITY_MAX


class Offer(msgspec.Struct, frozen=True):
    """It is the shopper's turn: so many units are in the cart's hold, until it expires (Unix milliseconds)."""

    hold_id: str
    quantity: int
    expires_at_ms: int


class Place(msgspec.Struct, frozen=True):
    """Up to `quantity` units are wanted for the shopper's cart in `show`.

    `position` 1: the next one; None: an offer is there. `offer` None: still waiting.
    """

    sku: str
    product_id: str
    show: str
    quantity: int
    joined_at_ms: int
    position: int | None
    offer: Offer | None = None


class Queue(msgspec.Struct, frozen=True):
    """How many shoppers wait for a SKU, and for how many units."""

    sku: str
    waiting: int
    units: int


class Waiter(msgspec.Struct, frozen=True):
    """A place that has no offer yet, as the queue knows it."""

    id: str
    sku: str
    number: int
    product_id: str
    viewer_id: str
    show: str
    cart: str
    quantity: int
    joined_at_ms: int

    def turn(self, free: int, held: int, drop_left: int | None, own_left: int | None) -> int:
        """How many units the waiter gets when so many are free and its cart holds so many already.

        `drop_left`, `own_left`: what a drop still allows, in all and to this customer (None: it does not limit).
        """
        bounds = [self.quantity, free, QUANTITY_MAX - held, *(one for one in (drop_left, own_left) if one is not None)]
        return max(0, min(bounds))


def waiting_view(waiter: Waiter, position: int) -> Place:
    """What the shopper sees of a place while it waits."""
    return Place(waiter.sku, waiter.product_id, waiter.show, waiter.quantity, waiter.joined_at_ms, position)
