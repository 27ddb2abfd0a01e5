"""The scripted server answers as a real Valkey does, or what is proved with it would prove nothing."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from redis.asyncio import Redis

from live.core import bus as bus_module
from live.core.valkey import EmbeddedValkey
from tests.properties.scripted_bus import Node

KEYS = ["{s}head", "{s}history", "{s}once"]
KEPT = 5
STATES_KEPT = 2

CALLS = st.one_of(
    st.tuples(st.just("publish"), st.sampled_from(["", "now", "before"]), st.booleans()),
    st.tuples(st.just("position"), st.sampled_from(["", "now", "before", "beyond", "late"]), st.just(False)),
    st.tuples(st.just("rotate"), st.just(""), st.just(False)),
    st.tuples(st.just("history"), st.integers(0, 9), st.just(False)),
    st.tuples(st.just("recent"), st.integers(1, 4), st.just(False)),
    st.tuples(st.just("evict"), st.sampled_from(["head", "history"]), st.just(False)),
    st.tuples(st.just("another"), st.just(""), st.just(False)),
)


class Pair:
    """Both, asked the same."""

    def __init__(self, redis: Any) -> None:
        self.redis = redis
        self.now_ms = 1_000_000
        self.node = Node(lambda: self.now_ms)
        self.pushed: list[bytes] = []
        self.node._push = self.pushed.append  # type: ignore[method-assign,assignment]
        self.tokens = 0
        self.epochs = ["", ""]  # the one before, and the present one

    async def publish(self, operation: str, epoch: str, once: bool) -> list[Any]:
        self.tokens += 1
        known = {"now": self.epochs[1], "beyond": self.epochs[1], "": ""}.get(epoch, self.epochs[0])
        offset = 1000 if epoch == "beyond" else 0
        # Published an hour ago: all epochs began after it. Or a moment before any of them did.
        age: int | str = {"before": 3_600_000, "late": 0}.get(epoch, "")
        count = 3 if once else 2
        payload = b"payload %d" % self.tokens
        state = ["", ":a\n1", ":a\n2", ":b\n", ":c\n", ":d\n"][self.tokens % 6]
        parcels = ["k" if once else "e", payload, state, b"s" + payload, "e", b"and " + payload]
        args: list[Any] = [operation, f"t{self.tokens}", "{s}events", KEPT, 60, 60, known, offset, age, STATES_KEPT]
        args += parcels[: 2 * (self.tokens % 4)] if operation == "publish" else []
        count = min(count, 2 + args.count("k"))
        theirs = await self.redis.eval(bus_module._PUBLISH.text, count, *KEYS[:count], *args)
        ours: list[Any] = self.node.execute((bus_module._PUBLISH, count, *KEYS[:count], *args))
        if self.epochs[1] != ours[0].decode():
            self.epochs = [self.epochs[1], ours[0].decode()]
        assert theirs == ours
        return ours

    async def history(self, first: int) -> None:
        args = [f"{first}-0", 4]
        theirs = await self.redis.eval(bus_module._HISTORY.text, 2, *KEYS[:2], *args)
        ours = self.node.execute((bus_module._HISTORY, 2, *KEYS[:2], *args))
        if ours:
            theirs[1] = int(theirs[1])
        assert theirs == ours

    async def recent(self, count: int) -> None:
        theirs = await self.redis.eval(bus_module._RECENT.text, 2, *KEYS[:2], count)
        ours = self.node.execute((bus_module._RECENT, 2, *KEYS[:2], count))
        if ours:
            theirs[1] = int(theirs[1])
            theirs[3].sort()
            ours[3].sort()
        assert theirs == ours

    async def evict(self, what: str) -> None:
        await self.redis.delete(f"{{s}}{what}")
        self.node.evict(head=what == "head", history=what == "history")

    async def another(self) -> None:
        """As when a replica takes over: the head was written by another one."""
        if self.node.show.epoch:
            await self.redis.hset(KEYS[0], "server", "0" * 40)
        self.node.show.server = "another"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("valkey")


def test_it_answers_as_a_real_server_does(folder: Path) -> None:
    with asyncio.Runner() as runner:
        valkey = EmbeddedValkey(folder)
        url = runner.run(valkey.start())

        @settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
        @given(calls=st.lists(CALLS, min_size=5, max_size=30))
        def same(calls: list[tuple[str, Any, bool]]) -> None:
            runner.run(_ask_both(url, calls))

        try:
            same()
        finally:
            runner.run(valkey.stop())


async def _ask_both(url: str, calls: list[tuple[str, Any, bool]]) -> None:
    async with Redis.from_url(url, protocol=2) as redis:
        await redis.flushall()
        pool: Any = redis.connection_pool
        ear = pool.make_connection()  # the library's own pub/sub knows no sharded channels
        await ear.connect()
        await ear.send_command("SSUBSCRIBE", "{s}events")
        await ear.read_response()
        pair = Pair(redis)
        for name, argument, once in calls:
            if name in ("publish", "position", "rotate"):
                await pair.publish(name, argument, once)
            elif name == "history":
                await pair.history(argument)
            elif name == "recent":
                await pair.recent(argument)
            elif name == "evict":
                await pair.evict(argument)
            else:
                await pair.another()
        async with asyncio.timeout(10):
            assert [(await ear.read_response())[2] for _ in pair.pushed] == pair.pushed
        await ear.disconnect()
