"""Composition root: settings → parts → Starlette app; and the command line.

Siblings (chat, cart, stream) never import each other: what one needs of another is passed here as a function.
"""

import gc

gc.disable()  # 1,600 modules leave none while they are loaded, and looking for it was a quarter of the start

import os
import socket
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from importlib.metadata import version
from typing import Any, NamedTuple

import click
import msgspec
import structlog
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.types import ASGIApp

import cart.api
import cart.feeds.api
import cart.ordering.api
import cart.webhooks.api
import chat.api
import live.access.api
import live.api
import live.pages
import stream.api
from cart import demo
from cart.baskets import cart_of
from cart.demo import DEMO_SHOW
from cart.feeds.command import add_commands
from cart.feeds.service import Feeds
from cart.handoff.service import Way
from cart.ordering.office import trade
from cart.service import Shop
from cart.webhooks.outbox import put_news
from cart.webhooks.service import Webhooks
from chat.counting import Reactions
from chat.metrics import ChatCollector
from chat.service import NOT_MUTED, Chat
from live.access.command import key_command
from live.access.parts import Access
from live.core import health, rest
from live.core.addresses import ClientAddresses, Proxies
from live.core.auth import Principal, Role, Tokens
from live.core.bus import Bus
from live.core.clock import Clock, SystemClock
from live.core.codec import plain
from live.core.collector import KernelCollector
from live.core.command import migrate_command, run, settings_of, token_command, with_settings
from live.core.database import Database, migrate, schema
from live.core.departure import Departure
from live.core.errors import Problem
from live.core.garbage import keep_tidy
from live.core.limits import RETURNING_MAX
from live.core.metrics import Metrics
from live.core.server import Server, listen, reserve
from live.core.settings import Settings, environment
from live.core.siblings import family
from live.core.supervisor import Supervisor, leash, report_ready
from live.core.tasks import running
from live.core.together import Together
from live.core.tracing import Tracing
from live.core.valkey import private
from live.ops import Ops
from live.realtime.commands import Commands
from live.realtime.connections import Connections
from live.realtime.fallback import Fallback
from live.realtime.gateway import Gateway, Shortcut
from live.realtime.hub import Hub
from live.realtime.metrics import RealtimeCollector
from live.realtime.outlet import Outlet
from live.realtime.streams import StreamingProtocol
from live.realtime.transport import uvicorn_options
from live.service import Shows
from live.store import followed_shows
from stream.cluster.cluster import Cluster
from stream.service import Media

gc.freeze()  # nor when they are there
gc.enable()
VERSION = version("showcart")
_log = structlog.get_logger("showcart")


# --- the parts, opened in order and closed in reverse -----------------------------------------------------------


class Store(NamedTuple):
    """What changes shows and products, and tells the screens: enough for the command line."""

    clock: Clock
    tokens: Tokens
    bus: Bus
    bus_url: str
    database: Database
    access: Access
    outlet: Outlet
    shows: Shows
    shop: Shop
    webhooks: Webhooks
    feeds: Feeds


class Parts(NamedTuple):
    """What one worker is made of."""

    store: Store
    ops: Ops
    chat: Chat
    media: Media
    departure: Departure
    connections: Connections
    gateway: Gateway


