"""The command line as a person uses it: processes, ports that the system chose, a folder of their own."""

import asyncio
import os
import re
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

Run = Callable[..., Awaitable[asyncio.subprocess.Process]]


def environment(folder: Path, **variables: str) -> dict[str, str]:
    """The variables of a showcart process with its data under `folder`."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("SHOWCART_")}
    return kept | {"SHOWCART_PORT": "0", "SHOWCART_DATA_DIR": str(folder / "var"), "COLUMNS": "60"} | variables


@pytest.fixture
async def showcart(tmp_path: Path) -> AsyncIterator[Run]:
    """Starts `showcart …` with its output in pipes; whatever still runs at the end of the test is killed."""
    started: list[asyncio.subprocess.Process] = []

    async def run(*arguments: str, **variables: str) -> asyncio.subprocess.Process:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", "import app; app.main()", *arguments, env=environment(tmp_path, **variables),
            stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        started.append(process)
        return process

    yield run
    for process in started:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def port_of(process: asyncio.subprocess.Process) -> int:
    """The TCP port that the demo printed."""
    assert process.stdout is not None
    printed = ""
    async with asyncio.timeout(60):
        while not (found := re.search(r"http://127\.0\.0\.1:(\d+)/whip/demo ", printed)):
            line = await process.stdout.readline()
            assert line, printed
            printed += line.decode()
    assert "/studio/demo#token=demo " in printed, "a narrow terminal must not cut a link"
    return int(found[1])
