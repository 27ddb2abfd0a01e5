"""Packets from one worker to others over a real Valkey: only what is wanted, whole, in order, and bounded."""

import os
import signal
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack

import pytest

from live.core.bus import Wire
from live.core.clock import SystemClock
from live.core.limits import DEMAND_TTL_S
from live.core.valkey import EmbeddedValkey
from stream.cluster import batches, signals
from stream.cluster.export import Export
from stream.cluster.pull import Pull
from stream.feed import AUDIO, LayerState
from tests.cluster.conftest import CODECS, Host, Screen, arrival, until

pytestmark = pytest.mark.timeout(60)
SHOW = "demo"
BEGUN = [AUDIO, 0]  # an edge begins anew what it subscribes to


class Clock(SystemClock):
    """The real clock, `shift_s` ahead."""

    shift_s = 0.0

    def monotonic(self) -> float:
        return super().monotonic() + self.shift_s


class Cluster:
    """Worker 0 has the host, workers 1 and 2 may have screens."""

    def __init__(self, wires: list[Wire]) -> None:
        self.wires = wires
        self.clock = Clock()
        self.counts: Counter[str] = Counter()
        self.replaced: list[int] = []
        self.stack = AsyncExitStack()

    async def air(self, fence: int, host: Host | None = None, wire: int = 0) -> tuple[Export, Host]:
        host = host or Host()
        export = Export(
            SHOW, fence, 0, "w0", host, self.wires[wire], self.counts, self.clock.monotonic,
            silence_s=lambda: 0.25, replaced=self.replaced.append,
        )  # fmt: skip
        await self.stack.enter_async_context(self.wires[wire].subscribe(signals.up(SHOW), export.heard))
        export.announce()
        return export, host

    async def watch(self, worker: int = 1, layers: frozenset[int] = frozenset({0})) -> tuple[Pull, Screen]:
        screen = Screen()
        screen.watching = layers
        pull = Pull(SHOW, f"w{worker}", self.wires[worker], screen, self.counts, self.clock.monotonic)
        pull.start()
        self.stack.push_async_callback(pull.close)
        return pull, screen


@pytest.fixture
async def cluster(wires: list[Wire]) -> AsyncIterator[Cluster]:
    made = Cluster(wires)
    yield made
    await made.stack.aclose()


async def test_an_edge_gets_what_it_wants_and_nothing_else(cluster: Cluster) -> None:
    export, host = await cluster.air(7)
    pull, screen = await cluster.watch()
    await until(lambda: export.demanded == {0, AUDIO})
    assert host.wishes == [] or set(host.wishes) == {0}
    await until(lambda: host.wishes == [0])
    assert (screen.begun[0].codecs, screen.begun[0].rids) == (CODECS, ("q", "h", "f"))
    for number in range(100):
        for layer in (AUDIO, 0, 1, 2):
            export.push(arrival(layer, number, key=layer != AUDIO and number == 0))
    await until(lambda: len(screen.numbers(0)) == 100 and len(screen.numbers(AUDIO)) == 100)
    assert [each for each in screen.arrivals if each.layer == 0] == [arrival(0, i, key=i == 0) for i in range(100)]
    assert not screen.numbers(1)
    assert cluster.counts["exported"] == 200

    pull.demand(frozenset({2}))
    await until(lambda: export.demanded == {2, AUDIO})
    await until(lambda: host.wishes == [0, 2])
    for layer in (0, 2):
        export.push(arrival(layer, 100, key=True))
    await until(lambda: screen.numbers(2) == [100])
    assert len(screen.numbers(0)) == 100
    pull.demand(frozenset())
    await until(lambda: export.demanded == {AUDIO})


async def test_two_edges_get_the_same_and_one_that_left_costs_nothing(cluster: Cluster) -> None:
    export, _ = await cluster.air(7)
    (one, near), (_, far) = await cluster.watch(1), await cluster.watch(2, frozenset({0, 1}))
    await until(lambda: export.demanded == {0, 1, AUDIO})
    await until(lambda: export.viewers == 6)
    export.push(arrival(0, 5, key=True))
    await until(lambda: near.arrivals == far.arrivals == [arrival(0, 5, key=True)])
    await one.close()
    export.push(arrival(0, 6))
    await until(lambda: far.numbers(0) == [5, 6])
    assert near.numbers(0) == [5]
    cluster.clock.shift_s += DEMAND_TTL_S + 0.1
    export.described((LayerState(0, 0, 0),) * 3)
    await until(lambda: export.demanded == {0, 1, AUDIO})  # the one that is there has said so again


