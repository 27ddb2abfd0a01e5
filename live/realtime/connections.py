"""What is done with one viewer's connection, whatever carries it: join, commands, recovery, patience, the end.

A carrier (`gateway`: WebSocket) asks `refuse` whether the newcomer may come in, hands an `open` connection each
message by `receive`, one after the other, and tells when it is `closed`. What goes to the viewer is written to its
`Socket` by the connection's `Viewer` and the hub's channel.
"""

import asyncio
import contextlib
import logging
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

from live.core.auth import Principal, Tokens
from live.core.clock import Clock
from live.core.codec import Encoding
from live.core.errors import (
    BUS_LOST,
    GOING_AWAY,
    TOKEN_EXPIRED,
    TOKEN_REFUSED,
    UNKNOWN_SHOW,
    Close,
    Kind,
    Problem,
)
from live.core.limits import (
    DRAIN_BATCH,
    DRAIN_BATCH_INTERVAL_S,
    DRAIN_WINDOW_S,
    WS_CLOSE_TIMEOUT_S,
)
from live.core.settings import Settings
from live.core.tasks import end
from live.realtime.admission import Admission
from live.realtime.channel import Channel, Viewer
from live.realtime.commands import Commands, Context
from live.realtime.doorman import Doorman, Headers, Rename, refusal
from live.realtime.frames import frame
from live.realtime.hub import Hub
from live.realtime.pace import Pace
from live.realtime.protocol import Bye, Command, Connect, Recover, Refused, ServerMessage, wire_viewer
from live.realtime.recovery import Recovery
from live.realtime.session import Answer, Do, Join, Resume, Session, Shut
from live.realtime.transport import Socket

log = logging.getLogger(__name__)
_TICK_S = 1.0
_EXPIRY_CHECK_S = 5.0
_FINAL: dict[Kind, Close] = {
    Kind.unknown_show: UNKNOWN_SHOW,
    Kind.token_missing: TOKEN_REFUSED,
    Kind.token_invalid: TOKEN_REFUSED,
    Kind.token_expired: TOKEN_EXPIRED,
    Kind.show_forbidden: TOKEN_REFUSED,
    Kind.role_forbidden: TOKEN_REFUSED,
}


class Connection:
    """A socket between its handshake and its end. `viewer` is set once it has joined."""

    __slots__ = ("address", "session", "show", "socket", "viewer")

    def __init__(self, socket: Socket, session: Session, show: str, address: str) -> None:
        self.socket = socket
        self.session = session
        self.show = show
        self.address = address
        self.viewer: Viewer | None = None

    def send(self, message: ServerMessage) -> None:
        """Write `message` to this socket alone, unless it is going."""
        if self.socket.open:
            written = frame([message], self.session.encoding)
            self.socket.write(written)
            if self.viewer is not None:
                self.viewer.channel.figures.sent("reply", len(written))

    def shut(self, close: Close) -> None:
        """Close the socket, and hear nothing more of it."""
        self.session.end()
        if self.viewer is not None:
            self.viewer.shut(close)
        else:
            self.socket.shut(close)


