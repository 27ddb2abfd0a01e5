"""A worker's parts are opened and closed in good order."""

import asyncio
from pathlib import Path

import pytest

from app import open_parts
from live.core.auth import Principal, Role
from live.core.database import migrate
from live.core.settings import Settings
from live.core.together import Together


async def test_a_worker_leaves_no_task_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not even of viewers who are let in just then."""
    fetching = asyncio.Event()

    async def fetch_for_ever(*_: object) -> None:
        fetching.set()
        await asyncio.Event().wait()

    monkeypatch.setattr(Together, "_answer", fetch_for_ever)
    settings = Settings(data_dir=tmp_path, secret="x" * 32, media_port=0)
    await migrate(settings.effective_database_url)
    before = asyncio.all_tasks()
    async with open_parts(settings) as parts:
        await parts.store.shows.create("demo", "Demo")
        viewer = Principal("ada", Role.viewer, "*", "Ada")
        returning = asyncio.ensure_future(parts.connections.recovery._personal("demo", viewer))
        await fetching.wait()
    returning.cancel()
    await asyncio.wait([returning])
    assert asyncio.all_tasks() == before
