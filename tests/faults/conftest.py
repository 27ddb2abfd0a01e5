"""A show over bad networks: a server, a host's camera and viewers' screens, each behind a link that misbehaves."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest

from loadtests.benches.client import PAYLOAD_TYPES, RTX_PAYLOAD_TYPES, Client
from loadtests.benches.stage import Source
from tests.faults.camera import Camera
from tests.faults.link import Link
from tests.faults.path import Conditions
from tests.faults.screen import Screen
from tests.stream.conftest import House, house

__all__ = ["house"]

RIDS = ("l", "m", "h")


class Show:
    """Puts cameras and screens into a running house; everything ends with the test."""

    def __init__(self, house: House, stack: AsyncExitStack) -> None:
        self.house = house
        self._stack = stack
        self._loop = asyncio.get_running_loop()

    def now(self) -> float:
        return self._loop.time()

    async def camera(
        self, *, rids: tuple[str, ...] = (), rtx: bool = False, link: Link | None = None, bearer: str | None = None
    ) -> tuple[Camera, Client]:
        """A host on air; `link` None: on the server's own machine."""
        client = Client()
        self._stack.push_async_callback(client.close)
        offer = client.offer("sendonly", rids=rids, rtx=rtx)
        headers = {"authorization": f"Bearer {bearer}"} if bearer else {}
        answer = await self.house.post("whip", offer, **headers)
        assert answer.status_code == 201, answer.text
        camera = Camera(client, Source(rids=rids, keyframe_packets=12), rtx=rtx)
        client.on_rtcp = camera.take_rtcp
        await client.connect(link.through(answer.text) if link else answer.text)
        self._run(camera.shoot())
        self._run(_consent(client))
        return camera, client

    async def screen(self, *, rtx: bool = True, link: Link | None = None) -> tuple[Screen, Client]:
        """A viewer that watches."""
        client = Client()
        self._stack.push_async_callback(client.close)
        answer = await self.house.post("whep", client.offer("recvonly", rtx=rtx))
        assert answer.status_code == 201, answer.text
        screen = Screen(client, video=PAYLOAD_TYPES["h264"], rtx=RTX_PAYLOAD_TYPES["h264"] if rtx else None)
        client.on_rtp, client.on_rtcp = screen.take_rtp, screen.take_rtcp
        await client.connect(link.through(answer.text) if link else answer.text)
        self._run(screen.watch())
        self._run(_consent(client))
        return screen, client

    def link(self, up: Conditions | None = None, down: Conditions | None = None, seed: int = 1) -> Link:
        """A link to the server's media port."""
        (address,) = self.house.media.addresses
        made = Link(address, up=up, down=down, seed=seed)
        self._stack.callback(made.close)
        return made

    def _run(self, job: "asyncio._CoroutineLike[None]") -> None:
        task = asyncio.ensure_future(job)

        async def end() -> None:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

        self._stack.push_async_callback(end)


async def _consent(client: Client) -> None:
    while True:
        await asyncio.sleep(1.0)
        client.keep_alive()


@pytest.fixture
async def show(house: House) -> AsyncIterator[Show]:
    async with AsyncExitStack() as stack:
        yield Show(house, stack)
