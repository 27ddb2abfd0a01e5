"""Google's product feed as XML: RSS 2.0 or Atom, with the elements of Google's namespace; see `google`.

The parser (expat) is given a piece at a time and keeps nothing but the item that it is in, whose text, depth and tags
are bounded. A DOCTYPE is refused, and with it all entities but XML's own: no bomb, and nothing fetched from elsewhere.
XML that is not well-formed ends the feed there; an item that is wrong in itself costs only itself.
"""

from collections.abc import Iterator
from typing import BinaryIO
from xml.parsers import expat

from cart.feeds import google
from cart.feeds.entries import TOO_LONG, Broken, Entry, LineError
from live.core.limits import FEED_XML_DEPTH_MAX, IMPORT_LINE_BYTES_MAX

_GOOGLE = "http://base.google.com/ns/1.0"
_ATOM = "http://www.w3.org/2005/Atom"
_CHUNK_BYTES = 16 * 1024
_STAND_INS = {"summary": "description", "content": "description"}  # of Atom


def items(source: BinaryIO, now_ms: int) -> Iterator[Entry | LineError]:
    """The products of a feed; raises `Broken`. `now_ms`: see `google`."""
    reader = _Reader(now_ms)
    while chunk := source.read(_CHUNK_BYTES):
        yield from reader.feed(chunk)
    yield from reader.feed(b"")
    if not reader.count:
        raise Broken(1, "there is no <item> and no <entry> in it: not a product feed")


class _Reader:
    def __init__(self, now_ms: int) -> None:
        self.count = 0
        self._now_ms = now_ms
        self._parser = expat.ParserCreate(namespace_separator=" ")
        self._parser.buffer_text = True
        self._parser.StartElementHandler = self._start
        self._parser.EndElementHandler = self._end
        self._parser.CharacterDataHandler = self._text
        self._parser.StartDoctypeDeclHandler = self._doctype
        self._parser.DefaultHandler = self._other
        self._found: list[Entry | LineError] = []
        self._depth = 0
        self._unheard_bytes = 0
        self._item_depth = 0  # 0: outside of items
        self._line = 0
        self._own: dict[str, str] = {}  # in Google's namespace
        self._plain: dict[str, str] = {}  # RSS's and Atom's own
        self._name: tuple[str, str] | None = None  # the element of the item that the text belongs to
        self._words: list[str] = []
        self._size = 0

    def feed(self, chunk: bytes) -> Iterator[Entry | LineError]:
        """What is known by the end of the chunk; b"" is the end. Raises `Broken` behind what came before it."""
        self._unheard_bytes += len(chunk)
        problem = None
        try:
            self._parser.Parse(chunk, not chunk)
        except expat.ExpatError as error:
            problem = Broken(error.lineno, f"not XML: {expat.ErrorString(error.code)}")
        except (LookupError, ValueError):
            problem = Broken(1, "an encoding that is not known; save the file as UTF-8")
        except Broken as broken:
            problem = broken
        found, self._found = self._found, []
        yield from found
        if problem is None and self._unheard_bytes > 2 * IMPORT_LINE_BYTES_MAX:
            problem = Broken(self._parser.CurrentLineNumber, f"a tag is {TOO_LONG}")
        if problem is not None:
            raise problem

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        self._unheard_bytes = 0
        self._depth += 1
        if self._depth > FEED_XML_DEPTH_MAX:
            raise Broken(self._parser.CurrentLineNumber, f"more than {FEED_XML_DEPTH_MAX} elements inside each other")
        space, _, local = name.rpartition(" ")
        if not self._item_depth:
            if local in ("item", "entry") and space in ("", _ATOM):
                self._item_depth, self._line = self._depth, self._parser.CurrentLineNumber
                self._own, self._plain, self._size = {}, {}, 0
        elif self._depth == self._item_depth + 1:
            self._name, self._words = (space, local), []
            self._size += len(local)  # however many elements say nothing
            if space == _ATOM and local == "link":
                self._words.append(attributes.get("href", ""))

    def _text(self, text: str) -> None:
        self._unheard_bytes = 0
        if self._name is not None and self._depth == self._item_depth + 1:
            self._size += len(text)
            if self._size <= IMPORT_LINE_BYTES_MAX:
                self._words.append(text)

    def _end(self, _name: str) -> None:
        self._unheard_bytes = 0
        if self._name is not None and self._depth == self._item_depth + 1:
            space, local = self._name
            values = self._own if space == _GOOGLE else self._plain
            if self._size <= IMPORT_LINE_BYTES_MAX:
                values.setdefault(local if space == _GOOGLE else _STAND_INS.get(local, local), "".join(self._words))
            self._name = None
        elif self._depth == self._item_depth:
            self.count += 1
            if self._size > IMPORT_LINE_BYTES_MAX:
                self._found.append(LineError(line=self._line, detail=TOO_LONG))
            else:
                self._found.append(google.entry(self._line, self._plain | self._own, self._now_ms))
            self._item_depth = 0
        self._depth -= 1

    def _doctype(self, *_declared: object) -> None:
        raise Broken(self._parser.CurrentLineNumber, "a DOCTYPE is not allowed in a feed")

    def _other(self, _text: str) -> None:
        self._unheard_bytes = 0
