"""What the outlet puts on the bus and the hub takes from it, as MessagePack maps."""

from typing import Any

import msgspec


class PublishedEvent(msgspec.Struct, frozen=True):
    """Something happened. `at_ms` is on the show's clock, `sent_ms` is when it was published (unix; 0: unknown)."""

    at_ms: int
    name: str
    data: dict[str, Any]
    sent_ms: float = 0.0
    trace: str = ""  # W3C traceparent of its publication; "": not traced


class PublishedState(msgspec.Struct, frozen=True):
    """The newest value of `name` and `key`; `staff`: not for viewers."""

    name: str
    data: dict[str, Any]
    key: str = ""
    staff: bool = False


class PublishedNotice(msgspec.Struct, frozen=True):
    """For the sockets of one viewer id; `staff`: for all sockets of all staff instead."""

    viewer: str
    name: str
    data: dict[str, Any]
    staff: bool = False
    trace: str = ""  # as of an event
