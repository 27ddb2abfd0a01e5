"""Peers that abuse the line itself: they cost bounded memory and work, and nobody but themselves is cut off."""

import asyncio
import gc
import tracemalloc
from collections import Counter

import pytest

from live.core.errors import FLOOD, MALFORMED_FRAME, NOT_CONNECTED, SILENT
from live.core.http import BoundedProtocol
from live.core.limits import VIEWER_BACKLOG_BYTES_MAX, WS_CONTROLS_MAX, WS_FEED_BYTES
from live.realtime.channel import Viewer
from live.realtime.connections import Connection
from live.realtime.guard import GuardedProtocol
from live.realtime.session import Session
from tests.realtime.conftest import Audience, House, Stage, housed, still_serves
from tests.realtime.slow_reader import small_socket, talk_until_stalled
from tests.realtime.wire import (
    CONT,
    PING,
    PONG,
    TEXT,
    closing,
    dialled,
    frame,
    request,
    upgraded,
    wide,
)

pytestmark = pytest.mark.timeout(60)
PING_MESSAGE = frame(TEXT, b'{"type":"ping"}')
CONNECT = frame(TEXT, b'{"type":"connect","id":"c"}')


def counted() -> Counter[str]:
    return Counter(GuardedProtocol.ended)


async def settled(stage: Stage) -> None:
    """Nobody is left."""
    async with asyncio.timeout(10):
        while len(stage.connections):
            await asyncio.sleep(0.01)


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """A handshake has as little time as a test can bear."""
    monkeypatch.setattr(BoundedProtocol, "head_timeout_s", 0.15)


