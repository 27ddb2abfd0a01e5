"""A real server in a process of its own, real Chromium, and a cable that can be pulled."""

import asyncio
import os
import re
import shutil
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest
from playwright.async_api import Browser, ConsoleMessage, Page, Response, Route, async_playwright, expect

from tests.stream.test_reach import SECRET, coturn

__all__ = ["SECRET", "coturn"]

README = Path(__file__).parents[2] / "README.md"
CAMERA = Path(__file__).parent / "camera.js"
CLAPPER = Path(__file__).parent / "clapper.js"
PEER = Path(__file__).parent / "peer.js"
IMAGES = README.parent / "docs" / "images"
# The README's pictures are made by these tests, but only when asked for: a test run must not change the checkout.
UPDATE_IMAGES = bool(os.environ.get("SHOWCART_UPDATE_IMAGES"))
FLAGS = [
    "--allow-loopback-in-peer-connection",
    "--no-sandbox",
    "--disable-gpu",
    "--use-fake-device-for-media-stream",
    "--use-fake-ui-for-media-stream",
    "--disable-background-networking",
    "--disable-component-update",
    "--no-first-run",
    "--autoplay-policy=no-user-gesture-required",
]


PATIENCE_MS = 15_000  # with pages that several browsers share two cores for; what must be quick is timed
expect.set_options(timeout=PATIENCE_MS)


class Server:
    """`showcart demo` on ports that the system chose."""

    def __init__(self, process: asyncio.subprocess.Process, port: int, log: Path) -> None:
        self.process = process
        self.port = port
        self.log = log

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def stop(self) -> int:
        """Ctrl-C; the exit code. Raises `TimeoutError` when it does not end; nothing is left behind then."""
        with suppress(ProcessLookupError):
            self.process.send_signal(signal.SIGINT)
        try:
            return await asyncio.wait_for(self.process.wait(), 20)
        finally:
            await killed(self.process)


async def killed(process: asyncio.subprocess.Process) -> None:
    """Nobody runs any more, not even beside the next test."""
    if process.returncode is None:
        process.kill()
        await process.wait()


async def start_demo(folder: Path, **settings: str) -> Server:
    """Start the demo with its data under `folder` and `SHOWCART_*` settings; returns when it has printed its links."""
    log = folder / "server.log"
    own = {"SHOWCART_PORT": "0", "SHOWCART_DATA_DIR": str(folder / "var"), "COLUMNS": "120"}
    with log.open("w") as errors:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", "import app; app.main()", "demo",
            env={**os.environ, **own, **settings},
            stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=errors,
        )  # fmt: skip
    try:
        server = Server(process, await _port(process, log), log)
        async with httpx.AsyncClient(base_url=server.url) as client:
            assert (await client.get("/readyz")).status_code == 200
    except BaseException:
        await killed(process)
        raise
    return server


async def _port(process: asyncio.subprocess.Process, log: Path) -> int:
    assert process.stdout is not None
    printed = ""
    async with asyncio.timeout(60):
        while not (found := re.search(r"http://127\.0\.0\.1:(\d+)/studio/demo", printed)):
            line = await process.stdout.readline()
            assert line, f"the demo ended: {printed}{log.read_text()}"
            printed += line.decode()
    return int(found[1])


@pytest.fixture
async def server(tmp_path: Path, sqlite_template: Path, request: pytest.FixtureRequest) -> AsyncIterator[Server]:
    """The demo; a test may give it settings as the parameter of this fixture."""
    (tmp_path / "var").mkdir()
    shutil.copy(sqlite_template, tmp_path / "var" / "showcart.db")
    server = await start_demo(tmp_path, **getattr(request, "param", {}))
    yield server
    assert await server.stop() == 0, server.log.read_text()
    log = server.log.read_text()
    assert "Traceback" not in log, log


def chromium_path() -> str:
    """Where the system's Chromium is."""
    for name in ("chromium", "chromium-browser", "google-chrome"):
        if found := shutil.which(name):
            return found
    pytest.fail("Chromium is not installed: run `make test`, or install your system's chromium package")


@pytest.fixture
async def chromium() -> AsyncIterator[Browser]:
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=chromium_path(), args=FLAGS)
        yield browser
        await browser.close()


class Screens:
    """Opens pages as separate people, and fails the test when a page logged an error."""

    def __init__(self, browser: Browser, folder: Path) -> None:
        self._browser = browser
        self._folder = folder
        self.errors: list[str] = []
        # (status, first part of the path): nobody publishes yet; a page gives back a session that ended with the show
        self.expected = {(409, "whep"), (404, "whep"), (404, "whip")}

    async def open(
        self,
        url: str,
        *,
        width: int = 1440,
        height: int = 900,
        locale: str = "en-GB",
        touch: bool = False,
        script: Path | None = None,
    ) -> Page:
        """A page of a new person (own storage), already loaded; `script` runs in it before the page's own."""
        context = await self._browser.new_context(
            viewport={"width": width, "height": height}, locale=locale, has_touch=touch, is_mobile=touch,
            permissions=["camera", "microphone"],
        )  # fmt: skip
        if script is not None:
            await context.add_init_script(path=script)
        elif UPDATE_IMAGES:
            await context.add_init_script(path=CAMERA)
        page = await context.new_page()
        page.on("pageerror", lambda error: self.errors.append(f"{page.url}: {error}"))
        page.on("console", lambda message: self._said(message, page))
        page.on("response", lambda response: self._answered(response))
        page.set_default_timeout(PATIENCE_MS)
        await page.goto(url)
        return page

    def _said(self, message: ConsoleMessage, page: Page) -> None:
        # A failed request is judged by its answer below; the message does not say which one it was.
        if message.type == "error" and not message.text.startswith("Failed to load resource"):
            self.errors.append(f"{page.url}: {message.text}")

    def _answered(self, response: Response) -> None:
        path = urlsplit(response.url).path
        expected = (response.status, path.split("/")[1]) in self.expected
        if response.status >= 400 and not expected:
            self.errors.append(f"{response.status} {response.request.method} {path}")

    async def picture(self, page: Page, name: str) -> None:
        """A screenshot under `name`, for a person to look at."""
        await page.screenshot(path=self._folder / f"{name}.png", animations="disabled")
        if UPDATE_IMAGES and f"images/{name}.png" in README.read_text():
            IMAGES.mkdir(parents=True, exist_ok=True)
            shutil.copy(self._folder / f"{name}.png", IMAGES / f"{name}.png")


