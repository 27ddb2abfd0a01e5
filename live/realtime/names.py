"""Names that viewers give themselves: one line, readable, bounded."""

import unicodedata

import regex  # type: ignore[import-untyped]

from live.core.errors import Kind, Problem
from live.core.limits import VIEWER_NAME_BYTES_MAX, VIEWER_NAME_GRAPHEMES_MAX

_UNPRINTABLE = regex.compile(r"[\p{Cc}\p{Cf}\p{Cs}\p{Co}\p{Cn}\p{Zl}\p{Zp}]")
_SPACES = regex.compile(r"\s+")
_STACKED = regex.compile(r"(\p{M}{2})\p{M}+")


def clean_name(given: str) -> str:
    """`given` as NFKC without control, format and bidi characters, at most two marks on a letter, spaces joined.

    Raises `Problem` invalid_field when nothing is left or it is too long.
    """
    if len(given.encode(errors="replace")) > VIEWER_NAME_BYTES_MAX:
        raise Problem(Kind.invalid_field, "The name is too long.", field="name")
    name = _SPACES.sub(" ", unicodedata.normalize("NFKC", given))
    name = str(_STACKED.sub(r"\1", _UNPRINTABLE.sub("", name))).strip()
    if not name:
        raise Problem(Kind.invalid_field, "The name holds no readable character.", field="name")
    if len(regex.findall(r"\X", name)) > VIEWER_NAME_GRAPHEMES_MAX:
        raise Problem(Kind.invalid_field, f"A name has at most {VIEWER_NAME_GRAPHEMES_MAX} characters.", field="name")
    return name
