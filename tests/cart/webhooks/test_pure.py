"""Messages, signatures, tries and targets, without a network or a database."""

import ipaddress
import time
from email.utils import formatdate

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from standardwebhooks import Webhook

from cart.webhooks import events, schedule, signature, targets
from cart.webhooks.schedule import Fate, Try
from live.core.codec import Malformed
from live.core.errors import Kind, Problem
from live.core.limits import CART_LINES_MAX, WEBHOOK_DELAYS_S, WEBHOOK_PAYLOAD_BYTES_MAX
from tests.cart.webhooks.facts import FACTS

# --- events ---------------------------------------------------------------------------------------------------


def test_a_message_has_what_its_type_says_and_nothing_else() -> None:
    for type_, facts in FACTS.items():
        made = events.message(type_, facts | {"inside": 1}, "gala")
        assert set(made.data) == set(events.KINDS[type_].data.__struct_fields__)
        assert made.subject.partition(":")[2]
        with pytest.raises(Malformed):
            events.message(type_, {}, None)


@settings(max_examples=30)
@given(st.integers(1, CART_LINES_MAX), st.sampled_from(["", "Mug", "Ü" * 140, '"' * 140, "\U0001f48e" * 140]))
def test_no_message_is_too_large(count: int, title: str) -> None:
    line = FACTS["order.placed"]["lines"][0] | {"title": title, "variant": title}
    facts = FACTS["order.placed"] | {"lines": [line | {"sku": f"SKU-{number}"} for number in range(count)]}
    made = events.message("order.placed", facts, "gala")
    sent = events.body(made.type, 1_800_000_000_000, made.show, made.data)
    assert len(sent) <= WEBHOOK_PAYLOAD_BYTES_MAX
    told = orjson.loads(sent)["data"]
    assert len(told["lines"]) + told["lines_left_out"] == count
    assert [each["sku"] for each in told["lines"]] == [f"SKU-{number}" for number in range(len(told["lines"]))]
    assert told["lines_left_out"] == 0 or len(sent) > WEBHOOK_PAYLOAD_BYTES_MAX - 3000, "no more than must be"


def test_discounts_go_when_they_alone_are_too_many() -> None:
    discount = FACTS["order.placed"]["discounts"][0] | {"label": "x" * 140}
    made = events.message("order.placed", FACTS["order.placed"] | {"discounts": [discount] * 200}, "gala")
    assert (made.data["lines"], made.data["lines_left_out"]) == ([], 1)
    assert 50 < len(made.data["discounts"]) < 200
    assert len(events.body(made.type, 0, "gala", made.data)) <= WEBHOOK_PAYLOAD_BYTES_MAX


def test_bodies_say_type_time_and_show() -> None:
    told = orjson.loads(events.body("show.started", 1_800_000_000_042, None, {"id": "gala"}))
    assert told == {
        "type": "show.started", "timestamp": "2027-01-15T08:00:00.042Z", "show": None, "data": {"id": "gala"},
    }  # fmt: skip


def test_every_type_has_a_schema() -> None:
    schema = events.schema()
    assert list(schema["types"]) == list(events.KINDS)
    assert schema["$defs"]["StockData"]["required"] == ["sku", "product_id", "available"]


# --- signatures -----------------------------------------------------------------------------------------------


@given(st.binary(max_size=200).map(lambda raw: raw.hex()), st.integers(1, 3))
def test_every_secret_verifies_by_the_standards_own_library(text: str, count: int) -> None:
    secrets = [signature.new_secret() for _ in range(count)]
    body = orjson.dumps({"text": text})
    headers = signature.headers("msg", int(time.time()), body, secrets)
    for secret in secrets:
        assert Webhook(secret).verify(body, headers) == {"text": text}


def test_the_standards_own_example() -> None:
    """From the specification of Standard Webhooks."""
    body = b'{"test": 2432232314}'
    made = signature.headers(
        "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, body, ["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"]
    )
    assert made["webhook-signature"] == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


# --- tries ----------------------------------------------------------------------------------------------------


@given(st.integers(100, 599) | st.none(), st.integers(1, 20), st.floats(0, 1), st.integers(0, 10**9) | st.none())
def test_what_a_try_leads_to(status: int | None, tries: int, jitter: float, asked_ms: int | None) -> None:
    fate, due_ms = schedule.judge(Try(status, retry_after_ms=asked_ms), tries, 1000, jitter)
    if status is not None and 200 <= status < 300:
        assert fate is Fate.delivered
    elif tries >= len(WEBHOOK_DELAYS_S):
        assert fate is Fate.dead
    else:
        assert fate is Fate.pending
        least_ms = max(WEBHOOK_DELAYS_S[tries] * 1000, min(asked_ms or 0, 86_400_000))
        assert least_ms <= due_ms - 1000 <= max(least_ms, WEBHOOK_DELAYS_S[tries] * 1200 + 1)


@pytest.mark.parametrize(
    ("said", "wait_ms"),
    [
        ("120", 120_000),
        (" 0 ", 0),
        (formatdate(1_800_000_060, usegmt=True), 60_000),
        (formatdate(1_700_000_000, usegmt=True), 0),
        ("Fri, 15 Jan 2027 08:01:00 -0000", 60_000),
        ("", None),
        ("soon", None),
        ("-5", None),
        ("1" * 12, None),
        ("\u0665", None),
    ],
)
def test_how_long_a_receiver_asks_us_to_wait(said: str, wait_ms: int | None) -> None:
    assert schedule.retry_after_ms({"retry-after": said}, 1_800_000_000_000) == wait_ms


