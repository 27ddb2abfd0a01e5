"""Feeds over both databases, with a merchant's server on this machine."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest

from cart.feeds.fetching import Fetcher
from cart.feeds.formats import Format
from cart.feeds.importer import Options, import_stream
from cart.feeds.report import ImportReport
from cart.feeds.service import Feeds, NewSource
from cart.service import Shop
from live.core.addresses import networks
from live.core.auth import Principal, Role
from live.core.database import Database
from live.service import Shows

SECRET = "a secret of the tests' own"
OPS = Principal(subject="ops", role=Role.ops, show="*", name="Ops")
LOOPBACK = networks(["127.0.0.0/8"])
# What asks the store for nothing that one of them does in its own way is tried on one of them.
ON_SQLITE = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
HEAD = "product_id,title,sku,price,currency,stock,variant\n"


@dataclass(frozen=True)
class Answer:
    """What the merchant's server answers. `after`: not before this is set; `hangs`: never."""

    status: int = 200
    body: bytes = b""
    headers: tuple[str, ...] = ()
    after: asyncio.Event | None = None
    hangs: bool = False


@dataclass
class Merchant:
    """Answers each path by its script: each answer once, the last one always; keeps what it was asked."""

    url: str = ""
    answers: dict[str, list[Answer]] = field(default_factory=dict)
    asked: list[dict[str, str]] = field(default_factory=list)
    came: asyncio.Event = field(default_factory=asyncio.Event)

    @classmethod
    @asynccontextmanager
    async def open(cls) -> AsyncIterator["Merchant"]:
        merchant = cls()
        serving: set[asyncio.Task[None]] = set()

        async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.current_task()
            assert task is not None
            serving.add(task)
            try:
                await merchant._serve(reader, writer)
            except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
                pass
            finally:
                serving.discard(task)
                writer.close()

        server = await asyncio.start_server(accept, "127.0.0.1", 0)
        merchant.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        try:
            yield merchant
        finally:
            server.close()
            for task in list(serving):
                task.cancel()
            if serving:
                await asyncio.wait(serving)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        lines = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        path = lines[0].split(" ")[1]
        self.asked.append({"path": path} | {k.lower(): v for k, _, v in (line.partition(": ") for line in lines[1:])})
        self.came.set()
        script = self.answers[path]
        answer = script.pop(0) if len(script) > 1 else script[0]
        if answer.hangs:
            await asyncio.Event().wait()
        if answer.after is not None:
            await answer.after.wait()
        head = [f"HTTP/1.1 {answer.status} So", "connection: close", *answer.headers]
        if not any(line.startswith("content-length") for line in answer.headers):
            head.append(f"content-length: {len(answer.body)}")
        writer.write("\r\n".join([*head, "", ""]).encode() + answer.body)
        await writer.drain()


async def run(shows: Shows, text: str | bytes, format_: Format | None = "csv", **options: Any) -> ImportReport:
    body = text.encode() if isinstance(text, str) else text
    return (await import_stream(BytesIO(body), shows, format_, Options(**options))).report


@pytest.fixture
async def merchant() -> AsyncIterator[Merchant]:
    async with Merchant.open() as opened:
        yield opened


@pytest.fixture
def feeds(database: Database, shows: Shows, shop: Shop, tmp_path: Path) -> Feeds:
    return Feeds(database, shows, shop.offering, SECRET, Fetcher(tmp_path / "feeds", LOOPBACK))


async def source(feeds: Feeds, url: str, **members: Any) -> str:
    """The name of a new source."""
    await feeds.create(OPS, None, NewSource("goods", url, **members))
    return "goods"
