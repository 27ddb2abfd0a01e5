"""A viewer behind a proxy that lets no WebSocket through: chat, pins, the cart and coming back work all the same."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from playwright.async_api import expect

from tests.browser import people
from tests.browser.conftest import Cable, Screens, Server
from tests.browser.people import button

pytestmark = [pytest.mark.browser, pytest.mark.timeout(120)]

_REFUSAL = b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


class OldProxy(Cable):
    """Passes requests and answers on as they come, but knows no upgrade."""

    refused = 0

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n") if self._whole else b""
        if b"\r\nupgrade: websocket\r\n" in head.lower():
            self.refused += 1
            writer.write(_REFUSAL)
            writer.close()
            return
        await super()._accept(_Again(head, reader), writer)


class _Again(asyncio.StreamReader):
    """`reader`, from whose beginning `head` was taken."""

    def __init__(self, head: bytes, reader: asyncio.StreamReader) -> None:
        super().__init__()
        self._head = head
        self._reader = reader

    async def read(self, n: int = -1) -> bytes:
        head, self._head = self._head, b""
        return head or await self._reader.read(n)


@pytest.fixture
async def proxy(server: Server) -> AsyncIterator[OldProxy]:
    proxy = OldProxy(server.port)
    await proxy.start()
    yield proxy
    await proxy.stop()


async def test_where_no_websocket_gets_through(server: Server, screens: Screens, proxy: OldProxy) -> None:
    studio = await screens.open(f"{server.url}/studio/demo#token=demo")
    viewer = await screens.open(f"http://127.0.0.1:{proxy.port}/watch/demo", locale="de-DE")
    other = await screens.open(f"{server.url}/watch/demo")
    await people.say(studio, "Welcome")
    await people.reads(viewer, "Welcome")
    assert proxy.refused == 2
    await people.say(viewer, "Hello from the office")
    for page in (viewer, studio, other):
        await people.reads(page, "Hello from the office")
    await people.pin(studio, "walnut-board")
    await expect(button(viewer, "pinned-card")).to_be_visible()
    await button(viewer, "add-to-cart").click()
    await expect(button(viewer, "quantity")).to_have_text("1")
    await button(viewer, "rename").click()
    await button(viewer, "rename-input").fill("Mia")
    await button(viewer, "rename-save").click()
    await expect(button(viewer, "rename-input")).to_have_count(0)  # under the dialog nobody can write
    await people.say(viewer, "by another name")
    await expect(other.locator(".chat-message", has_text="by another name")).to_contain_text("Mia")

    proxy.cut()
    await expect(button(viewer, "reconnecting")).to_be_visible()
    await people.say(studio, "while you were away")
    proxy.mend()
    await people.reads(viewer, "while you were away", timeout_s=25)
    await expect(button(viewer, "reconnecting")).to_be_hidden()
    await expect(button(viewer, "quantity")).to_have_text("1")
    assert proxy.refused == 2  # what was found out is not tried again
    await viewer.reload()
    await people.reads(viewer, "by another name")
    await expect(button(viewer, "quantity")).to_have_text("1")
    assert proxy.refused == 2
    # The browser logs each connection that the proxy refused or cut.
    screens.errors[:] = [error for error in screens.errors if "WebSocket" not in error and "net::ERR" not in error]
