"""What a feed is read into: products with the line they begin at, and why a line was not used."""

from collections.abc import Iterator
from typing import BinaryIO

import msgspec

from cart.catalogue import ProductEntry
from live.core.limits import IMPORT_LINE_BYTES_MAX

BOM = b"\xef\xbb\xbf"
TOO_LONG = f"longer than {IMPORT_LINE_BYTES_MAX} bytes"


class LineError(msgspec.Struct, frozen=True):
    """Why a line was not used; `line` counts from 1, `field` is the column or member ("": the whole line).

    `skus`: what the line is about, as far as that can be read. `ends`: nothing after it could be read either.
    """

    line: int
    detail: str
    field: str = ""
    skus: tuple[str, ...] = ()
    ends: bool = False


class Entry(msgspec.Struct, frozen=True):
    """A product that a feed describes from `line` on; of a table or of Google's format, with one variant.

    `grouped`: it is one of several lines of its product, and the first of them says what the product is. `turns_ms`:
    the feed says that the price is another one from then on (Unix milliseconds; None: nothing is said).
    """

    line: int
    product: ProductEntry
    grouped: bool = False
    turns_ms: int | None = None


class Broken(Exception):
    """The rest of the feed cannot be read."""

    def __init__(self, line: int, detail: str, field: str = "") -> None:
        super().__init__(detail)
        self.error = LineError(line=line, detail=detail, field=field, ends=True)


def numbered(source: BinaryIO) -> Iterator[tuple[int, bytes] | LineError]:
    """Numbered lines without their ends; one that is too long is an error, and is skipped without being kept."""
    number = 0
    while line := source.readline(IMPORT_LINE_BYTES_MAX + 1):
        number += 1
        if len(line) > IMPORT_LINE_BYTES_MAX and not line.endswith(b"\n"):
            while line and not line.endswith(b"\n"):
                line = source.readline(IMPORT_LINE_BYTES_MAX)
            yield LineError(line=number, detail=TOO_LONG)
        else:
            yield number, line.removeprefix(BOM) if number == 1 else line
