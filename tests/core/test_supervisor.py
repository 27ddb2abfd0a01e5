"""The supervisor's own races; workers as whole processes are tried in tests/cluster."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast

import pytest

from live.core.supervisor import Supervisor, _Life

_WORKER = "import signal, sys; print('ready', flush=True); signal.pause()"


async def test_a_worker_that_is_being_made_when_the_end_comes_is_told_too(monkeypatch: pytest.MonkeyPatch) -> None:
    make = asyncio.create_subprocess_exec

    async def interrupted(*command: str, **options: Any) -> asyncio.subprocess.Process:
        told = asyncio.Event()
        loop = asyncio.get_running_loop()
        os.kill(os.getpid(), signal.SIGTERM)
        loop.call_later(0.05, told.set)  # the signal's handler has run by then
        await told.wait()
        return await make(*command, **options)

    monkeypatch.setattr(asyncio, "create_subprocess_exec", interrupted)
    supervisor = Supervisor(1, [sys.executable, "-c", _WORKER], dict(os.environ))
    async with asyncio.timeout(10):  # its own patience is 30 s
        await supervisor.run(lambda: None)


class _Family:
    """Two scripted workers under a supervisor in this process; what they do is in files, one line a thing."""

    def __init__(self, folder: Path, script: str) -> None:
        self.log = folder / "log"
        self.log.touch()
        command = [sys.executable, "-c", _SCRIPT + script, str(folder)]
        self.supervisor = Supervisor(2, command, dict(os.environ))

    async def until(self, done: Callable[[list[str]], bool]) -> list[str]:
        async with asyncio.timeout(15):
            while not done(lines := self.log.read_text().splitlines()):
                await asyncio.sleep(0.01)
            return lines

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        ready = asyncio.Event()
        task = asyncio.create_task(self.supervisor.run(ready.set))
        async with asyncio.timeout(15):
            await ready.wait()
            yield
            if not task.done():  # else nobody takes the signal any more but this process, which it would end
                os.kill(os.getpid(), signal.SIGTERM)
            await task
        assert self.supervisor.pids == [None, None]


_SCRIPT = """
import os, signal, sys, time
folder, index = sys.argv[1], sys.argv[2]
def say(what):
    with open(folder + "/log", "a") as log:
        log.write(f"{index} {what}\\n")
def end(number, frame):
    say("drains")
    if not os.path.exists(folder + "/quick"):
        time.sleep(0.2)
    say("ended")
    sys.exit(0)
signal.signal(signal.SIGTERM, end)
again = f"{index} ready" in open(folder + "/log").read()
"""
_READY = """
say("ready")
print("ready", flush=True)
while True:
    signal.pause()
"""


async def test_a_rolling_restart_goes_from_one_to_the_next(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    family = _Family(tmp_path, _READY)
    async with family.running():
        family.log.write_text("")  # which of them was ready first at the start does not matter
        before = family.supervisor.pids
        os.kill(os.getpid(), signal.SIGHUP)
        await family.until(lambda lines: "0 drains" in lines)
        os.kill(os.getpid(), signal.SIGHUP)  # once is enough
        lines = await family.until(lambda lines: "1 ready" in lines)
        assert lines == [f"{index} {what}" for index in (0, 1) for what in ("drains", "ended", "ready")]
        assert not set(before) & set(family.supervisor.pids)
    assert "a rolling restart is under way" in caplog.text
    assert "ended with" not in caplog.text, "this is no death"


@pytest.mark.parametrize("failing", ["sys.exit(1)", "time.sleep(60)"])
async def test_a_rolling_restart_stops_at_a_worker_that_does_not_come_up(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, failing: str
) -> None:
    monkeypatch.setattr("live.core.supervisor.WORKER_START_S", 1.0)
    (tmp_path / "quick").touch()
    family = _Family(tmp_path, f"if again and not os.path.exists(folder + '/mended'): {failing}\n" + _READY)
    async with family.running():
        before = family.supervisor.pids
        os.kill(os.getpid(), signal.SIGHUP)
        await family.until(lambda _: "the rolling restart stops here" in caplog.text)
        assert family.supervisor.pids[1] == before[1]
        (tmp_path / "mended").touch()
        await family.until(lambda lines: lines.count("0 ready") == 2)
        assert "1 drains" not in family.log.read_text()


async def test_the_end_comes_before_a_rolling_restart(tmp_path: Path) -> None:
    family = _Family(tmp_path, _READY)
    async with family.running():
        os.kill(os.getpid(), signal.SIGHUP)
        await family.until(lambda lines: "0 drains" in lines)
    lines = family.log.read_text().splitlines()
    assert sorted(lines) == ["0 drains", "0 ended", "0 ready", "1 drains", "1 ended", "1 ready"]


async def test_hanging_up_a_terminal_is_the_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("live.core.supervisor.in_terminal", lambda: True)
    (tmp_path / "quick").touch()
    family = _Family(tmp_path, _READY)
    async with family.running():
        os.kill(os.getpid(), signal.SIGHUP)
        await family.until(lambda lines: sum("ended" in line for line in lines) == 2)


async def test_a_worker_that_has_just_ended_cannot_be_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    class Ended:
        returncode = None  # the loop has not heard of it yet

        def send_signal(self, number: int) -> None:
            raise ProcessLookupError

        def kill(self) -> None:
            raise ProcessLookupError

    monkeypatch.setattr("live.core.supervisor.WORKER_STOP_S", 0.0)
    supervisor = Supervisor(1, [sys.executable], {})
    supervisor._stopping.set()
    await supervisor._stop_in_time(_Life(cast(asyncio.subprocess.Process, Ended())))