@asynccontextmanager
async def open_store(settings: Settings, *, join: bool = False) -> AsyncIterator[Store]:
    """Open database and bus; `join`: the private Valkey of a server that runs in this data folder already."""
    clock = SystemClock()
    tokens = Tokens(settings.secret, clock, demo_show=DEMO_SHOW if settings.demo else None)
    async with AsyncExitStack() as stack:
        bus_url = settings.redis_url or await stack.enter_async_context(private(settings.data_dir, join=join))
        bus = await Bus.open(bus_url)
        stack.push_async_callback(bus.close)
        database = await Database.open(settings.effective_database_url, clock)
        stack.push_async_callback(database.close)
        access = Access.of(settings, database, tokens, clock, bus.tallies.take_all)
        stack.push_async_callback(access.close)
        outlet = await stack.enter_async_context(Outlet.open(bus, partial(database.read_sync, followed_shows)))
        shows = Shows(database, outlet, clock, tokens=tokens)
        shows.transactions.also = put_news
        stack.push_async_callback(shows.close)
        selling = trade(settings.payment, settings.capture, settings.mail_url, settings.mail_from, settings.data_dir)
        shop = Shop(
            database, shows, clock,
            hold_ttl_s=settings.hold_ttl_s, secret=settings.secret, trade=selling, tax_bp=settings.tax_bp,
            way=Way.of(settings, tokens.subject_of),
        )  # fmt: skip
        stack.push_async_callback(shop.close)
        shop.attach()
        access.sign_on.merge = shop.handing.merging.merge
        webhooks = Webhooks.of(settings, database, clock)
        feeds = Feeds.of(settings, database, shows, shop.offering)
        yield Store(clock, tokens, bus, bus_url, database, access, outlet, shows, shop, webhooks, feeds)


@asynccontextmanager
async def open_parts(settings: Settings, worker: int = 0) -> AsyncIterator[Parts]:
    """Open every part of a worker, whose index is `worker`; closes them in reverse order."""
    metrics = Metrics(worker, settings.data_dir)
    async with AsyncExitStack() as stack:
        store = await stack.enter_async_context(open_store(settings))
        cluster = await stack.enter_async_context(Cluster.open(store.bus, store.bus_url))
        media = _media(settings, store, cluster, metrics, worker)
        await media.start()
        stack.push_async_callback(media.stop)
        hub = Hub(store.bus)
        hub.start()
        stack.push_async_callback(hub.close)
        chat_room = Chat(store.shows, store.database, store.bus.tallies.take_each)
        stack.push_async_callback(chat_room.close)
        reactions = Reactions(store.outlet.count, store.clock)
        stack.push_async_callback(reactions.close)
        connections = _connections(stack, settings, store, chat_room, reactions, hub)
        connections.start()
        stack.push_async_callback(connections.close)
        departure = await stack.enter_async_context(Departure.open(store.bus))
        media.admit = departure.refuse
        await stack.enter_async_context(running(store.shop.keeper.run()))
        await stack.enter_async_context(store.shop.office.open())
        await stack.enter_async_context(running(store.shop.offering.watch.run()))
        await stack.enter_async_context(running(store.webhooks.run()))
        await stack.enter_async_context(running(store.feeds.run()))
        await stack.enter_async_context(running(store.access.run()))
        kernel = KernelCollector(departure, store.bus, store.database, cart=store.shop.adds, chat=chat_room.posting)
        realtime, written = RealtimeCollector(connections, hub, store.outlet), ChatCollector(chat_room, reactions)
        tracing = await stack.enter_async_context(Tracing.open(settings.tracing, worker))
        connections.commands.tracing = hub.tracing = tracing
        collectors = realtime, written, store.webhooks.collector, store.access, store.shop.keeper
        ops = await stack.enter_async_context(Ops.open(metrics, settings.workers, *collectors, kernel=kernel))
        yield Parts(store, ops, chat_room, media, departure, connections, Gateway(connections))


def _media(settings: Settings, store: Store, cluster: Cluster, metrics: Metrics, worker: int) -> Media:
    shows, outlet = store.shows, store.outlet

    async def publisher_changed(show: str, present: bool) -> None:
        await shows.publisher_changed(show, present)

    media = Media(
        settings, store.clock,
        authorise_publisher=shows.stream_keys.authorise, show_exists=shows.get, show_open=shows.check_open,
        on_publisher=publisher_changed, on_air=shows.publishing,
        on_statistics=lambda show, figures: outlet.state(show, "video", figures, staff=True),
        cluster=cluster, registry=metrics.registry, worker=worker,
    )  # fmt: skip
    shows.when_over = media.hang_up
    media.on_leaving = lambda show, leaving: outlet.state(show, "media.leaving", leaving, key=leaving["worker"])
    return media


