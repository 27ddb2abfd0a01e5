"""What is left of a shipping fee when the rules of the lane shipping have had their turn."""

from collections.abc import Sequence
from itertools import groupby

import msgspec

from cart.pricing.priced import Discount, ShippingOff
from cart.pricing.rules import Amount, Mode, Pct
from cart.pricing.taxes import percent_of


class Charge(msgspec.Struct, frozen=True):
    """A fee: `charge_minor` = fee_minor - discounts is to be paid, gross."""

    fee_minor: int
    charge_minor: int
    discounts: list[Discount]


def charge(fee_minor: int, option: str, offs: Sequence[ShippingOff]) -> Charge:
    """The fee of a shipping option, by its id, after `Priced.shipping_off`."""
    assert fee_minor >= 0, "checked where it came in"
    left_minor = fee_minor
    discounts: list[Discount] = []
    for _, group in groupby(offs, key=lambda off: off.group):
        members = list(group)
        mode = members[0].mode
        if mode is Mode.best:
            members = [max(members, key=lambda off: _off(off, left_minor, option))]
        applied = False
        for off in members:
            off_minor = _off(off, left_minor, option)
            if off_minor == 0:
                continue
            left_minor -= off_minor
            discounts.append(Discount(off.rule, off.version, off.label, off_minor))
            applied = True
            if mode is Mode.stop:
                break
        if applied and mode is Mode.stop:
            break
    return Charge(fee_minor=fee_minor, charge_minor=left_minor, discounts=discounts)


def _off(off: ShippingOff, fee_minor: int, option: str) -> int:
    """What a rule takes off a fee."""
    left_minor = fee_minor
    for action in off.then:
        if action.options and option not in action.options:
            continue
        if isinstance(action, Pct):
            minor = percent_of(left_minor, action.bp)
        elif isinstance(action, Amount):
            minor = min(left_minor, action.minor)
        else:
            minor = max(0, left_minor - action.minor)
        left_minor -= minor if action.cap_minor is None else min(minor, action.cap_minor)
    taken_minor = fee_minor - left_minor
    return taken_minor if off.left_minor is None else min(taken_minor, off.left_minor)
