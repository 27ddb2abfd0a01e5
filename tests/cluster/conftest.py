"""Workers on one real Valkey, who comes to them, and stages that remember what is played on them."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack

import pytest

from live.core.bus import Bus, Wire
from stream.cluster.cluster import Cluster
from stream.cluster.pull import Pull
from stream.feed import AUDIO, Arrival, Feed, LayerState
from stream.wire.sdp import Codec
from tests.cluster import actors
from tests.stream.conftest import House, running

SHOW = "demo"
Publish = Callable[..., Awaitable[actors.Host]]
Watch = Callable[..., Awaitable[actors.Viewer]]

CODECS = {
    "video": Codec("vp8", 96, 90_000, None, "", feedback=frozenset({"nack", "nack pli"}), rtx=97),
    "audio": Codec("opus", 111, 48_000, 2, "useinbandfec=1"),
}


async def until(condition: Callable[[], object], timeout_s: float = 30.0) -> None:
    """Wait for something that another party does; there is no event to wait for."""
    async with asyncio.timeout(timeout_s):
        while not condition():
            await asyncio.sleep(0.003)


async def on_air(house: House) -> None:
    await until(lambda: (stage := house.media.stages.get(SHOW)) and stage.director.fence is not None)


def said(figure: str) -> None:
    """For whoever runs these tests with -s."""
    print(figure)  # noqa: T201


def arrival(layer: int, number: int, *, key: bool = False, size_bytes: int = 100) -> Arrival:
    """A packet whose payload is told from others by its number."""
    header = bytes((0x80, 96)) + (number & 0xFFFF).to_bytes(2, "big") + (number * 90 & 0xFFFFFFFF).to_bytes(4, "big")
    packet = header + b"ssrc" + number.to_bytes(8, "big") + bytes(size_bytes)
    return Arrival(layer, number, number * 90 & 0xFFFFFFFF, packet, key)


class Host:
    """A publisher with three layers who remembers what he is asked for."""

    def __init__(self, rids: tuple[str, ...] = ("q", "h", "f")) -> None:
        self.feed = Feed(CODECS, rids)
        self.wishes: list[int] = []

    def want_keyframe(self, layer: int) -> None:
        self.wishes.append(layer)

    def demand(self, layers: frozenset[int]) -> None:
        raise AssertionError("an export asks for nothing")


class Screen:
    """A target that remembers what it is handed."""

    def __init__(self) -> None:
        self.arrivals: list[Arrival] = []
        self.fresh: list[int] = []
        self.reports: list[tuple[int, int, int]] = []
        self.states: tuple[LayerState, ...] = ()
        self.begun: list[Feed] = []
        self.ended = 0
        self.watching = frozenset({0})

    def push(self, arrival: Arrival) -> None:
        self.arrivals.append(arrival)

    def restarted(self, layer: int) -> None:
        self.fresh.append(layer)

    def sender_report(self, layer: int, ntp: int, timestamp: int) -> None:
        self.reports.append((layer, ntp, timestamp))

    def described(self, layers: tuple[LayerState, ...]) -> None:
        self.states = layers

    def pulled(self, pull: Pull) -> None:
        self.begun.append(pull.feed)
        pull.demand(self.watching)
        pull.audience = 3

    def pull_ended(self) -> None:
        self.ended += 1

    def numbers(self, layer: int) -> list[int]:
        return [each.sequence for each in self.arrivals if each.layer == layer]


__all__ = ["AUDIO", "SHOW", "Host", "Publish", "Screen", "Watch", "arrival", "on_air", "said", "until"]


@pytest.fixture
async def wires(valkey_url: str) -> AsyncIterator[list[Wire]]:
    """Those of three workers, connected."""
    async with AsyncExitStack() as stack:
        made = []
        for _ in range(3):
            wire = await Wire.open(valkey_url)
            stack.push_async_callback(wire.close)
            await until(lambda wire=wire: wire.clear(SHOW))  # type: ignore[misc]
            made.append(wire)
        yield made


@pytest.fixture
async def buses(valkey_url: str) -> AsyncIterator[list[Bus]]:
    """Those of three workers."""
    async with AsyncExitStack() as stack:
        made = []
        for _ in range(3):
            bus = await Bus.open(valkey_url)
            stack.push_async_callback(bus.close)
            made.append(bus)
        yield made


@pytest.fixture
async def houses(buses: list[Bus], wires: list[Wire]) -> AsyncIterator[list[House]]:
    """The media parts of three workers, each behind its own HTTP server."""
    lit: set[str] = set()
    async with AsyncExitStack() as stack:
        made = []
        for bus, wire in zip(buses, wires, strict=True):
            made.append(await stack.enter_async_context(running(cluster=Cluster(bus, wire), lit=lit)))
        yield made


@pytest.fixture
async def cast() -> AsyncIterator[AsyncExitStack]:
    """Whoever enters leaves at the end."""
    async with AsyncExitStack() as stack:
        yield stack


@pytest.fixture
def publish(cast: AsyncExitStack) -> Publish:
    async def make(house: House, number: int, *, backup: bool = False, **options: object) -> actors.Host:
        host = actors.Host(number, **options)  # type: ignore[arg-type]
        cast.push_async_callback(host.leave)
        await host.publish(house, backup=backup)
        return host

    return make


@pytest.fixture
def watch(cast: AsyncExitStack) -> Watch:
    async def make(house: House, codec: str = "h264") -> actors.Viewer:
        viewer = actors.Viewer(codec)
        cast.push_async_callback(viewer.leave)
        await viewer.watch(house)
        return viewer

    return make