def _connections(
    stack: AsyncExitStack, settings: Settings, store: Store, chat_room: Chat, reactions: Reactions, hub: Hub
) -> Connections:
    async def snapshot(show: str) -> dict[str, Any]:
        found = dict(await store.shows.snapshot(show))
        found["chat"] = await chat_room.snapshot(show)
        found["reactions"] = await reactions.totals(show)
        return found | {"viewers": hub.count(show), "now_ms": store.clock.now_ms()}

    async def stored(asked: Sequence[tuple[str, str]]) -> dict[tuple[str, str], tuple[Any, bool]]:
        """For each show and viewer the cart and what is waited for, and whether the viewer has written there."""
        found: dict[tuple[str, str], tuple[Any, bool]] = {}
        for show in {show for show, _ in asked}:
            subjects = [subject for of, subject in asked if of == show]
            own, known = await store.shop.seen.personal(show, subjects), await chat_room.known(show, subjects)
            found |= {(show, subject): (own[subject], subject in known) for subject in subjects}
        return found

    returning = Together(stored, RETURNING_MAX)
    stack.push_async_callback(returning.close)

    async def personal(show: str, viewer: Principal) -> dict[str, Any]:
        # Most who come back have written nothing: two queries for hundreds of them, instead of six for each.
        own, known = await returning.ask((show, viewer.subject))
        quiet = not known and viewer.role is Role.viewer
        besides = await store.shop.seen.besides(show, viewer)
        found: dict[str, Any] = own | {"chat": NOT_MUTED if quiet else await chat_room.personal(show, viewer)}
        return found | besides

    newcomer = {"cart": plain(cart_of(())), "chat": NOT_MUTED}
    registry = Commands()
    live.api.commands(registry, store.shows)
    chat.api.commands(registry, chat_room, reactions)
    cart.api.commands(registry, store.shop)
    return Connections(
        hub, store.tokens, registry, store.clock,
        snapshot=snapshot, personal=personal, newcomer=newcomer, settings=settings, exists=store.shows.get,
    )  # fmt: skip


# --- the application ---------------------------------------------------------------------------------------------


def build(settings: Settings, parts: Parts) -> ASGIApp:
    """The application over open parts."""
    fallback = Fallback(parts.connections, parts.store.tokens, parts.store.clock, settings)
    operations = [
        *live.access.api.operations(parts.store.access),
        *live.api.operations(parts.store.shows, parts.store.tokens, parts.store.bus.take),
        *chat.api.operations(parts.chat),
        *cart.api.operations(parts.store.shop, parts.store.shows),
        *cart.webhooks.api.operations(parts.store.webhooks),
        *cart.feeds.api.operations(parts.store.feeds),
        *cart.ordering.api.operations(parts.store.shop.office, parts.store.shop.cart, parts.store.bus.take),
        *stream.api.operations(parts.media),
        *fallback.operations,
    ]
    checks = {"database": parts.store.database.check, "bus": parts.store.bus.check, "media": parts.media.check}
    missing = live.pages.Missing(settings).on_http_exception
    # The demo's token is well known, so a page elsewhere must not reach it under a name of its own (DNS rebinding).
    hosts = ["127.0.0.1", "localhost", settings.host] if settings.demo else None
    application = Starlette(
        middleware=[Middleware(TrustedHostMiddleware, allowed_hosts=hosts or ["*"])],
        routes=[
            *live.pages.routes(settings),
            *stream.api.routes(parts.media),
            *cart.feeds.api.routes(parts.store.feeds),
            parts.gateway.route,
            fallback.route,
            *rest.routes(operations, parts.store.tokens, parts.connections.commands.tracing, parts.store.access.warden),
            rest.document(operations, VERSION),
            *health.routes(lambda: checks | parts.departure.checks),
            parts.ops.route,
        ],
        exception_handlers={Problem: rest.on_problem, HTTPException: missing, Exception: rest.on_crash},
    )
    proxies = Proxies(settings.trusted_proxies, settings.forwarded_header)
    return ClientAddresses(Shortcut(application, parts.gateway, fallback, hosts), proxies)