async def test_keyframe_wishes_states_reports_and_restarts_cross(cluster: Cluster) -> None:
    export, host = await cluster.air(7)
    export.sender_report(0, 1 << 40, 9)
    pull, screen = await cluster.watch()
    await until(lambda: export.demanded)
    await until(lambda: sorted(screen.fresh) == BEGUN)
    assert screen.reports == [(0, 1 << 40, 9)], "who comes late hears at once of the clocks"
    await until(lambda: host.wishes == [0])
    pull.want_keyframe(0)
    pull.want_keyframe(1)  # not subscribed to
    await until(lambda: host.wishes == [0, 0])
    states = (LayerState(1, 2, 3), LayerState(0, 0, 0), LayerState(5, 6, 7))
    export.described(states)
    await until(lambda: screen.states == states)
    assert pull.announced is not None
    assert pull.announced.silent_ms == 250
    screen.fresh.clear()
    export.push(arrival(0, 1, key=True))
    export.restarted(0)
    export.push(arrival(0, 900, key=True))
    export.sender_report(0, 2 << 40, 10)
    await until(lambda: len(screen.reports) == 2)
    assert (screen.numbers(0), screen.fresh.count(0), screen.reports[1]) == ([1, 900], 2, (0, 2 << 40, 10))


async def test_a_newer_publisher_is_followed_and_the_older_one_ignored(cluster: Cluster) -> None:
    old, _ = await cluster.air(7)
    pull, screen = await cluster.watch()
    await until(lambda: old.demanded)
    new, _ = await cluster.air(8, Host(("",)), wire=2)
    await until(lambda: len(screen.begun) == 2 and new.demanded)
    old.push(arrival(0, 1, key=True))
    new.push(arrival(0, 2, key=True))
    await until(lambda: screen.numbers(0) == [2])
    await until(lambda: cluster.counts["pull_stale"])
    cluster.wires[2].send(signals.up(SHOW), signals.packed(signals.Taken(8)))
    await until(lambda: cluster.replaced == [8, 8])  # both origins listen
    old.announce()
    old.close(ended=True)
    new.push(arrival(0, 3))
    await until(lambda: screen.numbers(0) == [2, 3])
    assert (screen.ended, len(screen.begun)) == (0, 2)
    new.close(ended=True)
    await until(lambda: screen.ended == 1)
    assert pull.announced is None
    new.push(arrival(0, 4))
    again, _ = await cluster.air(9)
    await until(lambda: len(screen.begun) == 3 and again.demanded)


async def test_an_origin_that_falls_silent_is_over_until_it_speaks_again(cluster: Cluster) -> None:
    export, _ = await cluster.air(7)
    _, screen = await cluster.watch()
    await until(lambda: export.demanded)
    cluster.clock.shift_s += DEMAND_TTL_S + 0.1
    await until(lambda: screen.ended == 1)
    export.announce()
    await until(lambda: len(screen.begun) == 2)


async def test_a_bus_that_hangs_costs_video_to_the_next_keyframe_and_no_memory(
    cluster: Cluster, valkey: EmbeddedValkey
) -> None:
    export, host = await cluster.air(7)
    _, screen = await cluster.watch()
    await until(lambda: export.demanded and host.wishes)
    host.wishes.clear()
    assert valkey.pid is not None
    os.kill(valkey.pid, signal.SIGSTOP)
    try:
        number = 0
        while not cluster.counts["export_dropped"]:
            export.push(arrival(0, number, key=number == 0, size_bytes=1200))
            number += 1
        for _ in range(1000):
            export.push(arrival(0, number, size_bytes=1200))
            number += 1
        assert cluster.counts["export_dropped"] > 1000
        assert not host.wishes, "nobody could be helped by a keyframe yet"
    finally:
        os.kill(valkey.pid, signal.SIGCONT)
    await until(lambda: cluster.wires[0].clear(SHOW))
    export.push(arrival(0, number))
    await until(lambda: host.wishes == [0])
    export.push(arrival(0, number + 1, key=True))
    await until(lambda: screen.numbers(0)[-1:] == [number + 1])
    assert number not in screen.numbers(0)


async def test_after_the_server_is_back_everything_goes_on(cluster: Cluster, valkey: EmbeddedValkey) -> None:
    export, host = await cluster.air(7)
    pull, screen = await cluster.watch()
    await until(lambda: export.demanded and host.wishes)
    await until(lambda: sorted(screen.fresh) == BEGUN)
    screen.fresh.clear()
    assert valkey.pid is not None
    os.kill(valkey.pid, signal.SIGKILL)

    def asked_again() -> bool:
        pull.want_keyframe(0)  # as a relay does until one comes: the origin may be back later than the edge
        return len(host.wishes) > 1

    await until(asked_again)
    await until(lambda: {0, AUDIO} <= set(screen.fresh))  # word of a new numbering may have been lost
    await until(lambda: export._wire.clear(SHOW))
    export.push(arrival(0, 1, key=True))
    await until(lambda: screen.numbers(0) == [1])
    assert screen.ended == 0


