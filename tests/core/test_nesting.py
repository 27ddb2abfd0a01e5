"""The depth of a message is the same on every interpreter, and costs no more to find for who hides it."""

import json
import time
from typing import Any

import msgpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from live.core.codec import Encoding
from live.core.nesting import is_deeper

KEYS = st.text(st.sampled_from('ab"\\[]{}é😀'), max_size=4)
NUMBERS = st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False, allow_infinity=False)
LEAVES = st.none() | st.booleans() | NUMBERS | KEYS
VALUES = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=20) | st.dictionaries(KEYS, inner, max_size=20), max_leaves=30
)


def depth(value: Any) -> int:
    if isinstance(value, dict):
        return 1 + max(map(depth, value.values()), default=0)
    return 1 + max(map(depth, value), default=0) if isinstance(value, list) else 0


@given(VALUES)
@settings(max_examples=50)
def test_the_depth_is_that_of_the_value(value: Any) -> None:
    found = depth(value)
    for encoding, data in (("json", json.dumps(value).encode()), ("msgpack", msgpack.packb(value))):
        for levels in {0, max(0, found - 1), found, found + 1}:
            assert is_deeper(data, encoding, levels) == (levels < found), (encoding, levels)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "leaf",
    [
        b"x" * 300, b"\x91" * 300, b"\x91" * 70_000, "é" * 200, "é" * 70_000, "\u0091" * 20, {}, [], 1.5, -1, -33, -200,
        -70_000, -(2**40), 200, 70_000, 2**33, 2**63, list(range(20)), list(range(70_000)), dict.fromkeys(range(20)),
        dict.fromkeys(range(70_000)),
        *(msgpack.ExtType(5, b"\x91" * size) for size in (1, 2, 4, 8, 16, 5, 300, 70_000)),
    ],
    ids=lambda leaf: type(leaf).__name__,
)  # fmt: skip
def test_every_format_of_messagepack_is_passed_over_as_a_whole(leaf: Any) -> None:
    """What follows it is where it should be: the list after it is the deepest there is."""
    data = msgpack.packb([leaf, [[[[]]]], None])
    assert is_deeper(data, "msgpack", 4) and not is_deeper(data, "msgpack", 5)


def test_single_precision_is_passed_over_too() -> None:
    assert is_deeper(b"\x92\xca\x91\x91\x91\x91\x91\xc0", "msgpack", 1)
    assert not is_deeper(b"\x92\xca\x91\x91\x91\x91\x91\xc0", "msgpack", 2)


def test_what_follows_a_complete_message_is_not_of_it() -> None:
    assert not is_deeper(b"\xc0" + b"\x91" * 9, "msgpack", 3)


@pytest.mark.parametrize(
    ("encoding", "data"),
    [("json", b'"['), ("json", b'{"a":"[[[[[[[['), ("json", b'"\\'), ("msgpack", b"\x92\xdb\x91"), ("msgpack", b"")],
)
def test_what_is_cut_off_in_a_string_is_as_deep_as_it_was_until_then(encoding: Encoding, data: bytes) -> None:
    assert not is_deeper(data, encoding, 1)


@pytest.mark.parametrize("piece", [b'\\"', b'"', b"\\", b'"",'])
def test_quotation_marks_without_end_cost_no_more_than_others(piece: bytes) -> None:
    """Looking for the end of a string from each mark anew, a megabyte would take hours."""
    began_s = time.thread_time()
    assert is_deeper(b"[" * 65 + piece * 2**18, "json", 64)
    assert time.thread_time() - began_s < 10
