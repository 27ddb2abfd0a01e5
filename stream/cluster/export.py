"""A publisher's packets on their way to other workers: what is wanted, in batches, never more than the bus takes.

The first packets after a quiet moment leave at once, and what follows waits up to EXPORT_INTERVAL_S for company: a
picture's packets come in one burst, so they cross as one message. A bus that is slow costs the edges their video up to
the next keyframe, and the origin nothing: packets that it refuses are dropped and counted.
"""

import asyncio
from collections import Counter
from collections.abc import Callable
from typing import NamedTuple

from live.core.bus import Wire
from live.core.limits import (
    DEMAND_INTERVAL_S,
    DEMAND_TTL_S,
    EDGES_MAX,
    EXPORT_BATCH_BYTES,
    EXPORT_INTERVAL_S,
    PLI_INTERVAL_S,
)
from live.core.listener import Message
from stream.cluster import batches, signals
from stream.downstream.tally import AudienceFigures
from stream.feed import AUDIO, Arrival, LayerState, Source
from stream.wire.rtp import PacketError


class _Outbox:
    """What waits to leave of one layer. `broken`: something was dropped, and only a keyframe mends it.

    `restarted`: the edges may not know that the numbering is new. Until a batch that says so is accepted each one does,
    since an edge takes a new run for late packets of the old one. So it is with a new outbox: nobody listened before.
    """

    def __init__(self) -> None:
        self.broken = False
        self.begin(restarted=True)

    def begin(self, *, restarted: bool) -> None:
        """Collect the next batch."""
        self.restarted = restarted
        self.records = [batches.restarted()] if restarted else []
        self.size_bytes = sum(map(len, self.records))
        self.packets = 0


class _Edge(NamedTuple):
    """What a worker wants, how many viewers it has, what it knows of them, and until when that holds."""

    layers: frozenset[int]
    viewers: int
    audience: AudienceFigures | None
    until: float


