"""Tables (RFC 4180, UTF-8 with or without a byte order mark; comma, semicolon or tab, whichever the header uses).

One row is one variant. Columns, in any order:

    product_id   required   letters, digits, "." "_" "-", at most 64
    title        required   may be blank in a row that follows another row of the same product
    sku          required   like product_id; once in a file
    price        required   gross, as people write it: 49.90 or 49,90
    currency     required   ISO 4217; may be blank like title
    list_price              the price before a reduction; blank: not reduced
    stock                   units that are there; blank: as it was
    variant                 "Size M"; blank for a product with a single one
    description             may be blank like title
    picture                 /static/… or https://…; may be blank like title
    categories              "shoes|shoes/running", those above included; may be blank like title
    tax                     percent in the price: 19 or 5.5; blank: the installation's own
    content                 how much a pack holds: 750 ml, 1 kg; blank: it is not sold by weight, volume, length or area

A header with `id` and `price` instead of `product_id` is read as Google's format: see `google`.
"""

import csv
import re
from collections import deque
from collections.abc import Iterator
from typing import Any, BinaryIO

from cart import prices
from cart.catalogue import Invalid, ProductEntry, check
from cart.feeds import google
from cart.feeds.entries import Broken, Entry, LineError, numbered
from live.core.codec import Malformed, convert
from live.core.limits import IMPORT_LINE_BYTES_MAX, IMPORT_RECORD_LINES_MAX

REQUIRED = ("product_id", "title", "sku", "price", "currency")
COLUMNS = (
    *REQUIRED, "list_price", "stock", "variant", "description", "picture", "categories", "tax", "content",
)  # fmt: skip
_INHERITED = ("title", "currency", "description", "picture", "categories")
_PERCENT = re.compile(r"([0-9]{1,3})(?:[.,]([0-9]{1,2}))?\s*%?", re.ASCII)
_CONTENT = re.compile(r"([0-9]{1,9})\s*([a-z]{1,2}[23]?)", re.ASCII)
_COUNT = re.compile(r"[0-9]{1,10}", re.ASCII)
_UTF_16 = (b"\xff\xfe", b"\xfe\xff")


class _Records:
    """Rows of a CSV file with the number of their first line.

    A quoted field may hold line breaks. A quote that is never closed would swallow the file, so a record may span
    IMPORT_RECORD_LINES_MAX lines; when it is broken, reading goes on with the line after its first.
    """

    def __init__(self, source: BinaryIO) -> None:
        self._source = self._text(source)
        self._back: deque[tuple[int, str] | LineError] = deque()
        self._taken: list[tuple[int, str]] = []
        self._delimiter = ""

    def __iter__(self) -> Iterator[tuple[int, list[str]] | LineError]:
        while (first := self._next()) is not None:
            if isinstance(first, LineError):
                yield first
                continue
            number, text = first
            if not self._delimiter:
                self._delimiter = max(",;\t", key=text.count)
            self._taken = [first]
            try:
                row = next(csv.reader(self._record(text), delimiter=self._delimiter, strict=True))
            except csv.Error as error:
                self._back.extendleft(reversed(self._taken[1:]))
                yield LineError(line=number, detail=f"not CSV: {error}")
            else:
                if any(cell.strip() for cell in row):
                    yield number, [cell.strip() for cell in row]

    def _record(self, first: str) -> Iterator[str]:
        """The lines that the reader asks for, until the bound."""
        yield first
        size = len(first)
        while len(self._taken) < IMPORT_RECORD_LINES_MAX and size < IMPORT_LINE_BYTES_MAX:
            line = self._next()
            if line is None:
                return
            if isinstance(line, LineError):
                self._back.appendleft(line)
                return
            self._taken.append(line)
            size += len(line[1])
            yield line[1]

    def _next(self) -> tuple[int, str] | LineError | None:
        return self._back.popleft() if self._back else next(self._source, None)

    @staticmethod
    def _text(source: BinaryIO) -> Iterator[tuple[int, str] | LineError]:
        for line in numbered(source):
            if isinstance(line, LineError):
                yield line
                continue
            if line[0] == 1 and line[1].startswith(_UTF_16):
                raise Broken(1, "this is UTF-16; save the file as UTF-8")
            try:
                yield line[0], line[1].decode()
            except UnicodeDecodeError:
                yield LineError(line=line[0], detail="not UTF-8; save the file as UTF-8")


