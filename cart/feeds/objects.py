"""JSON: an array of products, or one product a line (JSON Lines).

A product is `catalogue.ProductEntry`: id, title, currency, variants [{sku, price_minor, title?, list_price_minor?,
stock?, tax_bp?, content? {amount, unit}, facts?}], description?, picture?, categories?, tax_bp?. An array whose
brackets do not match is read up to that place; in JSON Lines only the broken line is lost.
"""

import re
from collections.abc import Iterator
from typing import BinaryIO

import msgspec

from cart.catalogue import Invalid, ProductEntry, check
from cart.feeds.entries import BOM, TOO_LONG, Broken, Entry, LineError, numbered
from live.core.codec import Malformed, decode
from live.core.limits import IMPORT_LINE_BYTES_MAX

_MARK = re.compile(rb'[{}\[\]"\\\n]')
_CHUNK_BYTES = 64 * 1024


class _NamedVariant(msgspec.Struct):
    sku: str


class _Named(msgspec.Struct):
    variants: list[_NamedVariant]


def objects(source: BinaryIO) -> Iterator[Entry | LineError]:
    """The products of an array, or of lines; raises `Broken`."""
    start = source.read(1)
    while start and (start.isspace() or start in BOM):
        start = source.read(1)
    source.seek(0)
    if not start:
        raise Broken(1, "the file is empty")
    if start not in b"[{":
        raise Broken(1, "a JSON file starts with [ or {")
    found = _array(source) if start == b"[" else numbered(source)
    for item in found:
        if isinstance(item, LineError):
            yield item
        elif item[1].strip():
            yield _entry(*item)


def _entry(line: int, text: bytes) -> Entry | LineError:
    if len(text) > IMPORT_LINE_BYTES_MAX:
        return LineError(line=line, detail=TOO_LONG)
    try:
        return Entry(line=line, product=check(decode(text, "json", ProductEntry)))
    except (Malformed, Invalid) as error:
        return LineError(line=line, detail=error.detail, field=error.field, skus=_skus(text))


def _skus(text: bytes) -> tuple[str, ...]:
    """Which SKUs a product that is wrong names, as far as it is JSON."""
    try:
        return tuple(one.sku for one in decode(text, "json", _Named).variants)
    except Malformed:
        return ()


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
                if bytes(text).removeprefix(BOM).strip() != between:
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
            raise Broken(start_line, f"a product {TOO_LONG}")
    if depth:
        raise Broken(start_line, "the file ends inside this product")
    if bytes(text).removeprefix(BOM).strip() != (b"[]" if between == b"[" else b"]"):
        raise Broken(line, "the array does not end as it should")
