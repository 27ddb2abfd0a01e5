"""The lane price: what one unit of a SKU costs. The hot path of every click, every pin and every screen."""

from collections.abc import Sequence
from itertools import groupby

from cart.pricing.basket import Context, Offer, check_offer
from cart.pricing.priced import Applied, Unit, Why
from cart.pricing.rules import Amount, FixedPrice, Mode, Pct
from cart.pricing.ruleset import Ready, Ruleset
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
    return price_unit(offer, context, candidates, None)


def price_unit(offer: Offer, context: Context, candidates: Sequence[Ready], verdicts: Verdicts | None) -> Unit:
    """The same for rules that may take the SKU, in their order; writes into `verdicts` what became of each."""
    price_minor = offer.list_minor
    applied: list[Applied] = []
    stopped = False
    for _, group in groupby(candidates, key=_group):
        members = list(group)
        mode = members[0].rule.mode
        offs: list[tuple[int, Ready]] = []
        for ready in members:
            if stopped or (mode is Mode.stop and offs):
                _note(verdicts, ready, _hindered(ready, offer, context) or Why.stopped, 0)
                continue
            why = _hindered(ready, offer, context)
            off_minor = 0 if why is not None else price_minor - lowered(ready, offer, price_minor)
            if why is not None or off_minor == 0:
                _note(verdicts, ready, why or Why.not_cheaper, 0)
                continue
            offs.append((off_minor, ready))
            if mode is Mode.stack:
                price_minor -= off_minor
        if not offs:
            continue
        taken = offs if mode is Mode.stack else [max(offs, key=_off)]  # the first of the largest
        if mode is not Mode.stack:
            price_minor -= taken[0][0]
        applied += [ready.applied for _, ready in taken]
        for off_minor, ready in offs:
            is_taken = (off_minor, ready) in taken
            _note(verdicts, ready, Why.applied if is_taken else Why.outbid, off_minor if is_taken else 0)
        stopped = stopped or mode is Mode.stop
    return Unit(unit_minor=price_minor, list_minor=offer.list_minor, applied=tuple(applied))


def lowered(ready: Ready, offer: Offer, price_minor: int) -> int:
    """What is left of a unit's price after a rule of the lane price; never more than before, never below zero."""
    for place, takes in ready.reducing.items():
        if not takes(offer):
            continue
        action = ready.rule.then[place]
        if isinstance(action, Pct):
            off_minor = percent_of(price_minor, action.bp)
        elif isinstance(action, Amount):
            off_minor = min(action.minor, price_minor)
        else:
            assert isinstance(action, FixedPrice), "all others have no target"
            off_minor = max(0, price_minor - action.minor)
        price_minor -= off_minor if action.cap_minor is None else min(off_minor, action.cap_minor)
    return price_minor


def _hindered(ready: Ready, offer: Offer, context: Context) -> Why | None:
    why = ready.hindrance(offer.currency, context)
    if why is not None:
        return why
    if not ready.bound(offer, context) or not any(takes(offer) for takes in ready.reducing.values()):
        return Why.no_target
    return None


def _note(verdicts: Verdicts | None, ready: Ready, why: Why, off_minor: int) -> None:
    if verdicts is not None:
        verdicts[ready.rank] = why, off_minor


def _group(ready: Ready) -> int:
    return ready.group


def _off(one: tuple[int, Ready]) -> int:
    return one[0]
