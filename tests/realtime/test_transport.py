"""What a viewer's connection is made of, what it keeps, what it leaves; uvicorn's events in their mailbox."""

import asyncio
import gc
from enum import Enum

import pytest
import uvicorn
from uvicorn.server import ServerState
from websockets.datastructures import Headers
from websockets.http11 import Request, Response

from live.core.tasks import end
from live.realtime.mould import OWN, OWN_OF_PARSER, Mould
from live.realtime.transport import RawProtocol, _Mailbox, uvicorn_options
from tests.realtime.conftest import Audience, Stage


async def test_mailbox_hands_over_in_order_and_to_who_waits() -> None:
    mailbox = _Mailbox()
    mailbox.put_nowait(1)
    mailbox.put_nowait(2)
    assert not mailbox.empty()
    assert [await mailbox.get(), await mailbox.get()] == [1, 2]
    assert mailbox.empty()
    waiting = asyncio.create_task(mailbox.get())
    await asyncio.sleep(0)
    mailbox.put_nowait(3)
    mailbox.put_nowait(4)
    assert [await waiting, await mailbox.get()] == [3, 4]


async def test_nothing_is_lost_with_who_stops_waiting() -> None:
    mailbox = _Mailbox()
    waiting = asyncio.create_task(mailbox.get())
    await asyncio.sleep(0)
    mailbox.put_nowait(1)
    await end(waiting)
    assert await mailbox.get() == 1


@pytest.mark.timeout(60)
async def test_handshakes_are_forgotten(stage: Stage, client: Audience) -> None:
    viewers = [await client() for _ in range(3)]
    for viewer in viewers:
        await viewer.join()
    served = [each for each in gc.get_objects() if issubclass(type(each), RawProtocol) and each in each.connections]
    assert len(served) == 3
    for protocol in served:
        kept = [*vars(protocol).values(), *vars(protocol.conn).values()]
        assert not any(isinstance(each, Request | Response | Headers) for each in kept)
        assert protocol.scope["headers"] == []


@pytest.mark.timeout(60)
@pytest.mark.parametrize("politely", [True, False])
async def test_who_has_gone_leaves_nothing_to_the_garbage_collector(
    stage: Stage, client: Audience, politely: bool
) -> None:
    viewers = [await client() for _ in range(3)]
    for viewer in viewers:
        await viewer.join()
    gc.collect()
    gc.disable()
    try:
        for viewer in viewers:
            if politely:
                await viewer.socket.close()
            else:
                viewer.socket.transport.abort()
        async with asyncio.timeout(20):  # nobody looks for rings: what is one stays
            while len(stage.connections) or any(
                issubclass(type(each), RawProtocol) and each.disconnected for each in gc.get_objects()
            ):
                await asyncio.sleep(0.02)
    finally:
        gc.enable()


async def _application(scope: object, receive: object, send: object) -> None:
    """A function, as applications often are."""


def _made() -> RawProtocol:
    config = uvicorn.Config(_application, log_config=None, lifespan="off", **uvicorn_options())
    config.load()
    return RawProtocol(config, ServerState(), {})


async def test_connections_share_what_is_the_same_for_all() -> None:
    """A library that gives its connections something new that can change must be seen."""
    made = _made()
    settled = (bool, int, float, str, bytes, Enum, type(None))
    changing = {name for name, value in vars(made).items() if not isinstance(value, settled)}
    server = {"config", "app", "loop", "logger", "app_state", "connections", "tasks", "default_headers", "_pulse"}
    assert changing == OWN | server
    of_parser = {name for name, value in vars(made.conn).items() if not isinstance(value, settled)}
    # The lists of extensions are for handshakes only.
    assert of_parser == OWN_OF_PARSER | {"id", "logger", "extensions", "available_extensions"}


async def test_connections_share_nothing_that_changes() -> None:
    made = _made()
    mould = Mould(made, made.conn)
    first, second = mould.protocol(), mould.protocol()
    first.conn, second.conn = mould.parser(), mould.parser()
    assert first.app is second.app is made.app
    for name in OWN - {"queue"}:
        assert getattr(first, name) is not getattr(second, name)
    for name in OWN_OF_PARSER:
        assert getattr(first.conn, name) is not getattr(second.conn, name)
    first.handshake_complete = True
    assert not second.handshake_complete
    assert vars(first).keys() >= OWN - {"queue"}
