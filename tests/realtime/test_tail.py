"""The newest events of a show, and frames of them."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from live.core.codec import Encoding, encode
from live.realtime.frames import frame, payload_of
from live.realtime.protocol import Event, Notice
from live.realtime.tail import Tail


def event(offset: int) -> Event:
    return Event(offset, 1000 + offset, "word", {"text": "ä" * offset})


def filled(first: int, last: int) -> Tail:
    tail = Tail(first - 1)
    for offset in range(first, last + 1):
        tail.append(event(offset))
    return tail


@given(first=st.integers(1, 5), count=st.integers(0, 40), keep=st.integers(0, 50), since=st.integers(-2, 50))
def test_what_followed_is_complete_or_none(first: int, count: int, keep: int, since: int) -> None:
    last = first + count - 1
    tail = filled(first, last)
    tail.trim(keep)
    oldest = max(first, last - keep + 1)
    expected = [event(offset) for offset in range(since + 1, last + 1)] if oldest - 1 <= since <= last else None
    assert tail.since(since) == expected
    assert tail.last == last


@pytest.mark.parametrize("encoding", ["json", "msgpack"])
@pytest.mark.parametrize("count", [1, 2, 15, 16, 17, 300])
def test_frames_are_what_encoding_at_once_gives(count: int, encoding: Encoding) -> None:
    tail = filled(7, 6 + count)
    events = [event(offset) for offset in range(7, 7 + count)]
    assert tail.frame(6, [], encoding) == tail.frame(6, [], encoding), "the second time from what is kept"
    assert payload_of(tail.frame(6, [], encoding)) == payload_of(frame(events, encoding))


def test_more_follows_the_events() -> None:
    tail = filled(7, 8)
    more = [encode(Notice("a", {}), "json")]
    read = msgspec.json.decode(payload_of(tail.frame(7, more, "json")))
    assert [message["type"] for message in read] == ["event", "notice"]
    assert [message["type"] for message in msgspec.json.decode(payload_of(tail.frame(8, more, "json")))] == ["notice"]
    assert tail.frame(8, [], "json") == b""


def test_gaps_are_the_feeders_to_close() -> None:
    with pytest.raises(AssertionError, match="closes gaps"):
        filled(7, 8).append(event(10))
    with pytest.raises(AssertionError, match="is kept"):
        filled(7, 8).frame(2, [], "json")
