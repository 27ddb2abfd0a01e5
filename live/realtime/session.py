"""One connection without its socket: what each message means in each state, and when patience ends.

    state     message   becomes   does
    waiting   connect   joining   Join [a]
    waiting   ping      waiting   Answer
    joining   ping      joining   Answer
    live      command   live      Do, or Answer with a refusal when too fast [b]
    live      recover   live      Resume, likewise
    live      ping      live      Answer
    joining   (owner)   live      after `joined`; or waiting again, after `turned_away`
    any       other     closed    Shut OUT_OF_ORDER; what does not parse: MALFORMED_FRAME; too long: MESSAGE_TOO_BIG
    waiting   (time)    closed    Shut NOT_CONNECTED after 10 s [c]
    live      (time)    closed    Shut TOKEN_EXPIRED [d]

a) The owner verifies the token, finds out what the viewer missed, and calls `joined`. b) Every message costs a
token of a bucket; who keeps on sending when it is empty is shut out with FLOOD. c), d) The owner calls `tick`.

Time is an argument: seconds on any clock that never goes back.
"""

from enum import Enum
from typing import NamedTuple

from live.core.codec import Encoding, Malformed, decode
from live.core.errors import (
    FLOOD,
    MALFORMED_FRAME,
    MESSAGE_TOO_BIG,
    NOT_CONNECTED,
    OUT_OF_ORDER,
    TOKEN_EXPIRED,
    Close,
    Kind,
    Problem,
)
from live.core.limits import (
    COMMANDS_BURST,
    COMMANDS_PER_S,
    COMMANDS_REFUSED_MAX,
    COMMANDS_REFUSED_PER_S,
    MESSAGE_ID_CHARS_MAX,
    MESSAGE_LEVELS_MAX,
    RECOVER_COST,
    WS_CONNECT_TIMEOUT_S,
    WS_MESSAGE_BYTES_MAX,
)
from live.core.nesting import is_deeper
from live.realtime.protocol import ClientMessage, Command, Connect, Ping, Pong, Recover, Refused


class State(Enum):
    waiting = "waiting"
    joining = "joining"
    live = "live"
    closed = "closed"


class Join(NamedTuple):
    """Let the viewer in, then call `joined`."""

    connect: Connect


class Do(NamedTuple):
    """Carry the command out and reply."""

    command: Command


class Resume(NamedTuple):
    """Send what the viewer missed."""

    recover: Recover


class Answer(NamedTuple):
    """Send this."""

    message: Pong | Refused


class Shut(NamedTuple):
    """Close the socket."""

    close: Close


Action = Join | Do | Resume | Answer | Shut | None

_BECOMES: dict[tuple[State, type], State] = {
    (State.waiting, Connect): State.joining,
    (State.waiting, Ping): State.waiting,
    (State.joining, Ping): State.joining,
    (State.live, Command): State.live,
    (State.live, Recover): State.live,
    (State.live, Ping): State.live,
}


class Bucket:
    """`burst` tokens, refilled at `rate_per_s`."""

    __slots__ = ("_burst", "_rate_per_s", "_since_s", "_tokens")

    def __init__(self, rate_per_s: float, burst: float, now_s: float) -> None:
        self._rate_per_s = rate_per_s
        self._burst = burst
        self._tokens = burst
        self._since_s = now_s

    def take(self, cost: float, now_s: float) -> float:
        """0.0 when `cost` tokens were taken; else the seconds until they are there, and nothing was taken."""
        self._tokens = min(self._burst, self._tokens + (now_s - self._since_s) * self._rate_per_s)
        self._since_s = now_s
        if self._tokens >= cost:
            self._tokens -= cost
            return 0.0
        return (cost - self._tokens) / self._rate_per_s


class Session:
    """See the module. `encoding` is the subprotocol's."""

    __slots__ = ("_allowance", "_patience", "_since_s", "encoding", "expires_s", "state")

    def __init__(self, encoding: Encoding, now_s: float) -> None:
        self.encoding = encoding
        self.state = State.waiting
        self._since_s = now_s
        self.expires_s: float | None = None
        self._allowance = Bucket(COMMANDS_PER_S, COMMANDS_BURST, now_s)
        self._patience = Bucket(COMMANDS_REFUSED_PER_S, COMMANDS_REFUSED_MAX, now_s)

    def receive(self, payload: bytes | str, now_s: float, now_ms: int) -> Action:
        """What to do about a message. Text frames come as str; `now_ms` is the wall clock, for a pong."""
        if self.state is State.closed:
            return None
        if len(payload) > WS_MESSAGE_BYTES_MAX:
            return self._shut(MESSAGE_TOO_BIG)
        if isinstance(payload, str) != (self.encoding == "json"):
            return self._shut(MALFORMED_FRAME)
        octets = payload.encode() if isinstance(payload, str) else payload
        if len(octets) > WS_MESSAGE_BYTES_MAX:
            return self._shut(MESSAGE_TOO_BIG)
        if is_deeper(octets, self.encoding, MESSAGE_LEVELS_MAX):
            return self._shut(MALFORMED_FRAME)
        try:
            # A union type is a value of its own to the type checker, not a class.
            message: ClientMessage = decode(octets, self.encoding, ClientMessage)  # type: ignore[arg-type]
        except Malformed:
            return self._shut(MALFORMED_FRAME)
        becomes = _BECOMES.get((self.state, type(message)))
        if becomes is None:
            return self._shut(OUT_OF_ORDER)
        if not isinstance(message, Ping) and len(message.id) > MESSAGE_ID_CHARS_MAX:
            return self._shut(MALFORMED_FRAME)
        wait_s = self._allowance.take(RECOVER_COST if isinstance(message, Recover) else 1, now_s)
        if wait_s:
            return self._too_fast(message, wait_s, now_s)
        self.state = becomes
        match message:
            case Connect():
                return Join(message)
            case Command():
                return Do(message)
            case Recover():
                return Resume(message)
        return Answer(Pong(time_ms=now_ms))

    def joined(self, expires_s: float | None) -> None:
        """The viewer is in; its token expires at `expires_s` on the sessions' clock, None: never."""
        assert self.state is State.joining
        self.state = State.live
        self.expires_s = expires_s

    def turned_away(self) -> None:
        """The viewer was not let in, but may try again with another `connect` while patience lasts."""
        assert self.state is State.joining
        self.state = State.waiting

    def tick(self, now_s: float) -> Close | None:
        """Why the socket must be closed by now; None: it need not. Called now and then."""
        if not self.overdue(now_s):
            return None
        return self._shut(TOKEN_EXPIRED if self.state is State.live else NOT_CONNECTED).close

    def overdue(self, now_s: float) -> bool:
        """Whether `tick` would close; cheap, for a sweep over all sockets."""
        if self.state is State.live:
            return self.expires_s is not None and now_s >= self.expires_s
        return self.state is State.waiting and now_s - self._since_s >= WS_CONNECT_TIMEOUT_S

    def end(self) -> None:
        """The socket is gone or going; whatever still arrives is ignored."""
        self.state = State.closed

    def _too_fast(self, message: Connect | Command | Recover | Ping, wait_s: float, now_s: float) -> Action:
        if self._patience.take(1, now_s):
            return self._shut(FLOOD)
        if isinstance(message, Ping):
            return None
        problem = Problem(Kind.rate_limited, retry_after_s=max(1, round(wait_s)))
        return Answer(Refused(id=message.id, error=problem.body()))

    def _shut(self, close: Close) -> Shut:
        self.state = State.closed
        return Shut(close)
