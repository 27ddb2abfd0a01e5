"""What is wrong with rules, before they are saved: a rule that can never apply is worse than none.

Not everything is found: that a category is empty, or that no customer is in a segment, is not written in a rule.
"""

from collections import Counter
from collections.abc import Iterator, Sequence

import msgspec

from cart.prices import CURRENCIES
from cart.pricing.rules import (
    EVERYTHING,
    LIVE,
    UNITS_MAX,
    Action,
    Amount,
    BundlePrice,
    Condition,
    Effect,
    Fact,
    Filter,
    FixedPrice,
    Gift,
    Lane,
    Mode,
    Op,
    Pct,
    Rule,
)
from live.core.codec import Malformed, convert, plain
from live.core.errors import Kind, Problem
from live.core.limits import PRICE_MINOR_MAX, RULES_MAX

_KINDS: dict[Lane, tuple[type[Effect], ...]] = {
    Lane.price: (Pct, Amount, FixedPrice),
    Lane.item: (Pct, Amount, FixedPrice, BundlePrice, Gift),
    Lane.order: (Pct, Amount, Gift),
    Lane.shipping: (Pct, Amount, FixedPrice),
}
_SHOPPER = "unit prices must be the same whatever is in a basket; use the lane item or order"
_Found = Iterator[tuple[str, str]]  # the member's path, and what is wrong with it


class Flaw(msgspec.Struct, frozen=True):
    """Why rules cannot be saved. `rule` "": all of them together; `field` is the member's path, "" for the whole."""

    rule: str
    field: str
    why: str


def check(rules: Sequence[Rule]) -> list[Flaw]:
    """What is wrong with rules that are to be in force together; nothing, when they may be saved."""
    if len(rules) > RULES_MAX:
        return [Flaw("", "", f"there are {len(rules)} rules; {RULES_MAX} can be in force at once")]
    flaws: list[Flaw] = []
    for rule in rules:
        try:
            convert(plain(rule), Rule)
        except Malformed as wrong:
            flaws.append(Flaw(str(rule.id), wrong.field, wrong.detail))
        else:
            flaws += [Flaw(rule.id, field, why) for field, why in _flaws(rule)]
    return flaws + list(_together(rules))


def require(rules: Sequence[Rule]) -> None:
    """Raises `Problem` invalid_rules, with all flaws, unless the rules may be saved."""
    if flaws := check(rules):
        first = flaws[0]
        detail = ": ".join(part for part in (first.rule, first.field, first.why) if part)
        raise Problem(Kind.invalid_rules, detail, field="rules", extra={"flaws": plain(flaws)})


def _together(rules: Sequence[Rule]) -> Iterator[Flaw]:
    for id_, count in Counter(rule.id for rule in rules).items():
        if count > 1:
            yield Flaw(id_, "id", "two rules have this id")
    groups: dict[tuple[Lane, str], list[Rule]] = {}
    for rule in rules:
        groups.setdefault((rule.lane, rule.group), []).append(rule)
    for (lane, name), members in groups.items():
        modes = sorted({rule.mode.value for rule in members})
        where = f"the group {name!r} of the lane {lane.value}"
        if len(modes) > 1:
            for rule in members:
                yield Flaw(rule.id, "mode", f"{where} has several modes ({', '.join(modes)}); use another group")
        elif members[0].mode is Mode.best and len(members) > 1:
            for rule in members:
                if any(isinstance(effect, Gift) for effect in rule.then):
                    yield Flaw(rule.id, "mode", f"{where} takes what saves most, and a gift cannot be compared")


def _flaws(rule: Rule) -> _Found:
    yield from _words(rule)
    yield from _time(rule)
    yield from _bind(rule)
    yield from _coupon(rule)
    yield from _money(rule)
    if rule.lane is Lane.price and rule.when:
        yield "when", _SHOPPER
    yield from _conditions(rule)
    if not rule.then:
        yield "then", "the rule does nothing"
    for place, effect in enumerate(rule.then):
        path = f"then[{place}]"
        if not isinstance(effect, _KINDS[rule.lane]):
            yield path, f"{effect.__struct_config__.tag} is not possible in the lane {rule.lane.value}"
        elif isinstance(effect, Action):
            yield from _action(rule, effect, path)
        elif isinstance(effect, BundlePrice):
            yield from _bundle(rule, effect, path)


def _words(rule: Rule) -> _Found:
    if not rule.label.strip() or not rule.label.isprintable():
        yield "label", "must be a line of text"
    if rule.group and not rule.group.isprintable():
        yield "group", "must be a line of text"


def _time(rule: Rule) -> _Found:
    from_ms, to_ms = rule.window.from_ms, rule.window.to_ms
    if from_ms is not None and to_ms is not None and from_ms >= to_ms:
        yield "window", "ends before it begins"
    limited = rule.coupon is not None and rule.coupon.limit is not None
    if rule.standing and to_ms is not None:
        yield "standing", "the rule says both that it stands for good and when it ends"
    elif not (rule.standing or limited or to_ms is not None or rule.bind.show or rule.budget_minor is not None):
        yield (
            "window",
            "the rule never ends: give it an end (window.to_ms), a show, a budget or a coupon with a limit, "
            "or say that it stands for good (standing)",
        )


def _bind(rule: Rule) -> _Found:
    bind = rule.bind
    if bind.while_pinned and rule.lane is not Lane.price:
        yield "bind.while_pinned", "only in the lane price: what is unpinned keeps its price in carts"
    if (bind.sku is not None or bind.product is not None) and rule.lane in (Lane.order, Lane.shipping):
        yield "bind", f"a product or SKU means nothing in the lane {rule.lane.value}; use a condition"
    if (bind.while_pinned or bind.show is not None) and rule.channels and LIVE not in rule.channels:
        yield "channels", f"a show is on the channel {LIVE}, which is not among them"


