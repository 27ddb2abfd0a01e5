"""The bus on a real Valkey Cluster when a primary dies, stands still or is replaced, and when a slot moves."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest

from live.core.bus import Bus, BusError, Message, Position, Wire
from tests.cluster.conftest import said, until
from tests.cluster.valkeys import Valkeys
from tests.core.conftest import Ear

pytestmark = [pytest.mark.timeout(90)]


@pytest.fixture
async def workers(valkeys: Valkeys) -> AsyncIterator[list[Bus]]:
    """The buses of two workers."""
    async with AsyncExitStack() as stack:
        made = []
        for _ in range(2):
            bus = await Bus.open(valkeys.url)
            stack.push_async_callback(bus.close)
            made.append(bus)
        yield made


class Flow:
    """Publishes to a show one after the other until it is stopped, and remembers what was acknowledged."""

    def __init__(self, bus: Bus, show: str) -> None:
        self.acknowledged: dict[Position, bytes] = {}
        self.refused = 0
        self._bus = bus
        self._show = show
        self._ending = False
        self._task = asyncio.create_task(self._run())

    async def _run(self) -> None:
        number = 0
        while not self._ending:
            number += 1
            payload = b"%d" % number
            try:
                position = await self._bus.publish(self._show, payload)
            except BusError:
                self.refused += 1
                await asyncio.sleep(0.02)
                continue
            assert position not in self.acknowledged, "an offset was given out twice in one epoch"
            self.acknowledged[position] = payload
            await asyncio.sleep(0.002)

    async def flowed(self, count: int) -> None:
        """Wait until so many more are acknowledged."""
        goal = len(self.acknowledged) + count
        await until(lambda: len(self.acknowledged) >= goal or self._task.done(), 30)

    async def stop(self) -> None:
        self._ending = True
        await self._task


def judge(heard: list[Message], acknowledged: dict[Position, bytes]) -> int:
    """Every event came once and in order, or `gone` was said where some are missing; answers how often it was."""
    last: Position | None = None
    gones, told = 0, True
    for message in heard:
        if message.kind == "gone":
            gones, told = gones + 1, True
        elif message.position is not None:
            following = last is not None and message.position == Position(last.epoch, last.offset + 1)
            assert following or told, f"{message.position} after {last} without a word"
            if last is not None and message.position.epoch == last.epoch:
                assert message.position.offset > last.offset
            assert acknowledged.get(message.position, message.payload) == message.payload
            last, told = message.position, False
    return gones


async def heard_again(bus: Bus, show: str, *ears: Ear) -> None:
    """Publish until everybody hears it: what came before they were back is told by a `gone`."""
    async with asyncio.timeout(15):
        while True:
            last = await bus.publish(show, b"again")
            for _ in range(20):
                if all(any(message.position == last for message in ear.heard) for ear in ears):
                    return
                await asyncio.sleep(0.005)


async def test_shows_are_spread_over_all_nodes_and_each_is_in_order(valkeys: Valkeys, workers: list[Bus]) -> None:
    shows = valkeys.shows()
    ears = {show: (Ear(), Ear()) for show in shows}
    async with AsyncExitStack() as stack:
        for show, pair in ears.items():
            for bus, ear in zip(workers, pair, strict=True):
                await stack.enter_async_context(bus.subscribe(show, ear))
        made = {
            show: await asyncio.gather(*[workers[i % 2].publish(show, b"%d" % i) for i in range(60)]) for show in shows
        }
        for show, pair in ears.items():
            assert sorted(position.offset for position in made[show]) == list(range(1, 61))
            for ear in pair:
                heard = await ear.until(lambda heard: len(heard) == 60)
                assert [m.position.offset for m in heard if m.position] == list(range(1, 61))
        assert len(workers[0]._listener._listeners) == 3, "one listener for each node with channels"


async def test_killed_primary_is_replaced_and_nobody_takes_lost_offsets_for_new_ones(
    valkeys: Valkeys, workers: list[Bus]
) -> None:
    hurt, *healthy = valkeys.shows()
    ears = {show: Ear() for show in (hurt, *healthy)}
    async with AsyncExitStack() as stack:
        for show, ear in ears.items():
            await stack.enter_async_context(workers[0].subscribe(show, ear))
        flows = {show: Flow(workers[1], show) for show in ears}
        await flows[hurt].flowed(50)
        before = list(flows[hurt].acknowledged)[-1]
        began = asyncio.get_running_loop().time()
        was = valkeys.kill_primary(hurt)
        await flows[hurt].flowed(50)
        said(f"published again {asyncio.get_running_loop().time() - began:.1f} s after the primary was killed")
        await valkeys.promoted(hurt, was)
        for flow in flows.values():
            await flow.stop()
        for show, ear in ears.items():
            await heard_again(workers[1], show, ear)
            gones = judge(ear.heard, flows[show].acknowledged)
            assert gones > 0 or show != hurt
        after = await workers[0].position(hurt)
        assert after.epoch != before.epoch
        assert await workers[0].history(hurt, before, 300) is None, "a viewer of the old epoch takes a snapshot"
        assert all(flow.refused == 0 for show, flow in flows.items() if show != hurt), "they only waited"


async def test_swapped_roles_are_another_server(valkeys: Valkeys, workers: list[Bus]) -> None:
    """Publishing notices it by itself, also when the first server is primary again: it may have lost the end."""
    ear = Ear()
    async with workers[0].subscribe("demo", ear):
        first = await workers[1].publish("demo", b"a")
        await valkeys.fail_over("demo")
        second = await workers[1].publish("demo", b"b")
        assert (second.offset, second.epoch == first.epoch) == (1, False)
        await valkeys.fail_over("demo")
        assert await workers[1].history("demo", Position(second.epoch, 0), 10) is None
        third = await workers[1].publish("demo", b"c")
        assert (third.offset, third.epoch in (first.epoch, second.epoch)) == (1, False)
        await heard_again(workers[1], "demo", ear)
        assert judge(ear.heard, {}) >= 1


async def test_slot_moves_while_events_flow(valkeys: Valkeys, workers: list[Bus]) -> None:
    ears = Ear(), Ear()
    async with workers[0].subscribe("demo", ears[0]), workers[1].subscribe("demo", ears[1]):
        flow = Flow(workers[1], "demo")
        await flow.flowed(20)
        for _ in range(3):
            await valkeys.move_slot("demo", lambda: asyncio.sleep(0.05))
            await flow.flowed(20)
            await heard_again(workers[1], "demo", *ears)
        await flow.stop()
        assert flow.refused == 0, "while the slot moves they only wait"
        await heard_again(workers[1], "demo", *ears)
        for ear in ears:
            assert judge(ear.heard, flow.acknowledged) >= 3


async def test_commands_follow_keys_that_have_left_already(valkeys: Valkeys, workers: list[Bus]) -> None:
    """While a slot moves, a key is asked for where it is, on the one connection that said ASKING."""
    bus = workers[0]
    granted: list[bool] = []

    async def midway() -> None:
        async with asyncio.timeout(4):
            for name in range(20):
                _, ok = await bus.leases.acquire(f"{{demo}}{name}", "w", b"", rank=0, ttl_s=30)
                granted.append(ok)
            assert await bus.beat("demo", "w1", 3, 30) == 3
            await asyncio.gather(*[bus.take("demo", 10, 5) for _ in range(20)])

    await asyncio.gather(*[bus.position(f"warm{i}") for i in range(60)])  # several connections to each server
    await bus.publish("demo", b"a")
    await valkeys.move_slot("demo", midway)
    assert granted == [True] * 20
    assert await bus.beat("demo", "w2", 4, 30) == 7
    lease = await bus.leases.read("{demo}7")
    assert lease is not None
    assert lease.owner == "w"


async def test_primary_that_stands_still_for_a_moment_loses_nothing(valkeys: Valkeys, workers: list[Bus]) -> None:
    ear = Ear()
    hurt, healthy, _ = valkeys.shows()
    async with workers[0].subscribe(hurt, ear):
        flow = Flow(workers[1], hurt)
        await flow.flowed(20)
        with valkeys.paused(hurt):
            before = len(flow.acknowledged)
            await workers[1].publish(healthy, b"not held up")
            # At most one that was answered before the pause: the hurt show's publishing waits on, neither done nor
            # given up, and this one has not waited for that.
            assert len(flow.acknowledged) <= before + 1 and flow.refused == 0, "it waited for the other server"
            await asyncio.sleep(0.5)  # less than it takes the others to replace it
        await flow.flowed(20)
        await flow.stop()
        await heard_again(workers[1], hurt, ear)
        judge(ear.heard, flow.acknowledged)


async def test_primary_that_stands_still_for_long_is_replaced(
    valkeys: Valkeys, workers: list[Bus], monkeypatch: pytest.MonkeyPatch
) -> None:
    ear = Ear()
    show = valkeys.shows()[1]
    async with workers[0].subscribe(show, ear):
        flow = Flow(workers[1], show)
        await flow.flowed(20)
        with valkeys.paused(show) as node:
            await valkeys.promoted(show, node)
            # The silent connection is not waited for: the others say who has the channel now.
            await ear.until(lambda heard: any(message.kind == "gone" for message in heard))
            await flow.flowed(20)
        await flow.stop()
        await heard_again(workers[1], show, ear)
        assert judge(ear.heard, flow.acknowledged) >= 1


async def test_presence_comes_back_with_the_next_beats(valkeys: Valkeys, workers: list[Bus]) -> None:
    assert await workers[0].beat("demo", "w1", 5, 30) == 5
    assert await workers[1].beat("demo", "w2", 7, 1.0) == 12
    was = valkeys.kill_primary("demo")
    await valkeys.promoted("demo", was)
    # w2 died with its viewers at the same time; its count runs out, whatever the replica knew.
    async with asyncio.timeout(10):
        while await _beat(workers[0]) != 5:
            await asyncio.sleep(0.05)
    assert await workers[1].beat("demo", "w3", 2, 30) == 7


async def _beat(bus: Bus) -> int:
    try:
        return await bus.beat("demo", "w1", 5, 30)
    except BusError:
        return -1


async def test_lease_of_a_lost_primary_has_a_lower_fence_than_the_next(valkeys: Valkeys, workers: list[Bus]) -> None:
    before, granted = await workers[0].leases.acquire("demo", "a", b"", rank=0, ttl_s=30)
    assert granted
    was = valkeys.kill_primary("demo")
    owner = await valkeys.promoted("demo", was)
    owner.ask("FLUSHALL")  # the replica had nothing of it yet
    after, granted = await workers[1].leases.acquire("demo", "b", b"", rank=0, ttl_s=30)
    assert granted
    assert after.fence > before.fence


async def test_wire_goes_on_after_a_move_and_after_a_failover(valkeys: Valkeys) -> None:
    near, far = await Wire.open(valkeys.url), await Wire.open(valkeys.url)
    try:
        await until(lambda: all(near.clear(show) for show in valkeys.shows()))
        ear = Ear()
        async with far.subscribe("demo", ear):
            for i in range(100):
                assert near.send("demo", b"%d" % i)
            await ear.until(lambda heard: len(heard) == 100)
            assert [message.payload for message in ear.heard] == [b"%d" % i for i in range(100)]
            await valkeys.move_slot("demo")
            await _arrives(near, ear, b"moved")
            await valkeys.fail_over("demo")
            await _arrives(near, ear, b"failed over")
            assert [message.kind for message in ear.heard].count("gone") >= 2
    finally:
        await near.close()
        await far.close()


async def _arrives(wire: Wire, ear: Ear, payload: bytes) -> None:
    """Sent again and again, as packets are."""
    async with asyncio.timeout(15):
        while not any(message.payload == payload for message in ear.heard):
            wire.send("demo", payload)
            await asyncio.sleep(0.01)


RIGHTS = (
    "on >a:secret ~showcart:* &showcart:* -@all +@read +@write +@scripting +@pubsub +@connection "
    "+info +time +cluster|info +cluster|slots"
).split()


async def test_nodes_are_reached_by_name_as_a_user_with_the_rights_of_the_documentation(valkeys: Valkeys) -> None:
    names = ("cluster-announce-hostname", "localhost"), ("cluster-preferred-endpoint-type", "hostname")
    for node in valkeys.nodes:
        node.ask("ACL", "SETUSER", "app", *RIGHTS)
        for name, value in names:
            node.ask("CONFIG", "SET", name, value)
    try:
        await until(lambda: valkeys.names() == {b"localhost"}, 30)
        url = valkeys.url.replace("://", "://app:a%3Asecret@")
        bus, wire = await Bus.open(url), await Wire.open(url)
        try:
            ear, screen = Ear(), Ear()
            async with bus.subscribe("demo", ear), wire.subscribe("demo", screen):
                assert {address.host for address in bus._listener._at.values()} == {"localhost"}
                first = await bus.publish("demo", b"a", key="k")
                assert await bus.history("demo", Position(first.epoch, 0), 10) == [(first, b"a")]
                assert (await bus.leases.acquire("demo", "w", b"", rank=0, ttl_s=30))[1]
                assert [await bus.take("demo", 0.1, 1) > 0 for _ in range(2)] == [False, True]
                await bus.send("demo", b"s")
                await ear.until(lambda heard: len(heard) == 2)
                await _arrives(wire, screen, b"packet")
                await valkeys.move_slot("demo", lambda: bus.beat("demo", "w1", 5, 30))
                second = await bus.publish("demo", b"b")
                assert (second.offset, second.epoch == first.epoch) == (1, False), "it knows another server by INFO"
                assert await bus.beat("demo", "w1", 5, 30) == 5
        finally:
            await bus.close()
            await wire.close()
    finally:
        for node in valkeys.nodes:
            node.ask("CONFIG", "SET", "cluster-preferred-endpoint-type", "ip")
            node.ask("CONFIG", "SET", "cluster-announce-hostname", "")
            node.ask("ACL", "DELUSER", "app")
