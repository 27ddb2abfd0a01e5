"""The short way of the handshake: what is plain enough for it, and that both ways lead to the same."""

import asyncio
import json

import pytest

from live.realtime.handshake import plain, refusing, switching
from tests.realtime.conftest import Stage

KEY = (b"sec-websocket-key", b"dGhlIHNhbXBsZSBub25jZQ==")
ACCEPT = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="  # RFC 6455, section 1.3
PLAIN = [
    (b"host", b"shop.example"), (b"upgrade", b"WebSocket"), (b"connection", b"keep-alive, Upgrade"), KEY,
    (b"sec-websocket-version", b"13"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("offered", "subprotocols"), [(None, []), (b"a", ["a"]), (b"show.v1, b-c,d", ["show.v1", "b-c", "d"])]
)
def test_plain_request(offered: bytes | None, subprotocols: list[str]) -> None:
    headers = PLAIN + ([] if offered is None else [(b"sec-websocket-protocol", offered)])
    assert plain(b"GET", "1.1", b"/ws/demo", headers) == (ACCEPT, subprotocols)


@pytest.mark.parametrize("missing", range(1, 5))
def test_request_that_lacks_something_goes_the_long_way(missing: int) -> None:
    assert plain(b"GET", "1.1", b"/", PLAIN[:missing] + PLAIN[missing + 1 :]) is None


@pytest.mark.parametrize(
    "odd",
    [
        KEY, (b"host", b"x"), (b"upgrade", b"websocket"), (b"connection", b"upgrade"), (KEY[0], b""),
        (b"content-length", b"0"), (b"transfer-encoding", b"chunked"), (b"cookie", b"x" * 8001),
        (b"sec-websocket-protocol", b""), (b"sec-websocket-protocol", b"a,,b"), (b"sec-websocket-protocol", b"a b"),
    ],
)  # fmt: skip
def test_request_with_something_odd_goes_the_long_way(odd: tuple[bytes, bytes]) -> None:
    assert plain(b"GET", "1.1", b"/", [*PLAIN, odd]) is None


@pytest.mark.parametrize(
    "value",
    [b"dGhlIHNhbXBsZSBub25jZQ=", b"dGhlIHNhbXBsZSBub25jZQ==\n", b"dGhlIHNhbXBsZSBub25j!Q==", b"c2hvcnQ=", b""],
)
def test_bad_key_goes_the_long_way(value: bytes) -> None:
    assert plain(b"GET", "1.1", b"/", [h for h in PLAIN if h != KEY] + [(KEY[0], value)]) is None


def test_other_methods_versions_and_long_targets_go_the_long_way() -> None:
    assert plain(b"POST", "1.1", b"/", PLAIN) is None
    assert plain(b"GET", "1.0", b"/", PLAIN) is None
    assert plain(b"GET", "1.1", b"/" + b"x" * 8000, PLAIN) is None


def test_response() -> None:
    assert switching(ACCEPT, "p", [(b"x-a", b"b")]).split(b"\r\n") == [
        b"HTTP/1.1 101 Switching Protocols", b"Upgrade: websocket", b"Connection: Upgrade",
        b"Sec-WebSocket-Accept: " + ACCEPT.encode(), b"x-a: b", b"Sec-WebSocket-Protocol: p", b"", b"",
    ]  # fmt: skip
    assert b"Protocol:" not in switching(ACCEPT, None, [])


def test_refusal() -> None:
    assert refusing(503, [(b"retry-after", b"3")], b"{}") == (
        b"HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\nretry-after: 3\r\nContent-Length: 2\r\n\r\n{}"
    )


@pytest.mark.parametrize("odd", ["", "Content-Length: 0\r\n"])
async def test_both_ways_refuse_alike_and_close(
    stage: Stage, odd: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(stage.connections.admission, "_sockets_max", 0)
    host, _, port = stage.url.removeprefix("ws://").partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(
        f"GET /ws/demo HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n{odd}"
        f"Sec-WebSocket-Key: {KEY[1].decode()}\r\nSec-WebSocket-Version: 13\r\n"
        "Sec-WebSocket-Protocol: showcart.json.v1\r\n\r\n".encode()
    )
    async with asyncio.timeout(10):
        answer = await reader.read()  # until the server closes
    head, _, body = answer.partition(b"\r\n\r\n")
    lines = {line.lower() for line in head.decode().split("\r\n")}
    assert lines >= {"http/1.1 503 service unavailable", "connection: close", "content-type: application/problem+json"}
    assert f"content-length: {len(body)}" in lines
    assert any(line.startswith("retry-after: ") for line in lines)
    assert any(line.startswith("date: ") for line in lines)
    assert json.loads(body)["name"] == "overloaded"
    assert len(stage.connections) == 0
    assert not [record for record in caplog.records if record.levelname == "ERROR"]
    writer.close()
    await writer.wait_closed()


@pytest.mark.parametrize("odd", ["", "Content-Length: 0\r\n"])
@pytest.mark.parametrize("show", ["demo", "de%6Do"])
async def test_both_ways_answer_alike_and_let_in(stage: Stage, odd: str, show: str) -> None:
    host, _, port = stage.url.removeprefix("ws://").partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(
        f"GET /ws/{show}?x=1 HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n{odd}"
        f"Sec-WebSocket-Key: {KEY[1].decode()}\r\nSec-WebSocket-Version: 13\r\n"
        "Sec-WebSocket-Protocol: showcart.json.v1\r\n\r\n".encode()
    )
    async with asyncio.timeout(10):
        answer = (await reader.readuntil(b"\r\n\r\n")).decode()
        assert answer.startswith("HTTP/1.1 101 ")
        lines = {line.lower() for line in answer.split("\r\n")}
        expected = ("upgrade: websocket", "connection: upgrade", "sec-websocket-protocol: showcart.json.v1")
        assert lines.issuperset(expected)
        assert f"sec-websocket-accept: {ACCEPT.lower()}" in lines
        hello = b'{"type":"connect","id":"1"}'
        writer.write(bytes((0x81, 0x80 | len(hello), 0, 0, 0, 0)) + hello)
        assert b'"connected"' in await reader.readuntil(b'"snapshot"')
    writer.close()
    await writer.wait_closed()
