"""Rules and baskets of tests: short ways to write them down, and strategies that make them up."""

from collections.abc import Sequence
from random import Random
from typing import Any

from cart.pricing.basket import Basket, BasketLine, Context, Offer, Pinned, Use
from cart.pricing.checks import check
from cart.pricing.priced import APPLIED, Outcome, Priced, Why
from cart.pricing.rules import Rule
from cart.pricing.ruleset import Ruleset
from live.core.codec import convert

NOW_MS = 1_800_000_000_000
PRODUCTS = {"CUP": "cup", "CUP-L": "cup", "PLATE": "plate", "SPOON": "spoon", "BOOK": "book"}
CATEGORIES = {"cup": ("table", "clay"), "plate": ("table", "clay"), "spoon": ("table",), "book": ("books",)}
SHOW = Context(now_ms=NOW_MS, channel="live", show="demo", pinned=Pinned(product_id="cup", pin_id="p1"))
SHOP = Context(now_ms=NOW_MS, channel="shop")


def rule(id_: str, lane: str, *then: dict[str, Any], **members: Any) -> Rule:
    """A rule that stands for good unless it says when it ends."""
    bound = "show" in members.get("bind", {})
    ends = bound or members.keys() & {"window", "budget_minor"} or "limit" in members.get("coupon", {})
    given = {"version": 1, "label": id_.title(), "currency": "EUR", "standing": not ends} | members
    return convert({"id": id_, "lane": lane, "then": list(then)} | given, Rule)


def rules(*members: Rule) -> Ruleset:
    """A ruleset that may be saved."""
    assert check(members) == []
    return Ruleset(7, members)


def pct(bp: int, **members: Any) -> dict[str, Any]:
    return {"kind": "pct", "bp": bp} | members


def amount(minor: int, **members: Any) -> dict[str, Any]:
    return {"kind": "amount", "minor": minor} | members


def fixed(minor: int, **members: Any) -> dict[str, Any]:
    return {"kind": "fixed_price", "minor": minor} | members


def bundle(minor: int, *parts: tuple[int, dict[str, Any]], **members: Any) -> dict[str, Any]:
    found = [{"quantity": quantity, "filter": filter_} for quantity, filter_ in parts]
    return {"kind": "bundle_price", "minor": minor, "parts": found} | members


def gift(sku: str) -> dict[str, Any]:
    return {"kind": "gift", "sku": sku}


def at_least(fact: str, value: int, **filter_: Any) -> dict[str, Any]:
    return {"fact": fact, "op": "ge", "value": value, "filter": filter_}


def offer(sku: str = "CUP", list_minor: int = 1000, tax_bp: int = 1900, currency: str = "EUR") -> Offer:
    product = PRODUCTS.get(sku, sku.lower())
    categories = CATEGORIES.get(product, ())
    return Offer(
        sku=sku, product_id=product, currency=currency, list_minor=list_minor, tax_bp=tax_bp, categories=categories
    )


def line(sku: str = "CUP", quantity: int = 1, list_minor: int = 1000, **members: Any) -> BasketLine:
    of = offer(sku, list_minor, members.pop("tax_bp", 1900), members.pop("currency", "EUR"))
    given: dict[str, Any] = {"key": sku, "quantity": quantity} | members
    return BasketLine(
        sku=of.sku,
        product_id=of.product_id,
        currency=of.currency,
        list_minor=of.list_minor,
        tax_bp=of.tax_bp,
        categories=of.categories,
        **given,
    )


def basket(*lines: BasketLine) -> Basket:
    return Basket(currency="EUR", lines=lines)


def whys(priced: Priced) -> dict[str, Why]:
    assert all((one.outcome is Outcome.applied) == (one.why in APPLIED) for one in priced.trace)
    return {one.rule: one.why for one in priced.trace}


def offs(priced: Priced) -> dict[str, int]:
    return {one.rule: one.amount_minor for one in priced.discounts}


# --- made up ----------------------------------------------------------------------------------------------------
# From a seed and by plain code: hypothesis would take ten times as long to draw a ruleset as we take to evaluate it.

