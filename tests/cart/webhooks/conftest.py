"""Webhooks over both databases, with a receiver on this machine, on a clock that begins now and obeys."""

import random
import time
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

import pytest
from sqlalchemy import Connection

from cart.webhooks import outbox, records
from cart.webhooks.exchange import Exchange
from cart.webhooks.sealing import Seal
from cart.webhooks.sender import Sender
from cart.webhooks.service import Asked, Webhooks
from cart.webhooks.store import Endpoint
from live.core.addresses import networks
from live.core.auth import Principal, Role
from live.core.clock import ManualClock
from live.core.database import Database
from tests.cart.webhooks.facts import FACTS
from tests.cart.webhooks.receiver import Receiver

SECRET = "a secret of the tests' own"
OPS = Principal(subject="ops", role=Role.ops, show="*", name="Ops")
LOOPBACK = networks(["127.0.0.0/8"])
NEVER_S = 3600.0  # an exchange is given up by those tests only that say when
MakeSender = Callable[[], Sender]


def asked(key: str | None = None) -> Asked:
    return Asked(OPS, key)


@pytest.fixture
def clock() -> ManualClock:
    """Receivers compare a message's time with their own."""
    return ManualClock(time.time_ns() // 1_000_000)


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with Receiver.open() as opened:
        yield opened


@pytest.fixture
async def exchange(clock: ManualClock) -> AsyncIterator[Exchange]:
    opened = Exchange(clock, LOOPBACK, timeout_s=NEVER_S)
    yield opened
    await opened.close()


@pytest.fixture
def make_sender(database: Database, clock: ManualClock, exchange: Exchange) -> MakeSender:
    def make() -> Sender:
        chance = random.Random(5)
        return Sender(database, clock, Seal(SECRET), exchange.send, exchange.keep, kept_days=14, chance=chance)

    return make


@pytest.fixture
async def sender(make_sender: MakeSender) -> AsyncIterator[Sender]:
    made = make_sender()
    yield made
    await made.close()


@pytest.fixture
def webhooks(database: Database, clock: ManualClock, exchange: Exchange) -> Webhooks:
    return Webhooks(database, clock, SECRET, exchange, kept_days=14)


async def rounds(*senders: Sender) -> None:
    """Let the senders do all that there is to do now."""
    begun = 1
    while begun:
        for sender in senders:
            await sender.answered()
        begun = sum([await sender.turn() for sender in senders])


async def endpoint(webhooks: Webhooks, url: str, *types: str, key: str | None = None) -> str:
    """A new endpoint's id."""
    made = await webhooks.create(asked(key), url, types, "")
    id_: str = made.body["endpoint"]["id"]
    return id_


async def happen(database: Database, clock: ManualClock, *happened: tuple[str, Mapping[str, Any]] | str) -> None:
    """Put events into the outbox, each a type with what is different in its example; every worker knows who listens."""
    clock.advance(1)

    def work(conn: Connection) -> None:
        for each in happened:
            type_, other = (each, {}) if isinstance(each, str) else each
            outbox.put(conn, database.now_ms_sync(conn), type_, FACTS[type_] | dict(other), "gala")

    await database.write_sync(work)


async def stored(database: Database, id_: str) -> Endpoint:
    found = await database.read_sync(lambda conn: records.find_endpoint(conn, id_))
    assert found is not None
    return found


async def states(webhooks: Webhooks, id_: str) -> list[tuple[str, str, int]]:
    """(type, state, tries) of an endpoint's deliveries, the oldest first."""
    found = await webhooks.deliveries(id_, None, None)
    return [(each.type, each.state, each.tries) for each in reversed(found)]
