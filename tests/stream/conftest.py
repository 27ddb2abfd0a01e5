"""A media part behind a real HTTP server on loopback, and clients of two kinds."""

import asyncio
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
import uvicorn
from prometheus_client import CollectorRegistry
from starlette.applications import Starlette

from live.core import rest
from live.core.auth import Principal, Rank, Role, Tokens
from live.core.clock import SystemClock
from live.core.errors import Kind, Problem
from live.core.settings import Settings
from loadtests.media.client import Client
from stream.api import SDP, SDP_FRAGMENT, operations, routes
from stream.cluster.cluster import Cluster
from stream.service import Media
from tests.stream.watching import Watcher

Make = Callable[..., Client]
KEY, BACKUP_KEY = "key", "backup key"
SECRET = "only for this test"
BEARER = {"authorization": f"Bearer {KEY}"}
DIRECTION = {"whip": "sendonly", "whep": "recvonly"}  # of a client's media

_CANDIDATES = (
    "a=ice-ufrag:{}\r\na=ice-pwd:{}\r\n"
    "m=video 9 UDP/TLS/RTP/SAVPF 0\r\na=mid:video\r\na=candidate:1 1 udp 1 {} 9 typ host\r\n"
)


def refused(answer: httpx.Response, kind: Kind) -> httpx.Response:
    """`answer`, which must be the problem `kind`."""
    assert answer.headers["content-type"] == "application/problem+json"
    body = answer.json()
    assert (answer.status_code, body["name"], body["code"]) == (kind.status, kind.name, kind.number)
    assert answer.headers["access-control-allow-origin"] == "*"
    return answer


def sections(sdp: str) -> list[list[str]]:
    """The m-sections of an offer or an answer, as lines."""
    return [["m=" + part.split("\r\n")[0], *part.split("\r\n")[1:]] for part in sdp.strip().split("\r\nm=")[1:]]


def fragment(client: Client, ufrag: str | None = None, candidate: str = "192.0.2.1") -> str:
    """A trickled candidate of `client`."""
    return _CANDIDATES.format(ufrag or client.credentials[0], client.credentials[1], candidate)


class ShiftedClock(SystemClock):
    """The real clock, `shift_s` ahead: tests of deadlines need not wait for them. After `stop` only `shift_s` moves it:
    nothing is due because a machine is busy."""

    shift_s = 0.0
    _stopped_s: float | None = None

    def monotonic(self) -> float:
        return (super().monotonic() if self._stopped_s is None else self._stopped_s) + self.shift_s

    def stop(self) -> None:
        self._stopped_s = super().monotonic()


class House:
    """The running media part and what it told the rest of the product."""

    def __init__(self, host: str = "127.0.0.1", cluster: Cluster | None = None, **more: Any) -> None:
        """`more` are settings."""
        self.clock = ShiftedClock()
        self.tokens = Tokens(SECRET, self.clock)
        self.registry = CollectorRegistry()
        self.told: list[tuple[str, bool]] = []
        self.figures: list[dict[str, Any]] = []
        self.over: set[str] = set()  # shows that have ended
        self.asked = 0  # how often it was asked whether a show is open
        self.lit: set[str] = set()  # shows that are told to have a publisher; workers may share it
        self.failures = 0  # how often telling fails before it works
        self.media = Media(
            Settings(host=host, port=0, secret=SECRET, **more),
            self.clock,
            authorise_publisher=self._authorise,
            show_exists=self._exists,
            show_open=self._open,
            on_publisher=self._on_publisher,
            on_statistics=self._on_statistics,
            on_air=self._on_air,
            cluster=cluster,
            registry=self.registry,
        )
        self.http: httpx.AsyncClient

    async def _authorise(self, show: str, bearer: str) -> Rank:
        await self._exists(show)
        if bearer not in (KEY, BACKUP_KEY):
            raise Problem(Kind.token_invalid)
        return Rank.primary if bearer == KEY else Rank.backup

    async def _exists(self, show: str) -> None:
        if show not in ("demo", "other"):
            raise Problem(Kind.unknown_show)

    async def _open(self, show: str) -> None:
        await self._exists(show)
        self.asked += 1
        if show in self.over:
            raise Problem(Kind.illegal_transition)

    async def _on_publisher(self, show: str, present: bool) -> None:
        if self.failures:
            self.failures -= 1
            raise RuntimeError("the store is away")
        self.told.append((show, present))
        (self.lit.add if present else self.lit.discard)(show)

    async def _on_air(self) -> list[str]:
        return sorted(self.lit)

    async def _on_statistics(self, show: str, figures: dict[str, Any]) -> None:
        self.figures.append(figures)
        if self.failures:
            raise RuntimeError("the bus is away")

    async def video(self, show: str = "demo", role: Role = Role.host, of: str = "demo") -> httpx.Response:
        """GET the figures of a show's video with a token for the show `of`."""
        token = self.tokens.sign(Principal("someone", role, of, "Someone"), 60)
        return await self.http.get(f"/api/shows/{show}/video", headers={"authorization": f"Bearer {token}"})

    async def post(self, way: str, offer: str, show: str = "demo", **headers: str) -> httpx.Response:
        """POST an offer to "whip" or "whep"."""
        return await self.http.post(f"/{way}/{show}", content=offer, headers={"content-type": SDP} | BEARER | headers)

    async def enter(self, client: Client, way: str, codecs: tuple[str, ...] = ("h264", "opus"), **kw: Any) -> str:
        """Connect a light client; returns its session's address."""
        answer = await self.post(way, client.offer(DIRECTION[way], codecs, **kw))
        assert answer.status_code == 201, answer.text
        await client.connect(answer.text)
        return answer.headers["location"]


