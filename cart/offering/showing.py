"""What things cost on which screens: products with the prices of now, and what is told when a price changes.

One authority: a product in a snapshot, on a pin, in the shop and in a feed, a quote and a click all come through
`unit_price` with the rules of the same version; they differ by the circumstances only, which rules may name.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection

from cart import catalogue, shelf
from cart.catalogue import Deal, Product, Variant
from cart.pricing import store
from cart.pricing.basket import Context
from cart.pricing.history import EVERYWHERE, Point
from cart.pricing.priced import Unit
from cart.pricing.quotes import Quote
from cart.pricing.service import GUEST, Beside, Known, Pricing, View, screen
from cart.pricing.store import Shopper
from cart.register import beside, struck_minor
from cart.shelf import Item, Listed, Offer
from cart.webhooks import outbox
from live import store as shows_store
from live.core.codec import plain
from live.timeline import Pin, selling
from live.transaction import Announcements

LIVE_RULE = "live-"  # the ids of hosts' live prices begin with it


class Showing:
    """See the module. Plain functions, inside transactions."""

    def __init__(self, pricing: Pricing) -> None:
        self.pricing = pricing

    def view(
        self,
        conn: Connection,
        show: str | None,
        pin: Pin | None,
        now_ms: int,
        shopper: Shopper = GUEST,
        channel: str | None = None,
    ) -> View:
        """The rules of now, as a shopper meets them; the rest as `screen`."""
        return View(self.pricing.rules(conn), screen(show, pin, now_ms, shopper, channel))

    def products(self, conn: Connection, ids: Sequence[str], view: View) -> list[Product]:
        """These products with their prices, in the order of `ids`; unknown ones are left out."""
        items = shelf.items(conn, [id_ for id_ in ids if catalogue.is_id(id_)])
        return self._priced(conn, items, view)

    def quotes(self, conn: Connection, wanted: Sequence[tuple[Offer, int]], view: View) -> list[Quote]:
        """Quotes for so many units of each offer."""
        priced = [(offer, view.unit(offer)) for offer, _ in wanted]
        found = beside(conn, priced, view.context)
        return [
            self.pricing.quote(offer, unit, quantity, view, found[offer.sku])
            for (offer, unit), (_, quantity) in zip(priced, wanted, strict=True)
        ]

    # --- what changes -----------------------------------------------------------------------------------------

    def tell(
        self, tx: Announcements, conn: Connection, show: str, product_ids: Sequence[str], before: View, after: View
    ) -> None:
        """Tell the screens of a show which of these products' prices are others than before, and write them down."""
        items = shelf.items(conn, product_ids)
        now = {product.id: product for product in self._priced(conn, items, after)}
        earlier, elsewhere = (View(known, _everywhere(context)) for known, context in (before, after))
        recorded: dict[str, int | None] = {}
        others: list[tuple[dict[str, Any], str | None]] = []
        for item in items:
            for offer, variant in zip(self.offers(item), now[item.id].variants, strict=True):
                was, to = before.unit(offer), after.unit(offer)
                if was == to:
                    continue
                tx.event(show, "product.price", {"product_id": item.id, "sku": offer.sku} | _price(variant))
                others.append((_priced_facts(offer, show) | _price(variant), show))
                if to.unit_minor != elsewhere.unit(offer).unit_minor:
                    recorded[offer.sku] = to.unit_minor
                elif was.unit_minor != earlier.unit(offer).unit_minor:
                    recorded[offer.sku] = None
        store.record(conn, show, recorded, after.context.now_ms)
        outbox.put_all(conn, tx.now_ms, "price.changed", others)

    def differences(self, conn: Connection, product_ids: Sequence[str], one: View, other: View) -> list[dict[str, Any]]:
        """What `other` pays for these products where it is not what `one` pays: data of `product.price`."""
        items = shelf.items(conn, product_ids)
        pairs = zip(self._priced(conn, items, one), self._priced(conn, items, other), strict=True)
        return [
            {"product_id": theirs.id, "sku": to.sku} | _price(to)
            for ours, theirs in pairs
            for was, to in zip(ours.variants, theirs.variants, strict=True)
            if _price(was) != _price(to)
        ]

    def tell_shows(
        self, tx: Announcements, conn: Connection, shows: Iterable[str], before: Known, since_ms: int
    ) -> None:
        """As `tell`, for whole lineups, after the rules of `before` or a moment when windows opened or closed."""
        after = self.pricing.rules(conn)
        for show, (of, pin) in sorted(shows_store.on_screen(conn, sorted(shows)).items()):
            context = screen(show, selling(of, pin), tx.now_ms)
            earlier = screen(show, selling(of, pin), since_ms)
            lineup = shows_store.lineup(conn, show)
            self.tell(tx, conn, show, lineup, View(before, earlier), View(after, context))

    def changed(self, tx: Announcements, conn: Connection, product_ids: Sequence[str]) -> None:
        """Products are others in the catalogue than before: tell the screens, and write their prices down."""
        items = shelf.items(conn, product_ids)
        self._write_down(conn, items, tx.now_ms)
        if not shows_store.shows_with(conn, product_ids):  # a feed brings thousands that no show has
            return
        known = self.pricing.rules(conn)
        for item in items:
            shows = shows_store.shows_with(conn, [item.id])
            for show, (of, pin) in sorted(shows_store.on_screen(conn, shows).items()) if shows else ():
                view = View(known, screen(show, selling(of, pin), tx.now_ms))
                self._write_down_own(conn, show, item, view)
                [product] = self._priced(conn, [item], view)
                tx.event(show, "product.changed", {"product": plain(product)})

    def items(self, conn: Connection, ids: Sequence[str]) -> list[Item]:
        """Products as the catalogue has them."""
        return shelf.items(conn, ids)

    def write_down(self, conn: Connection, product_ids: Sequence[str], now_ms: int) -> None:
        """Keep what these products cost everywhere from now on, where it is another price than before."""
        self._write_down(conn, shelf.items(conn, product_ids), now_ms)

    # --- parts ------------------------------------------------------------------------------------------------

    def _write_down(self, conn: Connection, items: Sequence[Item], now_ms: int) -> None:
        everywhere = self.view(conn, None, None, now_ms)
        offers = {offer.sku: offer for item in items for offer in self.offers(item)}
        prices = {sku: everywhere.unit(offer).unit_minor for sku, offer in offers.items()}
        last = _last(store.history(conn, prices), EVERYWHERE)
        new = {sku: price_minor for sku, price_minor in prices.items() if last[sku] != price_minor}
        store.record(conn, EVERYWHERE, new, now_ms)
        if new and outbox.wants(conn, now_ms, "price.changed"):
            now = {variant.sku: variant for one in self._priced(conn, items, everywhere) for variant in one.variants}
            others = [(_priced_facts(offers[sku], None) | _price(now[sku]), None) for sku in new]
            outbox.put_all(conn, now_ms, "price.changed", others)

    def _write_down_own(self, conn: Connection, show: str, item: Item, view: View) -> None:
        """Keep what a show costs from now on, where that is another price than everywhere and than before."""
        everywhere = View(view.known, _everywhere(view.context))
        own: dict[str, int | None] = {}
        for offer in self.offers(item):
            unit_minor = view.unit(offer).unit_minor
            own[offer.sku] = None if unit_minor == everywhere.unit(offer).unit_minor else unit_minor
        last = _last(store.history(conn, own), show)
        store.record(conn, show, {sku: minor for sku, minor in own.items() if last[sku] != minor}, view.context.now_ms)

    def _priced(self, conn: Connection, items: Sequence[Item], view: View) -> list[Product]:
        priced = [[(offer, view.unit(offer)) for offer in self.offers(item)] for item in items]
        found = beside(conn, (pair for pairs in priced for pair in pairs), view.context)
        return [
            Product(
                id=item.id,
                title=item.title,
                description=item.description,
                picture=item.picture,
                currency=item.currency,
                categories=item.categories,
                variants=[
                    _variant(listed, offer, unit, found[offer.sku], view.known)
                    for listed, (offer, unit) in zip(item.variants, pairs, strict=True)
                ],
            )
            for item, pairs in zip(items, priced, strict=True)
        ]

    def offers(self, item: Item) -> list[Offer]:
        """The item's variants, in their order, as they can be bought."""
        own_bp = self.pricing.standard_bp if item.tax_bp is None else item.tax_bp
        return [
            Offer(
                sku=listed.sku,
                product_id=item.id,
                currency=item.currency,
                list_minor=listed.price_minor,
                tax_bp=own_bp if listed.tax_bp is None else listed.tax_bp,
                categories=tuple(item.categories),
                title=item.title,
                variant=listed.title,
                picture=item.picture,
                struck_minor=listed.list_price_minor,
                content=listed.content,
            )
            for listed in item.variants
        ]


