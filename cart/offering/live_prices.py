"""A host's price for what is pinned: one click starts it, one ends it, and it never outlives the pin or the show.

A live price is a rule of the lane price like any other, bound to the show's screens while the product is pinned there,
behind all others, and works on what they have left: a fixed price gives the lower of both, a percentage is of what the
product costs whoever looks anyway. So it makes nothing dearer for anybody, whatever is published while it runs.
"""

from typing import Annotated

import msgspec
from msgspec import Meta
from sqlalchemy import Connection

from cart.moves import Moves
from cart.offering.showing import LIVE_RULE, Showing
from cart.pricing import store
from cart.pricing.checks import require
from cart.pricing.rules import Bind, Filter, FixedPrice, Lane, Mode, Pct, Rule, Window
from cart.pricing.service import View, screen
from cart.pricing.store import LivePrice
from cart.shelf import Item
from live import store as shows_store
from live.core.errors import Kind, Problem
from live.core.ids import uuid7
from live.core.limits import LABEL_CHARS_MAX, LIVE_PRICE_S_MAX, PRICE_MINOR_MAX
from live.shows import clean_line
from live.timeline import Pin, selling
from live.transaction import Announcements

_PRIORITY = -1000  # of rules the lowest


class Start(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The price of what is pinned: `price_minor`, or `off_bp` hundredths of a percent off what it
    costs anyway (2000: 20 %).

    `sku`: of this variant alone (None: of all). `duration_s`: it ends by then at the latest (None: with the pin).
    `label` is what shoppers read ("": the page's own words).
    """

    price_minor: Annotated[int, Meta(ge=0, le=PRICE_MINOR_MAX)] | None = None
    off_bp: Annotated[int, Meta(ge=1, le=10_000)] | None = None
    sku: str | None = None
    duration_s: Annotated[int, Meta(ge=1, le=LIVE_PRICE_S_MAX)] | None = None
    label: Annotated[str, Meta(max_length=LABEL_CHARS_MAX)] = ""


class LivePrices:
    """See the module. Plain functions, inside transactions."""

    def __init__(self, showing: Showing) -> None:
        self._showing = showing
        self._pricing = showing.pricing

    def start(self, moves: Moves, show: str, by: str, asked: Start) -> LivePrice:
        """Start a live price in place of another one.

        Raises `Problem` nothing_pinned, invalid_field (the member that is wrong, or not cheaper than it is).
        """
        if (asked.price_minor is None) == (asked.off_bp is None):
            raise Problem(Kind.invalid_field, "Either price_minor or off_bp.", field="price_minor")
        tx, conn = moves.tx, moves.tx.conn
        pin = _locked(conn, show)
        item = None if pin is None else next(iter(self._showing.items(conn, [pin.product_id])), None)
        if pin is None or item is None:
            raise Problem(Kind.nothing_pinned)
        if asked.sku is not None and asked.sku not in {variant.sku for variant in item.variants}:
            raise Problem(Kind.unknown_sku, "Not a variant of what is pinned.", field="sku")
        context = screen(show, pin, tx.now_ms)
        before = View(self._pricing.rules(conn), context)
        self._end(conn, show, by, tx.now_ms)
        without = View(self._pricing.rules(conn), context)
        started = _live_price(tx.now_ms, show, pin, item, by, asked)
        require([started.rule])
        store.insert_live_price(conn, started)
        store.advance(conn, tx.now_ms, "live_started", by, live_price_id=started.id)
        after = View(self._pricing.rules(conn), context)
        self._check_cheaper(item, without, after, "price_minor" if asked.off_bp is None else "off_bp")
        self._showing.tell(tx, conn, show, [item.id], before, after)
        moves.forget_prices()
        return started

    def stop(self, moves: Moves, show: str, by: str) -> bool:
        """End the live price; False: there is none."""
        tx, conn = moves.tx, moves.tx.conn
        pin = _locked(conn, show)
        context = screen(show, pin, tx.now_ms)
        before = View(self._pricing.rules(conn), context)
        ended = self._end(conn, show, by, tx.now_ms)
        if ended is None:
            return False
        self._showing.tell(tx, conn, show, [ended.product_id], before, View(self._pricing.rules(conn), context))
        moves.forget_prices()
        return True

    def turned(self, tx: Announcements, conn: Connection, show: str, before: Pin | None, after: Pin | None) -> None:
        """Another product is pinned, or none: what was bound to the pin ends, and the screens hear what that changes.

        The show is locked.
        """
        earlier = View(self._pricing.rules(conn), screen(show, before, tx.now_ms))
        self._end(conn, show, "", tx.now_ms)
        later = View(self._pricing.rules(conn), screen(show, after, tx.now_ms))
        product_ids = sorted({pin.product_id for pin in (before, after) if pin is not None})
        self._showing.tell(tx, conn, show, product_ids, earlier, later)

    def _end(self, conn: Connection, show: str, by: str, now_ms: int) -> LivePrice | None:
        """The one that ran; the show is locked."""
        ended = None
        for ended in store.running(conn, show):
            store.end_live_price(conn, ended.id, by, now_ms)
            store.advance(conn, now_ms, "live_ended", by, live_price_id=ended.id)
        return ended

    def _check_cheaper(self, item: Item, without: View, after: View, field: str) -> None:
        offers = self._showing.offers(item)
        pairs = [(without.unit(offer).unit_minor, after.unit(offer).unit_minor) for offer in offers]
        if not any(new < old for old, new in pairs):
            raise Problem(Kind.invalid_field, "A live price is lower than what it costs anyway.", field=field)


def _locked(conn: Connection, show: str) -> Pin | None:
    """What is pinned in a show that nobody else changes before this transaction ends."""
    shows_store.timeline_position(conn, show, lock=True)
    return selling(*shows_store.on_screen(conn, [show])[show])


def _live_price(now_ms: int, show: str, pin: Pin, item: Item, by: str, asked: Start) -> LivePrice:
    id_ = uuid7(now_ms)
    target = Filter() if asked.sku is None else Filter(skus=(asked.sku,))
    ends_at_ms = None if asked.duration_s is None else now_ms + asked.duration_s * 1000
    then: Pct | FixedPrice
    if asked.price_minor is not None:
        then = FixedPrice(minor=asked.price_minor, target=target)
    else:
        assert asked.off_bp is not None, "one of the two"
        then = Pct(bp=asked.off_bp, target=target)
    rule = Rule(
        id=f"{LIVE_RULE}{id_}",
        version=1,
        label=clean_line(asked.label, "label", LABEL_CHARS_MAX) if asked.label.strip() else "Live",
        lane=Lane.price,
        then=(then,),
        priority=_PRIORITY,
        group=LIVE_RULE,
        mode=Mode.stack,
        currency=None if asked.price_minor is None else item.currency,
        window=Window(to_ms=ends_at_ms),
        bind=Bind(show=show, product=item.id, while_pinned=True),
    )
    return LivePrice(
        id=id_,
        show=show,
        pin_id=pin.id,
        product_id=item.id,
        sku=asked.sku,
        rule=rule,
        started_by=by,
        started_at_ms=now_ms,
        ends_at_ms=ends_at_ms,
        ended_by=None,
        ended_at_ms=None,
    )
