"""What a viewer's connection keeps, and the mailbox that uvicorn's events wait in."""

import asyncio
import gc

import pytest
from websockets.datastructures import Headers
from websockets.http11 import Request, Response

from live.core.tasks import end
from live.realtime.transport import RawProtocol, _Mailbox
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
    served = [each for each in gc.get_objects() if isinstance(each, RawProtocol) and each in each.connections]
    assert len(served) == 3
    for protocol in served:
        kept = [*vars(protocol).values(), *vars(protocol.conn).values()]
        assert not any(isinstance(each, Request | Response | Headers) for each in kept)
        assert protocol.scope["headers"] == []
