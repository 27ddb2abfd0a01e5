"""Pages that go over to another worker when theirs ends, as the browser's do: a socket, a picture, a broadcast.

They hurry: a real page takes a random time of the whole window, here it is the first MOVE_S of it.
"""

import asyncio
import contextlib
import json
import random
from itertools import count
from typing import Any

import httpx
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake
from websockets.typing import Subprotocol

from live.core.tasks import end
from tests.cluster.actors import Host, Viewer, longest_s
from tests.stalls import Stalls

MOVE_S = 1.5
_AGAIN_S = 0.05
_LATER = ("rate_limited", "draining", "unavailable", "overloaded", "key_in_flight")


class Page:
    """One socket at a time; applies each event once and in order, and sends a command again until it is answered."""

    def __init__(self, port: int, chance: random.Random, token: str | None = None) -> None:
        self.port = port
        self.chance = chance
        self.token = token
        self.position: dict[str, Any] | None = None
        self.said: list[str] = []  # what the chat shows
        self.publishing: list[bool] = []
        self.snapshots = self.visits = self.byes = 0
        self.joined = asyncio.Event()
        self._waiting: dict[str, tuple[dict[str, Any], asyncio.Future[dict[str, Any]]]] = {}
        self._ids = map(str, count())
        self._socket: ClientConnection | None = None
        self._leave_at: float | None = None
        self.tasks = [asyncio.create_task(self._live())]

    async def close(self) -> None:
        """Raises what went wrong in the background."""
        failures = [task.exception() for task in self.tasks if task.done()]
        await end(*self.tasks)
        for failure in failures:
            if failure is not None:
                raise failure

    async def say(self, text: str) -> None:
        """Write into the chat; returns when that is acknowledged."""
        id_ = next(self._ids)
        message = {"type": "command", "id": id_, "name": "chat.post", "data": {"text": text}, "key": f"key of {text}"}
        while True:
            answer = self._waiting[id_] = (message, asyncio.get_running_loop().create_future())
            if self._socket is not None and self.joined.is_set():
                with contextlib.suppress(ConnectionClosed):
                    await self._socket.send(json.dumps(message))
            try:
                reply = await answer[1]
            finally:
                del self._waiting[id_]
            if reply["type"] == "reply":
                return
            assert reply["error"]["name"] in _LATER, reply
            await asyncio.sleep(_AGAIN_S)

    async def _live(self) -> None:
        options = {"compression": None, "subprotocols": [Subprotocol("showcart.json.v1")], "close_timeout": 0.5}
        while True:
            try:
                async with connect(f"ws://127.0.0.1:{self.port}/ws/demo", **options) as socket:  # type: ignore[arg-type]
                    await self._visit(socket)
            except (OSError, InvalidHandshake, ConnectionClosed):
                await asyncio.sleep(_AGAIN_S)
            finally:
                self._socket = None
                self.joined.clear()

    async def _visit(self, socket: ClientConnection) -> None:
        """Until the socket ends, or it is time to go over and nothing is under way."""
        self._socket, self._leave_at = socket, None
        self.visits += 1
        await socket.send(json.dumps({"type": "connect", "id": "c", "token": self.token, "position": self.position}))
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout_at(self._leave_at):
                    for message in json.loads(await socket.recv()):
                        await self._apply(message)
            if self._due():
                return

    def _due(self) -> bool:
        """Whether it is time to go over; not while a command is under way."""
        if self._leave_at is None or asyncio.get_running_loop().time() < self._leave_at:
            return False
        if self._waiting:
            self._leave_at += _AGAIN_S
        return not self._waiting

    async def _apply(self, message: dict[str, Any]) -> None:
        match message["type"]:
            case "connected":
                await self._connected(message)
            case "event":
                self._event(message)
            case "reply" | "refused" if message["id"] in self._waiting:
                answer = self._waiting[message["id"]][1]
                if not answer.done():
                    answer.set_result(message)
            case "bye":
                self.byes += 1
                wait_s = self.chance.random() * min(message["within_s"], MOVE_S)
                self._leave_at = asyncio.get_running_loop().time() + wait_s
            case "state" if message["name"] == "media.leaving":
                self.leaving(**message["data"])

    async def _connected(self, message: dict[str, Any]) -> None:
        self.token = message["token"] or self.token
        for event in message["events"]:
            self._event(event)
        if not message["recovered"]:
            self.snapshots += 1
        self.position = message["position"]
        self.joined.set()
        assert self._socket is not None
        for waiting, _ in self._waiting.values():
            await self._socket.send(json.dumps(waiting))

    def _event(self, event: dict[str, Any]) -> None:
        assert self.position is not None
        assert event["offset"] == self.position["offset"] + 1, "a gap, or an event twice"
        self.position = {**self.position, "offset": event["offset"]}
        if event["name"] == "chat.message":
            self.said.append(event["data"]["text"])
        elif event["name"] == "show.state" and "publishing" in event["data"]:
            self.publishing.append(event["data"]["publishing"])

    def leaving(self, worker: str, within_s: float) -> None:
        """The media sessions of `worker` must go elsewhere."""


