"""Product files, read line by line in bounded memory: CSV and JSON.

A line that cannot be used becomes a `LineError` with its number; the lines after it still count.

**CSV** (RFC 4180, UTF-8 with or without a byte order mark; comma, semicolon or tab, whichever the header uses): one
row is one variant. Columns, in any order:

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

**JSON**: an array of products, or one product a line (JSON Lines). A product is `catalogue.ProductEntry`: id, title,
currency, variants [{sku, price_minor, title?, list_price_minor?, stock?, tax_bp?, content? {amount, unit}}],
description?, picture?, categories?, tax_bp?. An array whose brackets do not match is read up to that place; in JSON
Lines only the broken line is lost.
"""

import csv
import re
from collections import deque
from collections.abc import Iterator
from typing import Any, BinaryIO, Literal

import msgspec

from cart import prices
from cart.catalogue import Invalid, ProductEntry, check
from live.core.codec import Malformed, convert, decode
from live.core.limits import IMPORT_LINE_BYTES_MAX, IMPORT_RECORD_LINES_MAX, IMPORT_SKUS_MAX

Format = Literal["csv", "json"]
REQUIRED = ("product_id", "title", "sku", "price", "currency")
COLUMNS = (
    *REQUIRED, "list_price", "stock", "variant", "description", "picture", "categories", "tax", "content",
)  # fmt: skip
_INHERITED = ("title", "currency", "description", "picture", "categories")
_PERCENT = re.compile(r"([0-9]{1,3})(?:[.,]([0-9]{1,2}))?\s*%?", re.ASCII)
_CONTENT = re.compile(r"([0-9]{1,9})\s*([a-z]{1,2}[23]?)", re.ASCII)
_COUNT = re.compile(r"[0-9]{1,10}", re.ASCII)
_MARK = re.compile(rb'[{}\[\]"\\\n]')
_BOM = b"\xef\xbb\xbf"
_TOO_LONG = f"longer than {IMPORT_LINE_BYTES_MAX} bytes"
_CHUNK_BYTES = 64 * 1024


class LineError(msgspec.Struct, frozen=True):
    """Why a line was not used; `line` counts from 1, `field` is the column or member ("": the whole line)."""

    line: int
    detail: str
    field: str = ""


class Entry(msgspec.Struct, frozen=True):
    """A product that a file describes from `line` on; of a CSV file, with one variant."""

    line: int
    product: ProductEntry


class Broken(Exception):
    """The rest of the file cannot be read."""

    def __init__(self, line: int, detail: str, field: str = "") -> None:
        super().__init__(detail)
        self.error = LineError(line=line, detail=detail, field=field)


def read(source: BinaryIO, format_: Format) -> Iterator[Entry | LineError]:
    """The products of a file, in its order. An error that ends the reading is the last item."""
    found = _csv(source) if format_ == "csv" else _json(source)
    seen: dict[str, int] = {}
    try:
        for item in found:
            yield _unique(item, seen) if isinstance(item, Entry) else item
    except Broken as broken:
        yield broken.error


def _unique(entry: Entry, seen: dict[str, int]) -> Entry | LineError:
    for variant in entry.product.variants:
        if variant.sku in seen:
            detail = f"the SKU {variant.sku} is in line {seen[variant.sku]} already"
            return LineError(line=entry.line, detail=detail, field="sku")
    if len(seen) + len(entry.product.variants) > IMPORT_SKUS_MAX:
        raise Broken(entry.line, f"more than {IMPORT_SKUS_MAX} SKUs; split the file")
    seen.update((variant.sku, entry.line) for variant in entry.product.variants)
    return entry


def _lines(source: BinaryIO) -> Iterator[tuple[int, bytes] | LineError]:
    """Numbered lines without their ends; one that is too long is an error, and is skipped without being kept."""
    number = 0
    while line := source.readline(IMPORT_LINE_BYTES_MAX + 1):
        number += 1
        if len(line) > IMPORT_LINE_BYTES_MAX and not line.endswith(b"\n"):
            while line and not line.endswith(b"\n"):
                line = source.readline(IMPORT_LINE_BYTES_MAX)
            yield LineError(line=number, detail=_TOO_LONG)
        else:
            yield number, line.removeprefix(_BOM) if number == 1 else line


