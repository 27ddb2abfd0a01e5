"""The wire between a browser and the server: every message of `/ws/{show}` as a tagged struct.

A client sends one message a frame. The server sends a *list* of messages a frame, because several events that
happen within one batch interval travel together. JSON travels in text frames (`showcart.json.v1`), MessagePack
in binary frames (`showcart.msgpack.v1`); both carry the same members. `docs/protocol.md` shows each one.

Three kinds of news: an `Event` is ordered, numbered and recoverable; a `State` is the newest value of something,
may be skipped and never queues; a `Notice` is for one viewer, on all of the viewer's sockets.
"""

from typing import Any

import msgspec

from live.core.auth import Principal
from live.core.codec import Encoding
from live.core.position import Position as Position

SUBPROTOCOLS: dict[str, Encoding] = {"showcart.json.v1": "json", "showcart.msgpack.v1": "msgpack"}


# --- from the client ------------------------------------------------------------------------------------------


class Connect(msgspec.Struct, tag="connect", frozen=True):
    """First message of a socket. `token` None: a guest, who is given a token. `position` None: a new viewer."""

    id: str
    token: str | None = None
    position: Position | None = None
    name: str | None = None


class Command(msgspec.Struct, tag="command", frozen=True):
    """Do something: `name` says what, `data` is checked against the command's own type.

    `key` makes it idempotent: the same key with the same data is answered alike and done once.
    """

    id: str
    name: str
    data: dict[str, Any] = {}
    key: str | None = None


class Recover(msgspec.Struct, tag="recover", frozen=True):
    """The client saw a gap: send what follows `position`, or a snapshot. Answered with `Connected`."""

    id: str
    position: Position


class Ping(msgspec.Struct, tag="ping", frozen=True):
    """Is the server there? Browsers cannot send WebSocket pings."""


ClientMessage = Connect | Command | Recover | Ping


# --- from the server ------------------------------------------------------------------------------------------


class Viewer(msgspec.Struct, frozen=True):
    """Who the socket belongs to. `role` is viewer, moderator, host or ops."""

    id: str
    name: str
    role: str


def wire_viewer(principal: Principal) -> Viewer:
    """How a principal is shown to clients."""
    return Viewer(id=principal.subject, name=principal.name, role=principal.role.value)


class Event(msgspec.Struct, tag="event", frozen=True):
    """Something happened in the show. `at_ms` is the show's clock, 0 before it went on air."""

    offset: int
    at_ms: int
    name: str
    data: dict[str, Any]


class Connected(msgspec.Struct, tag="connected", frozen=True):
    """The answer to `Connect` and `Recover`.

    `recovered` True: `events` holds all that followed the client's position. False: `snapshot` holds the whole
    show as of `position`. `personal` is what only this viewer sees (the cart). `token` is set when the server
    made a guest of the viewer: keep it and present it next time. `time_ms` is the server's clock.
    """

    id: str
    viewer: Viewer
    position: Position
    recovered: bool
    time_ms: int
    events: list[Event] = []
    snapshot: dict[str, Any] | None = None
    personal: dict[str, Any] = {}
    token: str | None = None


class State(msgspec.Struct, tag="state", frozen=True):
    """The newest value of `name` (and `key`, for things there are several of). Skipped, never queued."""

    name: str
    data: dict[str, Any]
    key: str = ""


class Notice(msgspec.Struct, tag="notice", frozen=True):
    """For this viewer alone; not numbered: what must survive is in `Connected.personal`."""

    name: str
    data: dict[str, Any]


class Reply(msgspec.Struct, tag="reply", frozen=True):
    """The command `id` was done and committed. `replayed`: it had been done before, under the same key."""

    id: str
    data: dict[str, Any]
    replayed: bool = False


class Refused(msgspec.Struct, tag="refused", frozen=True):
    """The command `id` changed nothing; `error` is a numbered problem as in the HTTP API."""

    id: str
    error: dict[str, Any]


class Here(msgspec.Struct, tag="position", frozen=True):
    """Where the show's stream stands; sent in quiet times. A client that is behind sends `Recover`."""

    position: Position


class Pong(msgspec.Struct, tag="pong", frozen=True):
    """The answer to `Ping`."""

    time_ms: int


class Bye(msgspec.Struct, tag="bye", frozen=True):
    """The server will close this socket; reconnect after a random time within `within_s` seconds."""

    code: int
    reason: str
    within_s: float


ServerMessage = Connected | Event | State | Notice | Reply | Refused | Here | Pong | Bye