class _Media(Page):
    """A page with a media session of its own, which it exchanges for another one before it lets go of it."""

    def __init__(self, port: int, chance: random.Random, way: str, token: str | None = None) -> None:
        super().__init__(port, chance, token)
        self.way = way
        self.worker = ""  # that has the session; the socket may be on another one
        self.moves = 0
        self._left = ""  # the worker it goes away from, or has gone from
        self.tasks.append(asyncio.create_task(self._keep()))

    def leaving(self, worker: str, within_s: float) -> None:
        # A state is told again to a socket that has gone over: one session for each time is enough.
        if worker == self.worker and worker != self._left:
            self._left = worker
            wait_s = self.chance.random() * min(within_s, MOVE_S)
            self.tasks.append(asyncio.create_task(self._go_over(wait_s)))

    async def _go_over(self, wait_s: float) -> None:
        await asyncio.sleep(wait_s)
        await self.go_over()
        self.moves += 1

    async def go_over(self) -> None:
        raise NotImplementedError

    async def _keep(self) -> None:
        while True:
            await asyncio.sleep(1.0)
            self.keep_alive()

    def keep_alive(self) -> None:
        """Consent (RFC 7675)."""

    async def _post(self, offer: str) -> str:
        """The answer of whichever worker takes the offer, on a connection of its own."""
        headers = {"content-type": "application/sdp", "authorization": "Bearer demo"}
        async with asyncio.timeout(30):
            while True:
                async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{self.port}", timeout=10) as client:
                    answer = await client.post(f"/{self.way}/demo", content=offer, headers=headers)
                if answer.status_code not in (409, 503):
                    break
                await asyncio.sleep(_AGAIN_S)  # the workers' leases run out when the machine is too busy to renew them
        assert answer.status_code == 201, answer.text
        self.worker = answer.headers["location"].rpartition("/")[2].partition(".")[0]
        return answer.text


class Studio(_Media):
    """A host's page."""

    def __init__(self, port: int, chance: random.Random) -> None:
        super().__init__(port, chance, "whip", "demo")
        self.host = Host(0)

    async def publish(self) -> None:
        await self.host.connect(await self._post(self.host.client.offer("sendonly")))

    async def go_over(self) -> None:
        before, self.host = self.host, Host(self.host.number + 1)
        await self.publish()
        await before.leave()

    def keep_alive(self) -> None:
        if self.host.client.peer is not None:
            self.host.client.keep_alive()

    async def close(self) -> None:
        try:
            await super().close()
        finally:
            await self.host.leave()


class Watching(_Media):
    """A viewer's page."""

    def __init__(self, port: int, chance: random.Random) -> None:
        super().__init__(port, chance, "whep")
        self.viewers = [Viewer()]
        self._open = [self.viewers[0]]
        self._stalls = Stalls()
        self.tasks.append(asyncio.create_task(self._stalls.watch()))

    async def watch(self) -> None:
        viewer = self.viewers[-1]
        await viewer.client.connect(await self._post(viewer.client.offer("recvonly")))

    async def go_over(self) -> None:
        before = self.viewers[-1]
        self.viewers.append(Viewer())
        await self.watch()
        self._open.append(self.viewers[-1])
        async with asyncio.timeout(30):
            while not self.viewers[-1].seen:
                await asyncio.sleep(0.01)
        self._open.remove(before)
        await before.leave()

    def keep_alive(self) -> None:
        for viewer in self._open:
            if viewer.client.peer is not None:
                viewer.client.keep_alive()

    async def close(self) -> None:
        try:
            await super().close()
        finally:
            for viewer in self._open:
                await viewer.leave()

    def pause_s(self) -> float:
        """The longest time without a packet, whichever session it came by; without what this process stood still."""
        return longest_s(sorted(came for viewer in self.viewers for _, _, came in viewer.seen), self._stalls)


@contextlib.asynccontextmanager
async def closing(*pages: Page) -> Any:
    """They close when the block ends; one that failed fails it."""
    try:
        yield
    finally:
        for page in pages:
            await page.close()