def test_only_410_says_that_nothing_is_wanted() -> None:
    assert [status for status in (None, 200, 404, 410, 500) if Try(status).gone] == [410]


# --- targets --------------------------------------------------------------------------------------------------

_PRIVATE = (
    "127.0.0.1", "127.8.8.8", "0.0.0.0", "10.1.2.3", "172.16.0.1", "172.31.255.255", "192.168.1.1", "100.64.0.1",
    "100.100.100.200", "169.254.169.254", "192.0.0.1", "192.0.2.1", "198.18.0.1", "198.51.100.7", "203.0.113.9",
    "224.0.0.1", "239.1.2.3", "240.0.0.1", "255.255.255.255", "168.63.129.16", "192.88.99.1", "::", "::1", "fe80::1",
    "fc00::1", "fd00:ec2::254", "ff02::1", "fec0::1", "2001:db8::1", "100::1", "::ffff:127.0.0.1",
    "::ffff:169.254.169.254", "::ffff:10.0.0.1", "64:ff9b::10.0.0.1", "64:ff9b::169.254.169.254", "64:ff9b:1::a00:1",
    "2002:a00:1::", "2001:0:a00:1::1",
)  # fmt: skip
_PUBLIC = (
    "8.8.8.8",
    "172.32.0.1",
    "100.128.0.1",
    "2606:4700::1111",
    "::ffff:8.8.8.8",
    "64:ff9b::8.8.8.8",
    "2002:808:808::1",
)


@pytest.mark.parametrize("address", _PRIVATE)
def test_nothing_is_sent_into_a_network_that_is_not_public(address: str) -> None:
    assert targets.refusal(ipaddress.ip_address(address))


@pytest.mark.parametrize("address", _PUBLIC)
def test_the_public_internet_is_reached(address: str) -> None:
    assert not targets.refusal(ipaddress.ip_address(address))


@given(
    st.ip_addresses(network="10.0.0.0/8") | st.ip_addresses(network="fc00::/7") | st.ip_addresses(network="127.0.0.0/8")
)
def test_no_form_of_an_inside_address_passes(address: targets.Address) -> None:
    forms = [address]
    if isinstance(address, ipaddress.IPv4Address):
        inner = int(address)
        forms += [
            ipaddress.IPv6Address(0xFFFF << 32 | inner),
            ipaddress.IPv6Address(0x64FF9B << 96 | inner),
            ipaddress.IPv6Address(0x2002 << 112 | inner << 80),
        ]
    assert all(targets.refusal(form) for form in forms)


def _choose(url: str, *addresses: str, allowed: tuple[str, ...] = ()) -> str:
    networks = [ipaddress.ip_network(each) for each in allowed]
    return str(targets.choose(targets.parse(url), [ipaddress.ip_address(each) for each in addresses], networks))


def test_one_bad_address_of_a_name_is_enough() -> None:
    assert _choose("https://shop.example/", "8.8.8.8", "2606:4700::1111") == "8.8.8.8"
    for addresses in ((), ("8.8.8.8", "10.0.0.1"), ("::1",)):
        with pytest.raises(Problem) as caught:
            _choose("https://shop.example/", *addresses)
        assert caught.value.kind is Kind.webhook_target_forbidden


def test_exceptions_are_named_as_networks_and_plain_http_stays_on_this_machine() -> None:
    assert _choose("https://erp.example/", "10.0.0.7", allowed=("10.0.0.0/24",)) == "10.0.0.7"
    assert _choose("http://localhost:8080/", "127.0.0.1", "::1", allowed=("127.0.0.0/8", "::1/128")) == "127.0.0.1"
    for url, address, allowed in (
        ("https://erp.example/", "10.0.1.7", ("10.0.0.0/24",)),
        ("http://erp.example/", "10.0.0.7", ("10.0.0.0/24",)),
        ("http://localhost/", "127.0.0.1", ()),
        ("http://localhost/", "127.0.0.1", ("::1/128",)),
        ("http://shop.example/", "8.8.8.8", ()),
    ):
        with pytest.raises(Problem, match="webhook_target_forbidden"):
            _choose(url, address, allowed=allowed)


def test_urls_are_taken_apart_and_put_together_with_an_address() -> None:
    four, six = ipaddress.ip_address("8.8.8.8"), ipaddress.ip_address("2606:4700::1111")
    target = targets.parse("https://Shop.example/hook?a=b")
    assert (target.host, target.authority, target.at(four)) == (
        "shop.example", "shop.example", "https://8.8.8.8:443/hook?a=b",
    )  # fmt: skip
    assert target.at(six) == "https://[2606:4700::1111]:443/hook?a=b"
    assert targets.parse("https://[2606:4700::1111]:8443").authority == "[2606:4700::1111]:8443"
    assert targets.parse("http://127.0.0.1:80").at(four) == "http://8.8.8.8:80/"


@pytest.mark.parametrize(
    "url",
    [
        "", "shop.example", "ftp://shop.example/", "https://", "https://:443/", "https://shop.example:0/",
        "https://shop.example:65536/", "https://ada@shop.example/", "https://:x@shop.example/", "https://shop.example/#",
        "https://shop.example/#a", "https://shop.example/\n", "https://shop. example/", "https://sh\u00f6p.example/",
        "https://[::1", "https://shop.example/" + "a" * 2000,
    ],
)  # fmt: skip
def test_what_is_no_url_to_send_to(url: str) -> None:
    if url.endswith("#"):  # an empty fragment is none
        assert targets.parse(url).path == "/"
        return
    with pytest.raises(Problem) as caught:
        targets.parse(url)
    assert (caught.value.kind, caught.value.field) == (Kind.invalid_field, "url")
