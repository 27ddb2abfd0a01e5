"""A page before a show, as the browser's: it comes back, recovers, and sends again what nobody answered.

It applies what it is sent by the protocol, with the product's own reducer.
"""

import asyncio
import contextlib
import json
import logging
import random
import socket
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import count
from typing import Any

import msgpack
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake
from websockets.typing import Subprotocol

from live import timeline
from live.core.limits import CHAT_HISTORY_SHOWN
from live.core.tasks import end
from tests.faults.stand import SHOW

logging.getLogger("websockets").setLevel(logging.CRITICAL)

AGAIN_S = 0.1
LATER = ("rate_limited", "draining", "unavailable", "overloaded", "key_in_flight")
PATIENCE_S = 40.0
_BACKOFF_S_MIN, _BACKOFF_S_MAX = 0.4, 20.0  # as the page's


class Screen:
    """One page. `token` None: a guest; `receive_bytes` None: the kernel's choice of a receive buffer."""

    def __init__(
        self, port: int, seed: int, encoding: str = "json", token: str | None = None, receive_bytes: int | None = None
    ) -> None:
        self.picture: timeline.Snapshot = {}
        self.position: dict[str, Any] | None = None
        self.token = token
        self.snapshots = self.recoveries = self.visits = 0
        self.refused: Counter[str] = Counter()  # how often it was told to ask later, and why
        self.codes: Counter[int] = Counter()  # that its sockets were closed with
        self.reads = asyncio.Event()
        self.reads.set()
        self.joined = asyncio.Event()
        self._port = port
        self._chance = random.Random(seed)
        self._encoding = encoding
        self._receive_bytes = receive_bytes
        self._waiting: dict[str, tuple[dict[str, Any], asyncio.Future[dict[str, Any]]]] = {}
        self._ids = map(str, count())
        self._socket: ClientConnection | None = None
        self._task = asyncio.create_task(self._live())

    async def close(self) -> None:
        """Raises what went wrong in the background."""
        over = self._task.done() and not self._task.cancelled()
        failure = self._task.exception() if over else None
        await end(self._task)
        if failure is not None:
            raise failure

    @property
    def raw(self) -> socket.socket:
        """The socket of the present visit."""
        assert self._socket is not None
        found: socket.socket = self._socket.transport.get_extra_info("socket")
        return found

    async def command(self, name: str, data: dict[str, Any], key: str | None) -> dict[str, Any]:
        """Do something, again and again until it is answered; a refusal that does not say "later" is a failure."""
        id_ = next(self._ids)
        message = {"type": "command", "id": id_, "name": name, "data": data} | ({"key": key} if key else {})
        while True:
            self._waiting[id_] = (message, asyncio.get_running_loop().create_future())
            if self.joined.is_set():
                await self._send(message)
            try:
                async with asyncio.timeout(PATIENCE_S):
                    answer = await self._waiting[id_][1]
            finally:
                del self._waiting[id_]
            if answer["type"] == "reply":
                return answer
            assert answer["error"]["name"] in LATER, answer
            self.refused[answer["error"]["name"]] += 1
            await asyncio.sleep(AGAIN_S)

    async def _send(self, message: dict[str, Any]) -> None:
        assert self._socket is not None
        with contextlib.suppress(ConnectionClosed):
            await self._socket.send(json.dumps(message) if self._encoding == "json" else msgpack.packb(message))

    async def _live(self) -> None:
        attempt = 0
        while True:
            try:
                async with self._connect() as opened:
                    self._socket = opened
                    self.visits += 1
                    await self._send(
                        {"type": "connect", "id": "c", "token": self.token, "position": self.position, "name": None}
                    )
                    async for frame in opened:
                        for message in json.loads(frame) if isinstance(frame, str) else msgpack.unpackb(frame):
                            await self._apply(message)
                        attempt = 0 if self.joined.is_set() else attempt
                        await self.reads.wait()
                    self.codes[opened.close_code or 1006] += 1
            except (OSError, InvalidHandshake, ConnectionClosed, TimeoutError):
                self.codes[1006] += 1
            self.joined.clear()
            assert not any(code in range(4500, 5000) for code in self.codes), self.codes
            await asyncio.sleep(self._chance.random() * min(_BACKOFF_S_MAX, _BACKOFF_S_MIN * 2**attempt))
            attempt += 1

    @asynccontextmanager
    async def _connect(self) -> AsyncIterator[ClientConnection]:
        options: dict[str, Any] = {"compression": None, "close_timeout": 0.3, "ping_interval": None, "max_queue": 1}
        if self._receive_bytes is not None:
            options["sock"] = sock = socket.socket()
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, self._receive_bytes)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, 536)  # or the server's kernel would take megabytes
            sock.setblocking(False)
            await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", self._port))
        subprotocol = Subprotocol(f"showcart.{self._encoding}.v1")
        url = f"ws://127.0.0.1:{self._port}/ws/{SHOW}"
        async with connect(url, subprotocols=[subprotocol], proxy=None, **options) as opened:
            yield opened

    async def _apply(self, message: dict[str, Any]) -> None:
        match message["type"]:
            case "connected":
                await self._connected(message)
            case "event":
                await self._event(message)
            case "state":
                self.picture = timeline.apply_state(self.picture, message["name"], message["data"])
            case "reply" | "refused" if message["id"] in self._waiting:
                answer = self._waiting[message["id"]][1]
                if not answer.done():
                    answer.set_result(message)
            case "position" if self.position is not None and message["position"] != self.position:
                await self._recover()

    async def _connected(self, message: dict[str, Any]) -> None:
        self.token = message["token"] or self.token
        if message["recovered"]:
            self.recoveries += 1
            for event in message["events"]:
                await self._event(event)
        else:
            self.snapshots += 1
            self.picture = message["snapshot"]
        self.position = message["position"]
        if not self.joined.is_set():
            self.joined.set()
            for waiting, _ in list(self._waiting.values()):
                await self._send(waiting)

    async def _event(self, event: dict[str, Any]) -> None:
        assert self.position is not None
        if event["offset"] <= self.position["offset"]:
            return
        if event["offset"] > self.position["offset"] + 1:
            await self._recover()
            return
        self.position = {**self.position, "offset": event["offset"]}
        self.picture = timeline.apply(self.picture, event["name"], event["data"])

    async def _recover(self) -> None:
        await self._send({"type": "recover", "id": "r", "position": self.position})

    def shown(self) -> dict[str, Any]:
        """What the people see; how many they are is counted apart."""
        chat = self.picture["chat"]
        newest = {"messages": chat["messages"][-CHAT_HISTORY_SHOWN:], "slow_s": chat["slow_s"]}
        return {name: self.picture[name] for name in ("show", "lineup", "pin", "reactions")} | {"chat": newest}