async def test_a_new_numbering_that_the_bus_refuses_is_said_first_when_it_takes_batches_again(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    export, _ = await cluster.air(7)
    _, screen = await cluster.watch()
    for layer in (0, AUDIO):
        await until(lambda layer=layer: layer in export.demanded)  # type: ignore[misc]
        export.push(arrival(layer, 90_000, key=layer != AUDIO))
    await until(lambda: len(screen.arrivals) == 2)
    screen.fresh.clear()
    wire, sent, taking = cluster.wires[0], list[list[int]](), False

    def send(channel: str, frame: bytes, real: Callable[[str, bytes], bool] = wire.send) -> bool:
        if taking and channel in (signals.media(SHOW, 0), signals.media(SHOW, AUDIO)):
            sent.append([record.kind for record in batches.opened(frame)[2]])
        return taking and real(channel, frame)

    monkeypatch.setattr(wire, "send", send)
    for number in (70_000, 70_001):
        for layer in (0, AUDIO):
            if number == 70_000:
                export.restarted(layer)
            export.push(arrival(layer, number, key=layer != AUDIO))
        await until(lambda number=number: cluster.counts["export_dropped"] == 2 * (number - 69_999))  # type: ignore[misc]
    taking = True
    for layer in (0, AUDIO):
        export.push(arrival(layer, 70_002, key=layer != AUDIO))
    await until(lambda: screen.numbers(0) == screen.numbers(AUDIO) == [90_000, 70_002])
    for layer in (0, AUDIO):
        export.push(arrival(layer, 70_003))
    await until(lambda: len(screen.arrivals) == 6)
    kinds = [batches.RESTARTED, batches.PACKET, batches.KEYFRAME]
    assert all(batch == sorted(batch, key=kinds.index) for batch in sent), "the numbering before its packets"
    assert sorted(screen.fresh) == [AUDIO, 0]


async def test_an_edge_that_was_forgotten_meanwhile_hears_of_a_new_numbering(cluster: Cluster) -> None:
    export, _ = await cluster.air(7)
    _, screen = await cluster.watch()
    await until(lambda: sorted(screen.fresh) == BEGUN)
    await until(lambda: 0 in export.demanded)
    export.push(arrival(0, 90_000, key=True))
    await until(lambda: screen.arrivals)
    screen.fresh.clear()
    cluster.clock.shift_s += DEMAND_TTL_S + 0.1
    export.described((LayerState(0, 0, 0),) * 3)
    assert not export.demanded
    export.restarted(0)
    await until(lambda: 0 in export.demanded)
    export.push(arrival(0, 1, key=True))
    await until(lambda: screen.numbers(0) == [90_000, 1])
    assert 0 in screen.fresh


async def test_noise_on_the_channels_is_counted(cluster: Cluster) -> None:
    export, _ = await cluster.air(7)
    _, screen = await cluster.watch()
    await until(lambda: export.demanded)
    for channel in (signals.up(SHOW), signals.down(SHOW), signals.media(SHOW, 0)):
        cluster.wires[2].send(channel, b"\xc1 noise")
    await until(lambda: cluster.counts["signal_malformed"] == 2 and cluster.counts["batch_malformed"] == 1)
    export.push(arrival(0, 1, key=True))
    await until(lambda: screen.numbers(0) == [1])


async def test_an_edge_outlives_what_nobody_expected(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    export, _ = await cluster.air(7)
    pull, screen = await cluster.watch()
    await until(lambda: export.demanded == {0, AUDIO})

    def broken(layer: int) -> None:
        raise KeyError("a bug of ours")

    with monkeypatch.context() as failing:
        failing.setattr(screen, "restarted", broken)
        pull.demand(frozenset({0, 1}))
        await until(lambda: "a bug of ours" in caplog.text)
    await until(lambda: export.demanded == {0, 1, AUDIO})
    for layer in (0, 1):
        export.push(arrival(layer, 1, key=True))
    await until(lambda: screen.numbers(0) == screen.numbers(1) == [1])


async def test_edges_are_bounded(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stream.cluster.export.EDGES_MAX", 1)
    export, _ = await cluster.air(7)
    await cluster.watch()
    await until(lambda: export.demanded)
    cluster.wires[2].send(signals.up(SHOW), signals.packed(signals.Demanded("another", (2,))))
    await until(lambda: cluster.counts["edge_refused"] == 1)
    assert export.demanded == {0, AUDIO}
