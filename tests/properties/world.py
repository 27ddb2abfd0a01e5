"""Two workers, their viewers and a bus between them that does what a test says; time is virtual.

All parts of the realtime plane are the real ones, from the commands' commit to the frames on the viewers' sockets, and
the client library's connections are scripted. The feature is a board on which each worker writes: what stands on it is
the truth, a snapshot is a copy of it, an event says what was written.

A `Screen` is what a browser has. It judges events by `loadtests.sequence`, as `live/web/js/wire.js` does (that both
agree is a test of its own), and it checks what must hold with each message.
"""

import asyncio
import random
from typing import Any

import msgspec

from live.core.auth import Tokens
from live.core.bus import Bus
from live.core.limits import BUS_CONFIRM_S, POSITION_INTERVAL_S, RECOVERY_EVENTS_MAX
from live.core.settings import Settings
from live.realtime.channel import Viewer
from live.realtime.commands import Commands
from live.realtime.connections import Connection, Connections
from live.realtime.frames import payload_of
from live.realtime.hub import Hub
from live.realtime.outlet import Outlet
from loadtests.sequence import Sequence, Verdict
from tests.properties.scripted_bus import Node, Road, ScriptedServers
from tests.properties.virtual_time import LoopClock, VirtualLoop
from tests.realtime.scripted import ScriptedSocket

SHOW = "demo"
PLACES = 4  # on the board, for each worker
Board = dict[str, Any]


class Worker:
    """One server process."""

    def __init__(self, world: "World", name: str) -> None:
        self.world = world
        self.name = name
        self.road = Road(world.node, world.dice)
        self.bus = Bus(ScriptedServers(self.road))
        self.outlet = Outlet(self.bus)
        self.builds = 0
        self.ear, self.hub, self.connections = self._audience(self.bus)
        self._renewals: list[asyncio.Task[None]] = []
        self._untold: asyncio.Queue[tuple[str, int]] = asyncio.Queue()
        self._telling: asyncio.Task[None] | None = None

    def _audience(self, ear: Bus) -> tuple[Bus, Hub, Connections]:
        """The half that hears, and knows of the show what it has heard."""
        hub = Hub(ear)
        hub._turns.clock = self.world.loop.time
        clock = LoopClock(self.world.loop)
        tokens = Tokens("a secret of the tests", clock, demo_show=SHOW)
        connections = Connections(
            hub, tokens, Commands(), clock, snapshot=self._snapshot, personal=self._personal, newcomer={},
            settings=Settings(), exists=self._exists,
        )  # fmt: skip
        return ear, hub, connections

    async def start(self) -> None:
        await self._listen()
        self._telling = asyncio.create_task(self._tell())

    async def _listen(self) -> None:
        await self.ear._listener.start()
        self.hub.start()
        self.connections.start()

    async def close(self) -> None:
        assert self._telling is not None
        self._telling.cancel()
        await asyncio.wait([self._telling, *self._renewals])
        await self._hear_no_more(self.ear, self.hub, self.connections)
        await self.outlet.close()
        await self.bus.close()

    async def _hear_no_more(self, ear: Bus, hub: Hub, connections: Connections) -> None:
        await connections.close()
        await hub.close()
        if ear is not self.bus:  # by which it goes on to tell
            await ear.close()

    def renew(self) -> None:
        """A younger process takes over, which has heard nothing yet. The screens of the old one go when they like."""
        self._renewals.append(asyncio.create_task(self._renew()))

    async def _renew(self) -> None:
        before = self.ear, self.hub, self.connections
        self.ear, self.hub, self.connections = self._audience(Bus(ScriptedServers(self.road)))
        await self._listen()
        await asyncio.sleep(self.world.dice.uniform(0.0, 2.0))
        for screen in self.world.screens:
            if screen.connections is before[2]:
                screen.leave()
        await self._hear_no_more(*before)

    def write(self) -> None:
        """Commit; what is told of it comes later, in the order of the commits."""
        self.world.written += 1
        value = self.world.written
        place = f"{self.name}{value % PLACES}"
        self.world.board["places"][place] = value
        self.world.board["all"].append(value)
        self._untold.put_nowait((place, value))

    @property
    def busy(self) -> bool:
        """Whether something is yet to be told."""
        return not self._untold.empty()

    async def _tell(self) -> None:
        while True:
            place, value = await self._untold.get()
            key = str(value) if value % 3 == 0 else ""
            await self.outlet.event(SHOW, 0, "written", {"place": place, "value": value}, key=key)

    async def _exists(self, show: str) -> None:
        await asyncio.sleep(0)

    async def _personal(self, show: str, principal: Any) -> dict[str, Any]:
        await asyncio.sleep(self.world.dice.uniform(0.0, 0.05))
        return {}

    async def _snapshot(self, show: str) -> Board:
        """Two queries, and time goes by around them."""
        self.builds += 1
        dice, board = self.world.dice, self.world.board
        await asyncio.sleep(dice.uniform(0.0, 0.2))
        places = dict(board["places"])
        await asyncio.sleep(dice.uniform(0.0, 0.05))
        return {"places": places, "all": list(board["all"])}


