"""A shop on an open show, over both databases; what the screens were told is written down."""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from io import BytesIO
from itertools import count
from typing import Any

import httpx
import pytest

from cart import store
from cart.catalogue import ProductEntry, VariantEntry, check
from cart.feeds.importer import import_stream
from cart.service import Shop
from live.core.auth import Principal, Role
from live.core.clock import ManualClock
from live.core.codec import encode
from live.core.database import Database
from live.core.errors import Problem
from live.realtime.news import News
from live.service import Shows
from live.shows import ShowState


def keys_of_their_own() -> Callable[[httpx.Request], Awaitable[None]]:
    """A hook of a client's: each request that brings no Idempotency-Key gets one that no other has."""
    numbers = count()

    async def give(request: httpx.Request) -> None:
        request.headers.setdefault("idempotency-key", f"its own {next(numbers)}")

    return give


@dataclass
class Screens:
    """An outlet that keeps what it is given, in order."""

    events: list[tuple[str, str, dict[str, Any]]] = field(default_factory=list)
    states: list[tuple[str, str, str, dict[str, Any], bool]] = field(default_factory=list)
    notices: list[tuple[str, str, str, dict[str, Any]]] = field(default_factory=list)

    async def tell(self, show: str, news: Sequence[News]) -> None:
        for one in news:
            if one.kind == "event":
                self.events.append((show, one.name, one.data))
            elif one.kind == "state":
                self.states.append((show, one.name, one.key, one.data, one.staff))
            elif one.staff:
                assert one.name == "order.withdrawn", "a cart tells the staff by states"
            else:
                self.notices.append((show, one.key, one.name, one.data))

    def stock(self, sku: str, show: str = "demo") -> list[int]:
        """What the screens of a show were told to be left of a SKU."""
        return [data["available"] for to, name, key, data, _ in self.states if (to, name, key) == (show, "stock", sku)]

    def of(self, name: str, show: str = "demo") -> list[dict[str, Any]]:
        return [data for to, event, data in self.events if (to, event) == (show, name)]

    def clear(self) -> None:
        self.events.clear()
        self.states.clear()
        self.notices.clear()


def viewer(name: str = "ada") -> Principal:
    return Principal(subject=name, role=Role.viewer, show="*", name=name)


ADA, BOB = viewer("ada"), viewer("bob")


async def refused(awaitable: Any) -> Problem:
    """The problem that `awaitable` is refused with."""
    with pytest.raises(Problem) as caught:
        await awaitable
    return caught.value


def product(
    id_: str, *variants: VariantEntry, title: str = "Cup", currency: str = "EUR", picture: str = ""
) -> ProductEntry:
    return check(ProductEntry(id=id_, title=title, currency=currency, picture=picture, variants=list(variants)))


async def stock(shows: Shows, *products: ProductEntry) -> None:
    """Put products on the shelf, the way an import does."""
    body = b"\n".join(encode(one, "json") for one in products)
    report = (await import_stream(BytesIO(body), shows, "json")).report
    assert not report.errors, report.errors


async def level(database: Database, sku: str) -> tuple[int, int, int]:
    """(on_hand, allocated, held) of a SKU."""
    async with database.write() as conn:
        found = (await conn.run_sync(store.levels, [sku]))[sku]
    return found.on_hand, found.allocated, found.held


@pytest.fixture
def screens() -> Screens:
    return Screens()


@pytest.fixture
async def shows(database: Database, screens: Screens, clock: ManualClock) -> Shows:
    """The show `demo`, live, with `cup` (10 units), `mug` (blue 5, red 1) and `yen` (a product in another currency)."""
    shows = Shows(database, screens, clock)
    Shop(database, shows, clock).attach()
    await stock(
        shows,
        product("cup", VariantEntry(sku="CUP", price_minor=1000, stock=10)),
        product(
            "mug",
            VariantEntry(sku="MUG-BLUE", title="Blue", price_minor=1500, list_price_minor=2000, stock=5),
            VariantEntry(sku="MUG-RED", title="Red", price_minor=1500, stock=1),
            title="Mug",
        ),
        product("yen", VariantEntry(sku="YEN", price_minor=500, stock=5), currency="JPY"),
    )
    await shows.create("demo", "Demo")
    await shows.set_lineup("demo", ["cup", "mug"])
    await shows.transition("demo", ShowState.live)
    screens.clear()
    return shows


@pytest.fixture
async def shop(database: Database, shows: Shows, clock: ManualClock) -> AsyncIterator[Shop]:
    """Every change of the stock is told by itself; `test_board` tries the shop's own pace."""
    made = Shop(database, shows, clock, stock_interval_s=0, pace_s=0)
    yield made
    await made.office.till.close()  # it may still ask for money when its test is over
