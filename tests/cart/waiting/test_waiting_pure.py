"""A drop's window and limits, and what a turn brings, as values."""

from typing import Any

import pytest
from msgspec.structs import replace

from cart.waiting.drops import Drop, check_plan, staff_view, view
from cart.waiting.places import Waiter, waiting_view
from live import timeline
from live.core.errors import Kind, Problem

DROP = Drop("d", "demo", "CUP", "cup", 1000, 2000, 5, 2, taken=0, created_at_ms=0)
WAITER = Waiter("w", "CUP", 3, "cup", "ann", "demo", "demo:ann", 4, joined_at_ms=7)


def _refusal(drop: Drop, now_ms: int, quantity: int = 1, own: int = 0) -> tuple[Kind, Any] | None:
    try:
        drop.check(now_ms, quantity, own)
    except Problem as problem:
        return problem.kind, problem.extra.get("left")
    return None


def test_the_opening_moment_belongs_to_the_window_and_the_closing_moment_does_not() -> None:
    seen = {now_ms: _refusal(DROP, now_ms) for now_ms in (999, 1000, 1999, 2000)}
    assert seen == {999: (Kind.drop_not_open, None), 1000: None, 1999: None, 2000: (Kind.drop_over, None)}
    assert [now_ms for now_ms in seen if DROP.open(now_ms)] == [1000, 1999]
    for_good = replace(DROP, closes_at_ms=None)
    assert _refusal(for_good, 10**12) is None and not for_good.over(10**12)


@pytest.mark.parametrize(
    ("taken", "own", "quantity", "expected"),
    [
        (0, 0, 2, None),
        (0, 0, 3, (Kind.drop_customer_limit, 2)),
        (0, 2, 1, (Kind.drop_customer_limit, 0)),
        (0, 3, 1, (Kind.drop_customer_limit, 0)),  # of before the drop
        (4, 0, 2, (Kind.drop_limit_reached, 1)),
        (5, 0, 1, (Kind.drop_limit_reached, 0)),
        (6, 0, 1, (Kind.drop_limit_reached, 0)),  # carts held it before the drop
    ],
)
def test_limits_say_what_is_left(taken: int, own: int, quantity: int, expected: tuple[Kind, int] | None) -> None:
    assert _refusal(replace(DROP, taken=taken), 1500, quantity, own) == expected


def test_no_limit_limits_nothing() -> None:
    free = replace(DROP, total_limit=None, per_customer_limit=None, taken=10**6)
    assert _refusal(free, 1500, 100, 100) is None
    assert (free.left(7), free.left_for(100)) == (7, None)


def test_hosts_see_what_is_taken_and_viewers_what_is_left() -> None:
    drop = replace(DROP, taken=2)
    assert view(drop, 100).left == 3 and view(drop, 1).left == 1
    seen = staff_view(drop, 100)
    assert (seen.taken, seen.left, seen.id, seen.opens_at_ms) == (2, 3, "d", 1000)


@pytest.mark.parametrize(
    ("members", "field"),
    [
        ({}, None),
        ({"closes_at_ms": None, "total_limit": None, "per_customer_limit": None}, None),
        ({"total_limit": None, "per_customer_limit": 100}, None),
        ({"opens_at_ms": -1}, "opens_at_ms"),
        ({"opens_at_ms": 2**63, "closes_at_ms": None}, "opens_at_ms"),
        ({"closes_at_ms": 1000}, "closes_at_ms"),
        ({"closes_at_ms": 2**63}, "closes_at_ms"),
        ({"opens_at_ms": 0, "closes_at_ms": 500}, "closes_at_ms"),
        ({"total_limit": 0}, "total_limit"),
        ({"total_limit": 10**9 + 1}, "total_limit"),
        ({"per_customer_limit": 0}, "per_customer_limit"),
        ({"per_customer_limit": 6}, "per_customer_limit"),
        ({"total_limit": None, "per_customer_limit": 101}, "per_customer_limit"),
    ],
)
def test_a_plan_that_makes_no_sense_names_its_member(members: dict[str, Any], field: str | None) -> None:
    try:
        check_plan(replace(DROP, **members), 500)
    except Problem as problem:
        assert (problem.kind, problem.field) == (Kind.invalid_field, field)
    else:
        assert field is None


def test_a_turn_brings_what_is_wanted_free_and_allowed() -> None:
    assert WAITER.turn(10, 0, None, None) == 4
    assert WAITER.turn(3, 0, None, None) == 3
    assert WAITER.turn(10, 98, None, None) == 2, "a hold has 100 units at most"
    assert WAITER.turn(10, 0, 2, None) == 2
    assert WAITER.turn(10, 0, 2, 1) == 1
    assert WAITER.turn(10, 101, None, None) == 0
    assert waiting_view(WAITER, 1).position == 1 and waiting_view(WAITER, 1).offer is None


def test_a_screen_keeps_one_drop_of_each_sku_in_the_order_of_their_making() -> None:
    first, second = ({"id": id_, "sku": sku, "left": 5} for id_, sku in (("1", "CUP"), ("2", "MUG")))
    screen: dict[str, Any] = {}  # of a server that knew no drops
    for drop in (second, first, second):
        screen = timeline.apply(screen, "drop.changed", {"sku": drop["sku"], "drop": drop})
    assert screen == {"drops": [first, second]}
    screen = timeline.apply_state(screen, "drop", {"sku": "MUG", "left": 1})
    assert timeline.apply_state(screen, "drop", {"sku": "POT", "left": 9}) == screen
    assert screen == {"drops": [first, second | {"left": 1}]}
    assert timeline.apply(screen, "drop.changed", {"sku": "MUG", "drop": None}) == {"drops": [first]}
    assert timeline.apply_state({}, "drop", {"sku": "MUG", "left": 1}) == {"drops": []}
