"""What was received before, by its very bytes: the reason why a viewer costs next to nothing.

All viewers of a show receive the same bytes. The first viewer who receives them has them parsed and decoded; every
other one finds them here, and only compares the numbers of the events with its own position. That way *every* frame
on *every* screen is checked, byte by byte, while far below one in a hundred is decoded.

Arrivals are counted, and put into the figures together: at the end of the event loop's turn, or when there are
`COUNTED_TOGETHER` of them, under one look at the clock. A latency is too high by that delay (below a millisecond),
never too low.
"""

import asyncio
from collections.abc import Callable, Iterable

from live.core.position import Position
from loadtests.wire import Event, Here, Message, State

CHUNKS_KEPT = 256
CHUNK_BYTES_MAX = 256 * 1024
COUNTED_TOGETHER = 64  # a power of two: see `Viewer.data_received`
NEVER_US = 2**62

Probe = tuple[int, int]  # number, and when it was due


class Chunk:
    """Bytes that came in one piece and are whole frames with nothing but events, states and the show's position.

    `first` and `last` are the offsets of its events, 0: there are none. `here`: where the show stands after them
    (None: not said). `due_us` is when its earliest probe was due.
    """

    __slots__ = ("count", "due_us", "events", "first", "frames", "here", "last", "octets", "probes")

    def __init__(
        self, octets: bytes, frames: int, offsets: list[int], probes: list[Probe], here: Position | None = None
    ) -> None:
        self.octets = octets
        self.frames = frames
        self.here = here
        self.events = len(offsets)
        self.first, self.last = (offsets[0], offsets[-1]) if offsets else (0, 0)
        self.probes = probes
        self.due_us = min((due_us for _, due_us in probes), default=NEVER_US)
        self.count = 0  # arrivals that are not in the figures yet


class Shelf:
    """The chunks that came last; `settle` is called with one that has a `count`, which it takes into the figures."""

    def __init__(self, settle: Callable[[Chunk], None], probe: Callable[[Event], Probe | None]) -> None:
        self.latest = Chunk(b"", 0, [], [])
        self._settle = settle
        self._probe = probe
        self._chunks: dict[bytes, Chunk] = {}
        self._counted: list[Chunk] = []

    def find(self, octets: bytes) -> Chunk | None:
        """The chunk with these bytes, which is then the `latest`."""
        chunk = self._chunks.get(octets)
        if chunk is not None:
            self.latest = chunk
        return chunk

    def keep(self, octets: bytes, frames: int, messages: Iterable[Message]) -> None:
        """Remember what `octets` hold, when other viewers will be sent the same and in order."""
        offsets: list[int] = []
        probes = []
        here: Position | None = None
        for message in messages:
            if isinstance(message, Event):
                offsets.append(message.offset)
                if (probe := self._probe(message)) is not None:
                    probes.append(probe)
            elif isinstance(message, Here):
                here = message.position
            elif not isinstance(message, State):
                return
        in_order = not offsets or offsets == list(range(offsets[0], offsets[0] + len(offsets)))
        if len(octets) > CHUNK_BYTES_MAX or not in_order:
            return
        if len(self._chunks) >= CHUNKS_KEPT:
            del self._chunks[next(iter(self._chunks))]
        self.latest = self._chunks[octets] = Chunk(octets, frames, offsets, probes, here)

    def count(self, chunk: Chunk) -> None:
        """`chunk.count` has become 1, or so many that they are to be taken into the figures now."""
        if chunk.count > 1:
            self._settle(chunk)
            return
        if not self._counted:
            asyncio.get_running_loop().call_soon(self.settle)
        self._counted.append(chunk)

    def settle(self) -> None:
        """Take all arrivals into the figures."""
        counted, self._counted = self._counted, []
        for chunk in counted:
            if chunk.count:
                self._settle(chunk)
