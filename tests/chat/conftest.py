"""The chat of the show `demo` over both stores, with an outlet that remembers and rates that obey."""

import pytest

from chat import store
from chat.service import Chat
from live.core.auth import Principal, Role
from live.core.clock import ManualClock
from live.core.database import Database
from live.service import Shows
from tests.live.recorder import Catalogue, Recorder


class Rates:
    """Answers what a test wants to hear: `wait_s` seconds to wait."""

    def __init__(self) -> None:
        self.wait_s = 0.0
        self.asked: list[tuple[str, float, float]] = []

    async def take(self, bucket: str, rate_per_s: float, burst: float) -> float:
        self.asked.append((bucket, rate_per_s, burst))
        return self.wait_s


def person(name: str, role: Role = Role.viewer, show: str = "*") -> Principal:
    return Principal(subject=name, role=role, show=show, name=name.title())


ANN, BOB = person("ann"), person("bob")
MOD = person("mod", Role.moderator, "demo")
HOST = person("host", Role.host, "demo")
BAD_TEXTS = ["nobody", "", "\x00", "\ud800", "0" * 32, "x" * 500]


async def texts(chat: Chat, show_id: str = "demo") -> list[str]:
    """What the history of a show says, oldest first."""
    return [message.text for message in await chat.history(show_id)]


async def say(chat: Chat, clock: ManualClock, author: Principal, *lines: str) -> list[store.Message]:
    """Have `author` write lines, each a little later than the one before."""
    said = []
    for line in lines:
        clock.advance(0.01)
        said.append((await chat.post("demo", author, line))[0])
    return said


@pytest.fixture
def outlet() -> Recorder:
    return Recorder()


@pytest.fixture
def rates() -> Rates:
    return Rates()


@pytest.fixture
async def shows(database: Database, outlet: Recorder, clock: ManualClock) -> Shows:
    shows = Shows(database, outlet, clock, products=Catalogue())
    await shows.create("demo", "Demo")
    return shows


@pytest.fixture
def chat(shows: Shows, database: Database, rates: Rates) -> Chat:
    return Chat(shows, database, rates.take)
