"""A join storm: 5,000 viewers come to one worker within ten seconds, half of them back with their token and position.

The server is a real one in a process of its own, as `showcart serve` runs it, on SQLite and its own Valkey. The viewers
are this process; each is due at a fixed time, and a join counts from then until its `connected` has come, so that a
server that lets connections wait is not excused. CPU and the loop's lag are the server's own figures.

Before it, the same storm comes to a bare server that answers with constants (`storm_floor`): when joins are late there,
too, it was the machine, or the storm's own maker.
"""

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast
from urllib.request import urlopen

import uvloop

from loadtests.benches.figure import figure
from loadtests.ports import free_port

VIEWERS = 5000
RETURNING = VIEWERS // 2
STORM_S = 10.0
SHOW = "demo"
_CONNECTING_MAX = 200
_TIMEOUT_S = 120.0
_SLACK_S = 30.0  # after the last was due
_BROWSER = (
    "Pragma: no-cache\r\nCache-Control: no-cache\r\nAccept-Encoding: gzip, deflate, br, zstd\r\n"
    "User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/140.0.0.0 "
    "Safari/537.36\r\nAccept-Language: en-US,en;q=0.9\r\nSec-WebSocket-Extensions: permessage-deflate\r\n"
)


class Viewer(asyncio.Protocol):
    """Shakes hands, connects, and reads the answer; then only reads. `joined` becomes its `connected`, or an error."""

    def __init__(self, hello: dict[str, Any], joined: "asyncio.Future[bytes]") -> None:
        self._hello = hello
        self._joined = joined
        self._seen = b""
        self._accepted = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.transport.write(
            f"GET /ws/{SHOW} HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n{_BROWSER}"
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
            "Sec-WebSocket-Protocol: showcart.json.v1\r\n\r\n".encode()
        )

    def data_received(self, data: bytes) -> None:
        if self._joined.done():
            return
        self._seen += data
        if not self._accepted and b"\r\n\r\n" in self._seen:
            if not self._seen.startswith(b"HTTP/1.1 101"):
                self._joined.set_exception(ConnectionError(self._seen[:60].decode("latin-1")))
                return
            self._accepted = True
            self._seen = self._seen.partition(b"\r\n\r\n")[2]
            text = json.dumps({"type": "connect", "id": "1", **self._hello}).encode()
            self.transport.write(bytes((0x81, 0xFE, *len(text).to_bytes(2), 0, 0, 0, 0)) + text)
        if self._accepted and (payload := _payload(self._seen)) is not None:
            self._joined.set_result(payload)
            self._seen = b""

    def connection_lost(self, exc: Exception | None) -> None:
        if not self._joined.done():
            self._joined.set_exception(ConnectionError("closed before it had joined"))


def _payload(seen: bytes) -> bytes | None:
    """Of the first frame, when it is whole."""
    if len(seen) < 2:
        return None
    size, start = {126: (int.from_bytes(seen[2:4]), 4), 127: (int.from_bytes(seen[2:10]), 10)}.get(
        seen[1], (seen[1], 2)
    )
    return seen[start : start + size] if len(seen) >= start + size else None


async def _join(port: int, hello: dict[str, Any]) -> tuple[Viewer, bytes]:
    loop = asyncio.get_running_loop()
    joined: asyncio.Future[bytes] = loop.create_future()
    viewer = Viewer(hello, joined)
    await loop.create_connection(lambda: viewer, "127.0.0.1", port)
    return viewer, await joined


async def _guests(port: int) -> list[dict[str, Any]]:
    """Viewers that have been there before: what each of them kept, its token and position."""
    gate = asyncio.Semaphore(_CONNECTING_MAX)

    async def visit() -> dict[str, Any]:
        async with gate:
            viewer, payload = await _join(port, {})
            viewer.transport.abort()
            connected = json.loads(payload)[0]
            return {"token": connected["token"], "position": connected["position"]}

    return list(await asyncio.gather(*[visit() for _ in range(RETURNING)]))


