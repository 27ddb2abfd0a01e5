"""Shows over both stores, with an outlet that remembers."""

import pytest

from live.core.auth import Tokens
from live.core.clock import ManualClock
from live.core.database import Database
from live.service import Shows
from tests.live.recorder import Catalogue, Recorder


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