@pytest.fixture
async def screens(chromium: Browser, tmp_path: Path) -> AsyncIterator[Screens]:
    screens = Screens(chromium, tmp_path)
    yield screens
    assert screens.errors == []


class Cable:
    """A TCP proxy between a viewer and the server: a network that can be cut and mended."""

    def __init__(self, port: int) -> None:
        self._target = port
        self._pairs: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None
        self._whole = True
        self.port = 0

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if not self._whole:
            writer.transport.abort()
            return
        upstream_reader, upstream = await asyncio.open_connection("127.0.0.1", self._target)
        self._pairs |= {writer, upstream}
        for source, sink in ((reader, upstream), (upstream_reader, writer)):
            task = asyncio.create_task(self._pump(source, sink))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _pump(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):
            while chunk := await source.read(65536):
                sink.write(chunk)
                await sink.drain()
        sink.close()

    def cut(self) -> None:
        """Reset every connection and refuse new ones."""
        self._whole = False
        for writer in self._pairs:
            writer.transport.abort()
        self._pairs.clear()

    def mend(self) -> None:
        """Let connections through again."""
        self._whole = True

    async def stop(self) -> None:
        self.cut()
        assert self._server is not None
        self._server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


@pytest.fixture
async def cable(server: Server) -> AsyncIterator[Cable]:
    cable = Cable(server.port)
    await cable.start()
    yield cable
    await cable.stop()


class _Upstream(asyncio.DatagramProtocol):
    """What the server sends back, handed on to where the browser is."""

    def __init__(self, path: "UdpPath", address: tuple[str, int]) -> None:
        self._path = path
        self._address = address

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        self._path.answered(data, self._address)


class UdpPath(asyncio.DatagramProtocol):
    """A NAT between a browser and the media port: it can give the browser another address, or fall silent."""

    def __init__(self) -> None:
        self._target: tuple[str, int] | None = None
        self._upstreams: dict[tuple[str, int], asyncio.DatagramTransport] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._whole = True
        self._transport: asyncio.DatagramTransport | None = None

    async def start(self) -> None:
        await asyncio.get_running_loop().create_datagram_endpoint(lambda: self, local_addr=("127.0.0.1", 0))

    def connection_made(self, transport: asyncio.DatagramTransport) -> None:  # type: ignore[override]
        self._transport = transport

    async def lead(self, page: Page) -> None:
        """From now on the page is told that the media port is here."""

        async def through(route: Route) -> None:
            answer = await route.fetch()
            text = await answer.text()
            if route.request.method == "POST" and (found := re.search(r"a=candidate:\S+ 1 \S+ \d+ (\S+) (\d+) ", text)):
                assert self._transport is not None
                self._target = (found[1], int(found[2]))
                port = self._transport.get_extra_info("sockname")[1]
                text = text.replace(f" {found[1]} {found[2]} ", f" {found[1]} {port} ")
            await route.fulfill(response=answer, body=text)

        await page.route(re.compile(r"/whep/\w+$"), through)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        if not self._whole:
            return
        upstream = self._upstreams.get(addr)
        if upstream is not None:
            upstream.sendto(data)
            return
        task = asyncio.get_running_loop().create_task(self._open(data, addr))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _open(self, data: bytes, addr: tuple[str, int]) -> None:
        upstream, _ = await asyncio.get_running_loop().create_datagram_endpoint(
            lambda: _Upstream(self, addr), remote_addr=self._target
        )
        if addr in self._upstreams:
            upstream.close()
        self._upstreams.setdefault(addr, upstream).sendto(data)

    def answered(self, data: bytes, addr: tuple[str, int]) -> None:
        if self._whole and self._transport is not None:
            self._transport.sendto(data, addr)

    def rebind(self) -> None:
        """The browser has another address from now on; what comes to the old one is lost."""
        for upstream in self._upstreams.values():
            upstream.close()
        self._upstreams.clear()

    def cut(self) -> None:
        """Nothing passes any more."""
        self._whole = False

    async def stop(self) -> None:
        self.cut()
        self.rebind()
        if self._transport is not None:
            self._transport.close()
        await asyncio.gather(*self._tasks, return_exceptions=True)


@pytest.fixture
async def udp_path() -> AsyncIterator[UdpPath]:
    path = UdpPath()
    await path.start()
    yield path
    await path.stop()
