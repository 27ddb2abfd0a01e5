"""The supervisor's own races; workers as whole processes are tried in tests/cluster."""

import asyncio
import os
import signal
import sys
from typing import Any

import pytest

from live.core.supervisor import Supervisor

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
