"""Shows over both stores, with an outlet that remembers; and the pages as an application."""

from collections.abc import AsyncIterator

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response

from live import pages
from live.core.auth import Tokens
from live.core.clock import ManualClock
from live.core.database import Database
from live.core.errors import Problem
from live.core.settings import Settings
from live.service import Shows
from live.shows import ShowState
from tests.live.recorder import Catalogue, Recorder

PATHS: dict[ShowState, list[ShowState]] = {
    ShowState.draft: [],
    ShowState.scheduled: [ShowState.scheduled],
    ShowState.lobby: [ShowState.lobby],
    ShowState.live: [ShowState.live],
    ShowState.paused: [ShowState.live, ShowState.paused],
    ShowState.ended: [ShowState.live, ShowState.ended],
    ShowState.replayable: [ShowState.live, ShowState.ended, ShowState.replayable],
}


async def bring(shows: Shows, state: ShowState, show_id: str = "demo") -> None:
    """Create a show and walk it to `state`."""
    await shows.create(show_id, "Demo", scheduled_at_ms=1_900_000_000_000)
    for step in PATHS[state]:
        await shows.transition(show_id, step)


def settings(**values: object) -> Settings:
    return Settings(secret="a secret of the tests", **values)  # type: ignore[arg-type]


@pytest.fixture
def outlet() -> Recorder:
    return Recorder()


@pytest.fixture
def catalogue() -> Catalogue:
    return Catalogue()


@pytest.fixture
def tokens(clock: ManualClock) -> Tokens:
    return Tokens("a secret of the tests", clock, demo_show="demo")


@pytest.fixture
def shows(database: Database, outlet: Recorder, clock: ManualClock, tokens: Tokens, catalogue: Catalogue) -> Shows:
    return Shows(database, outlet, clock, tokens=tokens, products=catalogue)


@pytest.fixture
def site() -> Starlette:
    """The pages as an application; it reads its files, which nobody may do on the event loop."""
    given = settings(picture_origins=("https://pictures.shop.example",))
    missing = pages.Missing(given)

    async def not_found(request: Request, error: Exception) -> Response:
        return missing(request) or Response("{}", 404, media_type="application/problem+json")

    return Starlette(routes=pages.routes(given), exception_handlers={404: not_found, Problem: not_found})


@pytest.fixture
async def browser(site: Starlette) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(transport=httpx.ASGITransport(site), base_url="http://shop.example:8000") as client:
        yield client