class Connections:
    """See the module. `snapshot` builds what everybody sees of a show, or raises `Problem` unknown_show;
    `personal` what one viewer sees besides; `newcomer` what a guest sees besides who is made in this very connect:
    nothing is stored of them, and asking the store for it would be most of what letting them in costs. `exists`
    raises as `snapshot`, for less (None: `snapshot` does it).
    """

    def __init__(
        self,
        hub: Hub,
        tokens: Tokens,
        commands: Commands,
        clock: Clock,
        *,
        snapshot: Callable[[str], Awaitable[dict[str, Any]]],
        personal: Callable[[str, Principal], Awaitable[dict[str, Any]]],
        newcomer: dict[str, Any],
        settings: Settings,
        exists: Callable[[str], Awaitable[object]] | None = None,
    ) -> None:
        self._hub = hub
        self.commands = commands
        self._clock = clock
        self._exists = exists or snapshot
        self._newcomer = newcomer
        self._origins = frozenset(settings.origins)
        self._doorman = Doorman(tokens, clock)
        self.recovery = Recovery(clock, snapshot, personal)
        self.admission = Admission(clock.monotonic(), sockets_per_address=settings.sockets_per_address)
        self._pace = Pace(addresses=settings.sockets_per_address > 0)
        self._all: set[Connection] = set()
        self._arriving: set[Connection] = set()  # not joined yet
        self._empty = asyncio.Event()
        self._empty.set()
        self._ticker: asyncio.Task[None] | None = None
        self.draining = False
        self._parting = False  # whoever has been answered is closed
        self._busy: set[Connection] = set()  # a message of theirs is being dealt with
        self.accepted = 0
        self.turned_back: dict[str, int] = {}  # handshakes, by what they were refused with before admission
        self.turned_away: Counter[str] = Counter()  # viewers who asked to be put in step, by why they were not
        self.throttled = 0  # messages that came too fast
        self.streams = 0  # how many of those who are open get events by plain HTTP
        hub.refresh = self._refresh
        commands.add("viewer.rename", Rename, self._doorman.rename)

    def __len__(self) -> int:
        """How many are open here."""
        return len(self._all)

    def start(self) -> None:
        """Begin to look after patience and tokens."""
        self._ticker = asyncio.create_task(self._tick_forever(), name="connections")

    async def close(self) -> None:
        """Stop looking after the sockets; `drain` comes before."""
        await end(self._ticker)
        await self.recovery.close()

    async def drain(self, hand_over: Callable[[], Awaitable[None]] | None = None) -> None:
        """Let nobody in, tell everybody to come back within a random time, close in batches, wait for the last.

        Between telling and closing, `hand_over` waits as long as it makes sense for the viewers to go elsewhere; till
        then all is as before (None: there is nowhere to go). Commands that were received are answered before their
        socket is closed, if that takes no longer than WS_CLOSE_TIMEOUT_S.

        To be called before the server stops: uvicorn would close all sockets at once, and all would be back at once.
        """
        self.draining = True
        bye = Bye(GOING_AWAY.code, GOING_AWAY.reason, DRAIN_WINDOW_S)
        await self._in_batches(lambda connection: connection.send(bye))
        if hand_over is not None:
            await hand_over()
        self._parting = True
        await self._in_batches(self._part)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(WS_CLOSE_TIMEOUT_S):
                await self._empty.wait()
        for connection in tuple(self._busy):
            self.shut(connection, GOING_AWAY)

    async def _in_batches(self, do: Callable[[Connection], None]) -> None:
        everybody = list(self._all)
        for start in range(0, len(everybody), DRAIN_BATCH):
            for connection in everybody[start : start + DRAIN_BATCH]:
                do(connection)
            await asyncio.sleep(DRAIN_BATCH_INTERVAL_S)

    def _part(self, connection: Connection) -> None:
        """Close `connection`, unless something is being done for it; then that ends first."""
        if connection in self._all and connection not in self._busy:
            self.shut(connection, GOING_AWAY)

    # --- one connection, as its carrier sees it

    def refuse(self, headers: Headers, address: str) -> Problem | None:
        """Why a newcomer from `address` (the client's, "" when unknown) must not come in.

        None: it may, and counts for its address from now on, until the carrier calls `released`.
        """
        problem = Problem(Kind.draining, retry_after_s=1) if self.draining else refusal(headers, self._origins)
        if problem is not None:
            self.turned_back[problem.kind.name] = self.turned_back.get(problem.kind.name, 0) + 1
            return problem
        problem = self.admission.admit(address, self._clock.monotonic())
        if problem is not None and problem.retry_after_s is not None:
            # Those who are refused together must not come back together.
            problem.retry_after_s += random.randint(0, problem.retry_after_s // 2)
        return problem

    def released(self, address: str) -> None:
        """A newcomer that was not refused is over, whether it has been opened or not."""
        self.admission.released(address)

    def open(self, socket: Socket, encoding: Encoding, show: str, address: str) -> Connection:
        """A newcomer that was not refused. From now on it is looked after, until it is `closed`."""
        self.accepted += 1
        connection = Connection(socket, Session(encoding, self._clock.monotonic()), show, address)
        self._all.add(connection)
        self._empty.clear()
        self._arriving.add(connection)
        return connection

    async def receive(self, connection: Connection, payload: bytes | str) -> None:
        """Do what a message says; returns when it is done. To be called with one message after the other."""
        self._busy.add(connection)
        try:
            await self._receive(connection, payload)
        finally:
            self._busy.discard(connection)
            if self._parting:
                # After this turn of the loop: by then the carrier has handed over what else it had received.
                asyncio.get_running_loop().call_soon(self._part, connection)

    async def _receive(self, connection: Connection, payload: bytes | str) -> None:
        match connection.session.receive(payload, self._clock.monotonic(), self._clock.now_ms()):
            case Do(command):
                await self._do(connection, command)
            case Answer(answer):
                self.throttled += isinstance(answer, Refused)
                connection.send(answer)
            case Join(connect):
                await self._let_in(connection, connect.id, self._join(connection, connect))
            case Resume(recover):
                await self._let_in(connection, recover.id, self._resume(connection, recover))
            case Shut(close):
                self.shut(connection, close)

    def closed(self, connection: Connection) -> None:
        """The connection is over: forget it. The viewer counts for a while yet, so that a reload is silent."""
        connection.session.end()
        self._all.discard(connection)
        if not self._all:
            self._empty.set()
        self._arriving.discard(connection)
        if connection.viewer is not None:
            connection.viewer.lost()
            self._hub.keep(connection.viewer.channel)

    def shut(self, connection: Connection, close: Close) -> None:
        """Close `connection` from our side; `closed` follows when the carrier hears that it is over."""
        connection.shut(close)

    # --- what messages do

    async def _do(self, connection: Connection, command: Command) -> None:
        viewer = connection.viewer
        assert viewer is not None, "a live session has joined"
        subject, now_s = viewer.principal.subject, self._clock.monotonic()
        if problem := self._pace.refuse(subject, connection.address, now_s):
            self.throttled += 1
            connection.send(Refused(command.id, problem.body()))
            return

        def become(principal: Principal) -> None:
            viewer.principal = principal

        shown = wire_viewer(viewer.principal)
        expires_s = connection.session.expires_s
        context = Context(connection.show, viewer.principal, command.key, shown, become, expires_s)
        connection.send(await self.commands.run(context, command))

    async def _let_in(self, connection: Connection, message_id: str, placing: Awaitable[None]) -> None:
        """Wait for `placing`, and turn the viewer away when that fails."""
        try:
            await placing
        except Problem as problem:
            self._turn_away(connection, message_id, problem)
        except Exception:  # our own bug, or a store's: the client comes back with backoff
            log.exception("letting a viewer into %s failed", connection.show)
            self._turn_away(connection, message_id, Problem(Kind.internal))

    async def check_show(self, show: str) -> None:
        """Raises `Problem` unknown_show; where somebody watches it nobody else is asked."""
        if not self._hub.count(show):
            await self._exists(show)

    async def _join(self, connection: Connection, connect: Connect) -> None:
        show, session = connection.show, connection.session
        guest = self._doorman.admit(show, connect)
        channel = await self._hub.channel(show, self._exists)
        viewer = Viewer(connection.socket, session.encoding, guest.principal, channel)
        connection.viewer = viewer
        connection.socket.watcher = viewer
        newcomer = self._newcomer if guest.token else None
        await self.recovery.place(viewer, connect.id, connect.position, personal=newcomer, token=guest.token)
        self._arriving.discard(connection)
        self._check_fed(connection, channel)
        if connection.socket.open:
            session.joined(guest.expires_s)

    async def _resume(self, connection: Connection, recover: Recover) -> None:
        viewer = connection.viewer
        assert viewer is not None, "a live session has joined"
        in_step = viewer.next != 0
        viewer.channel.leave(viewer)  # written nothing until it is in step again
        await self.recovery.place(viewer, recover.id, recover.position, here=in_step)
        self._check_fed(connection, viewer.channel)

    def _check_fed(self, connection: Connection, channel: Channel) -> None:
        """Close when the channel was given up meanwhile, for want of viewers, because placing took so long."""
        if not self._hub.has(channel):
            self.shut(connection, BUS_LOST)

    def _turn_away(self, connection: Connection, message_id: str, problem: Problem) -> None:
        """Say why; bad input may be mended on the same socket, everything else closes it."""
        self.turned_away[problem.kind.name] += 1
        connection.send(Refused(message_id, problem.body()))
        if problem.kind is Kind.invalid_field and connection.viewer is None:
            connection.session.turned_away()
        else:
            self.shut(connection, _FINAL.get(problem.kind, BUS_LOST))

    # --- all connections

    def _refresh(self, channel: Channel, viewers: Iterable[Viewer]) -> None:
        self.recovery.refresh(channel)

    async def _tick_forever(self) -> None:
        next_expiry_s = 0.0
        while True:
            await asyncio.sleep(_TICK_S)
            try:
                now_s = self._clock.monotonic()
                self._tick(self._arriving, now_s)
                if now_s >= next_expiry_s:
                    next_expiry_s = now_s + _EXPIRY_CHECK_S
                    self._tick(self._all, now_s)
            except Exception:  # our own bug: nobody's patience or token would ever end again
                log.exception("looking after the sockets failed; trying again")

    def _tick(self, connections: Iterable[Connection], now_s: float) -> None:
        for connection in [c for c in connections if c.session.overdue(now_s)]:
            if close := connection.session.tick(now_s):
                self.shut(connection, close)
