"""A basket's prices, by rules and circumstances: pure, and bounded by the limits of rules and baskets.

The lanes are gone through in their order (see `rules`), each on what the lanes before have left. Conditions look at
the basket at its unit prices, before discounts, so they neither depend on each other nor on the order of rules.
"""

from collections.abc import Sequence
from fractions import Fraction

from cart.pricing.basket import Basket, BasketLine, Context, Offer, Pinned, Use, check_basket
from cart.pricing.plans import Plan, Table, plan
from cart.pricing.priced import (
    Discount,
    Outcome,
    Present,
    Priced,
    PricedLine,
    ShippingOff,
    Traced,
    Unit,
    Why,
)
from cart.pricing.rules import Amount, Condition, Fact, FixedPrice, Lane, Mode, Op, Pct
from cart.pricing.ruleset import Ready, Ruleset, Takes
from cart.pricing.taxes import Tax, by_rate, included
from cart.pricing.units import Verdicts, price_unit, unit_price

__all__ = ["Basket", "BasketLine", "Context", "Offer", "Pinned", "Priced", "Use", "evaluate", "unit_price"]

_STRENGTH = {why: place for place, why in enumerate(Why)}


def evaluate(basket: Basket, context: Context, ruleset: Ruleset) -> Priced:
    """The basket with its prices, what would lower them, and what became of each rule.

    Raises `Problem` invalid_field, invalid_quantity, mixed_currency and cart_full, and computes nothing then.
    """
    check_basket(basket, context)
    return _Evaluation(basket, context, ruleset).priced()