async def patch(house: House, address: str, body: str, etag: str | None, kind: str = SDP_FRAGMENT) -> httpx.Response:
    """PATCH a session; `etag` None: without If-Match."""
    headers = {"content-type": kind} | BEARER | ({} if etag is None else {"if-match": etag})
    return await house.http.patch(address, content=body, headers=headers)


async def until(condition: Callable[[], object], timeout_s: float = 10.0) -> None:
    """Wait for something that another party does; there is no event to wait for."""
    async with asyncio.timeout(timeout_s):
        while not condition():
            await asyncio.sleep(0.005)


@asynccontextmanager
async def running(
    host: str = "127.0.0.1", cluster: Cluster | None = None, lit: set[str] | None = None, **more: Any
) -> AsyncIterator[House]:
    """A house that is open; `more` are settings."""
    made = House(host, cluster, **more)
    made.lit = made.lit if lit is None else lit
    await made.media.start()
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        app = Starlette(
            routes=[*routes(made.media), *rest.routes(operations(made.media), made.tokens)],
            exception_handlers={Problem: rest.on_problem},
        )
        server = uvicorn.Server(uvicorn.Config(app, log_level="warning", lifespan="off"))
        serving = asyncio.create_task(server.serve([listener]))
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        async with httpx.AsyncClient(base_url=url, timeout=10) as made.http:
            yield made
        server.should_exit = True
        await serving
    await made.media.stop()


@pytest.fixture
async def house(request: pytest.FixtureRequest) -> AsyncIterator[House]:
    """With another address, or other settings, as the fixture's parameter."""
    asked = getattr(request, "param", {})
    async with running(**asked if isinstance(asked, dict) else {"host": asked}) as made:
        yield made


@pytest.fixture
async def client() -> AsyncIterator[Make]:
    """Makes light clients and closes them at the end."""
    made: list[Client] = []

    def make(**options: Any) -> Client:
        made.append(Client(**options))
        return made[-1]

    yield make
    for each in made:
        await each.close()


@pytest.fixture
async def publisher(house: House, client: Make) -> Watcher:
    """On air in the show "demo"."""
    made = Watcher(client)
    await house.enter(made.client, "whip")
    await until(lambda: house.told)
    return made


async def viewer(house: House, client: Make, codecs: tuple[str, ...] = ("h264", "opus")) -> Watcher:
    """A viewer of the show "demo" that the relay already serves."""
    made = Watcher(client)
    await house.enter(made.client, "whep", codecs)
    await until(lambda: len(house.media.stages["demo"].relay.subscribers) > 0)
    return made


@pytest.fixture
def raw() -> Iterator[socket.socket]:
    """What datagrams are sent from."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as opened:
        opened.setblocking(False)
        opened.bind(("127.0.0.1", 0))
        yield opened
