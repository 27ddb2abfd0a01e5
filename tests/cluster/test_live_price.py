"""A live price over real processes: each start and stop is news for every socket of both workers, in one order, and
whoever asks the other worker when the click is answered gets the new price at once.
"""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from tests.faults.pages import PATIENCE_S, Screen
from tests.faults.stand import LINEUP, SHOW, SKU, Stand

pytestmark = [pytest.mark.timeout(120)]
LIST = 100  # of SKU, in minor units
EACH = 3  # screens at a worker, at least


class Witness(Screen):
    """A page that writes down what the show's events say, in their order."""

    def __init__(self, port: int, seed: int, encoding: str = "json", token: str | None = None) -> None:
        self.news: list[tuple[int, str, Any]] = []
        super().__init__(port, seed, encoding, token)

    async def _event(self, event: dict[str, Any]) -> None:
        assert self.position is not None and event["offset"] == self.position["offset"] + 1, "nothing twice, no gap"
        what = event["data"]["price_minor"] if event["name"] == "product.price" else event["data"].get("text")
        self.news.append((event["offset"], event["name"], what))
        await super()._event(event)

    def heard(self) -> list[tuple[str, Any]]:
        """Prices, and what was written in the chat."""
        return [(name, what) for _, name, what in self.news if name in ("product.price", "chat.message")]

    def price(self) -> int:
        """What the page shows."""
        [product] = [one for one in self.picture["lineup"] if one["id"] == LINEUP[0]]
        minor: int = product["variants"][0]["price_minor"]
        return minor


class Desk:
    """A connection that stays, to the API of one worker."""

    def __init__(self, client: httpx.AsyncClient, worker: int) -> None:
        self.client = client
        self.worker = worker  # its process

    async def ask(self, method: str, path: str, body: Any = None, token: str = "demo") -> Any:
        answer = await self.client.request(method, path, json=body, headers={"authorization": f"Bearer {token}"})
        return answer.status_code, answer.json() if answer.content else None


def _owner(stand: Stand, port: int) -> int:
    """The worker that has a connection from this port of ours."""
    return next(
        process.pid
        for process in stand.worker_processes()
        for one in process.net_connections("tcp")
        if one.raddr and one.raddr.port == port and one.status == psutil.CONN_ESTABLISHED
    )


@pytest.fixture
def both(request: pytest.FixtureRequest, database_url: str, tmp_path: Path) -> Iterator[Stand]:
    """Two workers over each store; those over SQLite are there already."""
    if database_url.startswith("sqlite"):
        yield request.getfixturevalue("stand")
        return
    made = Stand(tmp_path, SHOWCART_DATABASE_URL=database_url)
    try:
        made.start()
        yield made
    finally:
        made.stop()


@pytest.fixture
async def desks(both: Stand) -> AsyncIterator[list[Desk]]:
    """One of each worker; the kernel chooses, so it takes several tries."""
    async with AsyncExitStack() as stack:
        found: dict[int, Desk] = {}
        while len(found) < 2:
            client = httpx.AsyncClient(base_url=both.base, timeout=PATIENCE_S, limits=httpx.Limits(max_connections=1))
            await stack.enter_async_context(client)
            answer = await client.get("/healthz")
            address = answer.extensions["network_stream"].get_extra_info("client_addr")
            worker = await asyncio.to_thread(_owner, both, address[1])
            found.setdefault(worker, Desk(client, worker))
        yield list(found.values())


@pytest.fixture
async def witnesses(both: Stand, desks: list[Desk]) -> AsyncIterator[dict[int, list[Witness]]]:
    """Pages by worker, EACH of them at least."""
    async with AsyncExitStack() as stack:
        there: dict[int, list[Witness]] = {desk.worker: [] for desk in desks}
        number = 0
        while min(map(len, there.values())) < EACH:
            some = [Witness(both.port, number + i, ("json", "msgpack")[i % 2]) for i in range(4)]
            number += len(some)
            for each in some:
                stack.push_async_callback(each.close)
            async with asyncio.timeout(PATIENCE_S):
                await asyncio.gather(*(each.joined.wait() for each in some))
            for each in some:
                there[await asyncio.to_thread(_owner, both, each.raw.getsockname()[1])].append(each)
        yield there


