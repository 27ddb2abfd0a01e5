"""Two workers over one store: each remembers keys for itself, and both count rates together."""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from typing import Any

import httpx
import msgspec
import pytest
from starlette.applications import Starlette
from starlette.requests import Request

from live.access import api
from live.access.claims import Policy
from live.access.holders import Holders
from live.access.keyring import Keyring
from live.access.parts import Access
from live.access.service import Keys
from live.access.sign_on import SignOn
from live.access.warden import Warden
from live.core.auth import ALL_SHOWS, Principal, Role, Tokens
from live.core.clock import ManualClock
from live.core.database import Database
from live.core.errors import Problem
from live.core.rest import Operation, on_problem, principal_of, routes
from live.core.tallies import Pace

SECRET = "a secret of the tests"
OPS = Principal(subject="ops", role=Role.ops, show=ALL_SHOWS, name="Ops")
HOST = Principal(subject="host", role=Role.host, show=ALL_SHOWS, name="Host")
ADA = Principal(subject="ada", role=Role.viewer, show=ALL_SHOWS, name="Ada")


POLICY = Policy(
    issuer="https://shop.example",
    audience="showcart",
    age_s=600,
    segments="segments",
    name="nickname",
    once=False,
)


class Who(msgspec.Struct):
    """Whom an operation took the caller for."""

    subject: str
    role: str
    show: str
    scopes: list[str] | None


async def who(request: Request) -> Who:
    principal = principal_of(request)
    assert principal is not None
    scopes = None if principal.scopes is None else sorted(principal.scopes)
    return Who(principal.subject, principal.role.value, principal.show, scopes)


OPERATIONS = [
    Operation("GET", "/orders", who, "", result=Who, role=Role.ops, scope="orders:read"),
    Operation("POST", "/orders", who, "", result=Who, role=Role.ops, scope="orders:write"),
    Operation("GET", "/shows/{show}/revenue", who, "", result=Who, role=Role.host, scope="reports:read"),
    Operation("GET", "/cart", who, "", result=Who, role=Role.viewer),
    Operation("GET", "/products", who, "", result=Who),
    Operation("GET", "/shows", who, "", result=Who, scope="shows:read"),
    Operation("POST", "/quotes", who, "", result=Who),
]


class Rates:
    """A bus that grants until it is told otherwise."""

    def __init__(self) -> None:
        self.asked: list[list[tuple[str, Pace]]] = []
        self.waits: dict[str, float] = {}

    async def take(self, channel: str, buckets: Sequence[tuple[str, Pace]]) -> tuple[str, float]:
        self.asked.append(list(buckets))
        return next(((name, self.waits[name]) for name, _ in buckets if name in self.waits), ("", 0.0))


class Worker:
    """One worker's doors."""

    def __init__(
        self,
        database: Database,
        clock: ManualClock,
        rates: Rates,
        *,
        addresses: bool = True,
        keyring: Keyring | None = None,
        once: bool = False,
    ) -> None:
        self.holders = Holders(database, clock)
        self.keys = Keys(database, self.holders)
        self.warden = Warden(self.holders, rates.take, clock, addresses=addresses)
        self.tokens = Tokens(SECRET, clock)
        policy = msgspec.structs.replace(POLICY, once=once)
        self.sign_on = SignOn(keyring, policy, database, self.tokens, clock, 3600)
        access = Access(self.keys, self.holders, self.warden, self.sign_on)
        self._app = Starlette(
            routes=routes([*api.operations(access), *OPERATIONS], self.tokens, None, self.warden),
            exception_handlers={Problem: on_problem},
        )

    async def __call__(
        self,
        bearer: str | Principal | None,
        method: str,
        path: str,
        body: Any = None,
        *,
        key: str = "",
        ip: str = "::1",
    ) -> httpx.Response:
        headers = {"idempotency-key": key} if key else {}
        if bearer is not None:
            token = bearer if isinstance(bearer, str) else self.tokens.sign(bearer, 10**6)
            headers["authorization"] = f"Bearer {token}"
        transport = httpx.ASGITransport(app=self._app, client=(ip, 1))
        request = httpx.Request(method, f"http://test{path}", json=body, headers=headers)
        answer = await transport.handle_async_request(request)
        await answer.aread()
        return answer


MakeWorker = Callable[[], Awaitable[Worker]]


@pytest.fixture
def rates() -> Rates:
    return Rates()


@pytest.fixture
async def make_worker(database: Database, clock: ManualClock, rates: Rates) -> AsyncIterator[MakeWorker]:
    async with AsyncExitStack() as stack:

        async def make() -> Worker:
            made = Worker(database, clock, rates)
            stack.push_async_callback(made.holders.close)
            return made

        yield make


@pytest.fixture
async def worker(make_worker: MakeWorker) -> Worker:
    return await make_worker()


async def issue(worker: Worker, *scopes: str, **more: Any) -> str:
    """A new key's secret."""
    issued = await worker.keys.create("ops", "A service", scopes, **more)
    assert issued.secret is not None
    return issued.secret


def name_of(answer: httpx.Response) -> tuple[int, str]:
    """The status and the name of a refusal."""
    return answer.status_code, answer.json()["name"]
