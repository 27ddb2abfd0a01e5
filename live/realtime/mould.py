"""Protocol objects after the pattern of one that was made the ordinary way: what is the same for all is their class's.

uvicorn's protocol has 34 attributes and its parser, `websockets`', 25, of which a handful differ between connections
that have just begun. Setting them all, a UUID for logs among them, took 50 µs of the 300 that accepting a viewer may
take: with a thousand other viewers in between nothing of it is in the processor's caches any more. So the first
connection of a server is made by their own constructors, and the others are instances of classes that have its
attributes as their own. They also are smaller: Python shares the names of up to 30 attributes between instances.

Whatever a library's new version adds is shared, too, unless it is in OWN; a test knows what may be.
"""

import asyncio
from typing import Any

from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.protocol import State
from websockets.server import ServerProtocol
from websockets.streams import StreamReader

# The caller sets `queue` and `conn`.
OWN = frozenset(("conn", "queue", "writable", "frames"))
OWN_OF_PARSER = frozenset(("reader", "events", "writes", "parser"))


class Mould:
    """`made` is new, `parser` its own; both are as their constructors have left them."""

    def __init__(self, made: WebSocketsSansIOProtocol, parser: ServerProtocol) -> None:
        self._protocol = _class(made, OWN)
        self._parser = _class(parser, OWN_OF_PARSER)

    def protocol(self) -> Any:
        """A protocol like the first one, still without `queue` and `conn`."""
        protocol = self._protocol.__new__(self._protocol)
        protocol.frames = []
        protocol.writable = asyncio.Event()
        protocol.writable.set()
        return protocol

    def parser(self) -> Any:
        """A parser of frames: the handshake is behind it."""
        parser = self._parser.__new__(self._parser)
        parser.reader = StreamReader()
        parser.events = []
        parser.writes = []
        parser._state = State.OPEN
        parser.parser = parser.parse()
        next(parser.parser)
        return parser


def _class(pattern: object, own: frozenset[str]) -> Any:
    shared = {name: _unbound(value) for name, value in vars(pattern).items() if name not in own}
    return type(type(pattern).__name__, (type(pattern),), shared | {"__module__": type(pattern).__module__})


def _unbound(value: Any) -> Any:
    """A function that is a class's attribute would become its method."""
    return staticmethod(value) if callable(value) and hasattr(value, "__get__") else value
