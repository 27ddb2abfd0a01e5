"""What one rule of the lanes item and order would take off a basket, unit by unit; nothing is changed by asking.

A line's units are *pieces*: so many units with what is left of their price together. They begin as one piece, and are
cut where a rule is for some of them only.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from cart.pricing.basket import BasketLine
from cart.pricing.rules import Amount, BundlePrice, Gift, Lane, Pct
from cart.pricing.ruleset import Ready, Reducing, Takes
from cart.pricing.taxes import percent_of, spread

Piece = tuple[int, int]  # units, and minor units of all of them


class Cut(NamedTuple):
    """Some units of a piece: of which line, of which of its pieces, how many, and what is left of their price."""

    line: int
    place: int
    units: int
    minor: int


class Plan(NamedTuple):
    """What a rule does: the new pieces of the lines that it touches, what it takes off each, and what it gives.

    `cut`: its budget did not reach for all of it.
    """

    pieces: dict[int, list[Piece]]
    offs: dict[int, int]
    gifts: Sequence[Gift]
    cut: bool

    @property
    def off_minor(self) -> int:
        return sum(self.offs.values())


class Table:
    """A basket's lines in the order of their SKUs, with their pieces as the rules so far have left them."""

    def __init__(self, lines: Iterable[BasketLine], units_minor: Iterable[int]) -> None:
        self.lines = tuple(lines)
        self.pieces: list[list[Piece]] = [
            [(line.quantity, line.quantity * unit)] for line, unit in zip(self.lines, units_minor, strict=True)
        ]
        self._taken: dict[int, frozenset[int]] = {}

    def taken_by(self, takes: Takes) -> frozenset[int]:
        """The lines that a filter takes."""
        found = self._taken.get(id(takes))
        if found is None:
            found = frozenset(place for place, line in enumerate(self.lines) if takes(line))
            self._taken[id(takes)] = found
        return found

    def left_minor(self, line: int) -> int:
        """What is left of a line's price."""
        return sum(minor for _, minor in self.pieces[line])

    def apply(self, plan: Plan) -> None:
        for line, pieces in plan.pieces.items():
            self.pieces[line] = pieces


def plan(ready: Ready, table: Table, free: frozenset[int], left_minor: int | None) -> Plan:
    """What `ready` would do to the lines `free`, with what its budget has left (None: it has none)."""
    drawing = _Drawing(table)
    cut = False
    for effect, takes in ready.steps:
        if isinstance(takes, tuple):
            assert isinstance(effect, BundlePrice), "only bundles have parts"
            cuts, off_minor = _bundles(effect, [drawing.cuts(table.taken_by(part) & free) for part in takes])
            offs = spread(off_minor, [one.minor for one in cuts])
        else:
            assert not isinstance(effect, BundlePrice), "its parts have filters"
            cuts = drawing.cuts(table.taken_by(takes) & free)
            if ready.rule.lane is Lane.item:
                cuts = _cheapest(cuts, effect)
                offs = [_reduction(effect, one.units, one.minor) for one in cuts]
            else:
                weights = [one.minor for one in cuts]
                offs = spread(_reduction(effect, 1, sum(weights)), weights)
            if effect.cap_minor is not None and sum(offs) > effect.cap_minor:
                offs = spread(effect.cap_minor, offs)
        if left_minor is not None:
            if sum(offs) > left_minor:
                offs, cut = spread(left_minor, offs), True
            left_minor -= sum(offs)
        drawing.take(cuts, offs)
    gives = drawing.offs or (len(ready.gifts) == len(ready.rule.then) and free)
    return Plan(pieces=drawing.pieces, offs=drawing.offs, gifts=ready.gifts if gives else (), cut=cut)


