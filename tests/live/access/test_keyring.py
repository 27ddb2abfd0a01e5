"""The shop's keys: asked for when needed, seldom, and kept while the shop is silent."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from live.access.keyring import Keyring, of_file, of_url
from live.core.clock import ManualClock
from live.core.errors import Problem
from live.core.limits import (
    SIGN_ON_KEYS_AGAIN_S,
    SIGN_ON_KEYS_BYTES_MAX,
    SIGN_ON_KEYS_FRESH_S,
    SIGN_ON_KEYS_KEPT_S,
)
from tests.live.access.shop import Shop, document, key

_OLD, _NEW = key("ec"), key("ec", 1)


async def _kid(keyring: Keyring, kid: str | None) -> str:
    """What asking for a key comes to: ok, or the refusal's name."""
    try:
        await keyring.key("ES256", kid)
    except Problem as problem:
        return problem.kind.name
    return "ok"


async def test_keys_are_read_once_in_five_minutes(clock: ManualClock) -> None:
    shop = Shop(_OLD)
    keyring = Keyring(shop.read, clock)
    assert shop.asked == 0
    assert await asyncio.gather(*(_kid(keyring, _OLD.kid) for _ in range(20))) == ["ok"] * 20
    clock.advance(SIGN_ON_KEYS_FRESH_S - 1)
    assert (await _kid(keyring, None), shop.asked) == ("ok", 1)
    clock.advance(1)
    assert (await _kid(keyring, _OLD.kid), shop.asked) == ("ok", 2)


async def test_an_unknown_key_has_them_read_again_but_not_by_everybody(clock: ManualClock) -> None:
    shop = Shop(_OLD)
    keyring = Keyring(shop.read, clock)
    assert await _kid(keyring, _OLD.kid) == "ok"
    shop.document = document(_OLD, _NEW)
    clock.advance(SIGN_ON_KEYS_AGAIN_S)
    assert (await _kid(keyring, _NEW.kid), shop.asked) == ("ok", 2), "the shop has rotated"
    for number in range(50):
        assert await _kid(keyring, f"made up {number}") == "sign_on_key"
    assert shop.asked == 2
    clock.advance(SIGN_ON_KEYS_AGAIN_S)
    assert await asyncio.gather(*(_kid(keyring, f"made up {number}") for number in range(50))) == ["sign_on_key"] * 50
    assert shop.asked == 3
    shop.document = document(_NEW)
    clock.advance(SIGN_ON_KEYS_FRESH_S)
    assert await _kid(keyring, _OLD.kid) == "sign_on_key", "what the shop has withdrawn is not believed"


@pytest.mark.parametrize("failure", [OSError("no route"), ValueError("404"), b"<html>", b'{"keys": []}'])
async def test_keys_are_kept_for_a_day_while_the_shop_is_silent(clock: ManualClock, failure: bytes | Exception) -> None:
    shop = Shop(_OLD)
    keyring = Keyring(shop.read, clock)
    shop.document = failure
    assert await _kid(keyring, _OLD.kid) == "sign_on_unreachable"
    with pytest.raises(Problem) as caught:
        await keyring.key("ES256", None)
    assert (caught.value.kind.status, caught.value.retry_after_s, shop.asked) == (503, 10, 1)
    shop.document = document(_OLD)
    clock.advance(SIGN_ON_KEYS_AGAIN_S)
    assert await _kid(keyring, _OLD.kid) == "ok"
    shop.document = failure
    clock.advance(SIGN_ON_KEYS_FRESH_S)
    for _ in range(10):
        assert await _kid(keyring, _OLD.kid) == "ok"
    assert shop.asked == 3
    assert await _kid(keyring, _NEW.kid) == "sign_on_unreachable", "it may be a new one; nobody can tell"
    clock.advance(SIGN_ON_KEYS_KEPT_S - SIGN_ON_KEYS_FRESH_S)
    assert await _kid(keyring, _OLD.kid) == "sign_on_unreachable"


async def test_a_shop_that_hangs_is_waited_for_a_moment_only(clock: ManualClock) -> None:
    forever = asyncio.Event()

    async def hang() -> bytes:
        await forever.wait()
        return b""

    keyring = Keyring(hang, clock, timeout_s=0.01)
    assert await _kid(keyring, None) == "sign_on_unreachable"
    patient = Keyring(hang, clock)
    asking = asyncio.create_task(_kid(patient, None))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    await patient.close()
    with pytest.raises(asyncio.CancelledError):
        await asking


async def test_keys_of_a_file(clock: ManualClock, tmp_path: Path) -> None:
    path = tmp_path / "keys.json"
    keyring = Keyring(of_file(path), clock)
    assert await _kid(keyring, None) == "sign_on_unreachable"
    path.write_bytes(document(_OLD))
    clock.advance(SIGN_ON_KEYS_AGAIN_S)
    assert await _kid(keyring, None) == "ok"


Serve = Callable[[bytes], Awaitable[str]]


@pytest.fixture
async def serve() -> AsyncIterator[Serve]:
    """Answers every request with the same bytes; the address of it."""
    servers: list[asyncio.Server] = []

    async def start(answer: bytes) -> str:
        async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(answer)
            writer.close()
            await writer.wait_closed()

        server = await asyncio.start_server(handle, "127.0.0.1", 0)
        servers.append(server)
        return f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/jwks"

    yield start
    for server in servers:
        server.close()
        await server.wait_closed()


def _answer(body: bytes, status: str = "200 OK", head: str = "") -> bytes:
    return f"HTTP/1.1 {status}\r\ncontent-length: {len(body)}\r\n{head}\r\n".encode() + body


async def test_keys_of_a_shop(clock: ManualClock, serve: Serve) -> None:
    patient = Keyring(of_url(await serve(_answer(document(_OLD)))), clock, timeout_s=60.0)  # a machine may be busy
    assert await _kid(patient, _OLD.kid) == "ok"
    elsewhere = await serve(_answer(document(_OLD)))
    for answer in (
        _answer(b"", "302 Found", f"location: {elsewhere}\r\n"),
        _answer(document(_OLD), "404 Not Found"),
        _answer(document(_OLD), head="content-encoding: gzip\r\n"),
        _answer(b" " * SIGN_ON_KEYS_BYTES_MAX + document(_OLD)),
        b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{",
        b"not HTTP",
    ):
        assert await _kid(Keyring(of_url(await serve(answer)), clock), _OLD.kid) == "sign_on_unreachable"
    assert await _kid(Keyring(of_url("http://127.0.0.1:1/"), clock), None) == "sign_on_unreachable"
