"""Text that people give us, as it is stored, counted and shown. One line, visible, in NFC, without traps.

Unicode gives a writer means to hide, reorder and pile up characters (UTR 36, UTS 39). What is removed, and why:

controls, halves of surrogates, private use, noncharacters   they show as nothing or as boxes
bidirectional controls, zero-width characters, soft hyphens  they reorder the line or hide words from a reader
tag characters, except in flags (UTS 51, section 3.3)        they carry invisible text
joiners (ZWJ, ZWNJ), except between emoji and in scripts     they are letters there and invisible everywhere else
that need them
combining marks without a base, and more than four on one    "zalgo" text climbs over its neighbours

Runs of anything blank become one space, because a message has no lines. Length is counted in bytes (what we store)
and in extended grapheme clusters (what people see: UAX 29), so a family emoji counts as one.
"""

import unicodedata

import regex  # type: ignore[import-untyped]

from live.core.errors import Kind, Problem
from live.core.limits import CHAT_MARKS_PER_BASE_MAX, VIEWER_NAME_BYTES_MAX, VIEWER_NAME_GRAPHEMES_MAX

# Characters per allowed byte that are looked at; more is refused unread, so that nobody's text costs much.
_RAW_FACTOR = 4

_FLAG = "\U0001f3f4[\U000e0020-\U000e007e]{1,6}\U000e007f"
_JOINING_SCRIPTS = "".join(
    rf"\p{{Script={name}}}"
    for name in (
        "Arabic", "Syriac", "Mongolian", "Nko", "Devanagari", "Bengali", "Gurmukhi", "Gujarati", "Oriya", "Tamil",
        "Telugu", "Kannada", "Malayalam", "Sinhala", "Khmer", "Myanmar", "Tibetan",
    )
)  # fmt: skip

# U+115F, U+1160, U+3164, U+FFA0 are Hangul fillers and U+2800 is an empty Braille cell: letters that nobody sees.
_BLANK = regex.compile(r"[\s\p{Z}\u115f\u1160\u3164\uffa0\u2800]+")
# U+0600–0605, 06DD, 070F, 0890, 0891, 08E2, 110BD and 110CD are format characters that are seen (Arabic, Kaithi).
_HIDDEN = regex.compile(
    rf"({_FLAG})|[[\p{{Cc}}\p{{Cf}}\p{{Cs}}\p{{Co}}\p{{Noncharacter_Code_Point}}]"
    r"--[\u200c\u200d\u0600-\u0605\u06dd\u070f\u0890\u0891\u08e2\U000110bd\U000110cd]]",
    regex.V1,
)
_LOOSE_JOINER = regex.compile(
    r"(?<![\p{Extended_Pictographic}\p{Emoji_Modifier}\ufe0f])\u200d(?=\p{Extended_Pictographic})"
    rf"|(?<![{_JOINING_SCRIPTS}])[\u200c\u200d](?!\p{{Extended_Pictographic}})"
    rf"|\u200c(?=\p{{Extended_Pictographic}})"
)
_LOOSE_MARKS = regex.compile(r"(?<![^ ])\p{M}+")
_PILED_MARKS = regex.compile(rf"(\p{{M}}{{{CHAT_MARKS_PER_BASE_MAX}}})\p{{M}}+")
_GRAPHEME = regex.compile(r"\X")
_SEEN = regex.compile(r"[^\p{Z}\p{M}\p{C}]")


def graphemes(text: str) -> int:
    """How many characters a reader counts in `text` (extended grapheme clusters, UAX 29)."""
    return len(_GRAPHEME.findall(text))


def clean(text: str) -> str:
    """`text` as one safe line; "" when there is nothing to see in it."""
    text = _HIDDEN.sub(r"\1", _BLANK.sub(" ", text))
    text = _LOOSE_JOINER.sub("", unicodedata.normalize("NFC", text))
    text = _PILED_MARKS.sub(r"\1", _LOOSE_MARKS.sub("", text))
    text = _BLANK.sub(" ", unicodedata.normalize("NFC", text)).strip()
    return text if _SEEN.search(text) else ""


def bounded(raw: str, bytes_max: int, graphemes_max: int) -> str | None:
    """`raw` cleaned, "" when nothing of it can be seen; None: it is too long."""
    if len(raw) > _RAW_FACTOR * bytes_max:
        return None
    text = clean(raw)
    if len(text.encode()) > bytes_max or graphemes(text) > graphemes_max:
        return None
    return text


def clean_name(raw: str) -> str:
    """What a viewer is called; raises `Problem` invalid_field when nothing is left of it or it is too long."""
    name = bounded(raw, VIEWER_NAME_BYTES_MAX, VIEWER_NAME_GRAPHEMES_MAX)
    if name is None:
        raise Problem(Kind.invalid_field, f"At most {VIEWER_NAME_GRAPHEMES_MAX} characters.", field="name")
    if not name:
        raise Problem(Kind.invalid_field, "A name needs a character that can be seen.", field="name")
    return name


def shown_name(raw: str) -> str:
    """The name of a token as it is shown: cleaned and shortened, because whoever holds it cannot change it."""
    shown = _GRAPHEME.findall(clean(raw[: _RAW_FACTOR * VIEWER_NAME_BYTES_MAX]))[:VIEWER_NAME_GRAPHEMES_MAX]
    while len("".join(shown).encode()) > VIEWER_NAME_BYTES_MAX:
        shown.pop()
    return clean("".join(shown)) or "Guest"
