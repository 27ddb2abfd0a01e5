"""Locations and transfers as values."""

import pytest

from cart.ordering import shipping
from cart.ordering.shipping import Opening
from cart.places.locations import (
    LocationChange,
    StockLocation,
    TransferLine,
    as_pickup,
    changed,
    check,
    merged,
    reason,
)
from cart.stock import MAIN
from live.core.errors import Kind, Problem
from live.core.limits import STOCK_MAX, TRANSFER_LINES_MAX
from tests.cart.places.conftest import BERLIN


def _refused(work: object, *arguments: object) -> tuple[Kind, str | None]:
    assert callable(work)
    with pytest.raises(Problem) as caught:
        work(*arguments)
    return caught.value.kind, caught.value.field


def test_a_location_is_cleaned() -> None:
    entry = StockLocation("b-1", "  Berlin\t Mitte ", "store", " ", "Berlin", " 10115", "de")
    assert check(entry) == StockLocation("b-1", "Berlin Mitte", "store", "", "Berlin", "10115", "DE")
    assert check(StockLocation("x", "X", "warehouse")) == StockLocation("x", "X", "warehouse")
    open_ = StockLocation("x", "X", "store", hours=(Opening(("mon",), "09:00", "18:00"),))
    assert check(open_) == open_


@pytest.mark.parametrize(
    ("members", "field"),
    [
        ({"id": "a b"}, "id"),
        ({"id": "x\n"}, "id"),
        ({"id": ""}, "id"),
        ({"name": " "}, "name"),
        ({"name": "x\0y"}, "name"),
        ({"name": "x" * 61}, "name"),
        ({"street": "\ud800"}, "street"),
        ({"city": "c" * 101}, "city"),
        ({"country": "XX"}, "country"),
        ({"country": ""}, "country"),
        ({"postcode": "1011"}, "postcode"),
        ({"hours": (Opening(("mon",), "18:00", "09:00"),)}, "hours"),
        ({"hours": (Opening(("someday",), "09:00", "18:00"),)}, "hours.days"),
    ],
)
def test_a_wrong_location_is_refused(members: dict[str, object], field: str) -> None:
    values = {name: getattr(BERLIN, name) for name in BERLIN.__struct_fields__} | members
    assert _refused(check, StockLocation(**values)) == (Kind.invalid_field, field)


def test_what_is_left_out_of_a_change_stays() -> None:
    assert changed(BERLIN, LocationChange()) == BERLIN
    after = changed(BERLIN, LocationChange(name="Mitte", active=False))
    assert (after.name, after.active, after.street) == ("Mitte", False, BERLIN.street)
    assert _refused(changed, BERLIN, LocationChange(postcode="x")) == (Kind.invalid_field, "postcode")


def test_main_is_never_closed() -> None:
    main = StockLocation(MAIN, "Main", "warehouse")
    assert _refused(changed, main, LocationChange(active=False)) == (Kind.location_in_use, "active")
    assert changed(main, LocationChange(name="Hall 1")).active


def test_lines_of_one_sku_count_together() -> None:
    lines = [TransferLine("B", 2), TransferLine("A", 1), TransferLine("B", 3)]
    assert merged(lines) == (TransferLine("A", 1), TransferLine("B", 5))


@pytest.mark.parametrize(
    ("lines", "kind", "field"),
    [
        ([], Kind.invalid_field, "lines"),
        ([TransferLine("A", 1)] * (TRANSFER_LINES_MAX + 1), Kind.invalid_field, "lines"),
        ([TransferLine("A", 1), TransferLine("a b", 1)], Kind.unknown_sku, "lines[1].sku"),
        ([TransferLine("A", 0)], Kind.invalid_quantity, "lines[0].quantity"),
        ([TransferLine("A", -1)], Kind.invalid_quantity, "lines[0].quantity"),
        ([TransferLine("A", STOCK_MAX), TransferLine("A", 1)], Kind.invalid_quantity, "lines[1].quantity"),
    ],
)
def test_wrong_lines_are_refused(lines: list[TransferLine], kind: Kind, field: str) -> None:
    assert _refused(merged, lines) == (kind, field)


def test_a_reason_is_a_line_or_nothing() -> None:
    assert (reason(" broken  in transit "), reason(" ")) == ("broken in transit", "")
    assert _refused(reason, "x" * 201) == (Kind.invalid_field, "reason")


def test_orders_are_picked_up_where_a_location_says_it_is() -> None:
    there = as_pickup(BERLIN)
    assert (there.id, there.street, there.city, there.country) == ("berlin", "Uferweg 1", "Berlin", "DE")
    assert there.place and isinstance(there, shipping.Location)
