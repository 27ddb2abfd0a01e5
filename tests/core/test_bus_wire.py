"""The wire against a real Valkey: order, refusals instead of queues, and coming back."""

import asyncio
import logging
import os
import signal
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from live.core.bus import Bus, BusError, Wire
from live.core.limits import SPEAKER_BYTES_MAX
from live.core.slots import Address
from live.core.speaker import Speaker
from live.core.valkey import EmbeddedValkey
from tests.core.conftest import Ear
from tests.valkey import crash

pytestmark = pytest.mark.timeout(60)


@pytest.fixture
async def wire(valkey_url: str) -> AsyncIterator[Wire]:
    opened = await Wire.open(valkey_url)
    await _until(lambda: opened.send("nobody", b""))
    yield opened
    await opened.close()


async def _until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(15):
        while not condition():
            await asyncio.sleep(0.005)


async def test_what_is_sent_arrives_in_order_at_everybody(wire: Wire, bus: Bus, valkey_url: str) -> None:
    far = await Wire.open(valkey_url)
    try:
        ears = Ear(), Ear()
        async with far.subscribe("a", ears[0]), wire.subscribe("a", ears[1]):
            for i in range(300):
                assert wire.send("a", b"%d" % i)
                assert wire.send("b", b"nobody listens")
                if i % 50 == 0:
                    await asyncio.sleep(0)
            for ear in ears:
                await ear.until(lambda heard: len(heard) == 300)
                assert [message.payload for message in ear.heard] == [b"%d" % i for i in range(300)]
    finally:
        await far.close()


async def test_a_server_that_hangs_is_refusals_and_not_a_queue(wire: Wire, valkey: EmbeddedValkey) -> None:
    ear = Ear()
    payload = bytes(32 * 1024)
    async with wire.subscribe("a", ear):
        assert valkey.pid is not None
        os.kill(valkey.pid, signal.SIGSTOP)
        try:
            taken = 0
            while wire.send("a", payload):
                taken += 1
                await asyncio.sleep(0)
            assert taken == SPEAKER_BYTES_MAX // (len(payload) + 1)
        finally:
            os.kill(valkey.pid, signal.SIGCONT)
        await ear.until(lambda heard: len(heard) == taken)
        await _until(lambda: wire.send("a", b"again"))


async def test_it_comes_back_with_the_server_and_tells(wire: Wire, valkey: EmbeddedValkey) -> None:
    ear = Ear()
    async with wire.subscribe("a", ear):
        crash(valkey)
        await ear.until(lambda heard: any(message.kind == "gone" for message in heard))
        await _until(lambda: wire.send("a", b"again"))
        await ear.until(lambda heard: heard[-1].payload == b"again")


async def test_a_silent_server_is_given_up(
    wire: Wire, valkey: EmbeddedValkey, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("live.core.speaker.BUS_TIMEOUT_S", 0.05)
    caplog.set_level(logging.DEBUG)
    # The present wait for an answer has the usual patience; one answer later it has ours.
    assert wire.send("a", b"")
    await _until(lambda: not wire._speakers._speakers[Address("", 0)]._unanswered)
    assert valkey.pid is not None
    os.kill(valkey.pid, signal.SIGSTOP)
    try:
        assert wire.send("a", b"")
        await _until(lambda: not wire.send("a", b""))
    finally:
        os.kill(valkey.pid, signal.SIGCONT)
    assert "the server does not answer" in caplog.text
    await _until(lambda: wire.send("a", b""))


async def test_without_a_server_there_is_no_wire(valkey_url: str, valkey: EmbeddedValkey) -> None:
    await valkey.stop()
    with pytest.raises(BusError):
        await Wire.open(valkey_url)


class _Surprising:
    """A connection whose library fails in a way that nobody expected, the first `times` times."""

    def __init__(self, times: list[int]) -> None:
        self._times = times
        self.written = 0

    async def connect(self) -> None: ...

    async def disconnect(self, nowait: bool = False) -> None: ...

    def pack_command(self, *parts: Any) -> list[bytes]:
        return [bytes(parts[-1])]

    async def send_packed_command(self, command: Any, check_health: bool = True) -> None:
        if self._times[0]:
            self._times[0] -= 1
            raise IndexError("pop from an empty deque")
        self.written += 1

    async def read_response(self, **options: Any) -> Any:
        await asyncio.Event().wait()


async def test_an_exception_that_nobody_expected_does_not_silence_the_speaker() -> None:
    times, made = [2], list[_Surprising]()

    def connect() -> Any:
        made.append(_Surprising(times))
        return made[-1]

    speaker = Speaker(connect, (OSError,))
    speaker.start()
    try:
        await _until(lambda: speaker.send(b"channel", b"frame") and made[-1].written)
        assert len(made) == 3
    finally:
        await speaker.stop()
