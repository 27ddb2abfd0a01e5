"""What a cart would cost: rules tried on SKUs of the catalogue, in circumstances that somebody makes up, and why."""

from typing import Annotated

import msgspec
from msgspec import Meta
from sqlalchemy import Connection

from cart import catalogue, shelf
from cart.offering.rulesets import gifts, refuse
from cart.pricing.basket import Basket, BasketLine, Context, Pinned, coupon_code
from cart.pricing.checks import require
from cart.pricing.evaluation import evaluate
from cart.pricing.priced import Priced
from cart.pricing.rules import LIVE, SHOP, Name, Rule
from cart.pricing.ruleset import Ruleset
from cart.pricing.service import Pricing
from live.core.database import Database
from live.core.errors import Kind, Problem
from live.core.limits import CART_LINES_MAX, COUPONS_MAX, RULES_MAX, SEGMENTS_MAX, SHOW_ID_CHARS_MAX, TIME_MS_MAX


class TriedLine(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """So many units of a SKU."""

    sku: str
    quantity: int = 1


class Trial(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A cart and its circumstances. `rules` None: those of now; `at_ms` None: now; `show` None: no show's screens.

    `channel` None: the show's screens, or the shop. `pinned`: the product that is on the show's screens. `customer`:
    somebody who is known, and who has used no coupon yet.
    """

    lines: Annotated[list[TriedLine], Meta(min_length=1, max_length=CART_LINES_MAX)]
    rules: Annotated[list[Rule], Meta(max_length=RULES_MAX)] | None = None
    at_ms: Annotated[int, Meta(ge=0, le=TIME_MS_MAX)] | None = None
    show: Annotated[str, Meta(max_length=SHOW_ID_CHARS_MAX)] | None = None
    channel: Name | None = None
    pinned: Name | None = None
    segments: Annotated[tuple[Name, ...], Meta(max_length=SEGMENTS_MAX)] = ()
    customer: str | None = None
    coupons: Annotated[list[str], Meta(max_length=COUPONS_MAX)] = []


class Rehearsal:
    """See the module."""

    def __init__(self, database: Database, pricing: Pricing) -> None:
        self._database = database
        self._pricing = pricing

    async def price(self, trial: Trial) -> Priced:
        """What it would cost, with the trace of all rules; nothing is changed.

        Raises `Problem` unknown_sku, invalid_rules, and what the evaluation refuses.
        """
        if trial.rules is not None:
            refuse(gifts(trial.rules))
            require(trial.rules)
        wanted = {line.sku: line.quantity for line in trial.lines}
        if len(wanted) < len(trial.lines):
            raise Problem(Kind.invalid_field, "A SKU is there twice.", field="lines")

        def read(conn: Connection) -> Priced:
            offers = shelf.offers(conn, filter(catalogue.is_id, wanted), self._pricing.standard_bp)
            if missing := [sku for sku in wanted if sku not in offers]:
                raise Problem(Kind.unknown_sku, field="lines", extra={"sku": missing[0][:100]})
            lines = tuple(_line(offers[sku], quantity) for sku, quantity in wanted.items())
            ruleset = self._pricing.rules(conn).ruleset if trial.rules is None else Ruleset(0, trial.rules)
            context = _context(trial, self._database.now_ms_sync(conn))
            return evaluate(Basket(currency=lines[0].currency, lines=lines), context, ruleset)

        return await self._database.read_sync(read)


def _line(offer: shelf.Offer, quantity: int) -> BasketLine:
    return BasketLine(
        key=offer.sku,
        sku=offer.sku,
        product_id=offer.product_id,
        currency=offer.currency,
        list_minor=offer.list_minor,
        tax_bp=offer.tax_bp,
        categories=offer.categories,
        quantity=quantity,
    )


def _context(trial: Trial, now_ms: int) -> Context:
    return Context(
        now_ms=now_ms if trial.at_ms is None else trial.at_ms,
        channel=trial.channel or (SHOP if trial.show is None else LIVE),
        show=trial.show,
        pinned=None if trial.pinned is None else Pinned(product_id=trial.pinned, pin_id=""),
        segments=frozenset(trial.segments),
        customer=trial.customer,
        coupons=tuple(coupon_code(code) for code in trial.coupons),
    )
