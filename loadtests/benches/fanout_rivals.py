"""Servers of other languages that are sent through beside ours: node's `ws`, and Socket.IO.

Their packages are installed once, into a folder under `var/`, by npm as it is configured here; without node, npm or a
registry they are left out with a word. What they cost is the CPU time of their process, all threads, kernel included.
"""

import asyncio
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

PROGRAMS = {"ws": "ws.mjs", "socket.io": "socketio.mjs"}
_SOURCE = Path(__file__).with_name("fanout_node")
_FOLDER = Path("var") / "cache" / "fanout_node"
_INSTALL_S_MAX = 120.0
_ANSWER_S_MAX = 10.0


class Rival:
    """One of them, started. `port` is where its WebSockets are."""

    def __init__(self, process: asyncio.subprocess.Process, port: int) -> None:
        self._process = process
        self.port = port

    async def send(self) -> int:
        """Let it send one message to everybody; answers to how many."""
        assert self._process.stdin is not None
        self._process.stdin.write(b"\n")
        return await _number(self._process)

    def cpu_s(self) -> float:
        """CPU time of the process so far: Linux counts nanoseconds for each thread."""
        threads = Path(f"/proc/{self._process.pid}/task").glob("*/schedstat")
        return sum(int(thread.read_text().split()[0]) for thread in threads) / 1e9


async def _number(process: asyncio.subprocess.Process) -> int:
    assert process.stdout is not None
    return int(await asyncio.wait_for(process.stdout.readline(), _ANSWER_S_MAX))


def install() -> str | None:
    """Make the packages ready; None when they are, else why they are not."""
    npm, node = shutil.which("npm"), shutil.which("node")
    if npm is None or node is None:
        return "node and npm are not installed"
    if not Path("/proc/self/schedstat").exists():
        return "their CPU time cannot be read here"
    _FOLDER.mkdir(parents=True, exist_ok=True)
    wanted = (_SOURCE / "package.json").read_bytes()
    done = _FOLDER / "installed.json"
    for name in PROGRAMS.values():
        shutil.copyfile(_SOURCE / name, _FOLDER / name)
    if done.exists() and done.read_bytes() == wanted:
        return None
    shutil.copyfile(_SOURCE / "package.json", _FOLDER / "package.json")
    # Without a lock file, which would hold the addresses of a registry; the versions are pinned.
    command = [npm, "install", "--no-package-lock", "--no-audit", "--no-fund", "--ignore-scripts", "--loglevel=error"]
    try:
        subprocess.run(command, cwd=_FOLDER, check=True, capture_output=True, timeout=_INSTALL_S_MAX)
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
        return f"npm could not install them: {error}"
    done.write_bytes(wanted)
    return None


@asynccontextmanager
async def rival(name: str, message_bytes: int) -> AsyncIterator[Rival]:
    """Start one of `PROGRAMS`, whose messages are that large on the wire."""
    process = await asyncio.create_subprocess_exec(
        "node", PROGRAMS[name], str(message_bytes), cwd=_FOLDER,
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        yield Rival(process, await _number(process))
    finally:
        process.kill()
        await process.wait()


def available() -> list[str]:
    """Which of them can be run; says on standard error why the others cannot."""
    if reason := install():
        print(f"node's ws and Socket.IO are left out: {reason}", file=sys.stderr)
        return []
    return list(PROGRAMS)
