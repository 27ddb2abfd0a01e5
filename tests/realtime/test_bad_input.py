"""Input that no honest client sends costs its own socket and nobody else's."""

import asyncio
import json
import random
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed

from live.core.errors import FLOOD, MALFORMED_FRAME, MESSAGE_TOO_BIG, OUT_OF_ORDER
from live.core.limits import COMMANDS_BURST, COMMANDS_REFUSED_MAX, WS_FRAME_BYTES_MAX, WS_MESSAGE_BYTES_MAX
from tests.realtime.conftest import Audience, Stage, StillClock, both, raw_handshake, still_serves

pytestmark = pytest.mark.timeout(60)


@pytest.mark.parametrize("joined", [False, True])
@pytest.mark.parametrize(
    ("encoding", "payload"),
    [
        ("json", "{"), ("json", b'{"type":"ping"}'), ("json", "[]"), ("json", '{"type":"nonsense"}'), ("json", ""),
        ("msgpack", b"\xc1"), ("msgpack", "text"), ("msgpack", b""), ("msgpack", b"\xdf\xff\xff\xff\xff"),
    ],
)  # fmt: skip
async def test_malformed_messages_close_only_their_own_socket(
    stage: Stage, client: Audience, encoding: str, payload: str | bytes, joined: bool
) -> None:
    bystander, viewer = await client(), await client(encoding)
    await bystander.join()
    if joined:
        await viewer.join()
    await viewer.socket.send(payload)
    assert await viewer.closed() == MALFORMED_FRAME.code
    await stage.say("on")
    assert (await bystander.until("event"))["data"]["text"] == "on"


async def test_text_that_is_no_utf8_closes_only_its_own_socket(
    stage: Stage, client: Audience, caplog: pytest.LogCaptureFixture
) -> None:
    viewer = await client()
    await viewer.join()
    await viewer.socket.send(b"\xff\xfe{", text=True)
    assert await viewer.closed() == MALFORMED_FRAME.code
    assert caplog.records == []
    await still_serves(stage, client)


@both
@pytest.mark.parametrize(
    ("size", "code"), [(WS_MESSAGE_BYTES_MAX + 1, MESSAGE_TOO_BIG.code), (WS_FRAME_BYTES_MAX + 1, 1009)]
)
async def test_oversized_messages(stage: Stage, client: Audience, encoding: str, size: int, code: int) -> None:
    viewer = await client(encoding)
    await viewer.join()
    await viewer.socket.send("x" * size if encoding == "json" else b"x" * size)
    assert await viewer.closed() == code
    await still_serves(stage, client)


async def test_endless_fragments(stage: Stage, client: Audience) -> None:
    viewer = await client()
    await viewer.join()

    async def fragments() -> Any:
        for _ in range(1000):
            yield ""
            await asyncio.sleep(0)

    with pytest.raises(ConnectionClosed):
        await viewer.socket.send(fragments())
        await viewer.socket.wait_closed()
        await viewer.socket.send("x")
    assert viewer.socket.close_code == MALFORMED_FRAME.code
    await still_serves(stage, client)


async def test_message_in_fragments_is_understood(client: Audience) -> None:
    viewer = await client()
    await viewer.socket.send(["{", '"type":', '"ping"}'])
    assert (await viewer.next())["type"] == "pong"


@pytest.mark.parametrize("message", [{"type": "command", "id": "1", "name": "say"}, {"type": "recover"}])
async def test_out_of_order(client: Audience, message: dict[str, Any]) -> None:
    viewer = await client()
    if message["type"] == "recover":
        message = {"type": "recover", "id": "1", "position": {"epoch": "e", "offset": 1}}
    await viewer.send(**message)
    assert await viewer.closed() == OUT_OF_ORDER.code


async def test_second_connect(client: Audience) -> None:
    viewer = await client()
    await viewer.join()
    await viewer.send(type="connect", id="2")
    assert await viewer.closed() == OUT_OF_ORDER.code


async def test_flood(stage: Stage, client: Audience) -> None:
    stage.connections._clock = StillClock()
    viewer = await client()
    await viewer.join()
    text = json.dumps({"type": "command", "id": "x", "name": "say", "data": {"text": "spam"}})
    names: list[str] = []

    async def read() -> int:
        try:
            while True:
                messages = json.loads(await viewer.socket.recv())
                names.extend(message["error"]["name"] for message in messages if message["type"] == "refused")
        except ConnectionClosed as closed:
            assert closed.rcvd is not None
            return closed.rcvd.code

    reading = asyncio.create_task(read())
    with pytest.raises(ConnectionClosed):
        while True:
            await viewer.socket.send(text)
    assert await reading == FLOOD.code
    assert set(names) == {"rate_limited"}
    assert len(names) >= COMMANDS_REFUSED_MAX
    assert len(stage.words["demo"]) < COMMANDS_BURST
    await still_serves(stage, client)


async def test_random_bytes_after_the_handshake(stage: Stage, client: Audience) -> None:
    generator = random.Random(7)
    for _ in range(40):
        _, writer = await raw_handshake(stage)
        writer.write(generator.randbytes(generator.randrange(1, 400)))
        if generator.random() < 0.5:
            writer.write_eof()
        writer.transport.abort() if generator.random() < 0.3 else writer.close()
    await still_serves(stage, client)
