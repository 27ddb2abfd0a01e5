"""The server's messages as a load generator reads them: what it does not look at is skipped, never built.

A snapshot of a show is tens of kilobytes; ten thousand viewers are given one each.
"""

from typing import Any

import msgspec

from live.core.codec import Encoding, decode
from live.core.position import Position


class Event(msgspec.Struct, tag="event", frozen=True):
    """See `live.realtime.protocol.Event`."""

    offset: int
    name: str
    data: dict[str, Any]


class Connected(msgspec.Struct, tag="connected", frozen=True):
    """See `live.realtime.protocol.Connected`."""

    id: str
    position: Position
    recovered: bool
    events: list[Event] = []
    snapshot: msgspec.Raw = msgspec.Raw()  # as it came
    token: str | None = None


class State(msgspec.Struct, tag="state", frozen=True):
    """The newest value of something: counted with its frame and not looked at."""


class Notice(msgspec.Struct, tag="notice", frozen=True):
    """For one viewer."""


class Reply(msgspec.Struct, tag="reply", frozen=True):
    """See `live.realtime.protocol.Reply`."""

    id: str
    data: dict[str, Any]


class Refused(msgspec.Struct, tag="refused", frozen=True):
    """See `live.realtime.protocol.Refused`."""

    id: str
    error: dict[str, Any]


class Here(msgspec.Struct, tag="position", frozen=True):
    """See `live.realtime.protocol.Here`."""

    position: Position


class Pong(msgspec.Struct, tag="pong", frozen=True):
    """The answer to a ping."""


class Bye(msgspec.Struct, tag="bye", frozen=True):
    """See `live.realtime.protocol.Bye`."""

    code: int
    within_s: float


Message = Connected | Event | State | Notice | Reply | Refused | Here | Pong | Bye
_MESSAGES = list[Message]


def messages(payload: bytes, encoding: Encoding) -> list[Message]:
    """The messages of a frame; raises `Malformed`."""
    return decode(payload, encoding, _MESSAGES)
