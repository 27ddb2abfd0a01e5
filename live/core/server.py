"""The process around the application: listening, draining, and ending in good order."""

import asyncio
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


def listen(settings: Settings) -> socket.socket:
    """The TCP socket of `settings`, for both families when its host is `::`.

    Raises `OSError` when the address is taken.
    """
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    both = settings.host == "::"
    address = ("" if both else settings.host, settings.port)
    return socket.create_server(address, family=family, backlog=LISTEN_BACKLOG, dualstack_ipv6=both)


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
