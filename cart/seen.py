"""What viewers see besides what everybody sees: their carts, what they wait for, prices of their own."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection

from cart import store
from cart.baskets import Cart, cart_id
from cart.offering.service import Offering
from cart.pricing.service import Pricing
from cart.register import Register
from cart.waiting import service as waiting
from cart.waiting.service import Waiting
from live.core.auth import Principal, Role
from live.core.codec import plain
from live.core.database import Database


class Seen:
    """See the module."""

    def __init__(self, database: Database, pricing: Pricing, offering: Offering, waiting: Waiting) -> None:
        self._database = database
        self._pricing = pricing
        self._offering = offering
        self._waiting = waiting

    async def carts(self, show: str, subjects: Sequence[str]) -> dict[str, Cart]:
        """The carts of several viewers of a show that exists, in one query."""
        return await self._database.glance(lambda conn: self._carts(conn, show, subjects))

    async def personal(self, show: str, subjects: Sequence[str]) -> dict[str, dict[str, Any]]:
        """As `carts`, plain, each with the viewer's places on the waitlist if there are any: {cart, waitlist?}."""

        def read(conn: Connection) -> dict[str, dict[str, Any]]:
            places = waiting.personal(conn, subjects)
            found: dict[str, dict[str, Any]] = {}
            for subject, cart in self._carts(conn, show, subjects).items():
                found[subject] = {"cart": plain(cart)}
                if subject in places:
                    found[subject]["waitlist"] = places[subject]
            return found

        return await self._database.glance(read)

    async def besides(self, show: str, viewer: Principal) -> dict[str, Any]:
        """What few viewers see: prices of their own, and for the staff how many wait. Raises `Problem` unknown_show."""
        found: dict[str, Any] = {}
        if prices := await self._offering.personal(show, viewer):
            found["prices"] = prices
        if viewer.may(Role.moderator, show) and (queues := await self._waiting.queues(show)):
            found["queues"] = plain(queues)
        return found

    def _carts(self, conn: Connection, show: str, subjects: Sequence[str]) -> dict[str, Cart]:
        ids = {subject: cart_id(show, subject) for subject in subjects}
        register = Register(self._pricing, conn, self._database.now_ms_sync(conn))
        register.look(ids.values())
        holds = store.cart_holds(conn, list(ids.values()))
        return {subject: register.cart(cart, show, holds[cart]) for subject, cart in ids.items()}
