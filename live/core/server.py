"""The process around the application: listening, draining, and ending in good order.

    listening ── a ──> draining ── b ──> closing ── c ──> ended

a. a signal: the listening socket is closed first, so that new connections go to the workers that stay; who waits in
its queue already is let in, because the kernel would reset them. Every answer from here on ends its connection.
b. `drain` is done: uvicorn closes what is left. c. The requests under way are answered, or SHUTDOWN_S is over.
"""

import asyncio
import gc
import logging
import os
import signal
import socket
import sys
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any

import uvicorn

from live.core.http import BoundedProtocol
from live.core.limits import ACCEPTED_PER_TURN, LISTEN_BACKLOG, SHUTDOWN_S, SOCKET_UNSENT_BYTES_MAX, SWITCH_INTERVAL_S
from live.core.settings import Settings
from live.core.tasks import end

log = logging.getLogger(__name__)
_HURRY_S = 0.1


class Server(uvicorn.Server):
    """Uvicorn that drains before it closes sockets, and leaves the end of the process to us.

    Uvicorn itself closes every WebSocket at once before the application hears of the shutdown, and raises the
    signal again afterwards, which would end the process before our parts are closed.
    """

    def __init__(
        self, app: Any, *, ready: Callable[[], None], drain: Callable[[], Coroutine[Any, Any, None]], **options: Any
    ) -> None:
        """`ready` is called once requests are answered, `drain` before sockets are closed. `options`: uvicorn's."""
        super().__init__(
            uvicorn.Config(
                app,
                lifespan="off",
                log_config=None,
                access_log=False,
                server_header=False,
                timeout_graceful_shutdown=SHUTDOWN_S,
                **{"http": BoundedProtocol} | options,
            )
        )
        self._ready = ready
        self._drain = drain
        self._ears: list[socket.socket] = []

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        # libuv takes one connection of a listener in each turn of the loop (since 1.45), and while a crowd is written
        # to a turn takes 4 ms: 250 joins a second. Duplicates of a descriptor share its queue, and each takes one.
        self._ears = [listener.dup() for listener in sockets or [] for _ in range(ACCEPTED_PER_TURN - 1)]
        await super().startup([*sockets, *self._ears] if sockets else sockets)
        if self.started:
            # What the start has made stays. Looking through it at each full collection held the loop for 60 ms.
            gc.collect()
            gc.freeze()
            self._ready()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        await self._stop_accepting(sockets or [])
        draining = asyncio.create_task(self._drain(), name="drain")
        while not draining.done() and not self.force_exit:  # a second Ctrl-C; uvicorn only sets a flag, too
            await asyncio.wait((draining,), timeout=_HURRY_S)
        if draining.done() and (error := draining.exception()):
            log.error("draining failed, everything is closed at once", exc_info=error)
        await end(draining)
        await super().shutdown(sockets)

    async def _stop_accepting(self, sockets: list[socket.socket]) -> None:
        """Close the listening sockets, without a turn of the loop between looking into their queues and that."""
        waiting = [connection for listener in sockets for connection in _queued(listener)]
        for server in self.servers:
            server.close()
        for listener in (*sockets, *self._ears):
            listener.close()
        self.server_state.default_headers = [*self.server_state.default_headers, (b"connection", b"close")]
        for protocol in tuple(self.server_state.connections):
            if isinstance(protocol, BoundedProtocol) and protocol.cycle and not protocol.cycle.response_complete:
                protocol.cycle.keep_alive = False
        for connection in waiting:
            await asyncio.get_running_loop().connect_accepted_socket(self._protocol, connection)

    def _protocol(self) -> asyncio.Protocol:
        made: Any = self.config.http_protocol_class
        protocol: asyncio.Protocol = made(self.config, self.server_state, self.lifespan.state)
        return protocol

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        before = {number: signal.signal(number, self.handle_exit) for number in (signal.SIGINT, signal.SIGTERM)}
        before[signal.SIGHUP] = signal.signal(signal.SIGHUP, self.handle_exit if in_terminal() else _hung_up)
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def in_terminal() -> bool:
    """Whether SIGHUP means that our terminal was closed; else it asks for a restart of the workers."""
    try:
        return os.isatty(0)
    except OSError:
        return False


def _hung_up(number: int, frame: object) -> None:
    log.warning("SIGHUP is for the process that looks after several workers; this one goes on")


def _queued(listener: socket.socket) -> list[socket.socket]:
    """Who has connected to `listener` and was not accepted yet."""
    found: list[socket.socket] = []
    listener.setblocking(False)
    while len(found) <= LISTEN_BACKLOG:
        try:
            connection, _ = listener.accept()
        except BlockingIOError:
            break
        except OSError as error:  # out of files: the rest is reset, as it would have been
            log.warning("could not take a connection over: %s", error)
            break
        connection.setblocking(False)
        found.append(connection)
    return found


def listen(settings: Settings, *, shared: bool = False) -> socket.socket:
    """The TCP socket of `settings`, for both families when its host is `::`; `shared`: one of several workers'.

    Raises `OSError` when the address is taken.
    """
    family, host, both = _address(settings)
    listener = socket.create_server(
        (host, settings.port), family=family, backlog=LISTEN_BACKLOG, reuse_port=shared, dualstack_ipv6=both
    )
    # Else the kernel takes up to 4 MB for a peer that reads nothing, before we hear of it: 40 GB for ten thousand. The
    # connections inherit the bound, which is on what was not sent yet: what is on its way may be as much as ever.
    option = getattr(socket, "TCP_NOTSENT_LOWAT", None)
    if option is not None:
        listener.setsockopt(socket.IPPROTO_TCP, option, SOCKET_UNSENT_BYTES_MAX)
    return listener


def reserve(settings: Settings) -> socket.socket:
    """A socket that keeps the port of `settings` for our workers and takes no connections itself.

    Raises `OSError` when the address is taken, also by workers of another service: whoever shares a port takes
    connections away from the others without a word.
    """
    with listen(settings) as probe:
        port: int = probe.getsockname()[1]
    family, host, both = _address(settings)
    reserved = socket.socket(family, socket.SOCK_STREAM)
    try:
        reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if family is socket.AF_INET6:
            reserved.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, not both)
        reserved.bind((host, port))
    except BaseException:
        reserved.close()
        raise
    return reserved


def _address(settings: Settings) -> tuple[socket.AddressFamily, str, bool]:
    """Family and host to bind to, and whether that is both families."""
    both = settings.host == "::"
    return socket.AF_INET6 if ":" in settings.host else socket.AF_INET, "" if both else settings.host, both


def run(job: Coroutine[Any, Any, None]) -> None:
    """Run `job` on the fastest event loop that this system has."""
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        runner.run(job)


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop]:
    try:
        import uvloop
    except ImportError:  # there is none for Windows
        return asyncio.new_event_loop
    return uvloop.new_event_loop
