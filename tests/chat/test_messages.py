"""What may be written into a chat; how text is cleaned has tests of its own beside it."""

import pytest

from chat import messages
from live.core.errors import Kind, Problem
from live.core.limits import CHAT_REASON_GRAPHEMES_MAX, CHAT_TEXT_BYTES_MAX, CHAT_TEXT_GRAPHEMES_MAX

FAMILY = "👨\u200d👩\u200d👧\u200d👦"


@pytest.mark.parametrize("raw", ["", "\n\t", "\u200b\u200d", "\ud83d"])
def test_a_message_that_nobody_can_see_is_refused(raw: str) -> None:
    with pytest.raises(Problem) as refused:
        messages.clean_text(raw)
    assert (refused.value.kind, refused.value.field) == (Kind.chat_empty, "text")


@pytest.mark.parametrize(
    "text",
    ["x" * CHAT_TEXT_GRAPHEMES_MAX, FAMILY * (CHAT_TEXT_BYTES_MAX // 25), "ä" * CHAT_TEXT_GRAPHEMES_MAX + " " * 300],
)
def test_a_message_within_both_bounds_passes(text: str) -> None:
    assert messages.clean_text(text) == text.strip()


@pytest.mark.parametrize(
    "raw", ["x" * (CHAT_TEXT_GRAPHEMES_MAX + 1), FAMILY * (CHAT_TEXT_BYTES_MAX // 25 + 1), "\u200b" * 5000, "x" * 10**6]
)
def test_a_message_beyond_a_bound_is_refused(raw: str) -> None:
    with pytest.raises(Problem) as refused:
        messages.clean_text(raw)
    assert (refused.value.kind, refused.value.field) == (Kind.chat_too_long, "text")


def test_a_reason_may_be_missing_but_not_endless() -> None:
    assert messages.clean_reason(" spam\n") == "spam"
    assert messages.clean_reason("") == ""
    with pytest.raises(Problem) as refused:
        messages.clean_reason("x" * (CHAT_REASON_GRAPHEMES_MAX + 1))
    assert (refused.value.kind, refused.value.field) == (Kind.invalid_field, "reason")