def _coupon(rule: Rule) -> _Found:
    coupon = rule.coupon
    if rule.lane is Lane.price:
        if coupon is not None:
            yield "coupon", _SHOPPER
        if rule.budget_minor is not None:
            yield "budget_minor", "in the lane price carts keep their prices, so it could be overdrawn"
    if coupon is not None and coupon.limit is not None and (coupon.per_customer or 0) > coupon.limit:
        yield "coupon.per_customer", "is more than the coupon's limit"


def _money(rule: Rule) -> _Found:
    if rule.currency is not None:
        if rule.currency not in CURRENCIES:
            yield "currency", f"{rule.currency!r} is not an ISO 4217 currency"
        return
    amounts = [f"when[{place}]" for place, one in enumerate(rule.when) if one.fact is Fact.amount]
    for place, effect in enumerate(rule.then):
        if isinstance(effect, Amount | FixedPrice | BundlePrice) or (isinstance(effect, Pct) and effect.cap_minor):
            amounts.append(f"then[{place}]")
    if rule.budget_minor is not None:
        amounts.append("budget_minor")
    if amounts:
        yield "currency", f"{amounts[0]} is an amount of money; name its currency"


# --- conditions -----------------------------------------------------------------------------------------------


def _bounds(condition: Condition) -> tuple[int, int]:
    """What a condition lets its fact be, both ends included."""
    low = 0 if condition.op is Op.at_most else condition.value
    high = PRICE_MINOR_MAX * UNITS_MAX if condition.fact is Fact.amount else UNITS_MAX
    return low, high if condition.op is Op.at_least else condition.value


def _conditions(rule: Rule) -> _Found:
    for place, condition in enumerate(rule.when):
        path = f"when[{place}]"
        low, high = _bounds(condition)
        if condition.fact is Fact.quantity and low > UNITS_MAX:
            yield f"{path}.value", f"no basket holds more than {UNITS_MAX} units"
        if _empty(condition.filter):
            yield f"{path}.filter", "takes nothing: all that it names is left out again"
        if high == 0 and _within(EVERYTHING, condition.filter):
            yield path, "only an empty basket is like that"
        for other_place, other in enumerate(rule.when):
            if other_place == place or not _within(other.filter, condition.filter):
                continue
            least, most = _bounds(other)[0], high
            if (other.fact, condition.fact) == (Fact.amount, Fact.quantity):
                most = high * PRICE_MINOR_MAX
            elif other.fact is not condition.fact:
                continue
            if least > most:
                yield path, f"contradicts when[{other_place}]"


def _within(inner: Filter, outer: Filter) -> bool:
    """Whether everything that `inner` takes is surely taken by `outer`, as far as names say."""
    if not (
        set(outer.without_skus) <= set(inner.without_skus)
        and set(outer.without_products) <= set(inner.without_products)
        and set(outer.without_categories) <= set(inner.without_categories)
    ):
        return False
    if _all(outer):
        return True
    return not _all(inner) and (
        set(inner.skus) <= set(outer.skus)
        and set(inner.products) <= set(outer.products)
        and set(inner.categories) <= set(outer.categories)
    )


def _all(filter_: Filter) -> bool:
    return not (filter_.skus or filter_.products or filter_.categories)


def _empty(filter_: Filter) -> bool:
    """Whether a filter leaves out again all that it names."""
    return not _all(filter_) and (
        set(filter_.skus) <= set(filter_.without_skus)
        and set(filter_.products) <= set(filter_.without_products)
        and set(filter_.categories) <= set(filter_.without_categories)
    )


# --- actions --------------------------------------------------------------------------------------------------


def _action(rule: Rule, action: Action, path: str) -> _Found:
    if rule.lane is not Lane.item:
        for name in ("every", "max_qty"):
            if getattr(action, name) is not None:
                yield f"{path}.{name}", f"counts units, which the lane {rule.lane.value} does not"
    if rule.lane is Lane.shipping:
        if action.target != EVERYTHING:
            yield f"{path}.target", "a fee is for the whole basket; use a condition"
        return
    if action.options:
        yield f"{path}.options", f"are of shipping; this is the lane {rule.lane.value}"
    yield from _target(rule, action.target, f"{path}.target", action.every or 1)
    bind = rule.bind
    for bound, only, without in (
        (bind.sku, action.target.skus, action.target.without_skus),
        (bind.product, action.target.products, action.target.without_products),
    ):
        others = len(action.target.skus) + len(action.target.products) + len(action.target.categories) - len(only)
        if bound is not None and (bound in without or (only and not others and bound not in only)):
            yield f"{path}.target", f"leaves out {bound}, to which the rule is bound"


def _bundle(rule: Rule, bundle: BundlePrice, path: str) -> _Found:
    if sum(part.quantity for part in bundle.parts) < 2:
        yield f"{path}.parts", "a bundle is of two units at least"
    for place, part in enumerate(bundle.parts):
        yield from _target(rule, part.filter, f"{path}.parts[{place}].filter", part.quantity)


def _target(rule: Rule, target: Filter, path: str, units: int) -> _Found:
    if _empty(target):
        yield path, "takes nothing: all that it names is left out again"
    for place, condition in enumerate(rule.when):
        least = units if condition.fact is Fact.quantity else 1
        if _bounds(condition)[1] < least and _within(target, condition.filter):
            yield path, f"the basket cannot hold it when when[{place}] holds"
