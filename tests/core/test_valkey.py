"""The embedded Valkey: starts, comes back, and never outlives its owner. Real servers, real processes."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import unquote

import pytest

from live.core.valkey import EmbeddedValkey, ValkeyError

pytestmark = pytest.mark.timeout(30)


async def _ask(url: str, command: bytes) -> bytes:
    reader, writer = await asyncio.open_unix_connection(unquote(url.removeprefix("unix://")))
    writer.write(command + b"\r\n")
    answer = await reader.readline()
    if answer.startswith(b"$"):
        answer = await reader.readexactly(int(answer[1:]))
    writer.close()
    await writer.wait_closed()
    return answer


async def _gone(pid: int) -> None:
    async with asyncio.timeout(10):
        while True:
            try:
                os.kill(pid, 0)
            except ProcessLookupError:
                return
            await asyncio.sleep(0.01)


@pytest.fixture
async def restarted() -> asyncio.Event:
    return asyncio.Event()


@pytest.fixture
async def valkey(tmp_path: Path, restarted: asyncio.Event) -> AsyncIterator[EmbeddedValkey]:
    server = EmbeddedValkey(tmp_path, on_restart=restarted.set)
    yield server
    await server.stop()


async def test_answers_on_its_socket_and_listens_on_no_port(valkey: EmbeddedValkey, tmp_path: Path) -> None:
    url = await valkey.start()
    assert await _ask(url, b"PING") == b"+PONG\r\n"
    assert b"port\r\n$1\r\n0" in (await _config(url, b"port"))
    assert b"save\r\n$0\r\n" in (await _config(url, b"save"))
    assert (tmp_path / "valkey.sock").stat().st_mode & 0o077 == 0, "only its owner may connect"


async def _config(url: str, name: bytes) -> bytes:
    reader, writer = await asyncio.open_unix_connection(unquote(url.removeprefix("unix://")))
    writer.write(b"CONFIG GET " + name + b"\r\nQUIT\r\n")
    answer = await reader.read()
    writer.close()
    await writer.wait_closed()
    return answer


async def test_stop_leaves_nothing_and_frees_the_folder(tmp_path: Path) -> None:
    for _ in range(2):
        server = EmbeddedValkey(tmp_path)
        await server.start()
        pid = server.pid
        assert pid is not None
        await server.stop()
        await server.stop()
        await _gone(pid)
        assert not (tmp_path / "valkey.sock").exists()


async def test_comes_back_after_a_crash(valkey: EmbeddedValkey, restarted: asyncio.Event) -> None:
    url = await valkey.start()
    first = valkey.pid
    assert first is not None
    os.kill(first, signal.SIGKILL)
    async with asyncio.timeout(10):
        await restarted.wait()
    assert valkey.restarts == 1
    assert valkey.pid not in (None, first)
    assert await _ask(url, b"PING") == b"+PONG\r\n"


async def test_second_owner_of_a_folder_is_refused_and_the_first_lives_on(
    valkey: EmbeddedValkey, tmp_path: Path
) -> None:
    url = await valkey.start()
    with pytest.raises(ValkeyError, match="SHOWCART_DATA_DIR"):
        await EmbeddedValkey(tmp_path).start()
    assert await _ask(url, b"PING") == b"+PONG\r\n"


async def test_long_folder_gets_a_short_private_socket(tmp_path: Path) -> None:
    folder = tmp_path / ("a rather long name % " * 8)
    server = EmbeddedValkey(folder)
    url = await server.start()
    try:
        path = Path(unquote(url.removeprefix("unix://")))
        assert len(os.fsencode(path)) <= 103
        assert path.parent.stat().st_mode & 0o077 == 0
        assert await _ask(url, b"PING") == b"+PONG\r\n"
    finally:
        await server.stop()


async def test_binary_that_fails_is_reported_and_the_folder_is_free_again(tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    broken.write_text("#!/bin/sh\necho no such luck\nexit 3\n")
    broken.chmod(0o755)
    with pytest.raises(ValkeyError, match="no such luck"):
        await EmbeddedValkey(tmp_path, binary=broken).start()
    server = EmbeddedValkey(tmp_path)
    await server.start()
    await server.stop()


_OWNER = """
import asyncio, sys
from pathlib import Path
from live.core.valkey import EmbeddedValkey

async def main():
    server = EmbeddedValkey(Path(sys.argv[1]))
    await server.start()
    print(server.pid, flush=True)
    await asyncio.sleep(60)

asyncio.run(main())
"""


async def test_is_not_left_behind_when_its_owner_is_killed(tmp_path: Path) -> None:
    owner = await asyncio.create_subprocess_exec(
        sys.executable, "-c", _OWNER, str(tmp_path), stdout=asyncio.subprocess.PIPE
    )
    assert owner.stdout is not None
    pid = int(await owner.stdout.readline())
    os.kill(pid, 0)
    owner.send_signal(signal.SIGKILL)
    await owner.wait()
    await _gone(pid)
    server = EmbeddedValkey(tmp_path)  # and the folder can be used at once
    await server.start()
    await server.stop()
