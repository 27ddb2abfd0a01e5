"""Prices in the store's transactions: which rules apply, what a cart comes to, what an order uses up of rules.

A worker remembers the rules of the newest version it has seen; each transaction asks for the version, once, with its
own small statement, so nothing is ever priced by rules that had been replaced before it began.
"""

from collections.abc import Hashable, Iterable, Sequence
from typing import NamedTuple

from sqlalchemy import Connection

from cart.pricing import store
from cart.pricing.basket import Context, Offer, Pinned
from cart.pricing.priced import Unit
from cart.pricing.quotes import Quote, issue, quote_key, sign
from cart.pricing.reductions import Reduction, UnitPrice
from cart.pricing.rules import LIVE, SHOP, Lane, Rule
from cart.pricing.ruleset import Ruleset
from cart.pricing.store import Shopper
from cart.pricing.units import unit_price
from live.core.auth import Principal
from live.core.ids import secret_token, uuid7
from live.core.limits import BESIDE_KEPT_MAX, BESIDE_KEPT_S
from live.timeline import Pin

GUEST = Shopper()


class Known:
    """The rules of a version, and what pricing by them has to know of carts."""

    def __init__(self, version: int, stamp: str, rules: Sequence[Rule]) -> None:
        self.version = version
        self.stamp = stamp
        self.rules = {rule.id: rule for rule in rules}
        self.ruleset = Ruleset(version, rules)
        in_carts = [rule for rule in rules if rule.lane is not Lane.price]
        self.in_carts = bool(in_carts)
        self.codes = {rule.id: rule.coupon.code for rule in rules if rule.coupon is not None}
        self.counted = sorted(rule.id for rule in rules if rule.coupon is not None or rule.budget_minor is not None)
        self.asks_shoppers = any(rule.coupon is not None or rule.segments for rule in in_carts)
        self.asks_pins = any(rule.bind.while_pinned for rule in in_carts)
        self.edges_ms = _edges(rules)
        self.everywhere_edges_ms = _edges(rule for rule in rules if rule.bind.show is None)


def _edges(rules: Iterable[Rule]) -> list[int]:
    """When windows open and close, in the order of time."""
    edges = (edge for rule in rules for edge in (rule.window.from_ms, rule.window.to_ms))
    return sorted({edge for edge in edges if edge is not None})


class Beside(NamedTuple):
    """What stands beside a price. None: nothing is reduced; no price of a kilogram and the like needs to be named."""

    reduction: Reduction | None = None
    unit_price: UnitPrice | None = None


class Pricing:
    """The rules as this worker knows them, and the key of its quotes.

    `secret`: the installation's, so that all its workers know each other's quotes ("": one of its own).
    `standard_bp`: the tax that gross prices hold when neither product nor variant say another.
    """

    def __init__(self, secret: str = "", *, standard_bp: int = 0) -> None:
        self.key = quote_key(secret or secret_token())
        self.standard_bp = standard_bp
        self._known = Known(-1, "none", ())
        self._beside: dict[Hashable, tuple[int, Beside]] = {}  # with when it was read

    def rules(self, conn: Connection) -> Known:
        """The rules that apply now, for one small statement unless they have changed."""
        known = self._known
        if store.stamp(conn) != known.stamp:
            now, rules = store.applying(conn)
            known = self._known = Known(now.version, now.stamp, rules)
        return known

    def remembered(self, of: Hashable, now_ms: int) -> Beside | None:
        """What was found to stand beside a price not long ago; None: look."""
        at_ms, found = self._beside.get(of, (0, None))
        return found if now_ms - at_ms < BESIDE_KEPT_S * 1000 else None

    def remember(self, of: Hashable, found: Beside, now_ms: int) -> None:
        """Keep it for BESIDE_KEPT_S."""
        if len(self._beside) >= BESIDE_KEPT_MAX:
            self._beside.clear()
        self._beside[of] = now_ms, found

    def quote(self, offer: Offer, unit: Unit, quantity: int, view: "View", beside: Beside) -> Quote:
        """A signed quote for so many units of `offer` at the price `unit`."""
        quote = issue(
            uuid7(view.context.now_ms),
            offer,
            quantity,
            unit,
            view.context,
            ruleset=view.known.version,
            lowest_30d_minor=None if beside.reduction is None else beside.reduction.lowest_30d_minor,
            unit_price=beside.unit_price,
        )
        return sign(quote, self.key)


class View(NamedTuple):
    """By which rules, and in what circumstances."""

    known: Known
    context: Context

    def unit(self, offer: Offer) -> Unit:
        """What one unit costs."""
        return unit_price(offer, self.context, self.known.ruleset)


def screen(
    show: str | None, pin: Pin | None, now_ms: int, shopper: Shopper = GUEST, channel: str | None = None
) -> Context:
    """The circumstances on a show's screens while `pin` is on them; `show` None: on `channel` (None: in the shop)."""
    return Context(
        now_ms=now_ms,
        channel=channel or (SHOP if show is None else LIVE),
        show=show,
        pinned=None if pin is None else Pinned(product_id=pin.product_id, pin_id=pin.id),
        segments=frozenset(shopper.segments),
        customer=shopper.customer,
        coupons=shopper.coupons,
    )


def shopper_of(principal: Principal | None) -> Shopper:
    """Whom rules may treat in their own way; a guest is like any other."""
    if principal is None or (principal.customer is None and not principal.segments):
        return GUEST
    return Shopper(customer=principal.customer, segments=principal.segments)