async def serve(settings: Settings, ready: Callable[[Settings], None]) -> None:
    """Run until a signal ends it; `ready` is called, with the real ports, when it answers."""
    if settings.workers > 1:
        return await _supervise(settings, ready)
    with listen(settings) as listener:
        settings = msgspec.structs.replace(settings, port=listener.getsockname()[1])
        await _work(settings, listener, 0, lambda: ready(settings))


async def _work(settings: Settings, listener: socket.socket, worker: int, ready: Callable[[], None]) -> None:
    """One worker, on a socket that listens already."""
    async with open_parts(settings, worker) as parts, running(keep_tidy()):
        if settings.demo and settings.workers == 1:
            await demo.stage(parts.store.shows)
        drain = partial(parts.departure.drain, parts.connections, parts.media)
        server = Server(build(settings, parts), ready=ready, drain=drain, http=StreamingProtocol, **uvicorn_options())
        await server.serve(sockets=[listener])


async def _supervise(settings: Settings, ready: Callable[[Settings], None]) -> None:
    """Several workers, with the port, the private Valkey and the demo's show made ready for them."""
    with reserve(settings) as reserved:
        media_port = settings.media_port if settings.udp_port else 0  # 0: each finds a free one of its own
        settings = msgspec.structs.replace(settings, port=reserved.getsockname()[1], media_port=media_port)
        async with AsyncExitStack() as stack:
            url = settings.redis_url or await stack.enter_async_context(private(settings.data_dir))
            settings = msgspec.structs.replace(settings, redis_url=url)
            if settings.demo:
                async with open_store(settings) as store:
                    await demo.stage(store.shows)
            environ = os.environ | environment(settings) | stack.enter_context(family())
            # Not `-m app`: a folder that the command happens to run in may have an app.py of its own.
            command = (sys.executable, __file__, "worker")
            await Supervisor(settings.workers, command, environ).run(lambda: ready(settings))


# --- command line ------------------------------------------------------------------------------------------------


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(VERSION, prog_name="showcart")
def main() -> None:
    """Self-hosted live shopping. Every flag has an environment variable SHOWCART_<FLAG>."""


@main.command("serve")
@with_settings
def serve_command(**flags: str | None) -> None:
    """Run a server for your shows."""
    settings = settings_of(flags)

    async def job() -> None:
        match await schema(settings.effective_database_url):
            case "empty":
                raise click.ClickException("Run `showcart migrate` first: the database is empty.")
            case "other":
                raise click.ClickException("The database has another version's schema; run `showcart migrate` first.")
        await serve(settings, lambda at: _log.info("ready", host=at.host, port=at.port, media_port=at.udp_port))

    run(job(), settings)


@main.command("demo")
@with_settings
def demo_command(**flags: str | None) -> None:
    """Run the demo: one show with products, on this machine only."""
    settings = settings_of(flags | {"demo": "true"}, log_level="warning")

    async def job() -> None:
        await migrate(settings.effective_database_url)
        await serve(settings, demo.print_links)

    run(job(), settings)


@main.command("worker", hidden=True)
@click.argument("index", type=click.IntRange(min=0))
def worker_command(index: int) -> None:
    """Run one worker of several; the supervisor starts it."""
    settings = settings_of({})

    async def job() -> None:
        structlog.contextvars.bind_contextvars(worker=index)
        with leash(), listen(settings, shared=True) as listener:
            await _work(settings, listener, index, report_ready)

    run(job(), settings)


for command in (migrate_command, token_command, key_command):
    main.add_command(command)
add_commands(main, open_store)


@main.command("loadtest", context_settings={"ignore_unknown_options": True, "help_option_names": []})
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def loadtest_command(arguments: tuple[str, ...]) -> None:
    """Rehearse an event; ends with a non-zero code when a threshold breaks."""
    try:  # an operator who never rehearses does not need the extra
        from loadtests.run import command
    except ImportError as error:
        raise click.ClickException(f"{error}. Install the extra: pip install 'showcart[loadtest]'.") from None
    command(list(arguments), prog_name="showcart loadtest")


if __name__ == "__main__":
    main()
