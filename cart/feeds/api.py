"""Feeds over HTTP: `/api/feeds…`, one SKU as `/api/skus/{sku}`, and the catalogue as `/feeds/google.xml`."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, suppress
from typing import Annotated, Any, Literal, get_args

import msgspec
from msgspec import UNSET, Meta
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route
from starlette.types import Message, Send

from cart import audit
from cart.answers import Answer
from cart.feeds import service
from cart.feeds.importer import Options
from cart.feeds.pushing import Push
from cart.feeds.records import Run, RunState, Source
from cart.feeds.report import ImportReport, Missing, StockMeans
from cart.feeds.service import Feeds, NewSource
from live.core.auth import Principal, Role
from live.core.errors import Kind, Problem
from live.core.limits import (
    FEED_INTERVAL_S_MAX,
    FEED_INTERVAL_S_MIN,
    FEED_NAME_CHARS_MAX,
    FEED_RUNS_LISTED_MAX,
    FEED_SILENT_S,
    FEED_URL_CHARS_MAX,
    ID_CHARS_MAX,
)
from live.core.rest import Operation, idempotency_key, principal_of, problem_response, respond

SourceFormat = Literal["auto", "csv", "json", "xml"]
Url = Annotated[str, Meta(max_length=FEED_URL_CHARS_MAX)]
Interval = Annotated[int, Meta(ge=FEED_INTERVAL_S_MIN, le=FEED_INTERVAL_S_MAX)]
Authorization = Annotated[str, Meta(max_length=2000)]


# --- what comes in --------------------------------------------------------------------------------------------


class SourceEntry(msgspec.Struct, forbid_unknown_fields=True):
    """Where a feed comes from: https://…, or file:name in the data folder's `feeds`.

    `format` auto: by what it begins with. `missing`: what becomes of SKUs that it named before and names no longer.
    `stock_means`: its units are those that are there, or those that can still be sold. `authorization`: the value of
    that header, such as "Bearer …" (null: none).
    """

    name: Annotated[str, Meta(min_length=1, max_length=FEED_NAME_CHARS_MAX)]
    url: Url
    format: SourceFormat = "auto"
    interval_s: Interval = 3600
    missing: Missing = "kept"
    stock_means: StockMeans = "on_hand"
    authorization: Authorization | None = None


class SourceChange(msgspec.Struct, forbid_unknown_fields=True):
    """What shall be otherwise; null: as it is. `authorization` "": none. `state` paused: only when asked for."""

    url: Url | None = None
    format: SourceFormat | None = None
    interval_s: Interval | None = None
    missing: Missing | None = None
    stock_means: StockMeans | None = None
    authorization: Authorization | None = None
    state: Literal["active", "paused"] | None = None


# --- what goes out --------------------------------------------------------------------------------------------


class SourceView(msgspec.Struct):
    """A source; `authorized`: a header is sent. `failures` in a row, `problem` of the last one ("": none)."""

    id: str
    name: str
    url: str
    format: SourceFormat
    interval_s: int
    missing: Missing
    stock_means: StockMeans
    authorized: bool
    state: Literal["active", "paused"]
    due_at_ms: int
    failures: int
    problem: str
    created_at_ms: int


class Sources(msgspec.Struct):
    """All sources, by name."""

    sources: list[SourceView]


class SourceAnswer(msgspec.Struct):
    """The source as it is now."""

    source: SourceView


class RunView(msgspec.Struct):
    """One reading of a feed ("": of none that has a name). `state` unchanged: there was nothing new.

    `done_bytes` of `size_bytes` (0: not known yet) are read. `report` null: it was not read, or not to the end so far.
    """

    id: str
    feed: str
    state: RunState
    dry_run: bool
    began_at_ms: int
    ended_at_ms: int | None
    size_bytes: int
    done_bytes: int
    problem: str
    report: ImportReport | None


class Runs(msgspec.Struct):
    """Runs, the newest first. `next` null: the last page; else the value of `before` for the next."""

    runs: list[RunView]
    next: str | None


class Begun(msgspec.Struct):
    """The run that was begun; read it to see how far it is."""

    run: str


class Pushed(msgspec.Struct):
    """The SKU as it is now. `short`: there are fewer units than carts and orders were promised."""

    sku: str
    price_minor: int
    list_price_minor: int | None
    on_hand: int
    allocated: int
    held: int
    available: int
    short: bool


# --- operations -----------------------------------------------------------------------------------------------


class _Operations:
    def __init__(self, feeds: Feeds) -> None:
        self._feeds = feeds

    async def upload(self, request: Request) -> Response:
        """The body is the feed itself: a table, JSON, or Google's XML, packed with gzip or not, of up to a gigabyte.

        It is answered when all of it is here, and brought in afterwards. Good lines land, also when others are refused.
        """
        query = request.query_params
        format_ = _one_of(query.get("format", "auto"), get_args(SourceFormat), "format")
        missing = _one_of(query.get("missing", "kept"), get_args(Missing), "missing")
        means = _one_of(query.get("stock_means", "on_hand"), get_args(StockMeans), "stock_means")
        feed = query.get("feed") or None
        if feed is not None and not (len(feed) <= FEED_NAME_CHARS_MAX and feed.isprintable()):
            raise Problem(Kind.invalid_field, f"At most {FEED_NAME_CHARS_MAX} printable characters.", field="feed")
        if missing != "kept" and feed is None:
            raise Problem(
                Kind.invalid_field, "Say which `feed` it is: only of its own SKUs some are missing.", field="feed"
            )
        principal = _principal(request)
        dry_run = query.get("dry_run", "").lower() in ("1", "true", "yes")
        options = Options(dry_run, means, feed, missing, audit.actor(principal), gentle=True)
        key = idempotency_key(request)
        chosen = None if format_ == "auto" else format_
        return _respond(await self._feeds.upload(principal, key, _body(request), chosen, options), 202)

    async def runs(self, request: Request) -> Runs:
        found = await self._feeds.runs(request.query_params.get("feed"), request.query_params.get("before"))
        views = [_run(each) for each in found]
        return Runs(views, views[-1].id if len(views) == FEED_RUNS_LISTED_MAX else None)

    async def run(self, request: Request) -> RunView:
        return _run(await self._feeds.one_run(request.path_params["run"]))

    async def sources(self, _request: Request) -> Sources:
        return Sources([_source(each) for each in await self._feeds.sources()])

    async def create(self, request: Request, body: SourceEntry) -> Response:
        """It is fetched at once, and again and again. Its name is resolved and looked at: nothing is read from private
        addresses."""
        new = NewSource(**msgspec.structs.asdict(body))
        return _respond(await self._feeds.create(_principal(request), idempotency_key(request), new), 201)

    async def source(self, request: Request) -> SourceAnswer:
        return SourceAnswer(_source(await self._feeds.source(_feed(request))))

    async def change(self, request: Request, body: SourceChange) -> Response:
        members = msgspec.structs.asdict(body)
        key = idempotency_key(request)
        return _respond(await self._feeds.change(_principal(request), key, _feed(request), **members))

    async def ask(self, request: Request) -> Response:
        """Now, also when it is paused, and whatever failed before."""
        return _respond(await self._feeds.ask(_principal(request), idempotency_key(request), _feed(request)), 202)

    async def delete(self, request: Request) -> None:
        """What it brought stays."""
        await self._feeds.delete(_principal(request), idempotency_key(request), _feed(request))

    async def push(self, request: Request, body: Push) -> Response:
        """Another price or another number of units, which every screen shows at once. Prices are the catalogue's own:
        rules still apply to them, and for them a service needs the scope catalogue:write as well."""
        sku, key = request.path_params["sku"], idempotency_key(request)
        principal = _principal(request)
        if body.price_minor is not UNSET or body.list_price_minor is not UNSET:
            principal.require_scope("catalogue:write")
        return _respond(await self._feeds.pushes.push(sku, body, principal, key))


def operations(feeds: Feeds) -> list[Operation]:
    """The HTTP operations of feeds."""
    on = _Operations(feeds)
    one, unknown = "/api/feeds/sources/{feed}", (Kind.unknown_feed,)

    def ops(method: str, path: str, handler: Any, summary: str, **more: Any) -> Operation:
        changes = method != "GET"
        errors = (*more.pop("errors", ()), *((Kind.key_reused,) if changes else ()))
        scope = more.pop("scope", "catalogue:write" if changes else "catalogue:read")
        return Operation(
            method,
            path,
            handler,
            summary,
            role=Role.ops,
            scope=scope,
            tag="feeds",
            errors=errors,
            keyed=changes,
            **more,
        )

    return [
        ops("POST", "/api/feeds", on.upload, "Send a product feed", result=Begun, status=202,
            errors=(Kind.invalid_field, Kind.too_large, Kind.malformed, Kind.overloaded),
            query={"format": "auto, csv, json or xml", "dry_run": "1: only say what would happen",
                   "feed": "the name that its SKUs are kept by", "missing": "kept, hidden or zero: see the sources",
                   "stock_means": "on_hand or available"}),
        ops("GET", "/api/feeds/runs", on.runs, "List runs of feeds", result=Runs,
            errors=(Kind.unknown_feed_run, Kind.invalid_field),
            query={"feed": "only of this one", "before": "the `next` of the page before"}),
        ops("GET", "/api/feeds/runs/{run}", on.run, "Read a run of a feed", result=RunView,
            errors=(Kind.unknown_feed_run,)),
        ops("GET", "/api/feeds/sources", on.sources, "List where feeds come from", result=Sources),
        ops("POST", "/api/feeds/sources", on.create, "Have a feed fetched again and again", body=SourceEntry,
            result=SourceAnswer, status=201, errors=(Kind.feed_forbidden, Kind.feed_exists, Kind.too_many_feeds)),
        ops("GET", one, on.source, "Read a source", result=SourceAnswer, errors=unknown),
        ops("PATCH", one, on.change, "Change a source", body=SourceChange, result=SourceAnswer,
            errors=(*unknown, Kind.feed_forbidden)),
        ops("DELETE", one, on.delete, "Fetch a feed no longer", errors=unknown),
        ops("POST", f"{one}/run", on.ask, "Fetch a feed now", result=SourceAnswer, status=202, errors=unknown),
        ops("PATCH", "/api/skus/{sku}", on.push, "Change the price or the stock of a SKU", body=Push, result=Pushed,
            scope="stock:write", errors=(Kind.unknown_sku,)),
    ]  # fmt: skip


def routes(feeds: Feeds) -> list[Route]:
    """The catalogue as others' feeds read it, for anybody: it says no more than the shop window does."""

    async def google(request: Request) -> Response:
        channel = request.query_params.get("channel")
        if channel is not None and not (channel.isascii() and channel.isalnum() and len(channel) <= ID_CHARS_MAX):
            return problem_response(Problem(Kind.invalid_field, "Not a channel's name.", field="channel"))
        pages = feeds.export.xml(_origin(request), request.url.hostname or "Showcart", channel)
        try:
            first = await anext(pages)  # what is refused is refused before there is an answer
        except Problem as problem:
            return problem_response(problem)

        return _Export(first, pages)

    return [Route("/feeds/google.xml", google, methods=["GET"])]