# --- CSV ------------------------------------------------------------------------------------------------------


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
        for line in _lines(source):
            if isinstance(line, LineError):
                yield line
                continue
            try:
                yield line[0], line[1].decode()
            except UnicodeDecodeError:
                yield LineError(line=line[0], detail="not UTF-8; save the file as UTF-8")


def _csv(source: BinaryIO) -> Iterator[Entry | LineError]:
    header: list[str] | None = None
    before: dict[str, str] = {}
    for record in _Records(source):
        if isinstance(record, LineError):
            if header is None:
                raise Broken(record.line, record.detail)
            yield record
            continue
        number, row = record
        if header is None:
            header = _header(number, row)
        elif len(row) != len(header):
            yield LineError(line=number, detail=f"{len(row)} columns; the header has {len(header)}")
        else:
            cells = dict(zip(header, row, strict=True))
            if cells["product_id"] == before.get("product_id"):
                cells |= {name: before[name] for name in _INHERITED if name in cells and not cells[name]}
            before = cells
            try:
                yield Entry(line=number, product=check(convert(_plain(cells), ProductEntry)))
            except (Malformed, Invalid) as error:
                yield LineError(line=number, detail=error.detail, field=_column(error.field))
    if header is None:
        raise Broken(1, "the file is empty")


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


# --- JSON -----------------------------------------------------------------------------------------------------


def _json(source: BinaryIO) -> Iterator[Entry | LineError]:
    start = source.read(1)
    while start and (start.isspace() or start in _BOM):
        start = source.read(1)
    source.seek(0)
    if not start:
        raise Broken(1, "the file is empty")
    if start not in b"[{":
        raise Broken(1, "a JSON file starts with [ or {")
    objects = _array(source) if start == b"[" else _lines(source)
    for item in objects:
        if isinstance(item, LineError):
            yield item
        elif item[1].strip():
            yield _entry(*item)


def _entry(line: int, text: bytes) -> Entry | LineError:
    if len(text) > IMPORT_LINE_BYTES_MAX:
        return LineError(line=line, detail=_TOO_LONG)
    try:
        return Entry(line=line, product=check(decode(text, "json", ProductEntry)))
    except (Malformed, Invalid) as error:
        return LineError(line=line, detail=error.detail, field=error.field)


def _array(source: BinaryIO) -> Iterator[tuple[int, bytes]]:
    """The objects of a JSON array as bytes, each with the number of its first line; raises `Broken`.

    Only brackets and strings are followed here; whether an object is JSON at all is left to the decoder.
    """
    line, start_line, depth, base, escaped = 1, 1, 0, 0, -1
    quoted = False
    between = b"["
    text = bytearray()  # an object so far, or what stands between two of them
    while chunk := source.read(_CHUNK_BYTES):
        done = 0
        for mark in _MARK.finditer(chunk):
            at, char = mark.start(), mark.group()
            if char == b"\n":
                line += 1
            elif quoted:
                if base + at == escaped:
                    continue
                if char == b"\\":
                    escaped = base + at + 1
                quoted = char != b'"'
            elif depth == 0:
                if char != b"{":
                    continue
                text += chunk[done:at]
                if bytes(text).removeprefix(_BOM).strip() != between:
                    raise Broken(line, f"expected {between.decode()!r} and then a product")
                text.clear()
                done, depth, start_line = at, 1, line
            elif char == b'"':
                quoted = True
            elif char in b"{[":
                depth += 1
            elif char in b"}]":
                depth -= 1
                if depth == 0:
                    yield start_line, bytes(text + chunk[done : at + 1])
                    text.clear()
                    done, between = at + 1, b","
        text += chunk[done:]
        base += len(chunk)
        if len(text) > 2 * IMPORT_LINE_BYTES_MAX:
            raise Broken(start_line, f"a product {_TOO_LONG}")
    if depth:
        raise Broken(start_line, "the file ends inside this product")
    if bytes(text).removeprefix(_BOM).strip() != (b"[]" if between == b"[" else b"]"):
        raise Broken(line, "the array does not end as it should")
