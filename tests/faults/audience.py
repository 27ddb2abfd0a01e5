"""An audience of pages with writers among it, and what must be so after a fault.

What was acknowledged is remembered, for those who look into the database afterwards.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from itertools import count
from typing import Any

import httpx

from live.core.auth import Role
from live.core.tasks import end
from tests.faults.pages import AGAIN_S, LATER, PATIENCE_S, Screen
from tests.faults.stand import CONVERGE_S, SHOW, SKU, Stand

_NUMBERS = count()


class Audience:
    """`screens` of guests, and writers among them."""

    def __init__(self, stand: Stand, size: int = 24, seed: int = 1) -> None:
        self.stand = stand
        self.said: list[str] = []  # acknowledged messages of the chat
        self.added: Counter[str] = Counter()  # acknowledged units by viewer, all of SKU
        self.screens = [Screen(stand.port, seed + i, ("json", "msgpack")[i % 2]) for i in range(size)]
        self.host = Screen(stand.port, seed + size, token="demo")
        self._carts: dict[str, str] = {}  # tokens of who added, by viewer
        self._writers: list[asyncio.Task[None]] = []
        self._resting = False
        self._held_before = 0
        self._number = next(_NUMBERS)

    @property
    def everybody(self) -> list[Screen]:
        return [*self.screens, self.host]

    @property
    def refused(self) -> Counter[str]:
        """How often anybody was told on a socket to ask later, and why."""
        return sum((each.refused for each in self.everybody), Counter())

    @property
    def acknowledged(self) -> int:
        return len(self.said) + self.added.total()

    async def leave(self) -> None:
        """All at once."""
        await end(*self._writers)
        for result in await asyncio.gather(*(each.close() for each in self.everybody), return_exceptions=True):
            if isinstance(result, BaseException):
                raise result

    async def seated(self) -> None:
        """All have joined; nobody has written yet."""
        self._held_before = await self._held()
        async with asyncio.timeout(PATIENCE_S):
            await asyncio.gather(*(each.joined.wait() for each in self.everybody))

    def write(self) -> None:
        """Writers begin, until `rest`: in the chat, into carts by socket and by HTTP, and a host that pins."""
        talkers, buyers = self.screens[:4], self.screens[4:7]
        jobs: list[Awaitable[None]] = [self._pin(), self._react(self.screens[7])]
        jobs += [self._talk(each, f"{self._number}-{i}") for i, each in enumerate(talkers)]
        jobs += [self._buy(each) for each in buyers]
        jobs += [self._order_over_http(i) for i in range(3)]
        self._writers = [asyncio.ensure_future(job) for job in jobs]

    async def more(self, acknowledgements: int) -> None:
        """Until so many more have come."""
        enough = self.acknowledged + acknowledgements
        async with asyncio.timeout(PATIENCE_S):
            while self.acknowledged < enough:
                for task in self._writers:
                    if task.done():
                        task.result()
                await asyncio.sleep(0.02)

    async def rest(self) -> None:
        """Each writer ends what it has begun, and no more."""
        self._resting = True
        async with asyncio.timeout(PATIENCE_S):
            await asyncio.gather(*self._writers)

    async def _until_rest(self, every_s: float, job: Callable[[int], Awaitable[None]]) -> None:
        for number in count():
            if self._resting:
                return
            await job(number)
            await asyncio.sleep(every_s)

    async def _talk(self, screen: Screen, name: str) -> None:
        async def say(number: int) -> None:
            words = f"{name} says {number}"
            await screen.command("chat.post", {"text": words}, f"key of {words}")
            self.said.append(words)

        await self._until_rest(0.2, say)

    async def _buy(self, screen: Screen) -> None:
        async def add(number: int) -> None:
            await screen.command("cart.add", {"sku": SKU}, f"add {number}")
            viewer = await self._viewer(screen.token)
            self.added[viewer] += 1

        await screen.joined.wait()
        await self._until_rest(0.2, add)

    async def _viewer(self, token: str | None) -> str:
        """Whose token it is."""
        assert token is not None
        if token not in self._carts:
            self._carts[token] = self.stand.subject(token)
        return self._carts[token]

    async def _order_over_http(self, number: int) -> None:
        guest = await self._http("POST", "/api/guests", {}, "", f"guest {number}")
        token = guest["token"]

        async def add(number: int) -> None:
            await self._http("POST", f"/api/shows/{SHOW}/cart/lines", {"sku": SKU}, token, f"http {number}")
            self.added[await self._viewer(token)] += 1

        await self._until_rest(0.2, add)

    async def _http(self, method: str, path: str, body: dict[str, Any] | None, token: str, key: str) -> dict[str, Any]:
        """Ask until there is an answer, on a new connection each time."""
        headers = {"idempotency-key": key} | ({"authorization": f"Bearer {token}"} if token else {})
        async with asyncio.timeout(PATIENCE_S):
            while True:
                try:
                    async with httpx.AsyncClient(base_url=self.stand.base, timeout=15) as client:
                        answer = await client.request(method, path, json=body, headers=headers)
                except httpx.TransportError:
                    await asyncio.sleep(AGAIN_S)
                    continue
                if answer.is_success:
                    found: dict[str, Any] = answer.json()
                    return found
                assert answer.json()["name"] in LATER, answer.text
                await asyncio.sleep(AGAIN_S)

    async def _pin(self) -> None:
        async def pin(number: int) -> None:
            await self.host.command("show.pin", {"product_id": ("fault", "espresso-cup")[number % 2]}, f"pin {number}")

        await self._until_rest(0.5, pin)

    async def _react(self, screen: Screen) -> None:
        async def react(number: int) -> None:
            await screen.command("chat.react", {"kind": "heart"}, None)

        await self._until_rest(0.4, react)

    # --- what must be so

    async def converged(self) -> float:
        """Wait until every screen shows what a fresh one does, and how many they are; the seconds that it took."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        differs: list[str] = []
        try:
            async with asyncio.timeout(CONVERGE_S):
                while differs := await self._differing():
                    await asyncio.sleep(0.1)
        except TimeoutError:
            raise AssertionError(f"not the same after {CONVERGE_S} s: {differs[:5]}") from None
        return loop.time() - began

    async def _differing(self) -> list[str]:
        fresh = Screen(self.stand.port, 0, token=self.stand.token(Role.viewer))
        try:
            await fresh.joined.wait()
            await asyncio.sleep(0.3)  # the newest states
            want = fresh.shown()
            people = (len(self.everybody), len(self.everybody) + 1)  # the fresh one is counted for a while
            found = []
            for number, screen in enumerate(self.everybody):
                if not screen.joined.is_set() or not screen.picture:
                    found.append(f"screen {number} is away: {screen.codes}")
                    continue
                shown = screen.shown()
                found += [f"screen {number}: {n}: {shown[n]} != {want[n]}" for n in want if shown[n] != want[n]]
                if screen.picture["viewers"] not in people:
                    found.append(f"screen {number} counts {screen.picture['viewers']} viewers, not {people}")
            return found
        finally:
            await fresh.close()

    async def kept(self) -> None:
        """All that was acknowledged is in the database, and was done once."""
        rows = await self.stand.rows(f"SELECT text FROM chat_message WHERE show_id = '{SHOW}'")
        stored = Counter(str(row[0]) for row in rows)
        assert {words: stored[words] for words in self.said} == dict.fromkeys(self.said, 1)
        rows = await self.stand.rows(
            f"SELECT viewer_id, sum(quantity) FROM hold WHERE sku = '{SKU}' AND state = 'active' GROUP BY viewer_id"
        )
        held = {viewer: int(quantity) for viewer, quantity in rows}
        assert {viewer: held.get(viewer, 0) for viewer in self.added} == dict(self.added)
        assert await self._held() - self._held_before == self.added.total()

    async def _held(self) -> int:
        [(held,)] = await self.stand.rows(f"SELECT held FROM stock_level WHERE sku = '{SKU}'")
        return int(held)

    async def give_back(self) -> None:
        """All carts are emptied; then nothing is held any more."""
        for token in self._carts:
            await self._http("DELETE", f"/api/shows/{SHOW}/cart/lines/{SKU}", None, token, "back")
        assert await self._held() == self._held_before


@asynccontextmanager
async def attending(stand: Stand, size: int = 24) -> AsyncIterator[Audience]:
    """An audience that has come and writes. At the end nothing is left of it, in any counter."""
    audience = Audience(stand, size)
    try:
        await audience.seated()
        audience.write()
        await audience.more(20)
        yield audience
    finally:
        await audience.leave()


async def over(audience: Audience, more: int = 20) -> float:
    """After a fault: they go on, rest, see the same, and nothing was lost; the seconds until they saw the same."""
    await audience.more(more)
    await audience.rest()
    took_s = await audience.converged()
    await audience.kept()
    await audience.give_back()
    await audience.leave()
    await audience.stand.settled()
    return took_s
