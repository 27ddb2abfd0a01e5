"""One basket on its way through the lanes (see `rules`), each on what the lanes before have left.

Conditions look at the basket at its unit prices, before discounts, so that they neither depend on each other nor on
the order of rules.
"""

from collections.abc import Iterable, Sequence
from fractions import Fraction

from cart.pricing.basket import Basket, BasketLine, Context
from cart.pricing.plans import Plan, Table, plan
from cart.pricing.priced import APPLIED, Discount, Outcome, Present, PricedLine, ShippingOff, Traced, Unit, Why
from cart.pricing.rules import Amount, Condition, Fact, FixedPrice, Lane, Mode, Op, Pct
from cart.pricing.ruleset import Ready, Ruleset, Takes, by_group
from cart.pricing.taxes import included
from cart.pricing.units import Verdicts, price_unit

_STRENGTH = {why: place for place, why in enumerate(Why)}


class Walk:
    """A checked basket, priced as it is made. `units` and `table` are in the order of the SKUs."""

    def __init__(self, basket: Basket, context: Context, ruleset: Ruleset) -> None:
        self.basket = basket
        self.context = context
        self.ruleset = ruleset
        self.verdicts: dict[int, Why] = {}  # by the rule's rank
        self.failed: dict[int, int] = {}  # rank → the first condition that does not hold
        self.discounts: list[Discount] = []
        self.gifts: list[Present] = []
        self.shipping_off: list[ShippingOff] = []
        self._amounts: dict[int, int] = {}
        lines = basket.lines if len(basket.lines) < 2 else sorted(basket.lines, key=_place)
        self.units = [self._unit(line) for line in lines]
        self.table = Table(lines, [unit.unit_minor for unit in self.units])
        self._everything = frozenset(range(len(lines)))
        self._free = self._everything
        self._item_lane()
        self._order_lane()
        for members in self._groups(Lane.shipping):
            self.shipping_off += [self._shipping(ready) for ready in members]

    def lines(self) -> list[PricedLine]:
        """The lines in the basket's order."""
        found: dict[str, PricedLine] = {}
        for place, (line, unit) in enumerate(zip(self.table.lines, self.units, strict=True)):
            line_minor = self.table.left_minor(place)
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
        return [found[line.key] for line in self.basket.lines]

    def trace(self) -> list[Traced]:
        """What became of each rule, in the order in which they are taken."""
        traced: list[Traced] = []
        for ready in self.ruleset.ready:
            why = self.verdicts.get(ready.rank)
            if why is None:  # of the lane price, and for no SKU of the basket
                why = ready.hindrance(self.basket.currency, self.context)
                if why is None:
                    traced.append(ready.untouched)
                    continue
            traced.append(
                Traced(
                    rule=ready.rule.id,
                    version=ready.rule.version,
                    outcome=Outcome.applied if why in APPLIED else Outcome.rejected,
                    why=why,
                    amount_minor=self._amounts.get(ready.rank, 0),
                    condition=self.failed.get(ready.rank),
                )
            )
        return traced

    def value(self, fact: Fact, takes: Takes) -> int:
        """What a fact is for the lines that a filter takes."""
        lines, units, taken = self.table.lines, self.units, self.table.taken_by(takes)
        if fact is Fact.quantity:
            return sum(lines[line].quantity for line in taken)
        return sum(lines[line].quantity * units[line].unit_minor for line in taken)

    def holds(self, condition: Condition, takes: Takes) -> bool:
        """Whether a condition holds."""
        value = self.value(condition.fact, takes)
        if condition.op is Op.at_least:
            return value >= condition.value
        return value <= condition.value if condition.op is Op.at_most else value == condition.value

    # --- the lane price

    def _unit(self, line: BasketLine) -> Unit:
        candidates = self.ruleset.candidates(line)
        if line.fixed_unit_minor is not None:
            for ready in candidates:
                self._say(ready, Why.kept)
            return Unit(unit_minor=line.fixed_unit_minor, list_minor=line.list_minor)
        if not candidates:
            return Unit(unit_minor=line.list_minor, list_minor=line.list_minor)
        verdicts: Verdicts = {}
        unit = price_unit(line, self.context, candidates, verdicts)
        for ready in candidates:
            why, off_minor = verdicts[ready.rank]
            self._say(ready, why, off_minor * line.quantity)
        return unit

    # --- who qualifies

    def _groups(self, lane: Lane) -> Iterable[list[Ready]]:
        members = [ready for ready in self.ruleset.lanes[lane] if self._qualifies(ready)]
        return by_group(members) if len(members) > 1 else [members] if members else ()

    def _qualifies(self, ready: Ready) -> bool:
        why = ready.hindrance(self.basket.currency, self.context)
        if why is None:
            for place, (condition, takes) in enumerate(ready.conditions):
                if not self.holds(condition, takes):
                    self.failed[ready.rank] = place
                    why = Why.condition
                    break
            else:
                return True
        self._say(ready, why)
        return False

    # --- the lane item

    def _item_lane(self) -> None:
        for members in self._groups(Lane.item):
            mode = members[0].rule.mode
            if mode is Mode.best and len(members) > 1:
                self._best_lines(members)
                continue
            stopped = False
            for ready in members:
                if stopped:
                    self._say(ready, Why.stopped)
                    continue
                found = self._plan(ready, self._free)
                if not self._is_something(ready, found):
                    continue
                self._take(ready, found)
                if mode is Mode.stop:
                    stopped = True
                    self._free -= found.pieces.keys()

    def _best_lines(self, members: Sequence[Ready]) -> None:
        """For each line, the rule that saves the largest part of the price of all lines that it touches."""
        plans = [(ready, self._plan(ready, self._free)) for ready in members]
        plans = [(ready, found) for ready, found in plans if self._is_something(ready, found)]
        saving = {ready.rank: (ready, found) for ready, found in plans if found.off_minor}
        for ready, found in plans:  # a gift alone comes when nothing is saved; see `checks`
            if not found.off_minor:
                if ready is plans[0][0] and not saving:
                    self._take(ready, found)
                else:
                    self._say(ready, Why.outbid)
        free = self._free
        while saving:
            ready, found = max(saving.values(), key=self._merit)
            del saving[ready.rank]
            self._take(ready, found)
            free -= found.pieces.keys()
            for other, old in list(saving.values()):
                if old.pieces.keys() <= free:
                    continue
                new = self._plan(other, free)
                if new.off_minor:
                    saving[other.rank] = other, new
                else:
                    del saving[other.rank]
                    self._say(other, Why.outbid)

    def _merit(self, one: tuple[Ready, Plan]) -> tuple[Fraction, int]:
        ready, found = one
        whole = sum(self.table.left_minor(line) for line in found.pieces)
        return Fraction(found.off_minor, whole), -ready.rank

    # --- the lane order

    def _order_lane(self) -> None:
        self._free = self._everything
        stopped = False
        for members in self._groups(Lane.order):
            mode = members[0].rule.mode
            if mode is Mode.best and not stopped:
                members = self._best(members)
            for ready in members:
                if stopped:
                    self._say(ready, Why.stopped)
                    continue
                found = self._plan(ready, self._free)
                if self._is_something(ready, found):
                    self._take(ready, found)
                    stopped = mode is Mode.stop

    def _best(self, members: list[Ready]) -> list[Ready]:
        """The one that saves most, first come; those that would do nothing stay with it."""
        offs = [self._plan(ready, self._free).off_minor for ready in members]
        best = max(offs, default=0)
        for ready, off_minor in zip(members, offs, strict=True):
            if off_minor and ready is not members[offs.index(best)]:
                self._say(ready, Why.outbid)
        return [one for one, off in zip(members, offs, strict=True) if not off or one is members[offs.index(best)]]

    # --- one rule

    def _plan(self, ready: Ready, free: frozenset[int]) -> Plan:
        if ready.is_bound:
            free = frozenset(line for line in free if ready.bound(self.table.lines[line], self.context))
        return plan(ready, self.table, free, ready.left_minor(self.context))

    def _is_something(self, ready: Ready, found: Plan) -> bool:
        """Whether a plan does anything; says why not otherwise."""
        if found.off_minor or found.gifts:
            return True
        why = Why.no_target
        if self._free != self._everything and self._plan(ready, self._everything).off_minor:
            why = Why.stopped
        self._say(ready, why)
        return False

    def _take(self, ready: Ready, found: Plan) -> None:
        rule = ready.rule
        self.table.apply(found)
        if found.off_minor:
            self.discounts.append(Discount(rule.id, rule.version, rule.label, found.off_minor))
        self.gifts += [Present(rule.id, rule.version, rule.label, gift.sku, gift.quantity) for gift in found.gifts]
        self._say(ready, Why.budget_cut if found.cut else Why.applied, found.off_minor)

    def _shipping(self, ready: Ready) -> ShippingOff:
        rule = ready.rule
        self._say(ready, Why.applied)
        return ShippingOff(
            rule=rule.id,
            version=rule.version,
            label=rule.label,
            group=rule.group,
            mode=rule.mode,
            then=tuple(action for action in rule.then if isinstance(action, Pct | Amount | FixedPrice)),
            left_minor=ready.left_minor(self.context),
        )

    def _say(self, ready: Ready, why: Why, amount_minor: int = 0) -> None:
        """What became of a rule; for several lines, where it came farthest, and all that it took off."""
        rank = ready.rank
        before = self.verdicts.get(rank)
        if before is None or (before not in APPLIED and (why in APPLIED or _STRENGTH[why] > _STRENGTH[before])):
            self.verdicts[rank] = why
        if amount_minor:
            self._amounts[rank] = self._amounts.get(rank, 0) + amount_minor


def _place(line: BasketLine) -> tuple[str, str]:
    return line.sku, line.key