async def _storm(port: int, kept: list[dict[str, Any]]) -> list[float]:
    """How long after it was due each viewer was in, seconds; infinite for who was refused."""
    loop = asyncio.get_running_loop()
    start_s = loop.time() + 0.1
    viewers: list[Viewer] = []

    async def come(index: int) -> float:
        due_s = start_s + index * STORM_S / VIEWERS
        await asyncio.sleep(due_s - loop.time())
        try:
            async with asyncio.timeout_at(start_s + STORM_S + _SLACK_S):
                viewer, _ = await _join(port, kept[index // 2] if index % 2 else {})
        except (OSError, TimeoutError):
            return float("inf")
        viewers.append(viewer)
        return loop.time() - due_s

    took = list(await asyncio.gather(*[come(index) for index in range(VIEWERS)]))
    for viewer in viewers:
        viewer.transport.abort()
    return took


# --- the server ---------------------------------------------------------------------------------------------------


@contextmanager
def _server() -> Iterator[tuple[int, int]]:
    """A server in a process of its own; its port and its process id."""
    with tempfile.TemporaryDirectory() as folder:
        port = free_port()
        environ = os.environ | {
            "SHOWCART_DATA_DIR": str(Path(folder) / "var"), "SHOWCART_PORT": str(port),
            "SHOWCART_SOCKETS_PER_ADDRESS": "0",
        }  # fmt: skip
        command = [sys.executable, "-c", "import app; app.main()", "demo"]
        with subprocess.Popen(command, env=environ, stdout=subprocess.DEVNULL) as process:
            try:
                _wait(port, process)
                yield port, process.pid
            finally:
                process.send_signal(signal.SIGTERM)
                try:
                    process.wait(20)
                except subprocess.TimeoutExpired:
                    process.kill()


@contextmanager
def _floor() -> Iterator[tuple[int, int]]:
    """As `_server`, of the bare one."""
    command = [sys.executable, "-m", "loadtests.benches.storm_floor"]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            yield int(process.stdout.readline()), process.pid
        finally:
            process.kill()


def _wait(port: int, process: "subprocess.Popen[bytes]") -> None:
    deadline_s = time.monotonic() + 30
    while time.monotonic() < deadline_s and process.poll() is None:
        try:
            with urlopen(f"http://127.0.0.1:{port}/readyz", timeout=2):
                return
        except OSError:
            time.sleep(0.05)
    raise TimeoutError("the server did not start")


def _cpu_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _lag_s(port: int) -> tuple[int, list[tuple[float, int]]]:
    """The loop's lag as the server counts it: how often, and how often up to each bound."""
    with urlopen(f"http://127.0.0.1:{port}/metrics?worker=self", timeout=10) as response:
        text = response.read().decode()
    found = re.findall(r'^showcart_loop_lag_seconds_bucket\{.*?le="([^"]+)".*?\} (\S+)$', text, re.MULTILINE)
    buckets = [(float(bound), int(float(count))) for bound, count in found]
    return (buckets[-1][1] if buckets else 0), buckets


def _quantile(before: list[tuple[float, int]], after: list[tuple[float, int]], share: float) -> float:
    """The bound that `share` of what was counted between is under."""
    counted = [(bound, count - was) for (bound, count), (_, was) in zip(after, before, strict=True)]
    total = counted[-1][1]
    return next(bound for bound, count in counted if count >= share * total)


async def _measured(port: int, pid: int, kept: list[dict[str, Any]]) -> tuple[list[float], float]:
    """What `_storm` answers, and the CPU seconds of the server `pid` for each who joined."""
    before_s = _cpu_s(pid)
    took = await _storm(port, kept)
    return took, (_cpu_s(pid) - before_s) / max(1, sum(each != float("inf") for each in took))


def _tell_floor(took: list[float], join_cpu_s: float) -> None:
    took.sort()
    each = f"ms from when it was due to the answer of a bare server, {VIEWERS} viewers in {STORM_S:g} s"
    figure("storm_floor_p50_ms", took[len(took) // 2] * 1000, each)
    figure("storm_floor_p99_ms", took[len(took) * 99 // 100] * 1000, each)
    figure("storm_floor_cpu_us", join_cpu_s * 1e6, "µs CPU of the bare server per join")


def _tell(took: list[float], join_cpu_s: float, floor_cpu_s: float) -> None:
    took.sort()
    joined = [each for each in took if each != float("inf")]
    each = f"ms from when it was due to `connected`, {VIEWERS} viewers in {STORM_S:g} s, half of them returning"
    figure("storm_join_p50_ms", took[len(took) // 2] * 1000, each)
    figure("storm_join_p99_ms", took[len(took) * 99 // 100] * 1000, each, 1000)
    figure("storm_join_max_ms", took[-1] * 1000, each)
    figure("storm_refused", len(took) - len(joined), "viewers that were refused or not answered", 0)
    figure("storm_join_cpu_us", join_cpu_s * 1e6, "µs CPU of the server per join")
    figure("storm_join_ratio", join_cpu_s / floor_cpu_s, "× the bare server's CPU per join")


async def _main() -> None:
    with _floor() as (port, pid):
        async with asyncio.timeout(_TIMEOUT_S):
            floor, floor_cpu_s = await _measured(port, pid, [{}] * RETURNING)
    _tell_floor(floor, floor_cpu_s)
    with _server() as (port, pid):
        async with asyncio.timeout(_TIMEOUT_S):
            kept = await _guests(port)
            await asyncio.sleep(3.0)  # the handshakes' bucket is full again
            _, before = _lag_s(port)
            took, cpu_s = await _measured(port, pid, kept)
            _, after = _lag_s(port)
        _tell(took, cpu_s, floor_cpu_s)
        if after:
            lag_s = _quantile(before, after, 0.99)
            figure("storm_loop_lag_p99_ms", lag_s * 1000, "ms: 99 % of the server's callbacks came no later")


if __name__ == "__main__":
    sys.exit(uvloop.run(_main()))