def rows(source: BinaryIO, now_ms: int) -> Iterator[Entry | LineError]:
    """A table's lines, in the columns of the module or of Google's format; raises `Broken`. `now_ms`: see `google`."""
    table: _Table | None = None
    for record in _Records(source):
        if isinstance(record, LineError):
            if table is None:
                raise Broken(record.line, record.detail)
            yield record
            continue
        number, row = record
        if table is None:
            table = _Table(number, row, now_ms)
        elif len(row) != len(table.header):
            yield LineError(line=number, detail=f"{len(row)} columns; the header has {len(table.header)}")
        else:
            yield table.entry(number, row)
    if table is None:
        raise Broken(1, "the file is empty")


class _Table:
    """What the header says, and the row before."""

    def __init__(self, number: int, row: list[str], now_ms: int) -> None:
        self._now_ms = now_ms
        names = google.column_names(row)
        self._google = "product_id" not in names and {"id", "price"} <= set(names)
        self.header = names if self._google else _header(number, row)
        self._before: dict[str, str] = {}

    def entry(self, number: int, row: list[str]) -> Entry | LineError:
        cells = dict(zip(self.header, row, strict=True))
        if self._google:
            return google.entry(number, cells, self._now_ms)
        before = self._before
        if cells["product_id"] == before.get("product_id"):
            cells |= {name: before[name] for name in _INHERITED if name in cells and not cells[name]}
        self._before = cells
        try:
            return Entry(line=number, product=check(convert(_plain(cells), ProductEntry)))
        except (Malformed, Invalid) as error:
            return LineError(line=number, detail=error.detail, field=_column(error.field), skus=(cells["sku"],))


def _header(number: int, row: list[str]) -> list[str]:
    names = [name.lower() for name in row]
    if missing := [name for name in REQUIRED if name not in names]:
        raise Broken(number, f"the header lacks {', '.join(missing)}", missing[0])
    if unknown := [name for name in names if name not in COLUMNS]:
        raise Broken(number, f"unknown column {unknown[0]!r}; known are {', '.join(COLUMNS)}", unknown[0])
    if len(set(names)) < len(names):
        raise Broken(number, "a column appears twice")
    return names


def _plain(cells: dict[str, str]) -> dict[str, Any]:
    """The members of a `ProductEntry`; raises `Invalid` for a cell that is no number."""
    variant: dict[str, Any] = {"sku": cells["sku"], "title": cells.get("variant", "")}
    currency = cells["currency"].upper()
    for column in ("price", "list_price"):
        if cells.get(column) or column in REQUIRED:
            try:
                variant[f"{column}_minor"] = prices.parse_amount(cells[column], currency)
            except ValueError as error:
                raise Invalid(column, str(error)) from None
    if stock := cells.get("stock"):
        if _COUNT.fullmatch(stock) is None:
            raise Invalid("stock", f"{stock[:40]!r} is not a whole number of units")
        variant["stock"] = int(stock)
    if tax := cells.get("tax"):
        variant["tax_bp"] = _basis_points(tax)
    if content := cells.get("content"):
        if (match := _CONTENT.fullmatch(content)) is None:
            raise Invalid("content", f"{content[:40]!r} is not a content such as 750 ml (whole numbers only)")
        variant["content"] = {"amount": int(match[1]), "unit": match[2]}
    product: dict[str, Any] = {name: cells.get(name, "") for name in ("title", "description", "picture")}
    product["categories"] = [name.strip() for name in cells.get("categories", "").split("|") if name.strip()]
    return product | {"id": cells["product_id"], "currency": currency, "variants": [variant]}


def _basis_points(percent: str) -> int:
    """Hundredths of a percent; raises `Invalid`."""
    match = _PERCENT.fullmatch(percent)
    if match is None:
        raise Invalid("tax", f"{percent[:40]!r} is not a percentage such as 19 or 5.5")
    return int(match[1] + (match[2] or "").ljust(2, "0"))


def _column(path: str) -> str:
    """The CSV column of a member's path."""
    if ".content" in path:
        return "content"
    name = path.rpartition(".")[2].partition("[")[0]
    if path.startswith("variants[") and name == "title":
        return "variant"
    return {"id": "product_id", "tax_bp": "tax"}.get(name, name.removesuffix("_minor"))
