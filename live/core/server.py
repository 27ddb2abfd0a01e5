"""The process around the application: listening, draining, and ending in good order."""

import asyncio
import gc
import signal
import socket
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any

import uvicorn

from live.core.http import BoundedProtocol
from live.core.limits import LISTEN_BACKLOG, SHUTDOWN_S
from live.core.settings import Settings


class Server(uvicorn.Server):
    """Uvicorn that drains before it closes sockets, and leaves the end of the process to us.

    Uvicorn itself closes every WebSocket at once before the application hears of the shutdown, and raises the
    signal again afterwards, which would end the process before our parts are closed.
    """

    def __init__(
        self, app: Any, *, ready: Callable[[], None], drain: Callable[[], Awaitable[None]], **options: Any
    ) -> None:
        """`ready` is called once requests are answered, `drain` before sockets are closed."""
        super().__init__(
            uvicorn.Config(
                app,
                http=BoundedProtocol,
                lifespan="off",
                log_config=None,
                access_log=False,
                server_header=False,
                timeout_graceful_shutdown=SHUTDOWN_S,
                **options,
            )
        )
        self._ready = ready
        self._drain = drain

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            # What the start has made stays. Looking through it at each full collection held the loop for 60 ms.
            gc.collect()
            gc.freeze()
            self._ready()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        if not self.force_exit:  # a second Ctrl-C
            await self._drain()
        await super().shutdown(sockets)

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        before = {number: signal.signal(number, self.handle_exit) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)


def listen(settings: Settings, *, shared: bool = False) -> socket.socket:
    """The TCP socket of `settings`, for both families when its host is `::`; `shared`: one of several workers'.

    Raises `OSError` when the address is taken.
    """
    family, host, both = _address(settings)
    return socket.create_server(
        (host, settings.port), family=family, backlog=LISTEN_BACKLOG, reuse_port=shared, dualstack_ipv6=both
    )


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
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        runner.run(job)


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop]:
    try:
        import uvloop
    except ImportError:  # there is none for Windows
        return asyncio.new_event_loop
    return uvloop.new_event_loop