async def _nothing_known_is_old(desk: Desk, witness: Witness, guest: str, was: int, now: int) -> None:
    """What is read at a worker, right after the other one has answered the click."""
    line, product = {"lines": [{"sku": SKU}]}, f"/api/products/{LINEUP[0]}"
    _, quoted = await desk.ask("POST", f"/api/shows/{SHOW}/quotes", line)
    assert [quote["unit_minor"] for quote in quoted["quotes"]] == [now]
    _, shown = await desk.ask("GET", f"{product}?show={SHOW}")
    _, elsewhere = await desk.ask("GET", product)
    assert (shown["variants"][0]["price_minor"], elsewhere["variants"][0]["price_minor"]) == (now, LIST)
    lines = f"/api/shows/{SHOW}/cart/lines"
    status, late = await desk.ask("POST", lines, {"sku": SKU, "price_minor": was}, guest)
    assert (status, late["name"], late["quote"]["unit_minor"]) == (409, "price_changed", now)
    status, added = await desk.ask("POST", lines, {"sku": SKU, "price_minor": now}, guest)
    assert (status, added["hold"]["price_minor"]) == (201, now)
    reply = await witness.command("cart.add", {"sku": SKU}, f"at {now} after {was}")
    assert reply["data"]["hold"]["price_minor"] == now


async def test_every_screen_hears_of_it_and_every_quote_knows_it(
    both: Stand, desks: list[Desk], witnesses: dict[int, list[Witness]]
) -> None:
    everybody = [each for some in witnesses.values() for each in some]
    guests: list[tuple[str, int]] = []  # their tokens, and what they have paid
    one, other = desks
    status, _ = await one.ask("PUT", f"/api/shows/{SHOW}/pin", {"product_id": LINEUP[0]})
    assert status == 200
    told: list[tuple[str, Any]] = []
    was = LIST
    clicks = [(one, 80), (other, 60), (one, LIST), (other, 75), (one, LIST)]  # a price in place of a price, too
    for step, (here, now) in enumerate(clicks):
        there = other if here is one else one
        _, guest = await there.ask("POST", "/api/guests", {})
        url = f"/api/shows/{SHOW}/live-price"
        status, _ = await (here.ask("DELETE", url) if now == LIST else here.ask("POST", url, {"price_minor": now}))
        assert status == (200 if now == LIST else 201)
        await _nothing_known_is_old(there, witnesses[there.worker][step // 2], guest["token"], was, now)
        await witnesses[here.worker][0].command("chat.post", {"text": f"it is {now}"}, f"chat {step}")
        told += [("product.price", now), ("chat.message", f"it is {now}")]
        guests.append((guest["token"], now))
        was = now
    async with asyncio.timeout(PATIENCE_S):
        while not all(each.heard() == told for each in everybody):
            assert all(each.heard() == told[: len(each.heard())] for each in everybody), "another order"
            await asyncio.sleep(0.02)
    for each in everybody:
        assert (each.visits, each.snapshots, each.price()) == (1, 1, LIST)
        offsets = [offset for offset, _, _ in each.news]
        assert offsets == list(range(offsets[0], offsets[0] + len(offsets))), "once, and in the order of their numbers"
    for token, paid in guests:
        _, read = await one.ask("GET", f"/api/shows/{SHOW}/cart", None, token)
        assert [line["price_minor"] for line in read["cart"]["lines"]] == [paid], "a cart keeps its price"
    for token, _ in [*guests, *((each.token or "", 0) for each in everybody)]:
        await other.ask("DELETE", f"/api/shows/{SHOW}/cart/lines/{SKU}", None, token)
    await other.ask("DELETE", f"/api/shows/{SHOW}/pin")
