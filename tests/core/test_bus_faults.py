"""The bus and its leases when the one Valkey goes away, comes back, or says nothing."""

import asyncio
import os
import signal
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from redis.asyncio import Redis

from live.core.bus import Bus, BusError, Position
from live.core.errors import Kind
from live.core.valkey import EmbeddedValkey
from tests.core.conftest import Ear
from tests.valkey import crash

pytestmark = pytest.mark.timeout(60)

TTL_S = 30.0


async def test_restart_of_the_server_is_told_and_begins_a_new_epoch(bus: Bus, valkey: EmbeddedValkey) -> None:
    ears = [Ear() for _ in range(3)]
    async with AsyncExitStack() as stack:
        for i, ear in enumerate(ears):
            await stack.enter_async_context(bus.subscribe(f"show{i}", ear))
        before = await bus.publish("show0", b"a")
        crash(valkey)
        for ear in ears:
            await ear.until(lambda heard: any(m.kind == "gone" for m in heard))
        assert await bus.history("show0", before, 300) is None
        after = await bus.publish("show0", b"b")
        assert (after.offset, after.epoch == before.epoch) == (1, False)
        await ears[0].until(lambda heard: heard[-1].payload == b"b")


async def test_subscribing_while_the_server_is_away_waits_for_it(bus: Bus, valkey: EmbeddedValkey) -> None:
    crash(valkey)
    ear = Ear()
    async with bus.subscribe("demo", ear):
        await bus.publish("demo", b"a")
        await ear.until(lambda heard: any(m.payload == b"a" for m in heard))


async def test_without_a_server_calls_are_refused_as_unavailable_and_limits_grant(
    bus: Bus, valkey: EmbeddedValkey, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("live.core.listeners.BUS_TIMEOUT_S", 0.2)
    await valkey.stop()
    for call in (
        bus.publish("demo", b""),
        bus.publish("demo", b"", key="k"),
        bus.send("demo", b""),
        bus.position("demo"),
        bus.rotate("demo"),
        bus.history("demo", Position("e", 0), 1),
        bus.beat("demo", "w", 1, 1),
        bus.check(),
    ):
        with pytest.raises(BusError) as caught:
            await call
        assert caught.value.kind is Kind.unavailable
    with pytest.raises(BusError):
        async with bus.subscribe("demo", Ear()):
            pass
    assert await bus.take("b", 1, 1) == 0.0


async def test_open_refuses_when_nobody_answers(tmp_path: Path) -> None:
    with pytest.raises(BusError):
        await Bus.open(f"unix://{tmp_path}/nobody.sock")


async def test_silent_server_is_noticed(bus: Bus, valkey: EmbeddedValkey, monkeypatch: pytest.MonkeyPatch) -> None:
    """A path that swallows everything (here: a stopped process) says nothing; unanswered pings do."""
    monkeypatch.setattr("live.core.listener.BUS_PULSE_S", 0.05)
    (listener,) = bus._listener._listeners.values()
    listener._tasks[1].cancel()
    listener._tasks[1] = asyncio.create_task(listener._pulse())
    ear = Ear()
    pid = valkey.pid
    assert pid is not None
    async with bus.subscribe("demo", ear):
        os.kill(pid, signal.SIGSTOP)
        try:
            for _ in range(1000):
                if listener._connection is None:
                    break
                await asyncio.sleep(0.01)
        finally:
            os.kill(pid, signal.SIGCONT)
        await ear.until(lambda heard: any(m.kind == "gone" for m in heard))


async def test_fences_grow_when_the_server_has_lost_everything(
    bus: Bus, valkey_url: str, valkey: EmbeddedValkey
) -> None:
    ear = Ear()
    async with bus.subscribe("show", ear):
        before, _ = await bus.leases.acquire("show", "a", b"", rank=0, ttl_s=TTL_S)
        assert valkey.pid is not None
        os.kill(valkey.pid, signal.SIGKILL)
        await ear.until(lambda heard: any(message.kind == "gone" for message in heard))
    assert not await bus.leases.renew("show", "a", before.fence, TTL_S)
    after, _ = await bus.leases.acquire("show", "a", b"", rank=0, ttl_s=TTL_S)
    assert after.fence > before.fence
    async with Redis.from_url(valkey_url) as raw:
        assert await raw.ttl("showcart:{show}:lease") > 3600, "what is not used any more goes away one day"


async def test_without_a_server_nothing_is_known(bus: Bus, valkey: EmbeddedValkey) -> None:
    mine, _ = await bus.leases.acquire("show", "a", b"", rank=0, ttl_s=TTL_S)
    await valkey.stop()
    for call in (
        bus.leases.acquire("show", "b", b"", rank=0, ttl_s=TTL_S),
        bus.leases.renew("show", "a", mine.fence, TTL_S),
        bus.leases.release("show", "a", mine.fence),
        bus.leases.read("show"),
    ):
        with pytest.raises(BusError):
            await call
