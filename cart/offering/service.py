"""All that has to do with what is offered at which price, put together."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection

from cart.offering.live_prices import LivePrices
from cart.offering.rehearsal import Rehearsal
from cart.offering.rulesets import Rulesets
from cart.offering.showing import Showing
from cart.offering.watch import Watch
from cart.offering.window import Window
from cart.pricing.service import Pricing, shopper_of
from cart.stockroom import Stockroom
from live import store as shows_store
from live.core.auth import Principal
from live.core.codec import plain
from live.core.database import Database
from live.service import Shows
from live.timeline import Pin, selling


class Offering:
    """See the module. `watch` tells what happens to prices by itself: somebody must run it."""

    def __init__(self, database: Database, shows: Shows, stockroom: Stockroom, pricing: Pricing) -> None:
        self._database = database
        self._shows = shows
        self.stockroom = stockroom
        self.showing = Showing(pricing)
        self.window = Window(database, shows, self.showing)
        self.live_prices = LivePrices(self.showing)
        self.rehearsal = Rehearsal(database, pricing)
        self.watch = Watch(database, shows, self.showing)
        self.rulesets = Rulesets(database, shows, self.showing)

    def attach(self) -> None:
        """Let the shows ask for their products here, and tell what is pinned and what has changed."""
        pinning = self._shows.pinning
        pinning.products = self.shown
        pinning.turned = self.live_prices.turned
        pinning.changed = self.showing.changed

    async def personal(self, show: str, principal: Principal) -> list[dict[str, Any]]:
        """What a show's products cost a customer whom rules treat in their own way, where it is another price than
        the screens say: data of `product.price`. Raises `Problem` unknown_show."""
        shopper = shopper_of(principal)
        if not shopper.segments:
            return []

        def read(conn: Connection) -> list[dict[str, Any]]:
            of, pin = self._shows.on_screen(conn, show)
            now_ms, pinned = self._database.now_ms_sync(conn), selling(of, pin)
            guests = self.showing.view(conn, show, pinned, now_ms)
            theirs = self.showing.view(conn, show, pinned, now_ms, shopper)
            lineup = shows_store.lineup(conn, show)
            return self.showing.differences(conn, lineup, guests, theirs)

        return await self._database.read_sync(read)

    def shown(self, conn: Connection, ids: Sequence[str], show: str, pin: Pin | None) -> list[dict[str, Any]]:
        """Products as the screens of a show see them while `pin` is on them."""
        view = self.showing.view(conn, show, pin, self._database.now_ms_sync(conn))
        return [plain(product) for product in self.showing.products(conn, ids, view)]
