"""Servers of the bus that do what a test says, under the real `Bus` with its real listeners.

A `Node` answers `publish.lua`, `history.lua` and `recent.lua` as a Valkey does; that they agree is a test of its own
(`test_scripted_bus`). What may happen to it: it stands still and does later what was asked meanwhile; it dies, and its
successor knows all but the last writes; it is replaced and goes on for a while for those who still believe in it; it
evicts keys. What may happen on the way: calls fail before or after they were done, messages to listeners are late,
lost without a sign, doubled or change places, connections end.
"""

import asyncio
import itertools
import random
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

from live.core import bus as bus_module
from live.core.limits import BUS_TIMEOUT_S
from live.core.servers import NotReached
from live.core.slots import Address

_STATES_KEPT = 8
_LOST = object()


@dataclass
class Show:
    """What a node knows of the one show there is."""

    epoch: str = ""  # "": there is no head
    offset: int = 0
    server: str = ""
    since_ms: int = 0
    history: dict[int, bytes] = field(default_factory=dict)
    once: dict[str, tuple[str, int]] = field(default_factory=dict)
    states: dict[str, bytes] = field(default_factory=dict)
    forgot: bool = False  # not all states are here

    def copy(self) -> "Show":
        return replace(self, history=dict(self.history), once=dict(self.once), states=dict(self.states))