class _Evaluation:
    """One basket on its way through the lanes."""

    def __init__(self, basket: Basket, context: Context, ruleset: Ruleset) -> None:
        self._basket = basket
        self._context = context
        self._ruleset = ruleset
        self._verdicts: dict[int, tuple[Why, int]] = {}
        self._failed: dict[int, int] = {}  # rank → the first condition that does not hold
        self._discounts: list[Discount] = []
        self._gifts: list[Present] = []
        lines = sorted(basket.lines, key=lambda line: (line.sku, line.key))
        self._units = [self._unit(line) for line in lines]
        self._table = Table(lines, (unit.unit_minor for unit in self._units))

    def priced(self) -> Priced:
        subtotal_minor = sum(self._table.left_minor(line) for line in range(len(self._units)))
        for lane in (Lane.item, Lane.order):
            stopped = False
            for mode, members in self._ruleset.groups[lane]:
                if stopped:
                    self._reject(members, Why.stopped)
                    continue
                applied = self._group(lane, mode, [one for one in members if self._qualifies(one)])
                stopped = applied and lane is Lane.order and mode is Mode.stop
        shipping_off = [
            self._shipping(ready)
            for _, members in self._ruleset.groups[Lane.shipping]
            for ready in members
            if self._qualifies(ready)
        ]
        lines = self._lines()
        return Priced(
            currency=self._basket.currency,
            ruleset=self._ruleset.version,
            lines=lines,
            discounts=self._discounts,
            shipping_off=shipping_off,
            subtotal_minor=subtotal_minor,
            total_minor=sum(line.line_minor for line in lines),
            taxes=by_rate(Tax(line.tax_bp, line.net_minor, line.tax_minor) for line in lines),
            gifts=self._gifts,
            hints=[],
            trace=self._trace(),
        )

    # --- the lane price

    def _unit(self, line: BasketLine) -> Unit:
        candidates = self._ruleset.candidates(line)
        verdicts: Verdicts = {}
        if line.fixed_unit_minor is not None:
            unit = Unit(unit_minor=line.fixed_unit_minor, list_minor=line.list_minor)
            verdicts = {ready.rank: (Why.kept, 0) for ready in candidates}
        else:
            unit = price_unit(line, self._context, candidates, verdicts)
        for rank, (why, off_minor) in verdicts.items():
            self._say(rank, why, off_minor * line.quantity)
        return unit

    # --- conditions

    def _qualifies(self, ready: Ready) -> bool:
        why = ready.hindrance(self._basket.currency, self._context)
        if why is None:
            failed = next((place for place, one in enumerate(ready.conditions) if not self._holds(*one)), None)
            if failed is None:
                return True
            self._failed[ready.rank] = failed
            why = Why.condition
        self._say(ready.rank, why, 0)
        return False

    def _holds(self, condition: Condition, takes: Takes) -> bool:
        value = self._value(condition.fact, takes)
        if condition.op is Op.at_least:
            return value >= condition.value
        return value <= condition.value if condition.op is Op.at_most else value == condition.value

    def _value(self, fact: Fact, takes: Takes) -> int:
        table, units = self._table, self._units
        taken = table.taken_by(takes)
        if fact is Fact.quantity:
            return sum(table.lines[line].quantity for line in taken)
        return sum(table.lines[line].quantity * units[line].unit_minor for line in taken)

    # --- the lanes item and order

    def _group(self, lane: Lane, mode: Mode, members: list[Ready]) -> bool:
        """Let a group's rules that qualify do what they do; whether one of them did."""
        if mode is Mode.best:
            return self._best_lines(members) if lane is Lane.item else self._best(members)
        applied = False
        for ready in members:
            free = self._free(ready)
            if applied and mode is Mode.stop:
                self._say(ready.rank, Why.stopped, 0)
                continue
            found = self._plan(ready, free)
            if not self._is_something(ready, found, free):
                continue
            self._take(ready, found)
            applied = True
            if mode is Mode.stop:
                self._table.locked |= found.pieces.keys()
        return applied

    def _best(self, members: list[Ready]) -> bool:
        """Of the order's discounts, the one that saves most."""
        plans = [(ready, self._plan(ready, self._free(ready))) for ready in members]
        plans = [(ready, found) for ready, found in plans if self._is_something(ready, found, self._free(ready))]
        if not plans:
            return False
        best = max(plans, key=lambda one: one[1].off_minor)  # the first of the largest
        for ready, found in plans:
            if ready is best[0]:
                self._take(ready, found)
            else:
                self._say(ready.rank, Why.outbid, 0)
        return True

    def _best_lines(self, members: list[Ready]) -> bool:
        """For each line, the rule that saves the largest part of the lines that it touches."""
        free = frozenset(range(len(self._units))) - self._table.locked
        open_: dict[int, tuple[Ready, Plan]] = {}
        for ready in members:
            found = self._plan(ready, free)
            if self._is_something(ready, found, free):
                open_[ready.rank] = ready, found
        applied = bool(open_)
        while open_:
            ready, found = max(open_.values(), key=lambda one: (self._share(one[1]), -one[0].rank))
            del open_[ready.rank]
            self._take(ready, found)
            free -= found.pieces.keys()
            for other, old in list(open_.values()):
                if old.pieces.keys() <= free and found.pieces:
                    continue
                new = self._plan(other, free)
                if new.off_minor > 0:
                    open_[other.rank] = other, new
                else:
                    del open_[other.rank]
                    self._say(other.rank, Why.outbid, 0)
        return applied

    def _share(self, found: Plan) -> Fraction:
        """Which part of the price of the lines that it touches a rule saves."""
        whole = sum(self._table.left_minor(line) for line in found.pieces)
        return Fraction(found.off_minor, whole) if whole else Fraction(0)

    def _free(self, ready: Ready) -> frozenset[int]:
        return frozenset(range(len(self._units))) - self._table.locked

    def _plan(self, ready: Ready, free: frozenset[int]) -> Plan:
        bound = frozenset(line for line in free if ready.bound(self._table.lines[line], self._context))
        return plan(ready, self._table, bound, ready.left_minor(self._context))

    def _is_something(self, ready: Ready, found: Plan, free: frozenset[int]) -> bool:
        if found.off_minor > 0 or (found.gifts and self._units):
            return True
        everything = frozenset(range(len(self._units)))
        stopped = free != everything and self._plan(ready, everything).off_minor > 0
        self._say(ready.rank, Why.stopped if stopped else Why.no_target, 0)
        return False

    def _take(self, ready: Ready, found: Plan) -> None:
        rule = ready.rule
        self._table.apply(found)
        if found.off_minor:
            self._discounts.append(Discount(rule.id, rule.version, rule.label, found.off_minor))
        self._gifts += [Present(rule.id, rule.version, rule.label, gift.sku, gift.quantity) for gift in found.gifts]
        self._say(ready.rank, Why.budget_cut if found.cut else Why.applied, found.off_minor)

    def _shipping(self, ready: Ready) -> ShippingOff:
        rule = ready.rule
        self._say(ready.rank, Why.applied, 0)
        return ShippingOff(
            rule=rule.id,
            version=rule.version,
            label=rule.label,
            group=rule.group,
            mode=rule.mode,
            then=tuple(action for action in rule.then if isinstance(action, Pct | Amount | FixedPrice)),
            left_minor=ready.left_minor(self._context),
        )

    # --- what comes out

    def _lines(self) -> list[PricedLine]:
        """The lines in the basket's order."""
        found: dict[str, PricedLine] = {}
        for place, (line, unit) in enumerate(zip(self._table.lines, self._units, strict=True)):
            line_minor = self._table.left_minor(place)
            tax_minor = included(line_minor, line.tax_bp)
            found[line.key] = PricedLine(
                key=line.key,
                sku=line.sku,
                unit_minor=unit.unit_minor,
                list_minor=unit.list_minor,
                quantity=line.quantity,
                line_minor=line_minor,
                off_minor=unit.unit_minor * line.quantity - line_minor,
                net_minor=line_minor - tax_minor,
                tax_minor=tax_minor,
                tax_bp=line.tax_bp,
                applied=unit.applied,
            )
        return [found[line.key] for line in self._basket.lines]

    def _trace(self) -> list[Traced]:
        traced: list[Traced] = []
        for ready in self._ruleset.ready:
            why, amount_minor = self._verdicts.get(ready.rank) or (
                ready.hindrance(self._basket.currency, self._context) or Why.no_target,
                0,
            )
            applied = why in (Why.applied, Why.budget_cut)
            traced.append(
                Traced(
                    rule=ready.rule.id,
                    version=ready.rule.version,
                    outcome=Outcome.applied if applied else Outcome.rejected,
                    why=why,
                    amount_minor=amount_minor,
                    condition=self._failed.get(ready.rank),
                )
            )
        return traced

    def _reject(self, members: Sequence[Ready], why: Why) -> None:
        for ready in members:
            if self._qualifies(ready):
                self._say(ready.rank, why, 0)

    def _say(self, rank: int, why: Why, amount_minor: int) -> None:
        """What became of a rule; of several lines, the one where it came farthest, and all that it took off."""
        before = self._verdicts.get(rank)
        if before is None:
            self._verdicts[rank] = why, amount_minor
        elif Why.applied in (before[0], why):
            self._verdicts[rank] = Why.applied, before[1] + amount_minor
        elif _STRENGTH[why] > _STRENGTH[before[0]]:
            self._verdicts[rank] = why, 0
