"""A server with the media part and nothing else, and a publisher of made-up packets, for the video benches."""

import asyncio
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from multiprocessing.connection import Connection
from typing import Any

import httpx
import uvicorn
from starlette.applications import Starlette

from live.core.clock import SystemClock
from live.core.settings import Settings
from loadtests.benches.client import PAYLOAD_TYPES, Client
from stream.api import SDP, routes
from stream.service import Media

SHOW = "bench"
FRAMES_PER_S = 25
VIDEO_PACKETS_PER_FRAME = 6
AUDIO_PACKETS_PER_FRAME = 2
PACKETS_PER_S = FRAMES_PER_S * (VIDEO_PACKETS_PER_FRAME + AUDIO_PACKETS_PER_FRAME)
VIDEO_BYTES, AUDIO_BYTES = 1100, 90


async def _nothing(*_: Any) -> None: ...


@asynccontextmanager
async def stage() -> AsyncIterator[tuple[Media, int]]:
    """A started `Media` behind a real HTTP server; yields it and the HTTP port."""
    media = Media(
        Settings(port=0, secret="only for the bench"),
        SystemClock(),
        authorise_publisher=_nothing,
        show_exists=_nothing,
        show_open=_nothing,
        on_publisher=_nothing,
        on_statistics=_nothing,
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


async def join(http: httpx.AsyncClient, client: Client, way: str, codecs: tuple[str, ...] = ("h264", "opus")) -> str:
    """POST the client's offer to `way` ("whip" or "whep") and connect; returns the session's address."""
    direction = "sendonly" if way == "whip" else "recvonly"
    headers = {"content-type": SDP, "authorization": "Bearer bench"}
    answer = await http.post(f"/{way}/{SHOW}", content=client.offer(direction, codecs), headers=headers)
    answer.raise_for_status()
    await client.connect(answer.text)
    return answer.headers["location"]


class Source:
    """Endless frames of RTP packets, H.264 in shape only. The first frame is a keyframe; `keyframe` makes the next one.

    `first` numbers the first frame; a keyframe has `keyframe_packets` video packets.
    """

    def __init__(self, first: int = 0, *, keyframe_packets: int = VIDEO_PACKETS_PER_FRAME) -> None:
        self.keyframe = True
        self._keyframe_packets = keyframe_packets
        self._number = first
        self._sequences = [1000 + first * 8, 1000 + first * 8]

    def frame(self) -> list[bytes]:
        """The packets of the next frame, and the sound that goes with it."""
        count = self._keyframe_packets if self.keyframe else VIDEO_PACKETS_PER_FRAME
        timestamp = self._number * (90_000 // FRAMES_PER_S)
        packets = []
        for index in range(count):
            unit = b"\x67" if self.keyframe and index == 0 else b"\x41"
            body = unit + bytes(VIDEO_BYTES - 13)
            packets.append(self._packet(0, PAYLOAD_TYPES["h264"], timestamp, body, marker=index == count - 1))
        for index in range(AUDIO_PACKETS_PER_FRAME):
            timestamp = (self._number * AUDIO_PACKETS_PER_FRAME + index) * 960
            packets.append(self._packet(1, PAYLOAD_TYPES["opus"], timestamp, bytes(AUDIO_BYTES - 12)))
        self.keyframe = False
        self._number += 1
        return packets

    def _packet(self, which: int, payload_type: int, timestamp: int, body: bytes, *, marker: bool = False) -> bytes:
        number = self._sequences[which] & 0xFFFF
        self._sequences[which] += 1
        second = payload_type | (0x80 if marker else 0)
        return struct.pack("!BBHII", 0x80, second, number, timestamp & 0xFFFFFFFF, 1111 + which) + body


async def send(publisher: Client, source: Source, count: int) -> int:
    """Send `count` frames in their rhythm; returns the number of packets."""
    assert publisher.peer is not None
    loop = asyncio.get_running_loop()
    start, sent = loop.time(), 0
    for index in range(count):
        await asyncio.sleep(max(0.0, start + index / FRAMES_PER_S - loop.time()))
        for packet in source.frame():
            publisher.peer.send_rtp(packet)
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
