"""Text hygiene, against the tricks that people play with Unicode."""
# ruff: noqa: RUF001 - ambiguous characters are what this is about

import unicodedata

import pytest
import regex  # type: ignore[import-untyped]
from hypothesis import example, given
from hypothesis import strategies as st

from live.core import text as hygiene
from live.core.errors import Kind, Problem
from live.core.limits import (
    CHAT_MARKS_PER_BASE_MAX,
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
    assert hygiene.clean(raw) == text
    assert hygiene.clean(text) == text


@pytest.mark.parametrize(
    "raw", ["", "   ", "\n\t", "\u200b\u200d", "\u3164", "\u2800\u115f\u1160\uffa0", ACUTE, "\u202e", "\x00", "\ud83d"]
)
def test_what_nobody_can_see_is_empty(raw: str) -> None:
    assert hygiene.clean(raw) == ""


def test_marks_do_not_pile_up() -> None:
    assert hygiene.clean(ZALGO) == "H" + "\u0310\u0311\u0312\u0313" + "E"


@pytest.mark.parametrize(
    ("text", "count"), [("", 0), ("abc", 3), (FAMILY, 1), (ENGLAND, 1), ("🇩🇪🇫🇷", 2), ("e" + ACUTE, 1)]
)
def test_length_is_what_a_reader_counts(text: str, count: int) -> None:
    assert hygiene.graphemes(text) == count


def test_a_name_is_cleaned() -> None:
    assert hygiene.clean_name("  Ada\u202e \n Lovelace ") == "Ada Lovelace"
    assert hygiene.clean_name("x" * VIEWER_NAME_GRAPHEMES_MAX)


@pytest.mark.parametrize("raw", ["", "\u200b", "x" * (VIEWER_NAME_GRAPHEMES_MAX + 1), FAMILY * 9, "x" * 10**6])
def test_a_bad_name_is_refused(raw: str) -> None:
    with pytest.raises(Problem) as refused:
        hygiene.clean_name(raw)
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
    assert hygiene.shown_name(raw) == name


TRICKS = st.sampled_from(
    "a \u0301\u0302\u200d\u200c\u200b\u202e\u2066\ud800\x00\n👨❤\ufe0f🏽🏴\U000e0067\U000e007f"
    "क\u094dمی\u1100\u1161\u0591\u3164\u0600\u00ad"
)
_PILE = regex.compile(rf"\p{{M}}{{{CHAT_MARKS_PER_BASE_MAX + 1}}}")


@given(st.text(TRICKS | st.characters(), max_size=60))
@example("\u1100" + ACUTE * 9 + "\u1161")
def test_no_trick_passes(raw: str) -> None:
    text = hygiene.clean(raw)
    text.encode()  # no half of a surrogate
    assert unicodedata.is_normalized("NFC", text)
    assert text == text.strip()
    assert "  " not in text
    assert not _PILE.search(text)
    assert not set(text) & set("\x00\n\u200b\u202e\u2066\u00ad\u3164")
    assert hygiene.clean(text) == text
