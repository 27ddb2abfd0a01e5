"""The plain WebSocket handshake (RFC 6455, section 4.2), judged by the headers that the HTTP parser has found.

uvicorn writes the request out again for `websockets` to parse. Without that, and with tokens signed by ourselves,
accepting a viewer cost about two thirds of before. So requests as every browser and library sends them are judged
here; whatever is odd in any way, wrong or only unusual, goes the long way, and `websockets` words the refusal.
"""

import re
from collections.abc import Iterable
from http import HTTPStatus
from typing import NamedTuple

from websockets.utils import accept_key

_ONCE = frozenset(
    (b"host", b"upgrade", b"connection", b"origin",
     b"sec-websocket-key", b"sec-websocket-version", b"sec-websocket-protocol")
)  # fmt: skip
_BODY = frozenset((b"content-length", b"transfer-encoding"))
_LINE_BYTES_MAX = 8000  # longer ones are `websockets`' to refuse
_KEY = re.compile(rb"[A-Za-z0-9+/]{22}==")
_TOKENS = re.compile(rb"[\w.-]+(, ?[\w.-]+)*")


class Plain(NamedTuple):
    """`accept` is the value of Sec-WebSocket-Accept; `subprotocols` are the client's, by its preference."""

    accept: str
    subprotocols: list[str]


def plain(method: bytes, version: str, target: bytes, headers: Iterable[tuple[bytes, bytes]]) -> Plain | None:
    """What a request for a WebSocket says; None when it is not as plain as can be. Header names are in lower case."""
    found: dict[bytes, bytes] = {}
    for name, value in headers:
        if name in _ONCE:
            if name in found:
                return None
            found[name] = value
        elif name in _BODY:
            return None
        if len(value) > _LINE_BYTES_MAX:
            return None
    key = found.get(b"sec-websocket-key", b"")
    offered = found.get(b"sec-websocket-protocol")
    if (
        method != b"GET"
        or version != "1.1"
        or len(target) > _LINE_BYTES_MAX
        or found.get(b"upgrade", b"").lower() != b"websocket"
        or b"upgrade" not in [token.strip() for token in found.get(b"connection", b"").lower().split(b",")]
        or found.get(b"sec-websocket-version") != b"13"
        or not _KEY.fullmatch(key)
        or (offered is not None and not _TOKENS.fullmatch(offered))
    ):
        return None
    subprotocols = [] if offered is None else [name.strip() for name in offered.decode("ascii").split(",")]
    return Plain(accept_key(key.decode("ascii")), subprotocols)


def switching(accept: str, subprotocol: str | None, headers: Iterable[tuple[bytes, bytes]]) -> bytes:
    """The response 101 to a plain request, with further `headers`; `subprotocol` None: none was chosen."""
    lines = [b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: "]
    lines += [accept.encode("ascii"), b"\r\n"]
    for name, value in headers:
        lines += [name, b": ", value, b"\r\n"]
    if subprotocol is not None:
        lines += [b"Sec-WebSocket-Protocol: ", subprotocol.encode("ascii"), b"\r\n"]
    lines.append(b"\r\n")
    return b"".join(lines)


def refusing(status: int, headers: Iterable[tuple[bytes, bytes]], body: bytes) -> bytes:
    """The whole answer to a request that is refused; the connection ends with it."""
    lines = [b"HTTP/1.1 %d %s\r\nConnection: close\r\n" % (status, HTTPStatus(status).phrase.encode("ascii"))]
    lines += [b"%s: %s\r\n" % header for header in headers]
    lines.append(b"Content-Length: %d\r\n\r\n" % len(body))
    return b"".join(lines) + body