class _Drawing:
    """A table's pieces with one rule's marks on them."""

    def __init__(self, table: Table) -> None:
        self._table = table
        self.pieces: dict[int, list[Piece]] = {}
        self.offs: dict[int, int] = {}

    def cuts(self, lines: Iterable[int]) -> list[Cut]:
        """All units of some lines that cost something."""
        return [
            Cut(line, place, units, minor)
            for line in sorted(lines)
            for place, (units, minor) in enumerate(self.pieces.get(line) or self._table.pieces[line])
            if minor > 0
        ]

    def take(self, cuts: Sequence[Cut], offs: Sequence[int]) -> None:
        """Take `offs` off `cuts`; of a piece, each cut names other units."""
        for one, off_minor in zip(cuts, offs, strict=True):
            if off_minor == 0:
                continue
            assert off_minor <= one.minor, "a rule never takes more than there is"
            pieces = self.pieces.get(one.line)
            if pieces is None:
                pieces = self.pieces[one.line] = list(self._table.pieces[one.line])
            units, minor = pieces[one.place]
            if one.units == units:
                pieces[one.place] = units, minor - off_minor
            else:
                pieces[one.place] = units - one.units, minor - one.minor
                pieces.append((one.units, one.minor - off_minor))
            self.offs[one.line] = self.offs.get(one.line, 0) + off_minor


def _reduction(action: Reducing, units: int, minor: int) -> int:
    """What an action takes off `units` that cost `minor` together."""
    if isinstance(action, Pct):
        return percent_of(minor, action.bp)
    if isinstance(action, Amount):
        return min(minor, action.minor * units)
    return max(0, minor - action.minor * units)


def _first(cuts: Iterable[Cut], units: int) -> list[Cut]:
    """The first `units` units; the last piece is cut where it must be, its price rounded down."""
    found: list[Cut] = []
    for one in cuts:
        if units <= 0:
            break
        if one.units > units:
            one = one._replace(units=units, minor=one.minor * units // one.units)
        found.append(one)
        units -= one.units
    return found


def _cheapest(cuts: list[Cut], action: Reducing) -> list[Cut]:
    """The units that an action of the lane item is for: the cheapest of those that it makes cheaper at all."""
    if action.every is None and action.max_qty is None:
        return cuts
    units = sum(one.units for one in cuts)
    if action.every is not None:
        units //= action.every
    if action.max_qty is not None:
        units = min(units, action.max_qty)
    fit = [one for one in cuts if _reduction(action, 1, one.minor // one.units) > 0]
    return _first(sorted(fit, key=_price), units)


def _bundles(action: BundlePrice, parts: Sequence[list[Cut]]) -> tuple[list[Cut], int]:
    """The units that go into as many bundles as save something, and what they save."""
    dearest = [sorted(cuts, key=lambda one: (-_price(one), one.line)) for cuts in parts]

    def made(bundles: int) -> tuple[list[Cut], int] | None:
        """The units of so many bundles and what they save; None: the basket does not hold them."""
        found: list[Cut] = []
        used: dict[tuple[int, int], int] = {}
        for part, cuts in zip(action.parts, dearest, strict=True):
            wanted = part.quantity * bundles
            own = _first(_unused(cuts, used), wanted)
            if sum(one.units for one in own) < wanted:
                return None
            for one in own:
                used[one.line, one.place] = used.get((one.line, one.place), 0) + one.units
            found += own
        return _merged(found), sum(one.minor for one in found) - action.minor * bundles

    most = min(sum(one.units for one in cuts) // part.quantity for part, cuts in zip(action.parts, parts, strict=True))
    most = min(most, action.max_qty or most)
    low, high = 0, most  # each further bundle is made of cheaper units, so it saves less than the one before
    best: tuple[list[Cut], int] = [], 0
    while low < high:
        middle = (low + high + 1) // 2
        more, less = made(middle), made(middle - 1)
        if more is not None and less is not None and more[1] > less[1]:
            low, best = middle, more
        else:
            high = middle - 1
    return best


def _unused(cuts: Iterable[Cut], used: dict[tuple[int, int], int]) -> list[Cut]:
    """The units that no part before has taken."""
    found: list[Cut] = []
    for one in cuts:
        left = one.units - used.get((one.line, one.place), 0)
        if left > 0:
            found.append(one._replace(units=left, minor=one.minor * left // one.units))
    return found


def _merged(cuts: Iterable[Cut]) -> list[Cut]:
    """One cut for each piece, in the order of the lines."""
    found: dict[tuple[int, int], Cut] = {}
    for one in cuts:
        before = found.get((one.line, one.place))
        if before is not None:
            one = one._replace(units=one.units + before.units, minor=one.minor + before.minor)
        found[one.line, one.place] = one
    return sorted(found.values())


def _price(cut: Cut) -> float:
    """The price of one of its units, for comparing only: equal prices give equal floats."""
    return cut.minor / cut.units
