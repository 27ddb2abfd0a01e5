"""The lane price: what one unit of a SKU costs. The hot path of every click, every pin and every screen."""

from collections.abc import Sequence

from cart.pricing.basket import Context, Offer, check_offer
from cart.pricing.priced import Applied, Unit, Why
from cart.pricing.rules import Amount, Mode, Pct
from cart.pricing.ruleset import Ready, Ruleset, by_group
from cart.pricing.taxes import percent_of

Verdicts = dict[int, tuple[Why, int]]  # by the rule's rank: why it applied to a unit or not, and what it took off


def unit_price(offer: Offer, context: Context, ruleset: Ruleset) -> Unit:
    """What one unit of `offer` costs; the same as `evaluate` gives for a basket of that SKU alone.

    Raises `Problem` invalid_field for figures out of bounds.
    """
    check_offer(offer)
    candidates = ruleset.candidates(offer)
    if not candidates:
        return Unit(unit_minor=offer.list_minor, list_minor=offer.list_minor)
    if len(candidates) > 1:
        return price_unit(offer, context, candidates, None)
    ready = candidates[0]  # as nearly always: half the time
    if _hindrance(ready, offer, context) is None:
        price_minor = lowered(ready, offer, offer.list_minor)
        if price_minor < offer.list_minor:
            return Unit(price_minor, offer.list_minor, (ready.applied,))
    return Unit(offer.list_minor, offer.list_minor)


def price_unit(offer: Offer, context: Context, candidates: Sequence[Ready], verdicts: Verdicts | None) -> Unit:
    """The same for rules that may take the SKU, in their order; writes into `verdicts` what became of each."""
    able: list[Ready] = []
    for ready in candidates:
        why = _hindrance(ready, offer, context)
        if why is None:
            able.append(ready)
        elif verdicts is not None:
            verdicts[ready.rank] = why, 0
    price_minor = offer.list_minor
    applied: list[Applied] = []
    stopped = False
    for group in by_group(able):
        mode = group[0].rule.mode
        taken: Ready | None = None
        best_minor = 0
        for ready in group:
            off_minor = 0 if stopped else price_minor - lowered(ready, offer, price_minor)
            why = Why.stopped if stopped else Why.not_cheaper if off_minor == 0 else Why.outbid
            if verdicts is not None:
                verdicts[ready.rank] = why, 0
            if off_minor <= best_minor:  # the first of the largest
                continue
            best_minor, taken = off_minor, ready
            if mode is not Mode.best:
                price_minor -= off_minor
                applied.append(ready.applied)
                best_minor = 0
                stopped = mode is Mode.stop
                if verdicts is not None:
                    verdicts[ready.rank] = Why.applied, off_minor
        if mode is Mode.best and taken is not None:
            price_minor -= best_minor
            applied.append(taken.applied)
            if verdicts is not None:
                verdicts[taken.rank] = Why.applied, best_minor
    return Unit(unit_minor=price_minor, list_minor=offer.list_minor, applied=tuple(applied))


def lowered(ready: Ready, offer: Offer, price_minor: int) -> int:
    """What is left of a unit's price after a rule of the lane price; never more than before, never below zero."""
    for action, takes in ready.reducing:
        if not takes(offer):
            continue
        if isinstance(action, Pct):
            off_minor = percent_of(price_minor, action.bp)
        elif isinstance(action, Amount):
            off_minor = min(action.minor, price_minor)
        else:
            off_minor = max(0, price_minor - action.minor)
        price_minor -= off_minor if action.cap_minor is None else min(off_minor, action.cap_minor)
    return price_minor


def _hindrance(ready: Ready, offer: Offer, context: Context) -> Why | None:
    """Why a rule is not for the SKU in these circumstances; None: it is."""
    why = ready.hindrance(offer.currency, context)
    if why is not None:
        return why
    if ready.bound(offer, context):
        for _, takes in ready.reducing:
            if takes(offer):
                return None
    return Why.no_target
