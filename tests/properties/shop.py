"""The world with what has no numbers: stock, told by states, and carts, told by notices to their owners alone.

The truth of both is in the store. A worker sells of a stock of its own, and changes the carts of its own half of the
audience, so each value has one writer, which tells it in the order of the commits.
"""

import asyncio
from collections.abc import Awaitable, Callable
from itertools import count
from typing import Any

from live.core.auth import Principal, Role
from live.realtime.connections import Connections
from live.realtime.news import News
from tests.properties.world import SHOW, Board, Screen, Worker, World

SKUS = 16  # of each worker: most are not sold a second time soon, so nothing heals what was missed


class Clerk(Worker):
    """A worker that sells."""

    world: "Shop"

    async def start(self) -> None:
        await super().start()
        self._news: asyncio.Queue[Callable[[], Awaitable[None]]] = asyncio.Queue()
        self._telling_news = asyncio.create_task(self._tell_news())

    async def close(self) -> None:
        self._telling_news.cancel()
        await asyncio.wait([self._telling_news])
        await super().close()

    def sell(self) -> None:
        """Commit, and tell everybody later what is left."""
        left = next(self.world.numbers)
        sku = f"{self.name}{left % SKUS}"
        self.world.stock[sku] = left
        self._news.put_nowait(lambda: self.outlet.state(SHOW, "stock", {"sku": sku, "left": left}, key=sku))

    def give(self, screen: "Customer") -> None:
        """Commit, and tell its owner later what is in a cart."""
        holds = self.world.carts[screen.name] = next(self.world.numbers)
        news = News("notice", "cart.changed", {"holds": holds}, key=screen.name)
        self._news.put_nowait(lambda: self.outlet.tell(SHOW, [news]))

    async def _tell_news(self) -> None:
        while True:
            tell = await self._news.get()
            await tell()

    async def _personal(self, show: str, principal: Any) -> dict[str, Any]:
        await super()._personal(show, principal)
        holds = self.world.carts.get(principal.subject, 0)
        await super()._personal(show, principal)
        return {"cart": {"holds": holds}}

    async def _snapshot(self, show: str) -> Board:
        stock = dict(self.world.stock)
        return await super()._snapshot(show) | {"stock": stock}


class Customer(Screen):
    """A screen with a cart."""

    def __init__(self, world: "Shop", name: str) -> None:
        super().__init__(world)
        self.name = name
        self.stock: dict[str, int] = {}
        self.holds = 0

    def _ask(self, type_: str, **members: Any) -> None:
        if type_ == "connect":
            assert self.worker is not None
            members["token"] = _token(self.worker.connections, self.name)
        super()._ask(type_, **members)

    def _take(self, message: dict[str, Any]) -> None:
        match message["type"], message.get("name"):
            case "state", "stock":
                self.stock[message["data"]["sku"]] = message["data"]["left"]
            case "notice", "cart.changed":
                assert self.viewer is not None
                self.holds = message["data"]["holds"]
            case "connected", _:
                if message["snapshot"] is not None:
                    self.stock = dict(message["snapshot"]["stock"])
                if "cart" in message["personal"]:
                    self.holds = message["personal"]["cart"]["holds"]
        super()._take(message)


def _token(connections: Connections, name: str) -> str:
    return connections._doorman._tokens.sign(Principal(subject=name, role=Role.viewer, show="*", name=name), 10**6)


class Shop(World):
    """See the module."""

    def __init__(self, seed: int) -> None:
        super().__init__(seed)
        self.numbers = count(1)
        self.stock: dict[str, int] = {}
        self.carts: dict[str, int] = {}
        self.clerks: list[Clerk] = []
        self.customers: list[Customer] = []

    async def open(self) -> None:
        self.clerks = [Clerk(self, name) for name in "ab"]
        self.workers = list(self.clerks)
        for worker in self.workers:
            await worker.start()

    def come(self) -> Customer:
        """One more screen."""
        self.customers.append(Customer(self, f"customer {len(self.customers)}"))
        self.screens.append(self.customers[-1])
        return self.customers[-1]

    def give(self, who: int) -> None:
        """Change somebody's cart."""
        self.clerks[who % 2].give(self.customers[who])

    def check(self) -> None:
        super().check()
        for customer in self.customers:
            assert customer.stock == self.stock, customer.name
            assert customer.holds == self.carts.get(customer.name, 0), customer.name
