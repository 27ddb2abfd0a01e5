"""FFmpeg's `whip` muxer, through PyAV, publishes to us: another DTLS stack, `setup:passive`, no feedback.

It works from PyAV 19 on, which needs Python 3.12; where this Python has an older one, another interpreter may be named
by SHOWCART_TEST_AV_PYTHON.
"""

import asyncio
import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from loadtests.media.client import Client
from stream.wire.rtp import parse
from tests.stream.conftest import KEY, House, until

pytestmark = pytest.mark.foreign
_FRAMES = 100
_AV_MIN = 19


async def _run(*command: str) -> tuple[int, str]:
    process = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    try:
        out, _ = await asyncio.wait_for(process.communicate(), 60)
    except TimeoutError:
        process.kill()
        await process.wait()
        return -1, "took more than 60 s"
    return process.returncode or 0, out.decode(errors="replace")


async def _python() -> str:
    """An interpreter whose PyAV can publish; skips, with the reason, where there is none."""
    python = os.environ.get("SHOWCART_TEST_AV_PYTHON", sys.executable)
    code, out = await _run(python, "-c", "import av; print(av.__version__, 'whip' in av.formats_available)")
    if code:
        pytest.skip(f"PyAV does not load in {python}, so FFmpeg's WHIP is not tested")
    version, _, muxer = out.strip().partition(" ")
    if int(version.partition(".")[0]) < _AV_MIN or muxer != "True":
        pytest.skip(f"PyAV {version} has no working WHIP muxer (19 on Python 3.12 has): FFmpeg's WHIP is not tested")
    return python


async def test_ffmpeg_publishes_and_hangs_up(house: House, client: Callable[..., Client]) -> None:
    python = await _python()
    script = str(Path(__file__).with_name("whip_av.py"))
    publishing = asyncio.create_task(_run(python, script, f"{house.http.base_url}/whip/demo", KEY, str(_FRAMES)))
    await until(lambda: house.told or publishing.done(), 30)
    if publishing.done():
        pytest.fail(f"did not publish: {publishing.result()}")
    assert house.told == [("demo", True)]
    got: list[bytes] = []
    viewer = client(on_rtp=got.append)
    await house.enter(viewer, "whep")
    await until(lambda: {packet[1] & 0x7F for packet in got} == {102, 111})
    code, out = await publishing
    assert code == 0, out
    await until(lambda: ("demo", False) in house.told)
    numbers = [parse(packet).sequence for packet in got if packet[1] & 0x7F == 102]
    assert len(set(numbers)) == len(numbers) > 20
    assert house.media.ended["publisher", "deleted"] == 1
