"""The bus against a real Valkey, alone and as a cluster: numbering, history, hand-over, limits and presence."""

import asyncio

import pytest

from live.core import bus as bus_module
from live.core.bus import Bus, Message, Parcel, Position
from live.core.limits import HISTORY_EVENTS_MAX
from tests.core.conftest import Ear, Raw
from tests.core.conftest import anywhere as valkey_url

__all__ = ["valkey_url"]

pytestmark = pytest.mark.timeout(60)


async def test_events_are_numbered_and_arrive_in_order_on_every_worker(bus: Bus, other: Bus) -> None:
    here, there = Ear(), Ear()
    async with bus.subscribe("demo", here), other.subscribe("demo", there):
        start = await bus.position("demo")
        assert start.offset == 0
        sent = [await bus.publish("demo", b"%d" % i) for i in range(200)]
        assert sent == [Position(start.epoch, i + 1) for i in range(200)]
        for ear in (here, there):
            heard = await ear.until(lambda heard: len(heard) == 200)
            assert heard == [Message("event", Position(start.epoch, i + 1), b"%d" % i) for i in range(200)]
    assert await other.position("demo") == Position(start.epoch, 200)


async def test_concurrent_publishers_get_different_offsets(bus: Bus, other: Bus) -> None:
    ear = Ear()
    async with bus.subscribe("demo", ear):
        made = await asyncio.gather(*[(bus, other)[i % 2].publish("demo", b"x") for i in range(100)])
        heard = await ear.until(lambda heard: len(heard) == 100)
    assert sorted(position.offset for position in made) == list(range(1, 101))
    assert [m.position.offset for m in heard if m.position] == list(range(1, 101))


async def test_payload_is_opaque(bus: Bus) -> None:
    ear = Ear()
    payload = bytes(range(256)) + b"\nr\ne9:9\n"
    async with bus.subscribe("demo", ear):
        position = await bus.publish("demo", payload)
        await ear.until(lambda heard: len(heard) == 1)
    assert ear.heard == [Message("event", position, payload)]
    assert await bus.history("demo", Position(position.epoch, 0), 10) == [(position, payload)]


async def test_key_publishes_once(bus: Bus) -> None:
    ear = Ear()
    async with bus.subscribe("demo", ear):
        first = await bus.publish("demo", b"a", key="k")
        assert await bus.publish("demo", b"a", key="k") == first
        last = await bus.publish("demo", b"b", key="l")
        await ear.until(lambda heard: len(heard) >= 2)
    assert last.offset == first.offset + 1
    assert [m.payload for m in ear.heard] == [b"a", b"b"]


async def test_a_whole_load_is_one_call_in_its_order(bus: Bus) -> None:
    ear = Ear()
    async with bus.subscribe("demo", ear):
        before = await bus.position("demo")
        known = await bus.publish("demo", b"known", key="k")
        calls = sum(bus.call_s.counts)
        load = [
            Parcel(b"s", "state"),
            Parcel(b"a"),
            Parcel(b"known", key="k"),
            Parcel(b"b", key="l"),
            Parcel(b"d", "direct"),
        ]
        last = await bus.publish_all("demo", load)
        assert sum(bus.call_s.counts) == calls + 1
        await ear.until(lambda heard: len(heard) >= 5)
    assert last.offset == known.offset + 2
    assert [message.payload for message in ear.heard] == [b"known", b"s", b"a", b"b", b"d"]
    assert [payload for _, payload in await bus.history("demo", before, 10) or []] == [b"known", b"a", b"b"]


async def test_states_and_notices_are_handed_over_but_not_kept(bus: Bus) -> None:
    ear = Ear()
    async with bus.subscribe("demo", ear):
        before = await bus.position("demo")
        await bus.send("demo", b"s")
        await bus.send("demo", b"d", "direct")
        await ear.until(lambda heard: len(heard) == 2)
    assert ear.heard == [Message("state", None, b"s"), Message("direct", None, b"d")]
    assert await bus.position("demo") == before
    assert await bus.history("demo", before, 10) == []


async def test_channels_do_not_mix_and_unsubscribing_ends_it(bus: Bus, raw: Raw) -> None:
    one, two = Ear(), Ear()
    async with bus.subscribe("one", one):
        async with bus.subscribe("two", two):
            await bus.publish("one", b"1")
            await bus.publish("two", b"2")
            await one.until(lambda heard: len(heard) == 1)
            await two.until(lambda heard: len(heard) == 1)
        await bus.publish("two", b"3")
        await bus.publish("one", b"4")
        await one.until(lambda heard: len(heard) == 2)
    assert [m.payload for m in two.heard] == [b"2"]
    async with raw("two") as server:
        for _ in range(100):
            if not await server.pubsub_shardchannels():
                break
            await asyncio.sleep(0.01)
        assert await server.pubsub_shardchannels() == []


