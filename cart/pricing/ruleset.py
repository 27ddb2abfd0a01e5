"""Rules made ready: in the order in which they are taken, their names as sets, those of the lane price by SKU.

A worker makes this once for a version and keeps it; nothing in it changes.
"""

from collections.abc import Iterable, Sequence

from cart.pricing.basket import UNUSED, Context, Offer
from cart.pricing.priced import Applied, Outcome, Traced, Why
from cart.pricing.rules import LIVE, BundlePrice, Condition, Filter, FixedPrice, Gift, Lane, Pct, Rule
from cart.pricing.rules import Amount as AmountOff

Reducing = Pct | AmountOff | FixedPrice


class Takes:
    """A filter with sets; calling it says whether it takes a SKU."""

    __slots__ = ("categories", "everything", "filter", "products", "skus", "without")

    def __init__(self, filter_: Filter) -> None:
        self.filter = filter_
        self.skus = frozenset(filter_.skus)
        self.products = frozenset(filter_.products)
        self.categories = frozenset(filter_.categories)
        self.everything = not (filter_.skus or filter_.products or filter_.categories)
        without = (filter_.without_skus, filter_.without_products, filter_.without_categories)
        self.without = tuple(frozenset(names) for names in without) if any(without) else None

    def __call__(self, offer: Offer) -> bool:
        if self.without is not None:
            skus, products, categories = self.without
            if offer.sku in skus or offer.product_id in products or not categories.isdisjoint(offer.categories):
                return False
        return (
            self.everything
            or offer.sku in self.skus
            or offer.product_id in self.products
            or not self.categories.isdisjoint(offer.categories)
        )


class Ready:
    """A rule, ready; `rank` is its place among all, `group` that of its group."""

    __slots__ = (
        "anywhere",
        "applied",
        "bundles",
        "channels",
        "conditions",
        "gifts",
        "group",
        "is_bound",
        "rank",
        "reducing",
        "rule",
        "segments",
        "steps",
        "untouched",
    )

    def __init__(self, rule: Rule, rank: int, group: int, takers: dict[Filter, Takes]) -> None:
        def taker(filter_: Filter) -> Takes:
            return takers.setdefault(filter_, Takes(filter_))

        self.rule = rule
        self.rank = rank
        self.group = group
        self.applied = Applied(rule=rule.id, version=rule.version, label=rule.label)
        self.untouched = Traced(rule=rule.id, version=rule.version, outcome=Outcome.rejected, why=Why.no_target)
        self.channels = frozenset(rule.channels)
        self.segments = frozenset(rule.segments)
        self.is_bound = rule.bind.sku is not None or rule.bind.product is not None
        self.conditions: tuple[tuple[Condition, Takes], ...] = tuple((one, taker(one.filter)) for one in rule.when)
        self.reducing: list[tuple[Reducing, Takes]] = []
        self.bundles: list[tuple[BundlePrice, tuple[Takes, ...]]] = []
        self.gifts: list[Gift] = []
        self.steps: list[tuple[Reducing, Takes] | tuple[BundlePrice, tuple[Takes, ...]]] = []  # but for the gifts
        for effect in rule.then:
            if isinstance(effect, Gift):
                self.gifts.append(effect)
            elif isinstance(effect, BundlePrice):
                self.bundles.append((effect, tuple(taker(part.filter) for part in effect.parts)))
                self.steps.append(self.bundles[-1])
            else:
                self.reducing.append((effect, taker(effect.target)))
                self.steps.append(self.reducing[-1])
        window, bind = rule.window, rule.bind
        limits = (window.from_ms, window.to_ms, rule.coupon, rule.budget_minor, bind.show, bind.while_pinned or None)
        self.anywhere = not (self.channels or self.segments) and all(limit is None for limit in limits)

    def bound(self, offer: Offer, context: Context) -> bool:
        """Whether the rule's bind takes the SKU; the show and the pin themselves are `hindrance`'s."""
        bind = self.rule.bind
        if bind.sku is not None and bind.sku != offer.sku:
            return False
        if bind.product is not None and bind.product != offer.product_id:
            return False
        if not bind.while_pinned:
            return True
        return context.pinned is not None and context.pinned.product_id == offer.product_id

    def hindrance(self, currency: str, context: Context) -> Why | None:
        """Why the circumstances keep the rule from applying, whatever is in the basket; None: they do not.

        `currency` "": the basket is empty, and could still be of any.
        """
        rule = self.rule
        if rule.currency is not None and rule.currency != currency and currency:
            return Why.currency
        if self.anywhere:  # most rules of a sale: a third of what a unit price takes
            return None
        window = rule.window
        if (window.from_ms is not None and context.now_ms < window.from_ms) or (
            window.to_ms is not None and context.now_ms >= window.to_ms
        ):
            return Why.window
        if self.channels and context.channel not in self.channels:
            return Why.channel
        if self.segments and self.segments.isdisjoint(context.segments):
            return Why.segment
        bind = rule.bind
        if bind.show is not None and (bind.show != context.show or context.channel != LIVE):
            return Why.show
        if bind.while_pinned:
            pinned = context.pinned
            if pinned is None or context.channel != LIVE or bind.product not in (None, pinned.product_id):
                return Why.not_pinned
        return self._used_up(context) if rule.coupon is not None or rule.budget_minor is not None else None

    def left_minor(self, context: Context) -> int | None:
        """What the rule's budget has left; None: it has none."""
        if self.rule.budget_minor is None:
            return None
        return max(0, self.rule.budget_minor - context.uses.get(self.rule.id, UNUSED).spent_minor)

    def _used_up(self, context: Context) -> Why | None:
        use = context.uses.get(self.rule.id, UNUSED)
        coupon = self.rule.coupon
        if coupon is not None:
            if coupon.code not in context.coupons:
                return Why.coupon_missing
            if coupon.limit is not None and use.used >= coupon.limit:
                return Why.coupon_used_up
            if coupon.per_customer is not None:
                if context.customer is None:
                    return Why.coupon_sign_in
                if use.mine >= coupon.per_customer:
                    return Why.coupon_used_by_customer
        return Why.budget_spent if self.left_minor(context) == 0 else None


