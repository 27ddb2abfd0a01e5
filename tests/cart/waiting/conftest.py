"""What the tests of the waitlist and of drops say often. `MUG-RED` has one unit, `CUP` ten, `MUG-BLUE` five."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from cart.service import Shop
from cart.waiting.planning import NewDrop
from live.core.auth import Principal, Role
from live.core.clock import ManualClock
from live.core.database import Database
from live.service import Shows
from tests.cart.conftest import Screens, viewer

HOST = Principal(subject="host", role=Role.host, show="*", name="Host")
ANN, BEN, CAT = viewer("ann"), viewer("ben"), viewer("cat")
EMAIL = "ann@example.com"


async def wait(shop: Shop, *people: Principal, sku: str = "MUG-RED", quantity: int = 1) -> list[dict[str, Any]]:
    """Let people join a queue one after the other; their places."""
    answers = [await shop.waiting.join("demo", who, sku, quantity, key=None) for who in people]
    return [answer.body["place"] for answer in answers]


async def held(shop: Shop, who: Principal) -> dict[str, int]:
    """What somebody's cart holds."""
    return {line.sku: line.quantity for line in (await shop.cart("demo", who)).lines}


async def positions(shop: Shop, *people: Principal) -> list[int | None]:
    """Where people stand; None: they do not wait, or have an offer."""
    seen = [await shop.waiting.places("demo", who) for who in people]
    return [places[0].position if places else None for places in seen]


def told(screens: Screens, who: Principal, name: str = "waitlist.offered") -> list[dict[str, Any]]:
    """The notices of this name that somebody heard."""
    return [data for _, to, notice, data in screens.notices if (to, notice) == (who.subject, name)]


async def plan(shop: Shop, sku: str = "CUP", **members: Any) -> dict[str, Any]:
    """A drop of the show `demo`, which is open unless `opens_at_ms` says otherwise."""
    answer = await shop.planning.create("demo", HOST, NewDrop(sku=sku, **({"opens_at_ms": 0} | members)))
    drop: dict[str, Any] = answer.body["drop"]
    return drop


@pytest.fixture
async def other(database_url: str, clock: ManualClock, screens: Screens) -> AsyncIterator[Shop]:
    """Another worker's shop on the same store; its screens are the same."""
    database = await Database.open(database_url, clock)
    shows = Shows(database, screens, clock)
    shop = Shop(database, shows, clock, stock_interval_s=0, pace_s=0)
    yield shop
    await shop.close()
    await shows.close()
    await database.close()
