"""What workers tell each other about a show, beside its packets.

    origin ──▶ down ──▶ edges     Announced (once a second and on change), Ended
    edges  ──▶ up   ──▶ origin    Demanded (once a second and on change), Wished, Taken

The *origin* is the worker whose publisher is on air, an *edge* one with viewers of the show, or with a publisher who
stands by. All of it is repeated, so a message that is lost costs a second.
"""

from typing import TypeVar

import msgspec

from live.core import codec
from stream.downstream.tally import AudienceFigures
from stream.feed import AUDIO, Feed, LayerState
from stream.wire.codecs import Codec
from stream.wire.rtp import PacketError

T = TypeVar("T")


class Announced(msgspec.Struct, tag="announced", frozen=True):
    """Who is on air, what it sends and how that arrives. `rank` is that of the lease.

    `silent_ms` is how long nothing has come from the publisher; `ties` are sender reports: layer, NTP time, timestamp.
    """

    fence: int
    worker: str
    rank: int
    codecs: dict[str, Codec]
    rids: tuple[str, ...]
    states: tuple[LayerState, ...] = ()
    ties: tuple[tuple[int, int, int], ...] = ()
    silent_ms: int = 0

    @property
    def feed(self) -> Feed:
        """What is sent, as a relay needs it."""
        return Feed(self.codecs, self.rids)


class Ended(msgspec.Struct, tag="ended", frozen=True):
    """The publisher of this fence is off air."""

    fence: int


class Demanded(msgspec.Struct, tag="demanded", frozen=True):
    """An edge wants these layers (AUDIO is one) for a few seconds; none: it only wants to hear.

    It has so many `viewers`, and knows this of them; `audience` None: nothing yet.
    """

    edge: str
    layers: tuple[int, ...]
    viewers: int = 0
    audience: AudienceFigures | None = None


class Wished(msgspec.Struct, tag="wished", frozen=True):
    """An edge needs a keyframe of a layer."""

    layer: int


class Taken(msgspec.Struct, tag="taken", frozen=True):
    """Another worker has taken the stage from whoever was on air with a lower fence."""

    fence: int


Down = Announced | Ended
Up = Demanded | Wished | Taken


def down(show: str) -> str:
    """The channel that the origin speaks on."""
    return f"{show}/down"


def up(show: str) -> str:
    """The channel that the edges speak on."""
    return f"{show}/up"


def media(show: str, layer: int) -> str:
    """The channel of a layer's packets."""
    return f"{show}/{'audio' if layer == AUDIO else layer}"


def packed(signal: Down | Up) -> bytes:
    """A signal as bytes."""
    return codec.encode(signal, "msgpack")


def heard_down(payload: bytes) -> Down:
    """The signal of an origin. Raises `PacketError`."""
    return _heard(payload, Down)  # type: ignore[arg-type]  # a union is a type to msgspec


def heard_up(payload: bytes) -> Up:
    """The signal of an edge. Raises `PacketError`."""
    return _heard(payload, Up)  # type: ignore[arg-type]


def _heard(payload: bytes, kind: type[T]) -> T:
    try:
        return codec.decode(payload, "msgpack", kind)
    except codec.Malformed as error:
        raise PacketError(f"a signal that is not ours: {error}") from None
