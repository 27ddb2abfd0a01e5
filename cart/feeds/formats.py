"""Feeds, read as a stream in bounded memory: tables, JSON, Google's XML, each of them packed with gzip or not.

A line that cannot be used becomes a `LineError` with its number; the lines after it still count.
"""

import gzip
import io
import zlib
from collections.abc import Iterator
from typing import BinaryIO, Literal, cast

from cart.feeds.entries import BOM, Broken, Entry, LineError
from cart.feeds.items import items
from cart.feeds.objects import objects
from cart.feeds.rows import rows
from live.core.limits import FEED_BYTES_MAX

Format = Literal["csv", "json", "xml"]
_GZIP = b"\x1f\x8b"
_LOOK_BYTES = 1024


def read(source: BinaryIO, format_: Format | None, now_ms: int) -> Iterator[Entry | LineError]:
    """The products of a feed, in its order. An error that ends the reading is the last item.

    `source` can seek; `format_` None: by what it begins with. `now_ms` (Unix milliseconds) decides which of two prices
    a feed means that says when a sale begins and ends.
    """
    bounded = _Bounded(_unpacked(source), FEED_BYTES_MAX)
    plain = cast(BinaryIO, io.BufferedReader(bounded, 64 * 1024))
    line = 1
    try:
        format_ = format_ or _guessed(plain)
        table_or_xml = rows if format_ == "csv" else items
        for item in objects(plain) if format_ == "json" else table_or_xml(plain, now_ms):
            line = item.line
            yield item
        ended = None
    except Broken as broken:
        ended = broken.error
    if bounded.problem:
        yield LineError(line=line if ended is None else ended.line, detail=bounded.problem, ends=True)
    elif ended is not None:
        yield ended


def _unpacked(source: BinaryIO) -> io.BufferedIOBase:
    packed = source.read(len(_GZIP)) == _GZIP
    source.seek(0)
    return gzip.GzipFile(fileobj=source) if packed else cast(io.BufferedIOBase, source)


def _guessed(source: BinaryIO) -> Format:
    """The format of a feed that nobody has said."""
    start = source.read(_LOOK_BYTES).removeprefix(BOM).lstrip()[:1]
    source.seek(0)
    if start in (b"[", b"{"):
        return "json"
    return "xml" if start == b"<" else "csv"


class _Bounded(io.RawIOBase):
    """At most so many bytes of `source`; what goes wrong with them is an end, and a `problem` that says why."""

    def __init__(self, source: io.BufferedIOBase, size_bytes_max: int) -> None:
        self._source = source
        self._left = self._max = size_bytes_max
        self.problem = ""

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Only back to the beginning."""
        assert (offset, whence) == (0, io.SEEK_SET), "a stream is read from its beginning on"
        self._left = self._max
        return self._source.seek(0)

    def readinto(self, buffer: "memoryview") -> int:  # type: ignore[override]  # the one that BufferedReader hands over
        try:
            got = self._source.read1(len(buffer))  # what there is: the last of a broken file counts as well
        except (EOFError, zlib.error, gzip.BadGzipFile):
            self.problem = "the packed file is broken, or ends early"
            return 0
        self._left -= len(got)
        if self._left < 0:
            self.problem = f"more than {self._max} bytes, unpacked"
            return 0
        buffer[: len(got)] = got
        return len(got)
