"""A shop whose provider of payments does what it is told, and whose letters land in a box."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from email.message import EmailMessage
from typing import Any

import pytest

from cart.ordering.clerk import Clerk
from cart.ordering.office import Office, Trade
from cart.ordering.provider import Rehearsal
from cart.service import Shop
from live.core.auth import Principal, Role
from live.core.clock import ManualClock
from live.core.database import Database
from live.service import Shows
from tests.cart.conftest import viewer

HOST = Principal(subject="h", role=Role.host, show="demo", name="Host")
OPS = Principal(subject="o", role=Role.ops, show="*", name="Ops")


@dataclass
class Box:
    """Takes letters, unless it is `closed`."""

    letters: dict[str, EmailMessage] = field(default_factory=dict)
    tries: int = 0
    closed: bool = False

    async def send(self, message: EmailMessage, id_: str) -> None:
        self.tries += 1
        if self.closed:
            raise ConnectionRefusedError("nobody is there")
        self.letters[id_] = message

    @property
    def subjects(self) -> list[str]:
        return [str(message["Subject"]) for _, message in sorted(self.letters.items())]

    def text(self, place: int = -1, kind: str = "plain") -> str:
        message = [message for _, message in sorted(self.letters.items())][place]
        part = message.get_body((kind,))
        assert part is not None
        content: str = part.get_content()
        return content


@pytest.fixture
def payment() -> Rehearsal:
    return Rehearsal()


@pytest.fixture
def box() -> Box:
    return Box()


@pytest.fixture
def at_once() -> bool:
    """When money is taken; tests of the other way override it."""
    return False


@pytest.fixture
async def shop(
    database: Database, shows: Shows, clock: ManualClock, payment: Rehearsal, box: Box, at_once: bool
) -> AsyncIterator[Shop]:
    trade = Trade(payment=payment, at_once=at_once, mail=box, sender="shop@example.com")
    made = Shop(database, shows, clock, stock_interval_s=0, pace_s=0, trade=trade, secret="a secret of the tests")
    yield made
    await made.office.till.close()


@pytest.fixture
def office(shop: Shop) -> Office:
    return shop.office


@pytest.fixture
def clerk(office: Office) -> Clerk:
    return office.clerk


async def buy(shop: Shop, who: str = "ada", skus: tuple[tuple[str, int], ...] = (("CUP", 2),), **more: Any) -> str:
    """Put things into a cart and order them; the order's id, when payments are settled."""
    for sku, quantity in skus:
        await shop.add("demo", viewer(who), sku, quantity)
    form = {"name": "Ada Lovelace", "email": "ada@example.com"} | more
    answer = await shop.checkout("demo", viewer(who), **form)
    await shop.office.till.idle()
    order_id: str = answer.body["order"]["id"]
    return order_id
