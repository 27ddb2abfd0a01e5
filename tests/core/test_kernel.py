"""The small modules of the kernel: errors, limits, clock, ids, codec."""

import uuid
from enum import Enum
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from live.core import codec
from live.core.clock import ManualClock, SystemClock
from live.core.errors import CLOSES, GOING_AWAY, UNKNOWN_SHOW, Kind, Problem
from live.core.ids import secret_token, uuid7


def test_error_numbers_are_unique_and_in_their_part() -> None:
    numbers = [kind.number for kind in Kind]
    assert len(set(numbers)) == len(numbers)
    assert all(1000 <= number < 6000 for number in numbers)
    assert all(400 <= kind.status < 600 for kind in Kind)


def test_close_codes_are_unique_and_carry_their_policy() -> None:
    assert len({close.code for close in CLOSES}) == len(CLOSES)
    assert GOING_AWAY.reconnect
    assert not UNKNOWN_SHOW.reconnect
    assert all(4000 <= close.code < 5000 and len(close.reason.encode()) <= 123 for close in CLOSES), "RFC 6455, 5.5"


def test_a_problem_names_its_field_and_number() -> None:
    body = Problem(Kind.sold_out, field="sku", retry_after_s=3, extra={"available": 0}).body()
    assert body["code"] == 5003
    assert body["name"] == "sold_out"
    assert (body["field"], body["retry_after_s"], body["available"]) == ("sku", 3, 0)
    assert body["detail"] == body["title"] == "Sold out"
    assert set(Problem(Kind.sold_out, "gone").body()) == {"type", "title", "status", "detail", "code", "name"}


def test_uuid7_orders_by_time() -> None:
    first, second = uuid7(1_000), uuid7(1_001)
    assert first < second
    parsed = uuid.UUID(first)
    assert parsed.version == 7
    assert parsed.variant == uuid.RFC_4122
    assert int(first[:12], 16) == 1_000
    assert uuid7() != uuid7()


def test_secrets_are_unguessable() -> None:
    assert len(secret_token(24)) == 32
    assert secret_token() != secret_token()


def test_the_manual_clock_moves_when_told() -> None:
    clock = ManualClock(5_000)
    clock.advance(1.5)
    assert clock.now_ms() == 6_500
    assert clock.monotonic() == 6.5
    with pytest.raises(AssertionError):
        clock.advance(-1)


def test_the_system_clock_runs() -> None:
    clock = SystemClock()
    assert clock.now_ms() > 1_700_000_000_000
    assert clock.monotonic() <= clock.monotonic()


class Colour(Enum):
    red = "red"


class Inner(msgspec.Struct):
    count: int


class Outer(msgspec.Struct, tag="outer"):
    inner: Inner
    colour: Colour = Colour.red
    names: tuple[str, ...] = ()


@pytest.mark.parametrize("encoding", ["json", "msgpack"])
def test_both_encodings_carry_the_same(encoding: codec.Encoding) -> None:
    value = Outer(Inner(3), names=("ä", "b"))
    assert codec.decode(codec.encode(value, encoding), encoding, Outer) == value


@pytest.mark.parametrize("encoding", ["json", "msgpack"])
def test_a_wrong_member_is_named(encoding: codec.Encoding) -> None:
    bad = codec.encode({"type": "outer", "inner": {"count": "three"}}, encoding)
    with pytest.raises(codec.Malformed) as raised:
        codec.decode(bad, encoding, Outer)
    assert raised.value.field == "inner.count"
    with pytest.raises(codec.Malformed) as raised:
        codec.convert({"inner": 1}, Outer)
    assert raised.value.field == "inner"


def test_a_plain_value_converts() -> None:
    assert codec.convert({"inner": {"count": 1}}, Outer) == Outer(Inner(1))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)


@given(value=JSON, encoding=st.sampled_from(["json", "msgpack"]))
def test_whatever_is_encoded_is_decoded(value: Any, encoding: codec.Encoding) -> None:
    assert codec.decode(codec.encode(value, encoding), encoding, Any) == value


@given(data=st.binary(max_size=200), encoding=st.sampled_from(["json", "msgpack"]))
def test_garbage_is_malformed_and_nothing_else(data: bytes, encoding: codec.Encoding) -> None:
    try:
        codec.decode(data, encoding, Outer)
    except codec.Malformed as error:
        assert error.detail


def test_depth_does_not_crash() -> None:
    with pytest.raises(codec.Malformed):
        codec.decode(b"[" * 100_000, "json", Any)
