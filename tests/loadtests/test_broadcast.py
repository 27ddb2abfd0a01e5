"""A short broadcast to a real media part: a good one, and one whose sessions end on the way."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import msgspec
import pytest

from loadtests.benches.stage import SHOW, stage
from loadtests.measures import MediaLine, MediaSecond, MediaTotals
from loadtests.media.__main__ import main
from loadtests.media.broadcast import PUBLISH_TIMEOUT_S, Broadcast
from loadtests.media.client import Client
from loadtests.media.doors import Doors, RefusedError
from loadtests.plan import MediaPlan
from loadtests.scenario import Media

Step = Callable[[Broadcast], bool]
PLENTY_S = 60.0  # a busy machine may take its time; a broadcast ends when everything has been seen


async def broadcast(port: int, media: Media, *steps: Step) -> tuple[MediaTotals, list[MediaSecond]]:
    """A broadcast that goes on until each step has been true, one after the other."""
    lines: list[MediaLine] = []
    one = Broadcast(MediaPlan(f"http://127.0.0.1:{port}", SHOW, media, PLENTY_S), "key", lines.append)

    async def follow() -> None:
        for step in steps:
            while not step(one):
                await asyncio.sleep(0.02)
        one.finish()

    async with asyncio.timeout(PLENTY_S / 2), asyncio.TaskGroup() as group:
        group.create_task(follow())
        running = group.create_task(one.run())
    return running.result(), [line for line in lines if isinstance(line, MediaSecond)]


@pytest.mark.parametrize("layers", [1, 2])
async def test_a_good_broadcast_is_found_good(layers: int) -> None:
    async with stage() as (_, port):
        totals, seconds = await broadcast(
            port, Media(4, 0.2, 600, 25, layers, keyframe_s=0.5),
            lambda one: one.tally.joins == 4, lambda one: one.tally.pictures > 60,
        )  # fmt: skip
    assert (totals.joined, totals.not_joined, totals.not_back) == (4, 0, 0)
    assert (totals.lost, totals.duplicates, totals.closes) == (0, 0, {})
    assert totals.pictures > 60
    assert totals.skipped == 0
    assert totals.histogram("first_frame").count == 4
    assert totals.histogram("late").count == totals.sent_pictures > 15
    assert 0 < totals.histogram("delay").count <= totals.pictures
    assert (totals.histogram("delay").percentile_ms(50) or 0) > 0
    assert sum(one.pictures for one in seconds) == totals.pictures
    assert sum(one.received_bytes for one in seconds) == totals.received_bytes > 0


async def test_viewers_come_back_and_so_does_the_publisher() -> None:
    async with stage() as (part, port):

        def hang_up(_: Broadcast) -> bool:
            part.dismiss()
            return True

        totals, _ = await broadcast(
            port, Media(2, 0.1, 300, 25), lambda one: one.tally.joins == 2, hang_up,
            lambda one: one.tally.returned == 2 and one.tally.watching == 2,
        )  # fmt: skip
    assert totals.closes == {"closed by the server": 2}
    assert (totals.joined, totals.not_back) == (2, 0)
    assert totals.republished == 1
    assert totals.histogram("back").count == 2


class Answering:
    """An HTTP server that says the same to everybody."""

    def __init__(self, answer: bytes) -> None:
        self._answer = answer

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            await reader.readuntil(b"\r\n\r\n")
            writer.write(self._answer)
            await writer.drain()
        writer.close()

    @contextlib.asynccontextmanager
    async def on_air(self) -> AsyncIterator[str]:
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        async with server:
            yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


@pytest.mark.parametrize(
    ("answer", "name", "retry_after_s"),
    [
        (b"HTTP/1.1 503 Busy\r\nRetry-After: 3\r\nContent-Length: 21\r\n\r\n{\"name\":\"overloaded\"}",
         "overloaded", 3.0),
        (b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 2\r\n\r\nno", "http 502", None),
        (b"HTTP/1.1 400 No\r\nContent-Length: 2\r\n\r\n{}", "http 400", None),
    ],
)  # fmt: skip
async def test_a_refusal_has_a_name(answer: bytes, name: str, retry_after_s: float | None) -> None:
    async with Answering(answer).on_air() as url:
        doors, client = Doors(url, SHOW, "key"), Client()
        with pytest.raises(RefusedError) as caught:
            await doors.enter(client, "whep")
        await client.close()
        doors.close()
    assert (caught.value.name, caught.value.retry_after_s) == (name, retry_after_s)


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (b"HTTP/1.1 201 Created\r\n\r\n", "length"),
        (b"HTTP/1.1 201 Created\r\nContent-Length: 5\r\n\r\nv=0\r\n", "where the server is"),
    ],
)
async def test_an_answer_that_says_nothing_is_refused(answer: bytes, said: str) -> None:
    async with Answering(answer).on_air() as url:
        doors, client = Doors(url, SHOW, "key"), Client()
        with pytest.raises(ConnectionError, match=said):
            await doors.enter(client, "whep")
        await client.close()


async def test_who_may_not_publish_is_told_why(monkeypatch: pytest.MonkeyPatch) -> None:
    """His patience is over when the first answer has come, however long that takes."""
    loop, ahead_s = asyncio.get_running_loop(), 0.0
    monkeypatch.setattr(loop, "time", lambda told=loop.time: told() + ahead_s)
    async with Answering(b'HTTP/1.1 401 No\r\nContent-Length: 24\r\n\r\n{"name":"token_invalid"}').on_air() as url:
        one = Broadcast(MediaPlan(url, SHOW, Media(1), PLENTY_S), "no key", lambda line: None)
        running = asyncio.create_task(one.run())
        while not one.tally.refused and not running.done():
            await asyncio.sleep(0.01)
        ahead_s = PUBLISH_TIMEOUT_S
        with pytest.raises(ConnectionError, match="publish within 20 s: publisher: token_invalid × "):
            await running


def test_a_broadcast_needs_a_url(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main([])
    assert "URL" in capsys.readouterr().err


def test_the_lines_can_be_told_apart() -> None:
    assert msgspec.json.decode(json.dumps({"type": "media_second"} | _plain()), type=MediaLine).watching == 3


def _plain() -> dict[str, Any]:
    empty = {"max_us": 0, "counts": {}}
    return {name: 3 for name in MediaSecond.__struct_fields__} | {"first_frame": empty, "delay": empty, "closes": {}}