class Export:
    """The sink that other workers are served from, for as long as this publisher holds the lease of `fence`.

    `silence_s` says for how long the publisher has sent nothing; `replaced` hears the fences of those who take over.
    """

    def __init__(
        self,
        show: str,
        fence: int,
        rank: int,
        worker: str,
        source: Source,
        wire: Wire,
        counts: Counter[str],
        now: Callable[[], float],
        silence_s: Callable[[], float],
        replaced: Callable[[int], None],
    ) -> None:
        self.fence = fence
        self._show = show
        self._rank = rank
        self._worker = worker
        self._source = source
        self._wire = wire
        self._counts = counts
        self._now = now
        self._silence_s = silence_s
        self._replaced = replaced
        self._edges: dict[str, _Edge] = {}
        self._outboxes: dict[int, _Outbox] = {}  # of the layers that somebody wants
        self._ties: dict[int, tuple[int, int]] = {}
        self._states: tuple[LayerState, ...] = ()
        self._announced_at = float("-inf")
        self._flushed_at = float("-inf")
        self._timer: asyncio.Handle | None = None
        self._asked_at: dict[int, float] = {}

    def close(self, *, ended: bool) -> None:
        """Send what waits; `ended`: and say that nobody follows."""
        if self._timer is not None:
            self._timer.cancel()
        self._flush()
        self._outboxes.clear()
        if ended:
            self._wire.send(signals.down(self._show), signals.packed(signals.Ended(self.fence)))

    @property
    def demanded(self) -> frozenset[int]:
        """The layers that somebody wants now."""
        return frozenset(self._outboxes)

    @property
    def viewers(self) -> int:
        """How many viewers other workers have."""
        return sum(edge.viewers for edge in self._edges.values())

    @property
    def audiences(self) -> list[tuple[int, AudienceFigures]]:
        """Their figures, worker by worker, with the number of viewers."""
        return [(edge.viewers, edge.audience) for edge in self._edges.values() if edge.audience is not None]

    # --- packets ------------------------------------------------------------------------------------------------

    def push(self, arrival: Arrival) -> None:
        outbox = self._outboxes.get(arrival.layer)
        if outbox is None:
            return
        if outbox.broken:
            if not arrival.opens_keyframe:
                self._counts["export_dropped"] += 1
                self._mend(arrival.layer)
                return
            outbox.broken = False
        outbox.packets += 1
        self._put(outbox, batches.packet(arrival))

    def restarted(self, layer: int) -> None:
        self._ties.pop(layer, None)
        if outbox := self._outboxes.get(layer):
            outbox.restarted = True
            self._put(outbox, batches.restarted())

    def sender_report(self, layer: int, ntp: int, timestamp: int) -> None:
        self._ties[layer] = (ntp, timestamp)
        if outbox := self._outboxes.get(layer):
            self._put(outbox, batches.report(ntp, timestamp))

    def _put(self, outbox: _Outbox, record: bytes) -> None:
        outbox.records.append(record)
        outbox.size_bytes += len(record)
        if outbox.size_bytes >= EXPORT_BATCH_BYTES:
            self._flush()
        elif self._timer is None:
            loop = asyncio.get_running_loop()
            wait_s = self._flushed_at + EXPORT_INTERVAL_S - loop.time()
            # At once is after this turn of the loop: a burst of datagrams is read in one.
            self._timer = loop.call_later(wait_s, self._flush) if wait_s > 0 else loop.call_soon(self._flush)

    def _flush(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._flushed_at = asyncio.get_running_loop().time()
        for layer, outbox in self._outboxes.items():
            if not outbox.records:
                continue
            batch = batches.head(layer, self.fence) + b"".join(outbox.records)
            accepted = self._wire.send(signals.media(self._show, layer), batch)
            self._counts["exported" if accepted else "export_dropped"] += outbox.packets
            if not accepted:
                outbox.broken = layer != AUDIO
            outbox.begin(restarted=outbox.restarted and not accepted)

    def _mend(self, layer: int) -> None:
        """Have a keyframe once the bus takes packets again; before that it would only load the host and its path."""
        now = self._now()
        if (
            self._wire.clear(signals.media(self._show, layer))
            and now - self._asked_at.get(layer, float("-inf")) >= PLI_INTERVAL_S
        ):
            self._asked_at[layer] = now
            self._source.want_keyframe(layer)

    # --- the edges ----------------------------------------------------------------------------------------------

    def described(self, layers: tuple[LayerState, ...]) -> None:
        """Pass on how the layers arrive; told once a second, so it is also the time to forget edges."""
        changed = _shape(layers) != _shape(self._states)
        self._states = layers
        now = self._now()
        if changed or now - self._announced_at >= DEMAND_INTERVAL_S / 2:
            self._edges = {name: edge for name, edge in self._edges.items() if edge.until > now}
            self._recount()
            self.announce()

    def announce(self) -> None:
        """Tell the edges what there is."""
        self._announced_at = self._now()
        feed = self._source.feed
        signal = signals.Announced(
            fence=self.fence,
            worker=self._worker,
            rank=self._rank,
            codecs=feed.codecs,
            rids=feed.rids,
            states=self._states,
            ties=tuple((layer, *tie) for layer, tie in self._ties.items()),
            silent_ms=round(self._silence_s() * 1000),
        )
        self._wire.send(signals.down(self._show), signals.packed(signal))

    def heard(self, message: Message) -> None:
        """Take what an edge says on the show's `up` channel."""
        if message.kind == "gone":
            self.announce()  # the edges' own words come again by themselves
            return
        try:
            signal = signals.heard_up(message.payload)
        except PacketError:
            self._counts["signal_malformed"] += 1
            return
        if isinstance(signal, signals.Taken):
            self._replaced(signal.fence)
            return
        if isinstance(signal, signals.Wished):
            self._counts["edge_wishes"] += 1
            self._source.want_keyframe(signal.layer)
            return
        known = signal.edge in self._edges
        if not known and len(self._edges) >= EDGES_MAX:
            self._counts["edge_refused"] += 1
            return
        feed = self._source.feed
        there = frozenset(range(len(feed.rids)) if "video" in feed.codecs else ()) | {AUDIO}
        wanted, until = frozenset(signal.layers) & there, self._now() + DEMAND_TTL_S
        self._edges[signal.edge] = _Edge(wanted, signal.viewers, signal.audience, until)
        self._recount()
        if not known:
            self.announce()

    def _recount(self) -> None:
        wanted = frozenset[int]().union(*(edge.layers for edge in self._edges.values()))
        for layer in wanted - self._outboxes.keys():
            self._outboxes[layer] = _Outbox()
        for layer in self._outboxes.keys() - wanted:
            del self._outboxes[layer]


def _shape(layers: tuple[LayerState, ...]) -> list[tuple[bool, int, int]]:
    """What of the layers is worth telling at once."""
    return [(layer.bits_per_s > 0, layer.width, layer.height) for layer in layers]
