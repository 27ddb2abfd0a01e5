"""`showcart … --workers 2` as processes: all answer on one port, a killed one comes back, and nothing is left."""

import asyncio
import re
import signal
import socket
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import httpx
import psutil
import pytest

from live.core.settings import Settings, environment, load
from tests.cluster.actors import Host, Viewer, leaving
from tests.cluster.conftest import until
from tests.faults.stand import workers_of
from tests.scenarios.conftest import Run, port_of
from tests.scenarios.conftest import showcart as _showcart

pytestmark = pytest.mark.timeout(120)
showcart = _showcart


async def _worker(port: int) -> int:
    """The index of whoever answers a new connection."""
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=5) as client:
        text = (await client.get("/metrics?worker=self")).text
    found = re.search(r'showcart_worker_info{worker="(\d)"} 1', text)
    assert found, text
    return int(found[1])


def _running(processes: list[psutil.Process]) -> list[psutil.Process]:
    """Those that have not ended; whether the system's first process has noticed is not our business."""
    return [each for each in processes if each.is_running() and each.status() != psutil.STATUS_ZOMBIE]


async def _everybody(port: int) -> None:
    """Until both have answered; the kernel chooses who does."""
    seen: set[int] = set()
    async with asyncio.timeout(30):
        while seen != {0, 1}:
            try:
                seen.add(await _worker(port))
            except httpx.TransportError:
                await asyncio.sleep(0.05)


@pytest.fixture
async def demo(showcart: Run) -> AsyncIterator[tuple[asyncio.subprocess.Process, int]]:
    process = await showcart("demo", "--workers", "2", SHOWCART_LOG_LEVEL="error")
    yield process, await port_of(process)


async def test_a_killed_worker_comes_back_and_nothing_is_left(demo: tuple[asyncio.subprocess.Process, int]) -> None:
    process, port = demo
    await _everybody(port)
    one, other = workers_of(process.pid)
    ports = {c.laddr.port for each in (one, other) for c in each.net_connections("udp")}
    assert len(ports) == 2, "each has a media port of its own"
    one.kill()
    # Its first thread is gone before the others, and until the last one is, the kernel gives it connections.
    await until(lambda: not psutil.pid_exists(one.pid), 30)
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as client:
        for _ in range(20):
            assert (await client.get("/healthz", headers={"connection": "close"})).status_code == 200
    await until(lambda: len(workers_of(process.pid)) == 2 and one not in workers_of(process.pid), 30)
    await _everybody(port)
    family = psutil.Process(process.pid).children(recursive=True)
    process.send_signal(signal.SIGINT)
    _, errors = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode == 0
    assert "worker" in errors.decode() and "ended with -9" in errors.decode()
    assert "Traceback" not in errors.decode()
    assert not _running(family)


def _publishing(port: int) -> bool:
    """Whether viewers are told that somebody publishes; True also while nobody answers."""
    try:
        show = httpx.get(f"http://127.0.0.1:{port}/api/shows/demo", timeout=5).json()
    except httpx.TransportError:
        return True
    return bool(show["show"]["publishing"])


async def _post(port: int, way: str, token: str, offer: Callable[[], str], *, but: str = "") -> tuple[str, str]:
    """The name of the worker that takes an offer, any `but` this one, and its answer."""
    headers = {"content-type": "application/sdp", "authorization": f"Bearer {token}"}
    while True:
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=10) as client:
            answer = await client.post(f"/{way}/demo", content=offer(), headers=headers)
            assert answer.status_code == 201, answer.text
            name = answer.headers["location"].rpartition("/")[2].partition(".")[0]
            if name != but:
                return name, answer.text
            await client.delete(answer.headers["location"], headers=headers)


@pytest.mark.alone  # how long the picture stands still is judged by the clock, and needs four processes
async def test_a_backup_goes_on_when_the_worker_of_the_primary_is_killed(
    demo: tuple[asyncio.subprocess.Process, int],
) -> None:
    process, port = demo
    base = f"http://127.0.0.1:{port}"
    async with httpx.AsyncClient(base_url=base) as client:
        made = await client.post(
            "/api/shows/demo/stream-keys",
            json={"label": "second encoder", "backup": True},
            headers={"authorization": "Bearer demo"},
        )
        assert made.status_code == 201, made.text
        key = made.json()["key"]
    primary, backup, viewer = Host(1), Host(2), Viewer()
    async with leaving(primary, backup, viewer):
        first, answer = await _post(port, "whip", "demo", lambda: primary.client.offer("sendonly"))
        await primary.connect(answer)
        media_port, *_ = re.findall(r"a=candidate:.* (\d+) typ host", answer)
        _, answer = await _post(port, "whip", key, lambda: backup.client.offer("sendonly"), but=first)
        await backup.connect(answer)
        _, answer = await _post(port, "whep", "demo", lambda: viewer.client.offer("recvonly"), but=first)
        await viewer.client.connect(answer)
        await until(lambda: viewer.sees(1))
        victim = next(
            each
            for each in workers_of(process.pid)
            if int(media_port) in {c.laddr.port for c in each.net_connections("udp")}
        )
        victim.kill()
        await until(lambda: viewer.sees(2))
        assert viewer.pause_s() < 2.0
        assert viewer.unbroken
        async with httpx.AsyncClient(base_url=base) as client:
            assert (await client.get("/api/shows/demo")).json()["show"]["publishing"]
        await backup.leave()  # without a word; and its worker is killed before it has noticed
        for each in workers_of(process.pid):
            each.kill()
        await until(lambda: not _publishing(port), 30)


async def test_workers_do_not_outlive_their_supervisor(demo: tuple[asyncio.subprocess.Process, int]) -> None:
    process, _ = demo
    family = psutil.Process(process.pid).children(recursive=True)
    process.kill()
    await process.wait()
    await until(lambda: not _running(family), 60)


async def test_a_worker_that_cannot_start_ends_it_all(showcart: Run, tmp_path: Path) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", 0))
        base = taken.getsockname()[1] - 1  # worker 1 takes the port after worker 0's
        process = await showcart("demo", "--workers", "2", "--media-port", str(base))
        _, errors = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode == 1
    assert "SHOWCART_PORT" in errors.decode()
    assert "Traceback" not in errors.decode()


async def test_two_services_do_not_share_a_port(
    showcart: Run, demo: tuple[asyncio.subprocess.Process, int], tmp_path: Path
) -> None:
    _, port = demo
    process = await showcart("demo", "--workers", "2", "--port", str(port), SHOWCART_DATA_DIR=str(tmp_path / "another"))
    _, errors = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode == 1
    assert "SHOWCART_PORT" in errors.decode()


def test_a_worker_gets_the_same_settings(tmp_path: Path) -> None:
    settings = Settings(
        port=1, media_port=2, public_ips=("1.2.3.4", "::1"), workers=3, data_dir=tmp_path, secret="s" * 20,
        origins=("https://a.example",), demo=True, hold_ttl_s=7, redis_url="unix:///x",
    )  # fmt: skip
    assert load(environment(settings)) == settings
    assert load(environment(Settings(secret="s" * 20))) == Settings(secret="s" * 20)
