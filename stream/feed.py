"""What flows from a publisher to the relays that show it, on this worker and on others.

    publisher ─▶ Ingest (a Source) ─▶ sinks: the Relay of this worker, and the export to other workers
                                      bus ─▶ Pull (a Source) ─▶ the Relay of another worker ─▶ its viewers

A `layer` is the index of a simulcast stream in `Feed.rids` and stays while the publisher does; AUDIO stands where the
number of a layer stands. Which layer is the better one is not in the index but in `LayerState`.
"""

from dataclasses import dataclass
from typing import NamedTuple, Protocol

from stream.wire.sdp import Codec

AUDIO = -1


class Arrival(NamedTuple):
    """One packet of a publisher.

    `sequence` is the extended number of this layer's own stream (it never wraps), `timestamp` has 32 bits. `packet` is
    RTP with a plain header of twelve bytes: no CSRC, no extensions. `opens_keyframe` is False for AUDIO.
    """

    layer: int
    sequence: int
    timestamp: int
    packet: bytes
    opens_keyframe: bool


class LayerState(NamedTuple):
    """How a layer arrives: 0 bits per second is a layer that is not sent now, a size of 0 × 0 is not known yet."""

    bits_per_s: int
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class Feed:
    """What a publisher sends: its codecs by kind, and the RIDs of its video layers ("" for a single one)."""

    codecs: dict[str, Codec]
    rids: tuple[str, ...] = ("",)


class Sink(Protocol):
    """Who takes a publisher's packets. None of these may block."""

    def push(self, arrival: Arrival) -> None: ...

    def restarted(self, layer: int) -> None:
        """The numbering of this layer begins anew."""

    def sender_report(self, layer: int, ntp: int, timestamp: int) -> None:
        """The publisher ties `timestamp` of this layer to its wall clock (`ntp`, 64 bits)."""

    def described(self, layers: tuple[LayerState, ...]) -> None:
        """How the video layers arrive; told once a second and when it changes much."""


class Source(Protocol):
    """Who fills a relay."""

    @property
    def feed(self) -> Feed: ...

    def want_keyframe(self, layer: int) -> None:
        """Somebody waits for a keyframe of this layer; may be asked for by many at once."""

    def demand(self, layers: frozenset[int]) -> None:
        """These video layers are watched now; the others need not be sent here."""
