"""WebSocket frames (RFC 6455, section 5) for thousands of viewers in one process: just enough, and quick.

A server's frames are not masked and ours do not fragment; a whole frame that arrives alone, which is the rule, costs
one slice. `websockets` would check more, but a dense swarm must be cheaper than the server it measures.
"""

import struct

TEXT, BINARY, CLOSE, PING, PONG = 0x1, 0x2, 0x8, 0x9, 0xA
FRAME_BYTES_MAX = 8 * 1024 * 1024


class BadFrame(ValueError):
    """The server sent what a server must not send."""


def client_frame(opcode: int, payload: bytes) -> bytes:
    """One final frame from a client, under the mask 0, which leaves the payload as it is.

    A random mask keeps scripts in a browser from writing requests into old proxies; no script writes here.
    """
    size = len(payload)
    if size < 126:
        return struct.pack("!BBI", 0x80 | opcode, 0x80 | size, 0) + payload
    if size < 1 << 16:
        return struct.pack("!BBHI", 0x80 | opcode, 0xFE, size, 0) + payload
    return struct.pack("!BBQI", 0x80 | opcode, 0xFF, size, 0) + payload


class FrameReader:
    """Cuts a server's bytes into frames; `rest` is the beginning of the next one."""

    __slots__ = ("rest",)

    def __init__(self) -> None:
        self.rest = b""

    def feed(self, received: bytes) -> list[tuple[int, bytes]]:
        """The frames that are complete now, as (opcode, payload); raises `BadFrame`."""
        if self.rest:
            received = self.rest + received
        frames: list[tuple[int, bytes]] = []
        position, end = 0, len(received)
        while end - position >= 2:
            first, size = received[position], received[position + 1]
            start = position + 2
            if size == 126:
                start += 2
                if end < start:
                    break
                size = int.from_bytes(received[start - 2 : start], "big")
            elif size == 127:
                start += 8
                if end < start:
                    break
                size = int.from_bytes(received[start - 8 : start], "big")
            _check(first, size)
            if end < start + size:
                break
            frames.append((first & 0x0F, received[start : start + size]))
            position = start + size
        self.rest = received[position:]
        return frames


def _check(first: int, size: int) -> None:
    if not first & 0x80 or not first & 0x0F:
        raise BadFrame("a fragmented frame; the protocol has none")
    if first & 0x70:
        raise BadFrame("an extension that was not agreed")
    if size > FRAME_BYTES_MAX:  # a set mask bit looks like this as well
        raise BadFrame(f"a frame of {size} bytes, or a masked one")


def close_code(payload: bytes) -> int:
    """The code of a CLOSE frame; 1005 when it carries none (RFC 6455, section 7.1.5)."""
    return int.from_bytes(payload[:2], "big") if len(payload) >= 2 else 1005
