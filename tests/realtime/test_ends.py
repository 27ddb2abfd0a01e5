"""What goes wrong with one viewer stays with it: failed writes, lines that end in the middle; closes are counted."""

import asyncio
import json
import logging
import socket as sockets
import struct
from collections import Counter

import pytest

from live.core.errors import BAD_SUBPROTOCOL, BUS_LOST, FLOOD, MALFORMED_FRAME, TOO_SLOW, UNKNOWN_SHOW
from live.core.limits import WS_CONTROLS_MAX
from live.realtime import closes
from live.realtime.channel import Channel
from live.realtime.guard import GuardedProtocol
from live.realtime.protocol import Notice, State
from live.realtime.transport import OrdinarySocket, RawProtocol
from tests.realtime.conftest import Audience, Stage, still_serves
from tests.realtime.scripted import Refreshes, ScriptedSocket, add, publish, wait
from tests.realtime.wire import CLOSE, PING, TEXT, Frame, Wire, dialled, frame, request, upgraded

pytestmark = pytest.mark.timeout(60)
CONNECT = frame(TEXT, b'{"type":"connect","id":"c"}')


def say(text: str, wait_s: float) -> bytes:
    command = {"type": "command", "id": "x", "name": "say", "data": {"text": text, "wait_s": wait_s}}
    return frame(TEXT, json.dumps(command).encode())


async def heard(wire: Wire) -> Frame:
    found = await wire.frame()
    assert found is not None
    return found


def refuse(frame: bytes) -> None:
    raise RuntimeError("the handler is closed")


def stock(socket: ScriptedSocket) -> list[int]:
    return [message["data"]["available"] for message in socket.messages() if message["type"] == "state"]


# --- one viewer of a channel


async def test_a_write_that_fails_ends_its_viewer_and_nobody_elses_show(channel: Channel) -> None:
    (_, first), (broken, gone), (_, last) = (add(channel, subject=name) for name in "abc")
    broken.write = refuse
    for _ in range(3):
        publish(channel)
        await wait(0.05)
    assert first.offsets() == last.offsets() == [11, 12, 13]
    assert gone.closed == BUS_LOST
    assert broken not in channel.viewers
    assert channel.figures.broken == 1


async def test_a_state_for_all_is_written_once_although_one_write_fails(channel: Channel) -> None:
    (_, first), (broken, _), (_, last) = (add(channel, subject=name) for name in "abc")
    broken.write = refuse
    channel.state(State("stock", {"available": 3}, "CUP"), staff=False)
    await wait(0.1)
    assert stock(first) == stock(last) == [3]


async def test_a_notice_that_cannot_be_written_does_not_keep_others_from_theirs(channel: Channel) -> None:
    (broken, gone), (_, other) = add(channel, subject="a"), add(channel, subject="a")
    broken.write = refuse
    channel.notice("a", Notice("cart.changed", {}))
    await wait(0)
    assert [message["name"] for message in other.messages()] == ["cart.changed"]
    assert gone.closed == BUS_LOST


async def test_who_has_drained_is_told_the_states_that_changed_meanwhile(channel: Channel) -> None:
    (slow, socket), (_, other) = add(channel, subject="a"), add(channel, subject="b")
    channel.state(State("stock", {"available": 5}, "CUP"), staff=False)
    await wait(0.05)
    slow.stalled()
    channel.state(State("stock", {"available": 1}, "CUP"), staff=False)
    await wait(0.4)
    slow.drained()
    assert stock(socket)[-1] == stock(other)[-1] == 1


async def test_who_missed_a_notice_while_it_was_slow_is_told_what_is_personal(
    channel: Channel, refreshes: Refreshes
) -> None:
    slow, _ = add(channel, subject="a")
    slow.stalled()
    channel.notice("a", Notice("cart.changed", {}))
    slow.drained()
    assert refreshes.asked == [slow]
    assert slow.owed


# --- lines that end


async def test_a_line_that_fails_while_it_is_let_go_leaves_its_show(
    stage: Stage, client: Audience, monkeypatch: pytest.MonkeyPatch
) -> None:
    viewer = await client()
    await viewer.join()
    (channel,) = stage.hub.channels()
    failing = asyncio.Event()

    def fail(self: RawProtocol) -> None:
        failing.set()
        raise RuntimeError("a bug of ours")

    monkeypatch.setattr(RawProtocol, "_let_go", fail)
    asyncio.get_running_loop().set_exception_handler(lambda loop, context: None)
    viewer.socket.transport.abort()
    async with asyncio.timeout(10):
        await failing.wait()
    assert not channel.viewers