async def test_two_handlers_of_one_channel_both_hear_and_one_failing_hurts_nobody(
    bus: Bus, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(message: Message) -> None:
        raise RuntimeError("a bug of ours")

    ear = Ear()
    async with bus.subscribe("demo", broken), bus.subscribe("demo", ear):
        await bus.publish("demo", b"1")
        await bus.publish("demo", b"2")
        await ear.until(lambda heard: len(heard) == 2)
    assert "a bus handler failed" in caplog.text


async def test_subscription_is_real_on_entry_however_often_it_is_given_back(bus: Bus, other: Bus) -> None:
    for i in range(20):
        ear = Ear()
        async with bus.subscribe("demo", ear):
            await other.publish("demo", b"%d" % i)
            await ear.until(lambda heard: len(heard) == 1)
        assert ear.heard[0].payload == b"%d" % i


async def test_many_subscribe_and_leave_at_once(bus: Bus) -> None:
    async def visit(i: int) -> bytes:
        ear = Ear()
        async with bus.subscribe(f"show{i % 3}", ear):
            await bus.publish(f"show{i % 3}", b"%d" % i)
            await ear.until(lambda heard: any(m.payload == b"%d" % i for m in heard))
        return b"%d" % i

    assert await asyncio.gather(*[visit(i) for i in range(60)]) == [b"%d" % i for i in range(60)]


async def test_foreign_frames_are_ignored(bus: Bus, raw: Raw) -> None:
    ear = Ear()
    async with bus.subscribe("demo", ear), raw("demo") as server:
        for frame in (b"", b"?", b"e", b"enonsense\nx", b"e\xff:1\nx"):
            await server.spublish("showcart:{demo}:events", frame)
        await bus.publish("demo", b"ours")
        await ear.until(lambda heard: len(heard) == 1)
    assert ear.heard[0].payload == b"ours"


# --- history --------------------------------------------------------------------------------------------------


async def test_history_is_complete_or_none(bus: Bus) -> None:
    start = await bus.position("demo")
    for i in range(10):
        await bus.publish("demo", b"%d" % i)
    at = [Position(start.epoch, i) for i in range(12)]
    events = await bus.history("demo", at[4], 300)
    assert events == [(at[i], b"%d" % (i - 1)) for i in range(5, 11)]
    assert await bus.history("demo", at[10], 300) == []
    assert await bus.history("demo", at[4], 5) is None, "more than the limit"
    assert len(await bus.history("demo", at[4], 6) or ()) == 6
    assert await bus.history("demo", at[11], 300) is None, "a position that was never reached"
    assert await bus.history("demo", Position("other", 4), 300) is None
    assert await bus.history("unheard of", at[0], 300) is None


async def test_history_that_was_trimmed_is_a_gap(bus: Bus, monkeypatch: pytest.MonkeyPatch) -> None:
    assert HISTORY_EVENTS_MAX >= 300
    monkeypatch.setattr(bus_module, "HISTORY_EVENTS_MAX", 5)
    start = await bus.position("demo")
    for i in range(10):
        await bus.publish("demo", b"%d" % i)
    assert await bus.history("demo", Position(start.epoch, 4), 300) is None
    assert len(await bus.history("demo", Position(start.epoch, 5), 300) or ()) == 5


@pytest.mark.parametrize("lost", ["head", "history"])
async def test_evicted_keys_are_a_gap_and_never_a_wrong_history(bus: Bus, raw: Raw, lost: str) -> None:
    start = await bus.position("demo")
    for _ in range(3):
        await bus.publish("demo", b"x")
    async with raw("demo") as server:
        await server.delete(f"showcart:{{demo}}:{lost}")
    assert await bus.history("demo", start, 300) is None
    next_ = await bus.publish("demo", b"y")
    assert (next_.epoch == start.epoch) == (lost == "history")
    assert await bus.history("demo", Position(start.epoch, 2), 300) is None


async def test_rotate_voids_positions_and_tells_everyone(bus: Bus, other: Bus) -> None:
    ear = Ear()
    async with bus.subscribe("demo", ear):
        before = await bus.publish("demo", b"a")
        await other.rotate("demo")
        after = await bus.publish("demo", b"b")
        await ear.until(lambda heard: len(heard) == 3)
    assert [m.kind for m in ear.heard] == ["event", "gone", "event"]
    assert after == Position(after.epoch, 1)
    assert after.epoch != before.epoch
    assert await bus.history("demo", before, 300) is None


async def test_another_server_identity_rotates(bus: Bus, raw: Raw) -> None:
    """A failover or restart with an append-only file may lose the last events while the epoch survives."""
    before = await bus.publish("demo", b"a")
    async with raw("demo") as server:
        await server.hset("showcart:{demo}:head", "server", "f" * 40)
    assert (await bus.position("demo")).epoch != before.epoch


# --- limits and presence --------------------------------------------------------------------------------------


async def test_take_grants_the_burst_then_names_the_wait(bus: Bus) -> None:
    assert [await bus.take("b", 0.001, 3) for _ in range(3)] == [0.0, 0.0, 0.0]
    wait_s = await bus.take("b", 0.001, 3)
    assert 900 < wait_s <= 1000, "the server's clock goes on meanwhile"
    assert await bus.take("another", 0.001, 3) == 0.0


async def test_take_refills(bus: Bus, raw: Raw) -> None:
    assert await bus.take("b", 0.001, 1) == 0.0
    assert await bus.take("b", 0.001, 1) > 0.0
    async with raw("b") as server:
        await server.decrby("showcart:{b}:rate", 1_000_000_000)  # as if 1000 s had gone by, in its microseconds
    assert await bus.take("b", 0.001, 1) == 0.0
    assert await bus.take("b", 0.001, 1) > 0.0


async def test_beat_sums_the_living(bus: Bus, raw: Raw) -> None:
    assert await bus.beat("demo", "w1", 5, 30) == 5
    assert await bus.beat("demo", "w2", 7, 30) == 12
    assert await bus.beat("demo", "w1", 6, 30) == 13
    async with raw("demo") as server:
        await server.hset("showcart:{demo}:presence", "w2", "7:1")  # as if it had said so, and nothing since, long ago
    assert await bus.beat("demo", "w1", 6, 30) == 6, "w2 has not been heard of"
    assert await bus.beat("demo", "w1", 0, 30) == 0
