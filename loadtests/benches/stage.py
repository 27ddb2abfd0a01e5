"""A server with the media part and nothing else, and how made-up packets are sent to it, for the video benches."""

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from multiprocessing.connection import Connection
from typing import Any

import httpx
import uvicorn
from starlette.applications import Starlette

from live.core.auth import Rank
from live.core.clock import SystemClock
from live.core.settings import Settings
from loadtests.media.client import Client
from loadtests.media.source import FRAMES_PER_S, Source
from stream.api import SDP, routes
from stream.cluster.cluster import Cluster
from stream.service import Media

SHOW = "bench"


async def _nothing(*_: Any) -> None: ...


async def _primary(*_: Any) -> Rank:
    return Rank.primary


@asynccontextmanager
async def stage(cluster: Cluster | None = None) -> AsyncIterator[tuple[Media, int]]:
    """A started `Media` behind a real HTTP server; yields it and the HTTP port. `cluster` None: it is alone."""
    media = Media(
        Settings(port=0, secret="only for the bench"),
        SystemClock(),
        authorise_publisher=_primary,
        show_exists=_nothing,
        show_open=_nothing,
        on_publisher=_nothing,
        on_statistics=_nothing,
        cluster=cluster,
    )
    await media.start()
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        config = uvicorn.Config(Starlette(routes=list(routes(media))), log_level="warning", lifespan="off")
        server = uvicorn.Server(config)
        serving = asyncio.create_task(server.serve([listener]))
        try:
            yield media, listener.getsockname()[1]
        finally:
            server.should_exit = True
            await serving
            await media.stop()


async def join(
    http: httpx.AsyncClient,
    client: Client,
    way: str,
    codecs: tuple[str, ...] = ("h264", "opus"),
    *,
    rids: tuple[str, ...] = (),
    rtx: bool = False,
) -> str:
    """POST the client's offer to `way` ("whip" or "whep") and connect; returns the session's address."""
    offer = client.offer("sendonly" if way == "whip" else "recvonly", codecs, rids=rids, rtx=rtx)
    headers = {"content-type": SDP, "authorization": "Bearer bench"}
    answer = await http.post(f"/{way}/{SHOW}", content=offer, headers=headers)
    answer.raise_for_status()
    await client.connect(answer.text)
    return answer.headers["location"]


async def send(
    publisher: Client, source: Source, count: int, stamp: Callable[[bytes], bytes] = lambda packet: packet
) -> int:
    """Send `count` frames in their rhythm, each packet as `stamp` makes it; returns the number of packets."""
    assert publisher.peer is not None
    loop = asyncio.get_running_loop()
    start, sent = loop.time(), 0
    for index in range(count):
        await asyncio.sleep(max(0.0, start + index / FRAMES_PER_S - loop.time()))
        for packet in source.frame():
            publisher.peer.send_rtp(stamp(packet))
            sent += 1
    return sent


async def told(pipe: Connection) -> tuple[str, Any]:
    """The next message of the other process, without blocking the loop."""
    loop, ready = asyncio.get_running_loop(), asyncio.Event()
    loop.add_reader(pipe.fileno(), ready.set)
    try:
        await ready.wait()
    finally:
        loop.remove_reader(pipe.fileno())
    message: tuple[str, Any] = pipe.recv()
    return message
