"""A rolling restart of real workers under viewers, writers, a host and his audience: nobody notices."""

import asyncio
import logging
import random
import signal

import pytest

from live.core.tasks import end
from tests.cluster.conftest import said, until
from tests.cluster.pages import Page, Studio, Watching, closing
from tests.cluster.test_workers import _everybody, _running
from tests.faults.stand import workers_of
from tests.scenarios.conftest import Run, port_of
from tests.scenarios.conftest import showcart as _showcart

pytestmark = pytest.mark.timeout(180)
showcart = _showcart
logging.getLogger("websockets").setLevel(logging.CRITICAL)

VIEWERS = 45
WRITERS = 5


async def _write(page: Page, name: str, acknowledged: list[str]) -> None:
    for number in range(10_000):
        text = f"{name} says {number}"
        await page.say(text)
        acknowledged.append(text)


async def test_a_rolling_restart_loses_nothing_and_shows_no_slate(showcart: Run) -> None:
    process = await showcart("demo", "--workers", "2", SHOWCART_LOG_LEVEL="info")
    port = await port_of(process)
    await _everybody(port)
    chance = random.Random(1)
    studio = Studio(port, chance)
    watching = [Watching(port, chance) for _ in range(3)]
    writers = [Page(port, chance) for _ in range(WRITERS)]
    viewers = [Page(port, chance) for _ in range(VIEWERS)]
    everybody: list[Page] = [studio, *watching, *writers, *viewers]
    acknowledged: list[str] = []
    async with closing(*everybody):
        await until(lambda: all(page.joined.is_set() for page in everybody), 30)
        await studio.publish()
        await until(lambda: all(page.publishing == [True] for page in everybody), 30)
        for each in watching:
            await each.watch()
        await until(lambda: all(each.viewers[0].seen for each in watching))
        writing = [asyncio.create_task(_write(page, f"W{i}", acknowledged)) for i, page in enumerate(writers)]
        before = workers_of(process.pid)
        process.send_signal(signal.SIGHUP)
        log = await _logged(process, "all workers have been restarted")
        assert not _running(before)
        await until(lambda: all(page.joined.is_set() for page in everybody), 30)
        enough = len(acknowledged) + 2 * WRITERS
        await until(lambda: len(acknowledged) >= enough, 30)
        assert not any(task.done() for task in writing)
        await end(*writing)
        await until(lambda: all(set(acknowledged) <= set(page.said) for page in everybody), 30)
        for page in everybody:
            assert len(set(page.said)) == len(page.said), "a command was done twice"
            assert page.said == viewers[0].said, "all see the same"
            assert page.snapshots == 1, "whoever came back was told what he had missed"
            assert page.publishing == [True], "nobody saw that the host was away"
        assert sum(page.byes for page in everybody) >= len(everybody)
        assert studio.moves >= 1 and sum(each.moves for each in watching) >= len(watching)
        pauses = [each.pause_s() for each in watching]
        said(f"{len(acknowledged)} messages; longest pauses of the picture {[f'{pause:.3f}' for pause in pauses]} s")
        assert max(pauses) < 2.0
    workers = workers_of(process.pid)
    process.send_signal(signal.SIGTERM)
    _, errors = await asyncio.wait_for(process.communicate(), 60)
    log += errors.decode()
    assert process.returncode == 0, log
    assert "Traceback" not in log, log
    assert not _running(workers)


async def _logged(process: asyncio.subprocess.Process, event: str) -> str:
    """What is logged until `event` is."""
    assert process.stderr is not None
    log = ""
    async with asyncio.timeout(100):
        while event not in log:
            line = await process.stderr.readline()
            assert line, log
            log += line.decode()
    return log