_FILTERS: list[dict[str, Any]] = [
    {},
    {},
    {"skus": ["CUP", "PLATE"]},
    {"skus": ["SPOON"]},
    {"products": ["cup"]},
    {"categories": ["clay"]},
    {"categories": ["table"]},
    {"without_categories": ["books"]},
]
_BINDS: list[dict[str, Any]] = [
    {},
    {},
    {"show": "demo"},
    {"while_pinned": True},
    {"product": "cup"},
    {"sku": "CUP"},
]
_MINOR = [1, 3, 50, 99, 250, 999, 1500, 4000]
_WISHES = [("quantity", 2), ("quantity", 5), ("amount", 1000), ("amount", 5000)]


def some_rules(random: Random, lanes: Sequence[str] = ("price", "item", "order", "shipping")) -> list[Rule]:
    """Up to six rules that may be saved together."""
    found: list[Rule] = []
    for place in range(random.randrange(7)):
        made = convert(_rule(random, random.choice(lanes), f"r{place}"), Rule)
        if not check([*found, made]):
            found.append(made)
    return found


def _rule(random: Random, lane: str, id_: str) -> dict[str, Any]:
    mode = random.choice(["best", "stack", "stop"])
    then = [_effect(random, lane) for _ in range(random.randint(1, 2))]
    if lane in ("item", "order") and mode != "best" and random.random() < 0.3:
        then.append(gift("SPOON"))
    found: dict[str, Any] = {"id": id_, "version": 1, "label": id_, "lane": lane, "then": then, "currency": "EUR"}
    found |= {"group": mode, "mode": mode, "priority": random.randint(-1, 1), "standing": True}
    found["segments"] = random.choice([[], [], ["vip"]])
    if lane == "price":
        found |= {"bind": random.choice(_BINDS), "channels": random.choice([[], [], ["live"], ["shop", "live"]])}
        return found
    wishes = [(random.choice(_WISHES), random.choice(_FILTERS)) for _ in range(random.randrange(3))]
    found["when"] = [at_least(*wish, **filter_) for wish, filter_ in wishes]
    if random.random() < 0.3:
        found |= {"budget_minor": random.choice(_MINOR), "standing": False}
    return found


def _effect(random: Random, lane: str) -> dict[str, Any]:
    minor = random.choice(_MINOR)
    kinds = [pct(random.choice([1, 333, 1000, 2500, 5000, 10_000])), amount(minor)]
    if lane != "order":
        kinds.append(fixed(minor))
    if lane == "item" and random.random() < 0.3:
        parts = [(random.randint(1, 3), random.choice(_FILTERS)) for _ in range(random.randint(1, 2))]
        return bundle(minor, *parts)
    found = random.choice(kinds)
    if lane != "shipping":
        found["target"] = random.choice(_FILTERS)
    if random.random() < 0.2:
        found["cap_minor"] = random.choice(_MINOR)
    if lane == "item" and random.random() < 0.4:
        found |= random.choice([{"every": 2}, {"every": 3}, {"max_qty": 1}, {"max_qty": 4}, {"every": 2, "max_qty": 2}])
    return found


def some_basket(random: Random) -> Basket:
    """Up to four lines; some keep the price of a quote."""
    return basket(
        *(
            line(
                sku,
                random.randint(1, 6),
                random.choice([0, 1, 7, 99, 333, 999, 1000, 4999]),
                tax_bp=random.choice([0, 700, 1900]),
                fixed_unit_minor=random.choice([None, None, None, 500]),
            )
            for sku in random.sample(sorted(PRODUCTS), random.randint(1, 4))
        )
    )


def some_context(random: Random) -> Context:
    """On a show's screens or elsewhere; with budgets that are spent, or nearly."""
    shown = random.random() < 0.6
    return Context(
        now_ms=NOW_MS,
        channel="live" if shown else "shop",
        show="demo" if shown else None,
        pinned=Pinned(product_id="cup", pin_id="p1") if shown and random.random() < 0.7 else None,
        segments=frozenset({"vip"} if random.random() < 0.5 else ()),
        uses={"r1": Use(spent_minor=random.choice([0, 40, 4000]))},
    )