@pytest.fixture
def pinged(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pings are sent often; taken before the stage is built. Who answers has ten rounds for it, in each of which the
    loop reads what there is: on a machine that stands still between two of them, nobody is taken for silent."""
    monkeypatch.setattr("live.realtime.transport.WS_PING_INTERVAL_S", 0.05)
    monkeypatch.setattr("live.realtime.transport.WS_PING_TIMEOUT_S", 0.5)
    monkeypatch.setattr("live.realtime.guard.WS_CLOSE_TIMEOUT_S", 0.15)


# --- peers that wait -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("start", [b"", b"GET /ws/de", request()[:-2]])
async def test_a_handshake_that_never_ends_is_ended(hasty: None, stage: Stage, start: bytes) -> None:
    before = Counter(BoundedProtocol.refused)
    async with dialled(stage.url) as wire:
        wire.send(start)
        assert b" 408 " in await wire.head()
        await wire.reader.read()
    assert Counter(BoundedProtocol.refused) - before == {"request_timeout": 1}


async def test_a_handshake_that_drips_is_ended_too(hasty: None, stage: Stage) -> None:
    async with dialled(stage.url) as wire:
        wire.send(request()[:-2])
        answer = asyncio.create_task(wire.head())
        sent = 0
        while not answer.done():
            wire.send(b"x" if sent % 20 else b"X: ")
            sent += 1
            await asyncio.sleep(0.01)
        assert b" 408 " in await answer


async def test_who_never_connects_is_closed(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("live.realtime.session.WS_CONNECT_TIMEOUT_S", 0.0)
    async with upgraded(stage.url) as wire:
        wire.send(PING_MESSAGE)
        assert await wire.ended() == NOT_CONNECTED.code
    await settled(stage)


async def test_a_peer_that_has_vanished_is_found_by_pings(pinged: None, stage: Stage, client: Audience) -> None:
    """Half-open: its machine lost power, so nothing says that the line is dead. Here it just never answers."""
    before = counted()
    async with upgraded(stage.url) as wire:
        wire.send(CONNECT)
        frames = await wire.rest(polite=False)
        assert [each.opcode for each in frames if each.opcode != TEXT] == [PING, 8]
        assert frames[-1].code == SILENT.code
    assert counted() - before == {"silent": 1, "cut": 1}
    await settled(stage)
    await still_serves(stage, client)


@pytest.mark.parametrize("farewell", [b"\xff\xff", closing(1000), PING_MESSAGE[:3], None])
async def test_a_peer_that_goes_without_reading_what_waits_for_it(stage: Stage, farewell: bytes | None) -> None:
    """It breaks the protocol, says good-bye or ends its half of the line, with 256 KB on the way to it."""
    async with upgraded(stage.url, sock=small_socket(stage), limit=512) as wire:
        wire.send(CONNECT)
        await wire.reader.readexactly(1)
        await talk_until_stalled(stage)
        if farewell is None or farewell == PING_MESSAGE[:3]:
            wire.send(farewell or b"")
            wire.writer.write_eof()
        else:
            wire.send(farewell)
        await settled(stage)


# --- peers that send -------------------------------------------------------------------------------------------


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who floods has not read our close frame yet when it is cut off."""
    monkeypatch.setattr("live.realtime.guard.WS_CLOSE_TIMEOUT_S", 0.2)


@pytest.mark.parametrize(("opcode", "payload"), [(PING, b""), (PING, bytes(125)), (PONG, b""), (PONG, bytes(125))])
@housed
async def test_a_flood_of_controls(house: House, opcode: int, payload: bytes) -> None:
    before = counted()
    async with upgraded(house.stage.url) as wire:
        await wire.flood(frame(opcode, payload) * 20_000)
        frames = await wire.rest()
        assert frames[-1].code == FLOOD.code
        assert len(frames) - 1 <= (WS_CONTROLS_MAX + WS_FEED_BYTES // 6 if opcode == PING else 0)
    assert counted() - before == {"controls": 1, "cut": 1}


@housed
async def test_pings_in_moderation_are_answered_for_ever(house: House) -> None:
    async with upgraded(house.stage.url) as wire:
        for _ in range(2):
            wire.send(frame(PING, b"x") * (WS_CONTROLS_MAX - 1))
            for _ in range(WS_CONTROLS_MAX - 1):
                assert await wire.frame() == (PONG, b"x")
            (connection,) = house.stage.connections._all
            assert isinstance(connection.socket, GuardedProtocol)
            connection.socket.pulse(b"beat", frame(PING, b"beat", masked=False))
            ping = await wire.frame()
            assert ping is not None and ping.opcode == PING
            wire.send(frame(PONG, ping.payload))
    await settled(house.stage)


@pytest.mark.parametrize("between", [b"", frame(PING), frame(PONG)])
@housed
async def test_a_bomb_of_fragments(house: House, between: bytes) -> None:
    before = counted()
    async with upgraded(house.stage.url) as wire:
        await wire.flood(frame(TEXT, b"", fin=False) + (between + frame(CONT, b"", fin=False)) * 10_000)
        frames = await wire.rest()
        assert frames[-1].code == MALFORMED_FRAME.code
        assert len(frames) - 1 <= (WS_FEED_BYTES // 12 + 1 if between == frame(PING) else 0)
    assert (counted() - before)["fragments"] == 1


@housed
async def test_frames_that_say_they_are_huge_take_no_memory(house: House) -> None:
    async with upgraded(house.stage.url) as wire:
        tracemalloc.start()
        wire.send(frame(TEXT, b"x" * 1000, length=wide(2**40)))
        assert await wire.ended() == 1009
        assert tracemalloc.get_traced_memory()[1] < 1_000_000
        tracemalloc.stop()


@housed
async def test_a_read_full_of_messages_is_not_queued(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """256 KB of the smallest messages: the application gets them a piece at a time, and the rest waits as bytes."""
    most = 0
    put = GuardedProtocol.send_receive_event_to_app

    def watched(protocol: GuardedProtocol) -> None:
        nonlocal most
        put(protocol)
        most = max(most, protocol.queue.qsize())

    monkeypatch.setattr(GuardedProtocol, "send_receive_event_to_app", watched)
    async with upgraded(house.stage.url) as wire:
        await wire.flood(PING_MESSAGE * 12_000)
        assert (await wire.rest())[-1].code == FLOOD.code
    assert 1 < most <= WS_FEED_BYTES // len(PING_MESSAGE) + 1


@housed
async def test_a_read_of_honest_messages_is_done_to_its_end(house: House) -> None:
    """More than a piece, less than a flood, and cut where it hurts."""
    padded = frame(TEXT, b'{"type":"ping"}'.ljust(3000))
    async with upgraded(house.stage.url) as wire:
        wire.send(padded * 30)
        for _ in range(30):
            found = await wire.frame()
            assert found is not None and found.messages()[0]["type"] == "pong"
        wire.send(closing(1000))
        assert await wire.ended() == 1000


async def test_who_pings_without_reading_gets_no_pongs(stage: Stage, client: Audience) -> None:
    before = GuardedProtocol.pongs_skipped
    async with upgraded(stage.url, sock=small_socket(stage), limit=512) as wire:
        wire.send(CONNECT)
        await wire.reader.readexactly(1)
        await talk_until_stalled(stage)
        (connection,) = stage.connections._all
        waiting = connection.socket.backlog()
        assert waiting > VIEWER_BACKLOG_BYTES_MAX
        await wire.flood(frame(PING, bytes(125)) * 100)
        async with asyncio.timeout(10):
            while GuardedProtocol.pongs_skipped < before + 100:
                await asyncio.sleep(0.01)
        assert connection.socket.backlog() <= waiting
    await still_serves(stage, client)


# --- and in the end -------------------------------------------------------------------------------------------


async def test_nothing_is_kept_of_those_who_break_off(stage: Stage) -> None:
    before = _kept()  # by other servers of this process
    for number in range(60):
        async with dialled(stage.url) as wire:
            wire.send(request() if number % 4 else request()[:30])
            if number % 4:
                await wire.head()
                wire.send((CONNECT, b"\xff" * 50, frame(PING, b"x") + closing(1000))[number % 3])
            if number % 2 and number % 4:
                await wire.frame()
    await settled(stage)
    async with asyncio.timeout(10):
        while _kept() - before:
            await asyncio.sleep(0.05)


def _kept() -> Counter[str]:
    """What a connection is made of, and still there."""
    gc.collect()
    kinds = (GuardedProtocol, BoundedProtocol, Connection, Viewer, Session)
    return Counter(type(each).__name__ for each in gc.get_objects() if isinstance(each, kinds))