class Node:
    """One server; `identity` is another one after each start and each promotion."""

    _identities = itertools.count(1)

    def __init__(self, now_ms: Callable[[], int], show: Show | None = None) -> None:
        self.identity = f"{next(self._identities):040x}"
        self.address = Address(self.identity, 1)
        self.show = show or Show()
        self.states: deque[Show] = deque([self.show.copy()], _STATES_KEPT)  # the newest one last
        self.now_ms = now_ms
        self.alive = True
        self.primary = True
        self.heard_by: dict[ScriptedConnection, None] = {}
        self.echo: Node | None = None  # its successor, whose subscribers hear it too
        self._still = False
        self._calls: list[
            tuple[str, Callable[[], None]]
        ] = []  # to be done when it goes on: each on a connection of its own
        self._asks: list[Callable[[], None]] = []  # of listeners
        self.unanswered: set[asyncio.Future[Any]] = set()

    # --- what may happen to it

    def do(self, work: Callable[[], None], *, call: str = "") -> None:
        """Do `work` now, or when it goes on again. `call`: what it is called; "": it is no call."""
        if not self._still:
            work()
        elif call:
            self._calls.append((call, work))
        else:
            self._asks.append(work)

    def withhold(self, call: str) -> list[Callable[[], None]]:
        """Take out those calls that were asked for meanwhile, to be done when the test likes."""
        taken = [work for name, work in self._calls if name == call]
        self._calls = [(name, work) for name, work in self._calls if name != call]
        return taken

    def stand_still(self) -> None:
        self._still = True

    def go_on(self, dice: random.Random) -> None:
        """Do what was asked meanwhile, in any order: who asked may have given up, and have been asked again."""
        self._still = False
        calls, asks, self._calls, self._asks = [work for _, work in self._calls], self._asks, [], []
        dice.shuffle(calls)
        for work in [*asks, *calls] if dice.random() < 0.5 else [*calls, *asks]:
            work()

    def die(self) -> None:
        self.alive = False
        for answer in self.unanswered:
            if not answer.done():
                answer.set_exception(ConnectionError("scripted: it died"))
        for connection in list(self.heard_by):
            connection.break_off()

    def evict(self, *, head: bool, history: bool) -> None:
        if head:
            self.show.epoch, self.show.offset = "", 0
            self._forget(forgot=False)
        if history:
            self.show.history.clear()
        self._written()

    def successor(self, lost: int) -> "Node":
        """A replica that is promoted and lacks the last `lost` writes."""
        return Node(self.now_ms, self.states[-1 - min(lost, len(self.states) - 1)].copy())

    # --- what it answers

    def execute(self, command: tuple[Any, ...]) -> Any:
        name, rest = command[0], command[1:]
        if name is bus_module._PUBLISH:
            keys, args = rest[1 : 1 + rest[0]], rest[1 + rest[0] :]
            return self._publish(*args[:10], parcels=args[10:], once=list(keys[2:]))
        if name is bus_module._HISTORY:
            return self._history(int(str(rest[3]).partition("-")[0]), rest[4])
        if name is bus_module._RECENT:
            return self._recent(rest[3])
        if name is bus_module._BEAT:
            return rest[3]
        assert name == "SPUBLISH"
        self._push(rest[1])
        return len(self.heard_by)

    def _publish(
        self, operation: str, token: str, channel: str, kept: int, ttl: int, once_ttl: int,
        known: str, offset: int, age: int | str, states_kept: int, *, parcels: tuple[Any, ...], once: list[str],
    ) -> list[Any]:  # fmt: skip
        show = self.show
        if operation == "rotate":
            self._rotate(token)
            return [show.epoch.encode(), 0]
        before = show.epoch
        if before and show.server != self.identity:
            self._rotate(token)
        elif not before:
            self._begin(token)
        if operation == "position":
            if known == show.epoch:
                if offset > show.offset:
                    self._rotate(token)
            elif known and age != "" and show.epoch == before and self.now_ms() - show.since_ms >= int(age):
                self._rotate(token)
            return [show.epoch.encode(), show.offset]
        if known and known != show.epoch:
            return [show.epoch.encode(), -1]
        last = (show.epoch, show.offset)
        for tag, payload in zip(parcels[::2], parcels[1::2], strict=True):
            key = once.pop(0) if tag == "k" else ""
            if tag not in ("e", "k"):
                self._keep(tag, payload, states_kept)
                self._push(payload)
            elif key in show.once:
                last = show.once[key]
            else:
                last = self._number(payload, kept, key)
        self._written()
        return [last[0].encode(), last[1]]

    def _number(self, payload: bytes, kept: int, once: str) -> tuple[str, int]:
        show = self.show
        show.offset += 1
        show.history[show.offset] = payload
        show.history.pop(show.offset - kept, None)
        if once:
            show.once[once] = (show.epoch, show.offset)
        self._push(f"e{show.epoch}:{show.offset}\n".encode() + payload)
        return show.epoch, show.offset

    def _history(self, first: int, count: int) -> list[Any]:
        show = self.show
        if not show.epoch or show.server != self.identity:
            return []
        found = sorted(offset for offset in show.history if offset >= first)[:count]
        return [
            show.epoch.encode(),
            show.offset,
            [[f"{offset}-0".encode(), [b"p", show.history[offset]]] for offset in found],
        ]

    def _recent(self, count: int) -> list[Any]:
        show = self.show
        answer = self._history(max(1, show.offset - count + 1), count)
        return answer and [*answer, list(show.states.values()), int(show.forgot)]

    def _keep(self, name: str, frame: bytes, kept: int) -> None:
        states = self.show.states
        new = bool(name) and name not in states
        if name:
            states[name] = frame
        if new and len(states) + self.show.forgot > kept:
            self._forget(forgot=True)

    def _forget(self, *, forgot: bool) -> None:
        self.show.states.clear()
        self.show.forgot = forgot

    def _begin(self, token: str) -> None:
        show = self.show
        show.epoch, show.offset, show.server, show.since_ms = token, 0, self.identity, self.now_ms()
        show.history.clear()
        self._forget(forgot=False)
        self._written()

    def _rotate(self, token: str) -> None:
        self._begin(token)
        self._push(b"r")

    def _written(self) -> None:
        self.states.append(self.show.copy())

    def _push(self, frame: bytes) -> None:
        for connection in [*self.heard_by, *(self.echo.heard_by if self.echo else ())]:
            connection.push(frame)


def _named(command: tuple[Any, ...]) -> str:
    return str(command[2 + command[1]] if command[0] is bus_module._PUBLISH else "other")


class Road:
    """The way between a worker and the servers, and what happens on it. `to` is whom the cluster says to ask."""

    def __init__(self, to: Node, dice: random.Random) -> None:
        self.to = to
        self.dice = dice
        self.failing = 0.0  # the share of calls that fail, half of them after they were done
        self.pranks: list[str] = []  # one for each of the next messages: "lose", "double", "swap", "late"
        self.connections: dict[ScriptedConnection, None] = {}

    def latency_s(self) -> float:
        return self.dice.uniform(0.0002, 0.003)

    def cut(self) -> None:
        """End the connections that listen."""
        for connection in list(self.connections):
            connection.break_off()