async def test_commands_that_wait_when_the_line_is_reset_are_forgotten(
    stage: Stage, client: Audience, caplog: pytest.LogCaptureFixture
) -> None:
    async with upgraded(stage.url) as wire:
        wire.send(CONNECT)
        assert (await heard(wire)).opcode == TEXT
        wire.send(say("a" * 3500, 0.6), *[say("b" * 3500, 0.0)] * 4)
        await asyncio.sleep(0.1)  # the first one is being done, the others wait unparsed
        line = wire.writer.get_extra_info("socket")
        line.setsockopt(sockets.SOL_SOCKET, sockets.SO_LINGER, struct.pack("ii", 1, 0))
        wire.writer.transport.abort()
        for _ in range(4):  # it reads nothing, and so learns of the reset by writing
            await stage.say("w")
            await asyncio.sleep(0.05)
        async with asyncio.timeout(10):
            while len(stage.connections):
                await asyncio.sleep(0.01)
    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []
    await still_serves(stage, client)


async def test_nothing_follows_our_close_frame(stage: Stage) -> None:
    before = closes.sent.copy()
    async with upgraded(stage.url) as wire:
        wire.send(CONNECT)
        assert (await heard(wire)).opcode == TEXT
        wire.send(say("slow", 0.3), frame(PING) * (WS_CONTROLS_MAX + 1))
        opcodes: list[int] = []
        while not opcodes or opcodes[-1] != CLOSE:
            opcodes.append((await heard(wire)).opcode)
        (channel,) = stage.hub.channels()
        assert not channel.viewers
    assert closes.sent - before == {FLOOD.code: 1}


async def test_a_frame_that_does_not_wait_for_our_answer_ends_the_line(stage: Stage, client: Audience) -> None:
    before = Counter(GuardedProtocol.ended)
    async with dialled(stage.url) as wire:
        wire.send(request() + CONNECT)
        assert await wire.reader.read() == b""
    assert Counter(GuardedProtocol.ended) - before == {"early": 1}
    await still_serves(stage, client)


# --- what is counted


async def test_closes_are_counted_whoever_sends_them(stage: Stage, client: Audience) -> None:
    before = closes.sent.copy()
    assert await (await client(subprotocols=None)).closed() == BAD_SUBPROTOCOL.code
    torn = await client()
    await torn.socket.send(b"\xff")
    assert await torn.closed() == MALFORMED_FRAME.code
    async with upgraded(stage.url) as wire:
        wire.send(frame(TEXT, b"x", rsv=4))
        assert (await heard(wire)).code == 1002
    slow = await client()
    await slow.join()
    (channel,) = stage.hub.channels()
    (viewer,) = channel.viewers
    viewer.shut(TOO_SLOW)
    assert await slow.closed() == TOO_SLOW.code
    expected = {BAD_SUBPROTOCOL.code: 1, MALFORMED_FRAME.code: 1, 1002: 1, TOO_SLOW.code: 1}
    assert closes.sent - before == expected


async def test_closes_of_ordinary_sockets_are_counted_once() -> None:
    sent = []

    async def send(message: object) -> None:
        sent.append(message)

    before = closes.sent.copy()
    socket = OrdinarySocket(send)
    socket.shut(UNKNOWN_SHOW)
    socket.shut(UNKNOWN_SHOW)
    await asyncio.sleep(0)
    await socket.aclose()
    assert closes.sent - before == {UNKNOWN_SHOW.code: 1}


# --- loops that look after others


async def test_a_look_that_fails_is_not_the_last(
    stage: Stage, client: Audience, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks: Counter[str] = Counter()

    def fail(what: str) -> None:
        looks[what] += 1
        raise RuntimeError("a bug of ours")

    monkeypatch.setattr("live.realtime.hub.TICK_S", 0.01)
    monkeypatch.setattr("live.realtime.connections._TICK_S", 0.01)
    monkeypatch.setattr(stage.hub, "_close_slow", lambda: fail("slow"))
    monkeypatch.setattr(stage.hub, "_begin_ticks", lambda: fail("shows"))
    monkeypatch.setattr(stage.connections, "_tick", lambda *arguments: fail("sockets"))
    async with asyncio.timeout(10):
        while min(looks[what] for what in ("slow", "shows", "sockets")) < 2:
            await asyncio.sleep(0.01)
