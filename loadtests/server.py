"""The server under test: started for the run on a free port, and what its processes use."""

import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from itertools import chain
from pathlib import Path
from typing import Protocol

import msgspec
import psutil

from loadtests.measures import OTHERS, Usage
from loadtests.ports import free_port

START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 20.0


class ServerError(RuntimeError):
    """The server could not be started."""


class Server(Protocol):
    """The server under test. `pid` None: its processes are not ours to watch or to harm."""

    url: str
    pid: int | None
    own_valkey: bool
    workers: int


class ForeignServer(msgspec.Struct):
    """A server that runs already."""

    url: str
    pid: int | None = None
    own_valkey: bool = False
    workers: int = 1


class DemoServer:
    """A demo with an empty data folder, as a process of its own; its log and data are in `folder`.

    `database_url` and `redis_url` "": a SQLite file and a private Valkey in that folder.
    """

    def __init__(self, folder: Path, *, workers: int = 1, database_url: str = "", redis_url: str = "") -> None:
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None
        self._database_url = database_url
        self._redis_url = redis_url
        self.url = ""
        self.pid: int | None = None
        self.own_valkey = not redis_url
        self.workers = workers

    def __enter__(self) -> "DemoServer":
        port = free_port(self.workers)  # worker n's media have the nth
        self.url = f"http://127.0.0.1:{port}"
        self._process = self._launch(port)
        self.pid = self._process.pid
        if self._ready(self._process):
            return self
        self._stop()
        log = self._folder / "server.log"
        raise ServerError(f"the demo did not become ready; see {log}: {last_line(log)}")

    def __exit__(self, *_: object) -> None:
        self._stop()

    def _launch(self, port: int) -> subprocess.Popen[bytes]:
        environ = {name: value for name, value in os.environ.items() if not name.startswith("SHOWCART_")}
        environ |= {
            "SHOWCART_PORT": str(port),
            "SHOWCART_MEDIA_PORT": str(port),
            "SHOWCART_DATA_DIR": str(self._folder / "server"),
            "SHOWCART_LOG_LEVEL": "warning",
            "SHOWCART_WORKERS": str(self.workers),
            "SHOWCART_SOCKETS_PER_ADDRESS": "0",  # the whole audience comes from this machine
            "SHOWCART_DATABASE_URL": self._database_url,
            "SHOWCART_REDIS_URL": self._redis_url,
        }
        program = Path(sys.executable).with_name("showcart")
        with (self._folder / "server.log").open("ab") as log:
            return subprocess.Popen([program, "demo"], env=environ, stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    def _ready(self, process: subprocess.Popen[bytes]) -> bool:
        end = time.monotonic() + START_TIMEOUT_S
        while time.monotonic() < end and process.poll() is None:
            if ready(self.url):
                return True
            time.sleep(0.1)
        return False

    def _stop(self) -> None:
        if self._process is not None:
            stop(self._process, STOP_TIMEOUT_S)
            self._process = None


def stop(process: subprocess.Popen[bytes], within_s: float) -> None:
    """Ask a process to end, and make it end when it has not done so in time."""
    process.terminate()
    outlive(process, within_s)


def outlive(process: subprocess.Popen[bytes], within_s: float) -> None:
    """Wait for a process that ends by itself, and make it end when it has not done so in time."""
    try:
        process.wait(within_s)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def ready(url: str) -> bool:
    """Whether the server says that it can serve."""
    try:
        with urllib.request.urlopen(f"{url}/readyz", timeout=5) as answer:
            return bool(answer.status == 200)
    except (OSError, urllib.error.URLError):
        return False


def last_line(log: Path) -> str:
    """What a process said last; "" when it said nothing."""
    return log.read_text(errors="replace").strip().rpartition("\n")[2] if log.exists() else ""


class Meter:
    """Reads what groups of processes use, each with its children; a child named `valkey…` is a group of its own."""

    def __init__(self, groups: dict[str, list[int]]) -> None:
        self._groups = groups
        self._known: dict[int, psutil.Process] = {}

    def read(self, at_s: float) -> list[Usage]:
        """The use since the last reading; the first one tells memory only."""
        sums: dict[str, tuple[float, float]] = {}
        for group, pids in self._groups.items():
            for process in chain.from_iterable(map(self._family, pids)):
                try:
                    with process.oneshot():
                        name = "valkey" if process.name().startswith(("valkey", "redis")) else group
                        cpu, memory = process.cpu_percent(), process.memory_info().rss / 1e6
                except psutil.Error:
                    continue  # it ended just now
                before = sums.get(name, (0.0, 0.0))
                sums[name] = (before[0] + cpu, before[1] + memory)
        ours = sum(cpu for cpu, _ in sums.values())
        all_percent = psutil.cpu_percent() * (psutil.cpu_count() or 1)
        sums[OTHERS] = (max(0.0, all_percent - ours), 0.0)
        return [Usage(at_s, name, round(cpu, 1), round(memory, 1)) for name, (cpu, memory) in sums.items()]

    def _family(self, pid: int) -> list[psutil.Process]:
        """The process and its children, as the same objects each time: they remember the last reading."""
        try:
            parent = self._known.setdefault(pid, psutil.Process(pid))
            pids = [pid, *(child.pid for child in parent.children(recursive=True))]
            return [self._known.setdefault(one, psutil.Process(one)) for one in pids]
        except psutil.Error:
            return []
