"""All that hand-offs need, put together."""

from collections.abc import Callable
from typing import NamedTuple

from cart.handoff.merging import Merging
from cart.handoff.service import Handoffs, Way
from cart.handoff.syncing import Sync
from cart.ordering.office import Office
from cart.pricing.service import Pricing
from cart.stockroom import Stockroom
from live.core.clock import Clock
from live.core.database import Database


class Handing(NamedTuple):
    """Carts that go elsewhere: to the merchant's check-out, to a shopper's own, and to the shop's other services."""

    handoffs: Handoffs
    merging: Merging
    sync: Sync

    @classmethod
    def of(
        cls,
        database: Database,
        stockroom: Stockroom,
        office: Office,
        pricing: Pricing,
        clock: Clock,
        way: Way,
        *,
        hold_ttl_ms: int,
        heard: Callable[[str], None],
    ) -> "Handing":
        """`heard` is told of every show in which something was held, let go or sold."""
        return cls(
            Handoffs(database, stockroom, office, clock, way, heard),
            Merging(database, stockroom, heard),
            Sync(database, stockroom, pricing, hold_ttl_ms, way.subject_of, heard),
        )
