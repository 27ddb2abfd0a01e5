"""Messages made up from their types, right ones and damaged ones, in both encodings."""

from typing import Any

import msgpack
import msgspec
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from live.core.codec import Encoding, Malformed, decode, encode
from live.core.position import Position
from live.realtime.protocol import ClientMessage, Command, Connect, Ping, Recover

TEXTS = st.text(max_size=20)
NUMBERS = st.integers(-(2**63), 2**64 - 1)
PLAIN = st.recursive(
    st.none() | st.booleans() | NUMBERS | st.floats(allow_nan=False, allow_infinity=False) | TEXTS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=12,
)
POSITIONS = st.builds(Position, epoch=TEXTS, offset=NUMBERS)
MESSAGES: st.SearchStrategy[Any] = st.one_of(
    st.builds(Connect, id=TEXTS, token=st.none() | TEXTS, position=st.none() | POSITIONS, name=st.none() | TEXTS),
    st.builds(Command, id=TEXTS, name=TEXTS, data=st.dictionaries(TEXTS, PLAIN, max_size=4), key=st.none() | TEXTS),
    st.builds(Recover, id=TEXTS, position=POSITIONS),
    st.just(Ping()),
)
ENCODINGS = st.sampled_from(["json", "msgpack"])


def read(data: bytes, encoding: Encoding) -> Any:
    return decode(data, encoding, ClientMessage)  # type: ignore[arg-type]


@given(MESSAGES, ENCODINGS)
def test_what_is_written_is_read_again(message: Any, encoding: Encoding) -> None:
    assert read(encode(message, encoding), encoding) == message


@given(MESSAGES, ENCODINGS, st.data())
def test_damaged_bytes_are_malformed_or_another_message(message: Any, encoding: Encoding, data: st.DataObject) -> None:
    octets = bytearray(encode(message, encoding))
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(octets)))
        octets[at : at + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=4))
    try:
        found = read(bytes(octets), encoding)
    except Malformed:
        return
    assert isinstance(found, Connect | Command | Recover | Ping)


@given(MESSAGES, ENCODINGS, st.data())
def test_members_of_other_types_are_malformed_by_name(message: Any, encoding: Encoding, data: st.DataObject) -> None:
    """Each member is replaced, left out, or doubled by one that nobody knows."""
    members: dict[str, Any] = msgspec.to_builtins(message)
    name = data.draw(st.sampled_from(sorted(members)))
    how = data.draw(st.sampled_from(["left out", "replaced", "unknown"]))
    if how == "left out":
        del members[name]
    elif how == "replaced":
        members[name] = data.draw(PLAIN)
    else:
        members[data.draw(TEXTS) + "?"] = data.draw(PLAIN)
    written = orjson.dumps(members) if encoding == "json" else msgpack.packb(members)
    try:
        found = read(written, encoding)
    except Malformed as error:
        assert how != "unknown", "what is not known is passed over"
        assert error.detail
        return
    assert how != "left out" or name not in ("type", "id", "position") or isinstance(found, Connect)
    if how == "unknown":
        assert found == message


@pytest.mark.parametrize("encoding", ["json", "msgpack"])
@given(value=PLAIN)
def test_no_value_but_an_object_is_a_message(encoding: Encoding, value: Any) -> None:
    if not isinstance(value, dict):
        with pytest.raises(Malformed):
            read(orjson.dumps(value) if encoding == "json" else msgpack.packb(value), encoding)
