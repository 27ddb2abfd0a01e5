"""The chat of the show `demo` over both stores, with an outlet that remembers and rates that obey."""

from collections.abc import AsyncIterator, Sequence

import pytest

from chat import store
from chat.service import Chat
from live.core.auth import Principal, Role
from live.core.clock import ManualClock
from live.core.database import Database
from live.core.limits import CHAT_SHOWN_BURST, CHAT_SHOWN_PER_S
from live.core.tallies import Grant, Pace
from live.service import Shows
from tests.live.recorder import Catalogue, Recorder


class Rates:
    """Answers what a test wants to hear: `wait_s` seconds to wait, and room for `room` messages on the screens."""

    def __init__(self) -> None:
        self.wait_s = 0.0
        self.room = 10**6
        self.asked: list[tuple[str, str, str, Pace]] = []

    async def take_each(self, channel: str, name: str, askers: Sequence[str], own: Pace, shared: Pace) -> list[Grant]:
        assert shared == Pace(CHAT_SHOWN_PER_S, CHAT_SHOWN_BURST)
        grants = []
        for asker in askers:
            self.asked.append((channel, name, asker, own))
            granted = self.wait_s == 0 and self.room > 0
            self.room -= granted
            grants.append(Grant(self.wait_s, granted))
        return grants


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
async def chat(shows: Shows, database: Database, rates: Rates) -> AsyncIterator[Chat]:
    chat = Chat(shows, database, rates.take_each, pace_s=0)
    yield chat
    await chat.close()