def _origin(request: Request) -> str:
    """Where we were asked: by TLS, when a proxy in front of us says that it ends it.

    Anybody may say so, and host names besides; the answer is theirs alone.
    """
    forwarded = request.headers.get("forwarded", "").lower()
    tls = request.headers.get("x-forwarded-proto", "").lower() == "https" or "proto=https" in forwarded
    url = request.base_url.replace(scheme="https") if tls else request.base_url
    return str(url).rstrip("/")


class _Gone(Exception):
    """Nobody reads the answer any more."""


class _Export(StreamingResponse):
    """The feed page by page; whoever reads nothing of it for FEED_SILENT_S does not get the rest."""

    def __init__(self, first: bytes, pages: AsyncGenerator[bytes, None]) -> None:
        super().__init__(self._all(first), media_type="application/rss+xml", headers={"cache-control": "no-store"})
        self._pages = pages

    async def _all(self, first: bytes) -> AsyncIterator[bytes]:
        yield first
        async for page in self._pages:
            yield page

    async def stream_response(self, send: Send) -> None:
        async def in_time(message: Message) -> None:
            try:
                async with asyncio.timeout(FEED_SILENT_S):
                    await send(message)
            except TimeoutError:
                raise _Gone from None

        async with aclosing(self._pages):
            with suppress(_Gone):
                await super().stream_response(in_time)


async def _body(request: Request) -> AsyncIterator[bytes]:
    try:
        async for chunk in request.stream():
            yield chunk
    except ClientDisconnect:
        raise Problem(Kind.malformed, "The body ended early.") from None


def _one_of(value: str, known: tuple[str, ...], field: str) -> Any:
    if value not in known:
        raise Problem(Kind.invalid_field, f"One of {', '.join(known)}.", field=field)
    return value


def _run(run: Run) -> RunView:
    return RunView(**{name: getattr(run, name) for name in RunView.__struct_fields__})


def _source(source: Source) -> SourceView:
    return SourceView(**service.seen(source))


def _principal(request: Request) -> Principal:
    principal = principal_of(request)
    assert principal is not None, "the operation has a role"
    return principal


def _feed(request: Request) -> str:
    feed: str = request.path_params["feed"]
    return feed


def _respond(answer: Answer, status: int = 200) -> Response:
    return respond(answer.body, status, {"idempotency-replayed": "true"} if answer.replayed else None)