class Ruleset:
    """Rules in force together. `version` is theirs; they must have passed `checks.check`."""

    __slots__ = ("_categories", "_everywhere", "_products", "_skus", "lanes", "ready", "version")

    def __init__(self, version: int, rules: Iterable[Rule]) -> None:
        self.version = version
        order = {lane: place for place, lane in enumerate(Lane)}
        groups: dict[tuple[Lane, str], int] = {}
        takers: dict[Filter, Takes] = {}
        self.ready: tuple[Ready, ...] = tuple(
            Ready(rule, rank, groups.setdefault((rule.lane, rule.group), len(groups)), takers)
            for rank, rule in enumerate(sorted(rules, key=lambda rule: (order[rule.lane], -rule.priority, rule.id)))
        )
        self.lanes: dict[Lane, tuple[Ready, ...]] = {
            lane: tuple(ready for ready in self.ready if ready.rule.lane is lane) for lane in Lane
        }
        self._skus: dict[str, list[Ready]] = {}
        self._products: dict[str, list[Ready]] = {}
        self._categories: dict[str, list[Ready]] = {}
        self._everywhere: list[Ready] = []
        for ready in self.lanes[Lane.price]:
            self._index(ready)

    def candidates(self, offer: Offer) -> Sequence[Ready]:
        """The rules of the lane price that may take a SKU, in their order; a few too many, but none too few."""
        found = self._everywhere
        if (more := self._skus.get(offer.sku)) is not None:
            found = found + more
        if (more := self._products.get(offer.product_id)) is not None:
            found = found + more
        if self._categories:
            for category in offer.categories:
                if (more := self._categories.get(category)) is not None:
                    found = found + more
        if len(found) > 1:
            return [one for _, one in sorted({one.rank: one for one in found}.items())]
        return found

    def _index(self, ready: Ready) -> None:
        bind = ready.rule.bind
        takers = [takes for _, takes in ready.reducing]
        if bind.sku is not None:
            self._skus.setdefault(bind.sku, []).append(ready)
        elif bind.product is not None:
            self._products.setdefault(bind.product, []).append(ready)
        elif any(taker.everything for taker in takers):
            self._everywhere.append(ready)
        else:
            for index, names in (
                (self._skus, {name for taker in takers for name in taker.skus}),
                (self._products, {name for taker in takers for name in taker.products}),
                (self._categories, {name for taker in takers for name in taker.categories}),
            ):
                for name in names:
                    index.setdefault(name, []).append(ready)


def by_group(members: Iterable[Ready]) -> Iterable[list[Ready]]:
    """Rules that may apply, in their groups; a group comes where the first of them does."""
    found: dict[int, list[Ready]] = {}
    for ready in members:
        found.setdefault(ready.group, []).append(ready)
    return found.values()


NO_RULES = Ruleset(0, ())
