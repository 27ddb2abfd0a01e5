"""Viewers who stop reading, and a stage that talks until it notices."""

import asyncio
import socket as sockets
from typing import Any

from tests.realtime.conftest import Audience, Client, Stage


def small_socket(stage: Stage) -> sockets.socket:
    """A socket whose kernel buffers are as small as they get, so that a reader that stops is noticed soon."""
    host, _, port = stage.url.removeprefix("ws://").partition(":")
    sock = sockets.socket()
    sock.setsockopt(sockets.SOL_SOCKET, sockets.SO_RCVBUF, 4096)
    sock.connect((host, int(port)))
    sock.setblocking(False)
    return sock


async def stopped_reader(stage: Stage, client: Audience) -> Client:
    viewer = await client(sock=small_socket(stage), max_queue=1)
    await viewer.join()
    viewer.socket.transport.pause_reading()
    return viewer


async def talk_until_stalled(stage: Stage) -> None:
    async with asyncio.timeout(20):
        # Who is given up soon may have been while the last of these words were said.
        while not stage.hub.closed_slow and not any(channel.slow for channel in stage.hub.channels()):
            for _ in range(10):
                await stage.say("x" * 20_000)


async def read_words(viewer: Client, joined: dict[str, Any] | None = None) -> list[str]:
    """What a page shows when "end" has come: snapshots replace, events follow without a gap. `joined`: what it was let
    in with; None: nothing had been said by then."""
    words: list[str] = [] if joined is None else list(joined["snapshot"]["words"])
    offset: int | None = None
    while not words or words[-1] != "end":
        message = await viewer.next()
        if message["type"] == "connected":
            words, offset = list(message["snapshot"]["words"]), message["position"]["offset"]
        elif message["type"] == "event":
            assert offset is None or message["offset"] == offset + 1
            offset = message["offset"]
            del words[message["data"]["index"] :]
            words.append(message["data"]["text"])
    return words
