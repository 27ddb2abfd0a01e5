"""What is handed to the bus in one call, and what it has kept of that for those who begin to listen."""

from typing import Literal, NamedTuple

from live.core.listener import UNNUMBERED, Message
from live.core.position import Position


class Parcel(NamedTuple):
    """What is handed to every subscriber. An "event" is numbered and kept, and with a `key` published once. A "state"
    and a "direct" message have no number; with a `key` the newest state is kept, for those who begin to listen.
    """

    payload: bytes
    kind: Literal["event", "state", "direct"] = "event"
    key: str | None = None


class Recent(NamedTuple):
    """What a channel holds for those who begin to listen: the `events` up to `position`, and the newest of each state.

    `whole`: these are all states that were told in this epoch.
    """

    position: Position
    events: list[bytes]
    states: list[Message]
    whole: bool


def state_key(name: str, key: str) -> str:
    """What tells the state of `name` and `key` from others."""
    return f"{name}\n{key}"


def kept_under(key: str) -> str:
    """The head's field for the newest state with such a key; no field of its own begins like this."""
    return f":{key}"


def carried(parcel: Parcel) -> tuple[str, bytes]:
    """A parcel as `publish.lua` takes it."""
    if parcel.kind == "event":
        return "e" if parcel.key is None else "k", parcel.payload
    kept = parcel.kind == "state" and parcel.key is not None
    return kept_under(parcel.key or "") if kept else "", UNNUMBERED[parcel.kind] + parcel.payload
