"""What speakers say: long enough for the event, short enough for a chat, and known again on every screen."""

import msgspec
import pytest

from live.core.limits import (
    CHAT_TEXT_BYTES_MAX,
    CHAT_TEXT_GRAPHEMES_MAX,
    SOCKET_UNSENT_BYTES_MAX,
    VIEWER_BACKLOG_BYTES_MAX,
    VIEWER_STALL_S_MAX,
)
from live.core.text import bounded
from loadtests.plan import Plan
from loadtests.scenario import TEXT_BYTES_MAX, Chat, Slow, Viewers, load
from loadtests.speech import Speech
from loadtests.tally import Tally
from loadtests.wire import Event

RECEIVED_BYTES = 128 * 1024  # what the kernel keeps at first for who does not read (tcp_rmem)
DUE_US = 2**52  # years after the machine's start


def speech(size_bytes: int) -> Speech:
    plan = Plan("http://127.0.0.1:9", "demo", Viewers(1), 1.0, 1.0, chat=Chat(1.0, size_bytes=size_bytes))
    return Speech(plan, "abcdef", (), Tally(0))


@pytest.mark.parametrize("size_bytes", [0, 30, 60, 500, TEXT_BYTES_MAX])
def test_a_message_has_its_size_and_a_chat_takes_it(size_bytes: int) -> None:
    text = speech(size_bytes)._text(123_456, DUE_US)
    least = len(speech(0)._text(123_456, DUE_US))
    assert max(least, size_bytes - 4) <= len(text.encode()) <= max(least, size_bytes)
    assert bounded(text, CHAT_TEXT_BYTES_MAX, CHAT_TEXT_GRAPHEMES_MAX) == text, "nothing is cut off or replaced"


@pytest.mark.parametrize("size_bytes", [0, TEXT_BYTES_MAX])
def test_a_message_is_known_again(size_bytes: int) -> None:
    said = speech(size_bytes)
    text = said._text(7, DUE_US)
    assert said.probe(Event(1, "chat.message", {"text": text})) == (7, DUE_US)
    assert said.numbers(msgspec.json.encode({"messages": [{"text": text}]})) == {7}
    other = Speech(msgspec.structs.replace(said._plan), "fedcba", (), Tally(0))
    assert other.probe(Event(1, "chat.message", {"text": text})) is None


def test_who_reads_slowly_misses_more_than_a_server_keeps() -> None:
    """Or the ready scenario would try nothing: what waits for a viewer does not depend on how many there are."""
    scenario = load("slow-readers")
    [fault] = scenario.fault
    assert isinstance(fault, Slow)
    kept = VIEWER_BACKLOG_BYTES_MAX + SOCKET_UNSENT_BYTES_MAX + RECEIVED_BYTES
    skipped_s = kept / (scenario.chat.rate_per_s * scenario.chat.size_bytes)
    assert skipped_s + VIEWER_STALL_S_MAX < fault.for_s