class ScriptedServers:
    """A `live.core.servers.Servers` at the end of a road."""

    home: Address | None = None

    def __init__(self, road: Road) -> None:
        self._road = road
        self._seen = road.to
        self._nodes = {road.to.address: road.to}
        self.doubted = asyncio.Event()

    @property
    def primaries(self) -> frozenset[Address]:
        return frozenset({self._seen.address})

    async def open(self) -> None: ...

    async def execute(self, key: str, *command: Any, patience_s: float = BUS_TIMEOUT_S) -> Any:
        road = self._road
        await asyncio.sleep(road.latency_s())
        node = self._seen
        if not node.alive or not node.primary:
            await self.refresh()
            node = self._seen
        if not node.alive or road.dice.random() < road.failing / 2:
            self.doubted.set()
            raise NotReached("scripted")
        done: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

        def do() -> None:
            if not node.alive:
                return
            answer = node.execute(command)  # whoever asked may have gone
            if not done.done():
                done.set_result(answer)

        node.unanswered.add(done)
        node.do(do, call=_named(command))
        fails = road.dice.random() < road.failing / 2
        try:
            async with asyncio.timeout(BUS_TIMEOUT_S):
                answer = await done
        finally:
            node.unanswered.discard(done)
        await asyncio.sleep(road.latency_s())
        if fails:
            self.doubted.set()
            raise ConnectionError("scripted: the answer was lost")
        return answer

    def owner(self, name: bytes) -> Address | None:
        return self._seen.address

    def connection(self, address: Address) -> "ScriptedConnection":
        return ScriptedConnection(self._road, self._nodes[address])

    def refused(self, name: bytes, error: Exception) -> None: ...

    async def refresh(self) -> None:
        self.doubted.clear()
        await asyncio.sleep(self._road.latency_s())
        self._seen = self._road.to
        self._nodes[self._seen.address] = self._seen

    async def check(self) -> None: ...

    async def close(self) -> None: ...


class ScriptedConnection:
    """A connection that listens."""

    def __init__(self, road: Road, node: Node) -> None:
        self._road = road
        self._node = node
        self._inbox: asyncio.Queue[Any] = asyncio.Queue()
        self._at_s = 0.0
        self._kept: bytes | None = None  # it comes after the next one

    async def connect(self) -> None:
        await asyncio.sleep(self._road.latency_s())
        if not self._node.alive:
            raise ConnectionError("scripted: nobody listens")
        self._road.connections[self] = None

    async def disconnect(self, nowait: bool = False) -> None:
        self.break_off()

    def break_off(self) -> None:
        self._node.heard_by.pop(self, None)
        self._road.connections.pop(self, None)
        self._inbox.put_nowait(_LOST)

    async def send_command(self, *args: Any, **options: Any) -> None:
        if self not in self._road.connections:
            raise ConnectionError("scripted: closed")
        self._node.do(lambda: self._answer(args))

    def pack_command(self, *args: Any) -> list[bytes]:
        raise NotImplementedError

    async def send_packed_command(self, command: Any, check_health: bool = True) -> None:
        raise NotImplementedError

    async def read_response(self, **options: Any) -> Any:
        reply = await self._inbox.get()
        if reply is _LOST:
            raise ConnectionError("scripted: the connection ended")
        return reply

    def push(self, frame: bytes) -> None:
        """Hand a message over, unless a prank is played."""
        prank = self._road.pranks.pop(0) if self._road.pranks else ""
        if prank == "lose":
            return
        if prank == "swap" and self._kept is None:
            self._kept = frame
            return
        for each in [frame, *([frame] if prank == "double" else []), *([self._kept] if self._kept else [])]:
            self._later([b"smessage", self._channel, each], 0.7 if prank == "late" else 0.0)
        self._kept = None

    def _answer(self, args: tuple[Any, ...]) -> None:
        if self not in self._road.connections:
            return
        if args[0] == "PING":
            self._later(b"PONG")
        elif args[0] == "SSUBSCRIBE":
            self._channel = args[1]
            self._node.heard_by[self] = None
            self._later([b"ssubscribe", args[1], 1])
        else:
            self._node.heard_by.pop(self, None)
            self._later([b"sunsubscribe", args[1], 0])

    def _later(self, reply: Any, more_s: float = 0.0) -> None:
        """After what came before: it is one stream of bytes."""
        loop = asyncio.get_running_loop()
        self._at_s = max(self._at_s + 1e-6, loop.time() + self._road.latency_s() + more_s)
        loop.call_at(self._at_s, self._inbox.put_nowait, reply)
