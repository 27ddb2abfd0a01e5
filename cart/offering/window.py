"""What anybody may ask: products, and quotes for them, with the prices of now for whoever asks and wherever."""

from collections.abc import Mapping

from sqlalchemy import Connection

from cart import catalogue, shelf, stock
from cart.catalogue import Product
from cart.offering.showing import Showing
from cart.pricing.quotes import Quote
from cart.pricing.rules import LIVE
from cart.pricing.service import GUEST, View
from cart.pricing.store import Shopper
from live.core.database import Database
from live.core.errors import Kind, Problem
from live.core.limits import CART_LINES_MAX, PRODUCTS_PAGE
from live.service import Shows
from live.timeline import selling


class Window:
    """See the module. `show` None: as it is in the shop, or on the channel that is named."""

    def __init__(self, database: Database, shows: Shows, showing: Showing) -> None:
        self._database = database
        self._shows = shows
        self._showing = showing

    async def products(
        self, ids: list[str], shopper: Shopper = GUEST, show: str | None = None, channel: str | None = None
    ) -> list[Product]:
        """These products, in the order of `ids`; unknown ones are left out. Raises `Problem` unknown_show."""
        return await self._database.read_sync(
            lambda conn: self._showing.products(conn, ids, self._view(conn, shopper, show, channel))
        )

    async def product(
        self, id_: str, shopper: Shopper = GUEST, show: str | None = None, channel: str | None = None
    ) -> Product:
        """One product; raises `Problem` unknown_product, unknown_show."""
        found = await self.products([id_], shopper, show, channel)
        if not found:
            raise Problem(Kind.unknown_product, field="product")
        return found[0]

    async def page(
        self, after: str = "", shopper: Shopper = GUEST, show: str | None = None, channel: str | None = None
    ) -> list[Product]:
        """A page of products, ordered by id; `after`: the last id of the page before, "" for the first page.

        Raises `Problem` unknown_show.
        """
        if after and not catalogue.is_id(after):
            raise Problem(Kind.invalid_field, "Not a product's id.", field="after")

        def read(conn: Connection) -> list[Product]:
            ids = shelf.product_ids(conn, after, PRODUCTS_PAGE)
            return self._showing.products(conn, ids, self._view(conn, shopper, show, channel))

        return await self._database.read_sync(read)

    async def quotes(
        self, wanted: Mapping[str, int], shopper: Shopper = GUEST, show: str | None = None, channel: str | None = None
    ) -> list[Quote]:
        """Quotes for so many units of each SKU; raises `Problem` invalid_field, invalid_quantity, unknown_sku,
        unknown_show."""
        if not 1 <= len(wanted) <= CART_LINES_MAX:
            raise Problem(Kind.invalid_field, f"Between 1 and {CART_LINES_MAX} lines.", field="lines")
        for sku, quantity in wanted.items():
            stock.check_quantity(quantity)
            if not catalogue.is_id(sku):
                raise Problem(Kind.unknown_sku, field="sku", extra={"sku": sku[:100]})

        def read(conn: Connection) -> list[Quote]:
            offers = shelf.offers(conn, wanted, self._showing.pricing.standard_bp)
            for sku in wanted:
                if sku not in offers:
                    raise Problem(Kind.unknown_sku, field="sku", extra={"sku": sku})
            lines = [(offers[sku], quantity) for sku, quantity in wanted.items()]
            return self._showing.quotes(conn, lines, self._view(conn, shopper, show, channel))

        return await self._database.read_sync(read)

    def _view(self, conn: Connection, shopper: Shopper, show: str | None, channel: str | None) -> View:
        now_ms = self._database.now_ms_sync(conn)
        if show is None:
            if channel == LIVE:
                raise Problem(Kind.invalid_field, "The channel live belongs to a show's screens.", field="channel")
            return self._showing.view(conn, None, None, now_ms, shopper, channel)
        of, pin = self._shows.on_screen(conn, show)
        return self._showing.view(conn, show, selling(of, pin), now_ms, shopper)
