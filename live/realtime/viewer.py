"""One viewer of a show's channel: where it stands, and how it is written to."""

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING

from live.core.auth import Principal, Role
from live.core.codec import Encoding
from live.core.errors import Close
from live.core.limits import NOTICES_HELD_MAX
from live.realtime.figures import Kind
from live.realtime.frames import frame
from live.realtime.protocol import ServerMessage
from live.realtime.transport import Socket

if TYPE_CHECKING:
    from live.realtime.channel import Channel

STATE_WAITS_S = 1.0  # at the most, for the round it goes out with


class Viewer:
    """A socket that has joined; `write` is the transport's. `stalled_s`: 0.0 while it keeps up.

    `owed`: it may have missed a notice, and is told what is personal together with its next snapshot. `held`: the
    notices that come while that is read, to be told after it (None: it is not being read).
    """

    __slots__ = ("_socket", "channel", "encoding", "frames", "held", "next", "owed", "principal", "stalled_s", "write")

    def __init__(self, socket: Socket, encoding: Encoding, principal: Principal, channel: "Channel") -> None:
        self._socket = socket
        self.write = socket.write
        self.encoding = encoding
        self.principal = principal
        self.channel = channel
        self.frames = channel.frames[encoding]
        self.next = 0
        self.stalled_s = 0.0
        self.owed = False
        self.held: list[ServerMessage] | None = None

    @property
    def staff(self) -> bool:
        return self.principal.role is not Role.viewer

    @property
    def open(self) -> bool:
        """Whether anything may still be written."""
        return self._socket.open

    def send(self, messages: Sequence[ServerMessage], kind: Kind) -> None:
        """Write `messages` to this viewer alone, in order with everything else it is written."""
        written = frame(messages, self.encoding)
        self.write(written)
        self.channel.figures.sent(kind, len(written))

    def withhold(self, notices: Sequence[ServerMessage]) -> None:
        """It cannot be told them now."""
        if self.held is None or len(self.held) >= NOTICES_HELD_MAX:
            self.owed = True
        else:
            self.held += notices

    def shut(self, close: Close) -> None:
        """Leave the channel and close the socket."""
        self.lost()
        self._socket.shut(close)

    # --- transport.Watcher

    def stalled(self) -> None:
        if not self.stalled_s:
            self.stalled_s = asyncio.get_running_loop().time()
            self.next = -self.next
            self.channel.slow.add(self)

    def drained(self) -> None:
        if self.stalled_s:
            since_s, self.stalled_s = self.stalled_s, 0.0
            self.next = -self.next
            self.channel.slow.discard(self)
            self.channel.catch_up(self, since_s - STATE_WAITS_S)

    def lost(self) -> None:
        self.channel.leave(self)
