"""Readiness says which store is wrong, and never hangs."""

import asyncio

import orjson
import pytest

from live.core import health
from live.core.errors import Kind, Problem


async def _fine() -> None:
    """Answers."""


async def _refuses() -> None:
    raise Problem(Kind.unavailable)


async def _hangs() -> None:
    await asyncio.Event().wait()


async def test_all_is_well() -> None:
    response = await health.readiness({"database": _fine, "bus": _fine})
    assert (response.status_code, orjson.loads(response.body)) == (200, {"database": "ok", "bus": "ok"})


async def test_what_is_wrong_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "HEALTH_CHECK_S", 0.01)
    response = await health.readiness({"database": _refuses, "bus": _hangs, "media": _fine})
    assert response.status_code == 503
    assert orjson.loads(response.body) == {"database": "unavailable", "bus": "no answer", "media": "ok"}
