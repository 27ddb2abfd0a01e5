"""A show over bad networks: a server, a host's camera and viewers' screens, each behind a link that misbehaves."""

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import AsyncExitStack
from typing import Any

import pytest

from loadtests.media.client import PAYLOAD_TYPES, RTX_PAYLOAD_TYPES, Client
from loadtests.media.source import Source
from stream.transport.ice import IcePort
from tests.faults.camera import Camera
from tests.faults.footage import Footage
from tests.faults.link import Link
from tests.faults.network import Network, inside, missing
from tests.faults.path import Conditions
from tests.faults.screen import Screen
from tests.stream.conftest import House, house, running

__all__ = ["house"]

RIDS = ("l", "m", "h")


class Show:
    """Puts cameras and screens into a running house; everything ends with the test."""

    def __init__(self, house: House, stack: AsyncExitStack, network: Network | None = None) -> None:
        """With a `network` the house and its cameras are near, and its screens far."""
        self.house = house
        self.network = network
        self.locations: dict[Client, str] = {}  # of the viewers' sessions
        self._stack = stack
        self._loop = asyncio.get_running_loop()

    def now(self) -> float:
        return self._loop.time()

    async def camera(
        self,
        *,
        rids: tuple[str, ...] = (),
        rtx: bool = False,
        link: Link | None = None,
        bearer: str | None = None,
        show: str = "demo",
        footage: Footage | Source | None = None,
    ) -> tuple[Camera, Client]:
        """A host on air; `link` None: on the server's own machine; `footage` None: H.264 in shape only."""
        client = self._client(far=False)
        codecs = ("vp8",) if isinstance(footage, Footage) else ("h264", "opus")
        offer = client.offer("sendonly", codecs, rids=rids, rtx=rtx)
        headers = {"authorization": f"Bearer {bearer}"} if bearer else {}
        answer = await self.house.post("whip", offer, show, **headers)
        assert answer.status_code == 201, answer.text
        source = footage or Source(rids=rids, keyframe_packets=12)
        camera = Camera(client, source, rtx=rtx, codec=codecs[0])
        client.on_rtcp = camera.take_rtcp
        await client.connect(link.through(answer.text) if link else answer.text)
        self._run(camera.shoot())
        self._run(_consent(client))
        return camera, client

    async def screen(self, *, rtx: bool = True, link: Link | None = None, show: str = "demo") -> tuple[Screen, Client]:
        """A viewer that watches."""
        client = self._client(far=True)
        answer = await self.house.post("whep", client.offer("recvonly", rtx=rtx), show)
        assert answer.status_code == 201, answer.text
        self.locations[client] = answer.headers["location"]
        screen = Screen(client, video=PAYLOAD_TYPES["h264"], rtx=RTX_PAYLOAD_TYPES["h264"] if rtx else None)
        client.on_rtp, client.on_rtcp = screen.take_rtp, screen.take_rtcp
        await client.connect(link.through(answer.text) if link else answer.text)
        self._run(screen.watch())
        self._run(_consent(client))
        return screen, client

    def _client(self, *, far: bool) -> Client:
        if self.network is None:
            client = Client()
        else:
            namespace, ip = (
                (self.network.far, self.network.far_ip) if far else (self.network.near, self.network.near_ip)
            )
            with inside(namespace):
                client = Client(host=ip)
        self._stack.push_async_callback(client.close)
        return client

    def link(self, up: Conditions | None = None, down: Conditions | None = None, seed: int = 1) -> Link:
        """A link to the server's media port."""
        (address,) = self.house.media.addresses
        made = Link(address, up=up, down=down, seed=seed)
        self._stack.callback(made.close)
        return made

    def _run(self, job: Coroutine[Any, Any, None]) -> None:
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
async def network() -> AsyncIterator[Network]:
    """Two hosts with a wire between them; skips where the machine has no network namespaces."""
    lack = missing()
    if lack is not None:
        pytest.skip(lack)
    made = Network(seed=11)
    yield made
    made.close()


@pytest.fixture
async def far_show(network: Network, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Show]:
    """A show whose media port is on one host and whose viewers are on the other; HTTP stays outside of both."""
    opened = IcePort.open

    def opened_near(port: IcePort, host: str, number: int, *, dscp: int = 0) -> None:
        with inside(network.near):
            opened(port, host, number, dscp=dscp)

    monkeypatch.setattr(IcePort, "open", opened_near)
    async with running(network.near_ip) as house, AsyncExitStack() as stack:
        yield Show(house, stack, network)


@pytest.fixture
async def show(house: House) -> AsyncIterator[Show]:
    async with AsyncExitStack() as stack:
        yield Show(house, stack)