class Line(ScriptedSocket):
    """A socket that hands its frames to a screen, after a moment."""

    def __init__(self, screen: "Screen") -> None:
        super().__init__()
        self._screen = screen
        self._at_s = 0.0

    def _write(self, frame: bytes) -> None:
        super()._write(frame)
        self.frames.clear()
        loop = asyncio.get_running_loop()
        self._at_s = max(self._at_s + 1e-6, loop.time() + self._screen.world.dice.uniform(0.001, 0.05))
        loop.call_at(self._at_s, self._screen.take, self, payload_of(frame))

    def shut(self, close: Any) -> None:
        super().shut(close)
        asyncio.get_running_loop().call_soon(self._screen.lost, self)


class Screen:
    """One viewer's page, with one connection after the other, to any worker."""

    def __init__(self, world: "World") -> None:
        self.world = world
        self.sequence = Sequence()
        self.places: dict[str, int] = {}
        self.all: set[int] = set()
        self._since_snapshot: set[int] = set()  # written on it by events
        self.snapshots = 0
        self.recoveries = 0
        self.worker: Worker | None = None
        self.connections: Connections | None = None  # of that worker, or of the one before it
        self.line: Line | None = None
        self.connection: Connection | None = None
        self._say: asyncio.Queue[bytes] = asyncio.Queue()
        self._carrier: asyncio.Task[None] | None = None
        self._ids = 0
        self._asked = ""
        self._since = 0  # which offset was asked for

    @property
    def viewer(self) -> Viewer | None:
        return self.connection.viewer if self.connection is not None else None

    @property
    def board(self) -> Board:
        return {"places": self.places, "all": sorted(self.all)}

    def connect(self, worker: Worker) -> None:
        """As a browser does that has a new socket."""
        self.leave()
        self.worker, self.connections, self.line = worker, worker.connections, Line(self)
        self.connection = self.connections.open(self.line, "json", SHOW, "")
        self._say = asyncio.Queue()
        self._carrier = asyncio.create_task(self._carry(self.connections, self.connection, self._say))
        self._ask("connect", position=self._position)

    def leave(self) -> None:
        """The socket is gone, without a word."""
        if self.connection is None:
            return
        assert self.connections is not None and self.line is not None and self._carrier is not None
        self.line.open = False
        self.connections.closed(self.connection)
        self._say.put_nowait(b"")
        self.worker = self.connections = self.line = self.connection = None
        self.sequence.disconnected()

    def lost(self, line: Line) -> None:
        """The server closed; a browser comes back."""
        if line is self.line:
            self.leave()

    def recover(self) -> None:
        """Ask for what follows, as after a gap."""
        if self.connection is not None and not self.sequence.recovering:
            self.sequence.recovering = True
            self._ask("recover", position=self._position)

    def take(self, line: Line, payload: bytes) -> None:
        """A frame arrives."""
        if line is not self.line:
            return
        for message in msgspec.json.decode(payload):
            if line is self.line:
                self._take(message)

    def _take(self, message: dict[str, Any]) -> None:
        match message["type"]:
            case "connected":
                self._connected(message)
            case "event":
                verdict = self.sequence.event(message["offset"])
                assert verdict in (Verdict.applied, Verdict.ignored), f"{verdict} on one connection"
                if verdict is Verdict.applied:
                    self._apply(message["data"])
            case "position":
                if self.sequence.here(message["position"]["epoch"], message["position"]["offset"]):
                    raise AssertionError("a position beyond what was written before")
            case "refused":
                self.leave()  # too much was asked: a browser comes back later

    def _connected(self, message: dict[str, Any]) -> None:
        position, offset = message["position"], self.sequence.offset
        if message["recovered"]:
            assert message["id"] == self._asked, "a server recovers nobody who does not ask"
            assert position["epoch"] == self.sequence.epoch
            numbers = [event["offset"] for event in message["events"]]
            assert len(numbers) <= RECOVERY_EVENTS_MAX
            assert numbers == list(range(self._since + 1, position["offset"] + 1)), "a recovery is complete"
            self.recoveries += 1
            for event in message["events"]:
                if event["offset"] > offset:  # a snapshot may have come between the question and the answer
                    self._apply(event["data"])
            self.sequence.restored(position["epoch"], position["offset"], numbers)
            assert not self.sequence.lost
        else:
            self.snapshots += 1
            snapshot = message["snapshot"]
            self.places, self.all = dict(snapshot["places"]), set(snapshot["all"])
            self._since_snapshot.clear()
            self.sequence.connected(position["epoch"], position["offset"])

    def _apply(self, data: dict[str, Any]) -> None:
        assert data["value"] not in self._since_snapshot, "an event twice on screen"
        self._since_snapshot.add(data["value"])
        self.places[data["place"]] = data["value"]
        self.all.add(data["value"])

    @property
    def _position(self) -> dict[str, Any] | None:
        return {"epoch": self.sequence.epoch, "offset": self.sequence.offset} if self.snapshots else None

    def _ask(self, type_: str, **members: Any) -> None:
        self._ids += 1
        self._asked, self._since = str(self._ids), self.sequence.offset
        self._say.put_nowait(msgspec.json.encode({"type": type_, "id": self._asked, **members}))

    async def _carry(self, connections: Connections, connection: Connection, say: asyncio.Queue[bytes]) -> None:
        while message := await say.get():
            await asyncio.sleep(self.world.dice.uniform(0.001, 0.02))
            await connections.receive(connection, message.decode())