def _last(history: Mapping[str, Sequence[Point]], place: str) -> dict[str, int | None]:
    """What each SKU has cost last in a place; None: what it costs everywhere, or nobody knows."""
    return {
        sku: next((point.price_minor for point in reversed(points) if point.place == place), None)
        for sku, points in history.items()
    }


def _everywhere(context: Context) -> Context:
    return screen(None, None, context.now_ms)


def _variant(listed: Listed, offer: Offer, unit: Unit, beside: Beside, known: Known) -> Variant:
    found = beside.reduction
    return Variant(
        sku=listed.sku,
        title=listed.title,
        price_minor=unit.unit_minor,
        list_price_minor=struck_minor(offer, unit),
        available=listed.available,
        lowest_30d_minor=None if found is None else found.lowest_30d_minor,
        off_percent=None if found is None else found.percent or None,
        unit_price=beside.unit_price,
        deal=_deal(unit, known),
        content=offer.content,
        tax_bp=offer.tax_bp,
    )


def _deal(unit: Unit, known: Known) -> Deal | None:
    """What lowered a price: the rule that was taken last."""
    if not unit.applied:
        return None
    applied = unit.applied[-1]
    ends = (known.rules[one.rule].window.to_ms for one in unit.applied)
    until_ms = min((end for end in ends if end is not None), default=None)
    return Deal(label=applied.label, live=applied.rule.startswith(LIVE_RULE), until_ms=until_ms)


def _priced_facts(offer: Offer, show: str | None) -> dict[str, Any]:
    return {"sku": offer.sku, "product_id": offer.product_id, "currency": offer.currency, "show": show}


def _price(variant: Variant) -> dict[str, Any]:
    """What `product.price` says of a variant."""
    names = ("price_minor", "list_price_minor", "lowest_30d_minor", "off_percent", "unit_price", "deal")
    return {name: plain(getattr(variant, name)) for name in names}
