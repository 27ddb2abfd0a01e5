"""Ways of shipping, addresses and the seller as values."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from cart.ordering import shipping
from cart.ordering.addresses import AddressEntry, address
from cart.ordering.seller import Texts
from cart.ordering.seller import check as check_seller
from cart.ordering.shipping import Choice, Location, Method, Opening, Rate, check, choose, options, placed
from cart.pricing.taxes import Tax
from live.core.errors import Kind, Problem
from tests.cart.ordering.samples import ADDRESS, COUNTER, PICKUP, POST, SELLER

BERLIN = replace(POST, id="bike", countries=("DE",), postcodes=("10", "12"), postcodes_not=("1099",))


def test_options_of_a_cart() -> None:
    found = options([POST, PICKUP, replace(POST, id="off", active=False)], "EUR", 4000, (), None, "")
    assert [(one.method, one.price_minor, one.missing_minor) for one in found] == [
        ("post", 490, 1000),
        ("counter", 0, None),
    ]
    assert options([POST], "EUR", 5000, (), None, "")[0].price_minor == 0
    assert options([POST], "USD", 5000, (), None, "") == []
    assert [one.method for one in options([POST, BERLIN], "EUR", 1, (), "AT", "1010")] == ["post"]
    assert options([POST], "CHF", 1, (), None, "")[0].missing_minor is None


@pytest.mark.parametrize(
    ("country", "postcode", "reached"),
    [("DE", "10115", True), ("DE", "10999", False), ("DE", "20095", False), ("AT", "1010", False)],
)
def test_where_a_delivery_goes(country: str, postcode: str, reached: bool) -> None:
    assert shipping.reaches(BERLIN, country, postcode) is reached
    assert shipping.reaches(replace(POST, countries=()), country, postcode)


def test_what_is_chosen_has_the_words_and_the_price_of_the_moment() -> None:
    chosen = choose([POST, PICKUP], Choice("post"), ADDRESS, "EUR", 100)
    assert chosen is not None
    assert (chosen.price_minor, chosen.title.de, chosen.days_max, chosen.location) == (490, "Paket", 4, None)
    counter = choose([POST, PICKUP], Choice("counter", "mitte"), None, "EUR", 100)
    assert counter is not None and counter.location == COUNTER
    assert choose([], None, None, "EUR", 100) is None
    assert choose([replace(POST, active=False)], None, None, "EUR", 100) is None


@pytest.mark.parametrize(
    ("choice", "currency", "kind", "field"),
    [
        (None, "EUR", Kind.shipping_required, "shipping"),
        (Choice("pigeon"), "EUR", Kind.unknown_shipping_method, "shipping.method"),
        (Choice("post"), "USD", Kind.shipping_unavailable, "shipping.method"),
        (Choice("post"), "EUR", Kind.invalid_field, "address"),
        (Choice("counter"), "EUR", Kind.invalid_field, "shipping.location"),
        (Choice("counter", "nowhere"), "EUR", Kind.invalid_field, "shipping.location"),
    ],
)
def test_what_cannot_be_chosen(choice: Choice | None, currency: str, kind: Kind, field: str) -> None:
    with pytest.raises(Problem) as caught:
        choose([POST, PICKUP], choice, None, currency, 100)
    assert (caught.value.kind, caught.value.field) == (kind, field)


def test_a_delivery_that_does_not_reach_the_address() -> None:
    with pytest.raises(Problem) as caught:
        choose([BERLIN], Choice("bike"), replace(ADDRESS, postcode="20095"), "EUR", 100)
    assert caught.value.kind is Kind.shipping_unavailable


def _at(*hours: Opening) -> tuple[Location, ...]:
    return (replace(COUNTER, hours=hours),)


@pytest.mark.parametrize(
    ("method", "field"),
    [
        (replace(POST, rates=(Rate("EUX", 1),)), "rates.currency"),
        (replace(POST, rates=(Rate("EUR", 1), Rate("EUR", 2))), "rates"),
        (replace(POST, countries=("XX",)), "countries"),
        (replace(POST, days_min=5), "days_min"),
        (replace(POST, postcodes=("1",)), "countries"),
        (replace(POST, locations=(COUNTER,)), "locations"),
        (replace(PICKUP, locations=()), "locations"),
        (replace(PICKUP, countries=("DE",)), "locations"),
        (replace(PICKUP, locations=(COUNTER, COUNTER)), "locations"),
        (replace(PICKUP, locations=(replace(COUNTER, country="XX"),)), "locations.country"),
        (replace(PICKUP, locations=(replace(COUNTER, street=""),)), "locations"),
        (replace(PICKUP, locations=_at(Opening(("someday",), "09:00", "10:00"))), "locations.hours.days"),
        (replace(PICKUP, locations=_at(Opening(("mon",), "9", "10:00"))), "locations.hours"),
        (replace(PICKUP, locations=_at(Opening(("mon",), "09:00", "25:00"))), "locations.hours"),
        (replace(PICKUP, locations=_at(Opening(("mon",), "10:00", "10:00"))), "locations.hours"),
    ],
)
def test_methods_that_make_no_sense_are_refused_by_the_member(method: Method, field: str) -> None:
    with pytest.raises(Problem) as caught:
        check(method)
    assert caught.value.field == field


def test_a_location_of_the_shop_says_itself_where_it_is() -> None:
    here, ours = replace(COUNTER, id="own"), replace(COUNTER, place=True)
    method = replace(PICKUP, locations=(here, Location("mitte", place=True)))
    assert placed(method, {"mitte": ours, "own": ours}).locations == (here, ours)
    with pytest.raises(Problem) as caught:
        placed(method, {})
    assert (caught.value.kind, caught.value.field) == (Kind.invalid_field, "locations")


def test_methods_that_make_sense() -> None:
    for method in (POST, PICKUP, BERLIN):
        assert check(method) is method


@given(
    st.integers(0, 100_000),
    st.lists(st.tuples(st.sampled_from([0, 700, 1900, 2500]), st.integers(0, 10_000)), max_size=4),
)
def test_the_taxes_of_shipping_come_to_the_fee(fee: int, goods: list[tuple[int, int]]) -> None:
    found = shipping.taxes(fee, [Tax(bp, gross, 0) for bp, gross in goods])
    assert sum(tax.net_minor + tax.tax_minor for tax in found) == (fee if goods else 0)
    assert all(tax.tax_bp in {bp for bp, _ in goods} for tax in found)


# --- addresses ------------------------------------------------------------------------------------------------

ENTRY = AddressEntry(name=" Ada  Lovelace", street="Uferweg 1", city="Berlin", country="de", postcode="10115")


@pytest.mark.parametrize(
    ("country", "postcode", "stored"),
    [
        ("de", "10115", "10115"), ("AT", "1010", "1010"), ("NL", "1012 ab", "1012 AB"), ("GB", "sw1a  1aa", "SW1A 1AA"),
        ("US", "94103-1234", "94103-1234"), ("PL", "00-001", "00-001"), ("IE", "D02 X285", "D02 X285"), ("HK", "", ""),
    ],
)  # fmt: skip
def test_addresses_are_cleaned(country: str, postcode: str, stored: str) -> None:
    made = address(replace(ENTRY, country=country, postcode=postcode, phone="+49 30 12", extra=" c/o  Bob "))
    assert (made.name, made.country, made.postcode, made.extra) == ("Ada Lovelace", country.upper(), stored, "c/o Bob")


@pytest.mark.parametrize(
    ("field", "change"),
    [
        ("name", {"name": ""}),
        ("street", {"street": "x" * 101}),
        ("city", {"city": "a\x00b"}),
        ("country", {"country": "XX"}),
        ("postcode", {"postcode": ""}),
        ("postcode", {"postcode": "1011"}),
        ("postcode", {"postcode": "1" * 10_000}),
        ("postcode", {"country": "IE", "postcode": "!"}),
        ("phone", {"phone": "call me"}),
        ("region", {"region": "x" * 101}),
    ],
)
def test_addresses_are_refused_by_the_member(field: str, change: dict[str, str]) -> None:
    with pytest.raises(Problem) as caught:
        address(replace(ENTRY, **change))
    assert (caught.value.kind, caught.value.field) == (Kind.invalid_field, f"address.{field}")


# --- the seller ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("field", "change"),
    [
        ("name", {"name": " "}), ("country", {"country": "XX"}), ("postcode", {"postcode": "1"}),
        ("email", {"email": "nobody"}), ("site", {"site": "javascript:alert(1)"}),
        ("terms", {"terms": Texts(de="a\x00")}), ("street", {"street": "a\x07"}),
    ],
)  # fmt: skip
def test_a_seller_that_no_letter_can_name(field: str, change: dict[str, object]) -> None:
    assert check_seller(SELLER) is SELLER
    with pytest.raises(Problem) as caught:
        check_seller(replace(SELLER, **change))
    assert caught.value.field == field
