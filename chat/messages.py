"""What people may write into a chat: messages and moderators' reasons, cleaned and bounded."""

from live.core.errors import Kind, Problem
from live.core.limits import (
    CHAT_REASON_BYTES_MAX,
    CHAT_REASON_GRAPHEMES_MAX,
    CHAT_TEXT_BYTES_MAX,
    CHAT_TEXT_GRAPHEMES_MAX,
)
from live.core.text import bounded


def clean_text(raw: str) -> str:
    """What is stored of a message; raises `Problem` chat_empty or chat_too_long."""
    text = bounded(raw, CHAT_TEXT_BYTES_MAX, CHAT_TEXT_GRAPHEMES_MAX)
    if text is None:
        raise Problem(
            Kind.chat_too_long,
            f"At most {CHAT_TEXT_GRAPHEMES_MAX} characters and {CHAT_TEXT_BYTES_MAX} bytes.",
            field="text",
        )
    if not text:
        raise Problem(Kind.chat_empty, field="text")
    return text


def clean_reason(raw: str) -> str:
    """Why a moderator acted, "" for no word; raises `Problem` invalid_field when it is too long."""
    reason = bounded(raw, CHAT_REASON_BYTES_MAX, CHAT_REASON_GRAPHEMES_MAX)
    if reason is None:
        raise Problem(Kind.invalid_field, f"At most {CHAT_REASON_GRAPHEMES_MAX} characters.", field="reason")
    return reason
