"""Near misses: "10 € more for free shipping". A hint is only given when it is true.

It is tried: the basket is evaluated again with what is missing, as more of something that is in it already, and the
hint is kept if its rule then applies. Other goods that the hint allows make the rule's conditions hold as well; only
a rule that they bring into play may then outbid or stop it.
"""

from collections.abc import Iterator
from typing import NamedTuple

from msgspec.structs import replace

from cart.pricing.basket import Basket, BasketLine
from cart.pricing.lanes import Walk
from cart.pricing.priced import APPLIED, Gain, Hint, ShippingOff, Why
from cart.pricing.rules import Amount, Fact, Filter, FixedPrice, Gift, Lane, Op, Pct
from cart.pricing.ruleset import Ready, Takes
from cart.pricing.shipping import charge
from live.core.limits import HINT_NEAR_PERCENT, HINTS_MAX

_TRIES_MAX = 2 * HINTS_MAX
_FEE_MINOR = 1_000_000  # dear enough for any rule of shipping to lower it


class _Near(NamedTuple):
    """A rule that nearly applies: what is missing, out of how much, and what of it could be added."""

    ready: Ready
    fact: Fact
    missing: int
    wanted: int
    of: Filter
    more: BasketLine

    def hint(self) -> Hint:
        rule = self.ready.rule
        return Hint(
            rule=rule.id,
            version=rule.version,
            label=rule.label,
            missing_minor=self.missing if self.fact is Fact.amount else None,
            missing_qty=self.missing if self.fact is Fact.quantity else None,
            of=self.of,
            gain=_gain(self.ready),
        )


def hints(walk: Walk) -> list[Hint]:
    """The nearest misses of a basket, HINTS_MAX at most."""
    near = sorted(_near(walk), key=lambda one: (one.missing / one.wanted, one.ready.rank))
    found: list[Hint] = []
    for one in near[:_TRIES_MAX]:
        if len(found) < HINTS_MAX and _true(walk, one):
            found.append(one.hint())
    return found


def _near(walk: Walk) -> Iterator[_Near]:
    for ready in walk.ruleset.ready:
        verdict = walk.verdicts.get(ready.rank)
        one = None
        if verdict is Why.condition:
            one = _threshold(walk, ready)
        elif verdict is Why.no_target and ready.bundles and len(ready.rule.then) == 1:
            one = _bundle(walk, ready)
        if one is not None:
            yield one


def _threshold(walk: Walk, ready: Ready) -> _Near | None:
    """A rule all of whose conditions hold but one, which is at least half way there."""
    if any(condition.op is not Op.at_least for condition, _ in ready.conditions):
        return None  # more of something could break another condition
    condition, takes = ready.conditions[walk.failed[ready.rank]]
    if not all(walk.holds(*other) for other in ready.conditions if other[0] is not condition):
        return None
    reached = walk.value(condition.fact, takes)
    line = _cheapest(walk, takes)
    if reached * 100 < condition.value * HINT_NEAR_PERCENT or line is None:
        return None
    missing = condition.value - reached
    more = _more(walk, line, missing) if condition.fact is Fact.quantity else _worth(walk, line, missing)
    return _Near(ready, condition.fact, missing, condition.value, condition.filter, more)


def _bundle(walk: Walk, ready: Ready) -> _Near | None:
    """A bundle of which units of one part are missing that the basket has some of, and at most half of all units."""
    effect, takers = ready.bundles[0]
    short: list[tuple[int, Takes]] = []
    for part, takes in zip(effect.parts, takers, strict=True):
        missing = part.quantity - walk.value(Fact.quantity, takes)
        if missing > 0:
            short.append((missing, takes))
    wanted = sum(part.quantity for part in effect.parts)
    if len(short) != 1 or (wanted - short[0][0]) * 100 < wanted * HINT_NEAR_PERCENT:
        return None
    missing, takes = short[0]
    line = _cheapest(walk, takes)
    if line is None:
        return None
    sku = walk.table.lines[line].sku
    return _Near(ready, Fact.quantity, missing, wanted, Filter(skus=(sku,)), _more(walk, line, missing))


def _cheapest(walk: Walk, takes: Takes) -> int | None:
    """The line with the cheapest units that cost something, of those that a filter takes."""
    lines = [line for line in sorted(walk.table.taken_by(takes)) if walk.units[line].unit_minor > 0]
    return min(lines, key=lambda line: walk.units[line].unit_minor, default=None)


def _more(walk: Walk, line: int, quantity: int) -> BasketLine:
    """So many more units of a line, as a line of its own."""
    key = "+".join(one.key for one in walk.table.lines) + "+"  # nobody else's
    return replace(walk.table.lines[line], key=key, quantity=quantity, fixed_unit_minor=walk.units[line].unit_minor)


def _worth(walk: Walk, line: int, minor: int) -> BasketLine:
    """Something like a line that costs so much."""
    return replace(_more(walk, line, 1), fixed_unit_minor=minor)


def _true(walk: Walk, near: _Near) -> bool:
    """Whether the rule applies to the basket with what is missing, and brings something."""
    basket = Basket(walk.basket.currency, (*walk.basket.lines, near.more))
    after = Walk(basket, walk.context, walk.ruleset)
    if after.verdicts[near.ready.rank] not in APPLIED:
        return False
    if near.ready.rule.lane is not Lane.shipping:
        return True
    own = next(off for off in after.shipping_off if off.rule == near.ready.rule.id)
    option = next((name for action in own.then for name in action.options), "")
    return _fee(after.shipping_off, option) < _fee(walk.shipping_off, option)


def _fee(offs: list[ShippingOff], option: str) -> int:
    return charge(_FEE_MINOR, option, offs).charge_minor


def _gain(ready: Ready) -> Gain:
    """What the rule's first action would bring."""
    effect = ready.rule.then[0]
    if isinstance(effect, Pct):
        if ready.rule.lane is Lane.shipping and effect.bp == 10_000 and effect.cap_minor is None:
            return Gain(kind="free_shipping")
        return Gain(kind="pct", bp=effect.bp)
    if isinstance(effect, Gift):
        return Gain(kind="gift", sku=effect.sku)
    kind = (
        "amount" if isinstance(effect, Amount) else "fixed_price" if isinstance(effect, FixedPrice) else "bundle_price"
    )
    if ready.rule.lane is Lane.shipping and isinstance(effect, FixedPrice) and effect.minor == 0:
        return Gain(kind="free_shipping")
    return Gain(kind=kind, minor=effect.minor)