class World:
    """See the module."""

    def __init__(self, seed: int) -> None:
        self.loop = VirtualLoop()
        self.dice = random.Random(seed)
        self.node = Node(LoopClock(self.loop).now_ms)
        self.nodes = [self.node]
        self.board: Board = {"places": {}, "all": []}
        self.written = 0
        self.workers: list[Worker] = []
        self.screens: list[Screen] = []
        self.failures: list[str] = []
        self.loop.set_exception_handler(lambda loop, context: self.failures.append(repr(context)))

    def run(self, seconds: float) -> None:
        """Let time go by."""
        self.loop.run_until_complete(asyncio.sleep(seconds))
        assert not self.failures, self.failures

    async def open(self) -> None:
        self.workers = [Worker(self, name) for name in "ab"]
        for worker in self.workers:
            await worker.start()

    async def close(self) -> None:
        for screen in self.screens:
            screen.leave()
        for worker in self.workers:
            await worker.close()
        await asyncio.sleep(1.0)

    # --- the servers

    def replace(self, lost: int, *, believer: Worker | None = None) -> None:
        """Another node takes over, without the last `lost` writes; the old one dies, or lives on for its believer."""
        old = self.node
        self.node = old.successor(lost)
        self.nodes.append(self.node)
        for worker in self.workers:
            if worker is not believer:
                worker.road.to = self.node
                worker.road.cut()
        if believer is None:
            old.die()
        else:
            old.echo = self.node if self.dice.random() < 0.5 else None

    def restart(self) -> None:
        """The one server dies and comes back with nothing."""
        for node in self.nodes:
            node.die()
        self.node = Node(LoopClock(self.loop).now_ms)
        self.nodes = [self.node]
        for worker in self.workers:
            worker.road.to = self.node

    def heal(self) -> None:
        """There is one primary, it goes on, and everybody knows it."""
        for node in self.nodes:
            node.go_on(self.dice)
        for node in self.nodes[:-1]:
            if node.alive:
                node.primary = False
                node.die()
        self.nodes = [self.node]
        for worker in self.workers:
            worker.road.to = self.node
            worker.road.failing = 0.0
            worker.road.pranks.clear()

    # --- in the end

    def settle(self, after_s: float = 60.0) -> None:
        """When nothing happens any more, everything comes right by itself and stays so."""
        self.loop.call_soon(self.heal)
        until_s = self.loop.now_s + after_s
        while self.loop.now_s < until_s:
            self.loop.call_soon(self._come_back)
            self.run(2.0)
        self.check()
        # A confirmation that meets an epoch which began while its event was under way may cost one more snapshot.
        self.run(BUS_CONFIRM_S + POSITION_INTERVAL_S + 10.0)
        before = [(worker.hub.repairs, worker.builds) for worker in self.workers]
        self.run(60.0)
        self.check()
        assert before == [(worker.hub.repairs, worker.builds) for worker in self.workers], "it never ends"

    def _come_back(self) -> None:
        for screen in self.screens:
            if (viewer := screen.viewer) is not None:
                viewer.drained()
            if screen.connection is None:
                screen.connect(self.dice.choice(self.workers))

    def check(self) -> None:
        """What everybody sees is what is."""
        truth = {"places": self.board["places"], "all": sorted(self.board["all"])}
        for screen in self.screens:
            assert screen.connection is not None
            assert screen.board == truth, f"{sorted(set(truth['all']) - screen.all)} are missing"
