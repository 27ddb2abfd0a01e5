"""Text hygiene, against the tricks that people play with Unicode."""
# ruff: noqa: RUF001 - ambiguous characters are what this is about

import unicodedata

import pytest
import regex  # type: ignore[import-untyped]
from hypothesis import example, given
from hypothesis import strategies as st

from chat import messages
from live.core.errors import Kind, Problem
from live.core.limits import (
    CHAT_MARKS_PER_BASE_MAX,
    CHAT_REASON_GRAPHEMES_MAX,
    CHAT_TEXT_BYTES_MAX,
    CHAT_TEXT_GRAPHEMES_MAX,
    VIEWER_NAME_BYTES_MAX,
    VIEWER_NAME_GRAPHEMES_MAX,
)

FAMILY = "👨\u200d👩\u200d👧\u200d👦"
ENGLAND = "🏴\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f"
ZALGO = "H" + "\u0310\u0311\u0312\u0313\u0314" * 20 + "E"
ACUTE = "\u0301"


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        ("Hello", "Hello"),
        ("  a \t b\r\n\nc\u2028d\u00a0e\u3000f ", "a b c d e f"),
        ("Cafe\u0301", "Café"),
        ("a\x00b\x1b[31mc\x7f\x85d", "ab[31mc d"),
        ("\ud800a\udfff", "a"),
        ("pay \u202egpj.exe\u202c now", "pay gpj.exe now"),
        ("a\u2066b\u2069c\u200ed\u200fe\u061cf", "abcdef"),
        ("f\u200br\u200ce\u200de\u2060 \ufeffs\u00adh\u180eip", "free ship"),
        ("e\u200b\u0301", "é"),
        (f"{ACUTE}{ACUTE}a {ACUTE}b", "a b"),
        ("\ue000x\uffff\ufdd0", "x"),
        (f"go {ENGLAND}!", f"go {ENGLAND}!"),
        ("hi\U000e0068\U000e0069\U000e007f", "hi"),
        (FAMILY, FAMILY),
        ("👩🏽\u200d🚀❤\ufe0f\u200d🔥🏳\ufe0f\u200d🌈", "👩🏽\u200d🚀❤\ufe0f\u200d🔥🏳\ufe0f\u200d🌈"),
        ("👨\u200d\u200d👩\u200d", "👨👩"),
        ("x\u200d👩", "x👩"),
        ("👩\u200c👩", "👩👩"),
        ("می\u200cخواهم", "می\u200cخواهم"),
        ("क\u094d\u200dष", "क\u094d\u200dष"),
        ("م\u200c\u200c\u200cن", "م\u200cن"),
        ("\u0600١٢", "\u0600١٢"),
        ("שָׁלוֹם", unicodedata.normalize("NFC", "שָׁלוֹם")),
        ("ﬁ２", "ﬁ２"),  # NFC, not NFKC: such letters stay
    ],
)
def test_text_is_cleaned(raw: str, text: str) -> None:
    assert messages.clean(raw) == text
    assert messages.clean(text) == text


@pytest.mark.parametrize(
    "raw", ["", "   ", "\n\t", "\u200b\u200d", "\u3164", "\u2800\u115f\u1160\uffa0", ACUTE, "\u202e", "\x00", "\ud83d"]
)
def test_what_nobody_can_see_is_empty(raw: str) -> None:
    assert messages.clean(raw) == ""
    with pytest.raises(Problem) as refused:
        messages.clean_text(raw)
    assert (refused.value.kind, refused.value.field) == (Kind.chat_empty, "text")


def test_marks_do_not_pile_up() -> None:
    assert messages.clean(ZALGO) == "H" + "\u0310\u0311\u0312\u0313" + "E"


@pytest.mark.parametrize(
    ("text", "count"), [("", 0), ("abc", 3), (FAMILY, 1), (ENGLAND, 1), ("🇩🇪🇫🇷", 2), ("e" + ACUTE, 1)]
)
def test_length_is_what_a_reader_counts(text: str, count: int) -> None:
    assert messages.graphemes(text) == count


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


def test_a_name_is_cleaned() -> None:
    assert messages.clean_name("  Ada\u202e \n Lovelace ") == "Ada Lovelace"
    assert messages.clean_name("x" * VIEWER_NAME_GRAPHEMES_MAX)


@pytest.mark.parametrize("raw", ["", "\u200b", "x" * (VIEWER_NAME_GRAPHEMES_MAX + 1), FAMILY * 9, "x" * 10**6])
def test_a_bad_name_is_refused(raw: str) -> None:
    with pytest.raises(Problem) as refused:
        messages.clean_name(raw)
    assert (refused.value.kind, refused.value.field) == (Kind.invalid_field, "name")


@pytest.mark.parametrize(
    ("raw", "name"),
    [
        ("Ada", "Ada"),
        ("\x00", "Guest"),
        ("x" * 1000, "x" * VIEWER_NAME_GRAPHEMES_MAX),
        ("x" * (VIEWER_NAME_GRAPHEMES_MAX - 1) + " yz", "x" * (VIEWER_NAME_GRAPHEMES_MAX - 1)),
        (FAMILY * 10, FAMILY * (VIEWER_NAME_BYTES_MAX // 25)),
    ],
)
def test_the_name_of_a_token_is_made_to_fit(raw: str, name: str) -> None:
    assert messages.shown_name(raw) == name


def test_a_reason_may_be_missing_but_not_endless() -> None:
    assert messages.clean_reason(" spam\n") == "spam"
    assert messages.clean_reason("") == ""
    with pytest.raises(Problem) as refused:
        messages.clean_reason("x" * (CHAT_REASON_GRAPHEMES_MAX + 1))
    assert (refused.value.kind, refused.value.field) == (Kind.invalid_field, "reason")


TRICKS = st.sampled_from(
    "a \u0301\u0302\u200d\u200c\u200b\u202e\u2066\ud800\x00\n👨❤\ufe0f🏽🏴\U000e0067\U000e007f"
    "क\u094dمی\u1100\u1161\u0591\u3164\u0600\u00ad"
)
_PILE = regex.compile(rf"\p{{M}}{{{CHAT_MARKS_PER_BASE_MAX + 1}}}")


@given(st.text(TRICKS | st.characters(), max_size=60))
@example("\u1100" + ACUTE * 9 + "\u1161")
def test_no_trick_passes(raw: str) -> None:
    text = messages.clean(raw)
    text.encode()  # no half of a surrogate
    assert unicodedata.is_normalized("NFC", text)
    assert text == text.strip()
    assert "  " not in text
    assert not _PILE.search(text)
    assert not set(text) & set("\x00\n\u200b\u202e\u2066\u00ad\u3164")
    assert messages.clean(text) == text
