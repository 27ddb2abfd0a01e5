"""Many sockets of one address, and those who leave before they have come in."""

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from live.core.bus import Bus
from live.core.settings import Settings
from live.realtime.admission import Admission
from tests.realtime.conftest import SECRET, Stage
from tests.realtime.wire import Wire, dialled, request

pytestmark = pytest.mark.timeout(60)


@pytest.fixture
async def small(bus: Bus, tmp_path: Path) -> AsyncIterator[Stage]:
    """A server on which an address may have 300 sockets."""
    async with Stage(bus, Settings(data_dir=tmp_path, secret=SECRET, sockets_per_address=300)).running() as running:
        yield running


async def settled(stage: Stage) -> None:
    """Nobody is left, and nobody is counted."""
    async with asyncio.timeout(10):
        while len(stage.connections) or stage.connections.admission.sockets:
            await asyncio.sleep(0.01)


async def handshake(wire: Wire) -> bytes:
    wire.send(request())
    return await wire.head()


async def test_a_thousand_sockets_of_one_address(small: Stage) -> None:
    """The first are let in, the rest are told when to come back; and of those who have gone nothing is left."""
    async with AsyncExitStack() as stack:
        wires = [await stack.enter_async_context(dialled(small.url)) for _ in range(1000)]
        heads = await asyncio.gather(*(handshake(wire) for wire in wires))
        assert sum(b" 101 " in head for head in heads) == 300
        refused = [head for head in heads if b" 101 " not in head]
        assert all(b" 429 " in head and b"retry-after: " in head.lower() for head in refused)
        assert len(small.connections) == 300
    await settled(small)
    assert small.connections.admission.refused["sockets"] == 700


async def test_a_rush_is_refused_with_the_time_to_come_back(small: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    slow = Admission(small.clock.monotonic(), sockets_per_address=0, handshakes_per_s=0.01, handshakes_burst=2)
    monkeypatch.setattr(small.connections, "admission", slow)
    async with AsyncExitStack() as stack:
        heads = [await handshake(await stack.enter_async_context(dialled(small.url))) for _ in range(3)]
    assert [head.split(b" ", 2)[1] for head in heads] == [b"101", b"101", b"503"]
    assert re.search(rb"retry-after: [6-9][0-9]\r\n", heads[2].lower()), "spread, so that they do not come back as one"
    await settled(small)
    assert slow.refused["rush"] == 1


@pytest.mark.parametrize(
    "sent",
    [
        request("xml"),
        request("json", "Origin: https://evil.example"),
        request(method="POST"),
        request("json", "Sec-WebSocket-Version: 8"),
        request()[:-2],
        request(),
    ],
)
async def test_whoever_is_refused_or_leaves_early_does_not_count(small: Stage, sent: bytes) -> None:
    for eof in (False, True):
        async with dialled(small.url) as wire:
            wire.send(sent)
            if eof:
                wire.writer.write_eof()
                await wire.reader.read()
    await settled(small)
