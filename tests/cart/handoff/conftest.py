"""A shop that hands its carts to a merchant's own check-out."""

from base64 import b64encode
from collections.abc import AsyncIterator
from typing import Any

import pytest

from cart.handoff.parts import Handing
from cart.handoff.reports import Report
from cart.handoff.service import Way
from cart.ordering.office import Trade
from cart.service import Shop
from live.core.auth import ALL_SHOWS, Principal, Role
from live.core.clock import ManualClock
from live.core.database import Database
from live.service import Shows
from tests.cart.conftest import ADA
from tests.cart.ordering.conftest import Box

SECRET = "whsec_" + b64encode(b"a secret of 24 bytes for us").decode()
OLD_SECRET = "whsec_" + b64encode(b"the secret that was before it").decode()
TTL_S = 1800
WAY = Way("https://shop.example/checkout?lang=de", (SECRET, OLD_SECRET), TTL_S, lambda customer: f"c-{customer}")
SHOP = Principal(subject="shop-system", role=Role.ops, show=ALL_SHOWS, name="Shop")


ONE_STORE = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)  # what says nothing of stores


def customer(name: str = "c42") -> Principal:
    """A shopper whom the shop has signed in."""
    return Principal(subject=f"c-{name}", role=Role.viewer, show="*", name=name, customer=name)


@pytest.fixture
def box() -> Box:
    return Box()


@pytest.fixture
async def shop(database: Database, shows: Shows, clock: ManualClock, box: Box) -> AsyncIterator[Shop]:
    made = Shop(
        database, shows, clock, stock_interval_s=0, pace_s=0, trade=Trade(mail=box), secret="a secret of the tests",
        way=WAY,
    )  # fmt: skip
    yield made
    await made.office.till.close()


@pytest.fixture
def handing(shop: Shop) -> Handing:
    return shop.handing


async def hand_over(shop: Shop, *lines: tuple[str, int], who: Principal = ADA) -> str:
    """Fill a cart and hand it over; the hand-off's id."""
    for sku, quantity in lines or (("CUP", 2),):
        await shop.add("demo", who, sku, quantity)
    answer = await shop.handing.handoffs.open("demo", who, None, key=None)
    id_: str = answer.body["handoff"]["id"]
    return id_


async def report(shop: Shop, id_: str, **facts: Any) -> dict[str, Any]:
    """Report a hand-off, and wait until its payment is written down; what was answered."""
    answer = await shop.handing.handoffs.report(id_, Report(**facts), SHOP, None)
    await shop.office.till.idle()
    return answer.body
