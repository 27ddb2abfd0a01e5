"""The two ends of connectivity checks: a session that remembers, and requests as a browser signs them."""

import asyncio
import socket

from aioice import stun

from stream.transport.ice import Address
from stream.transport.paths import Credentials


class Session:
    """An endpoint that remembers."""

    def __init__(self, ufrag: str = "server") -> None:
        self.credentials = Credentials(ufrag, "password")
        self.bindings: list[tuple[Address, bool]] = []
        self.datagrams: list[bytes] = []
        self.answers: list[Address] = []
        self.alive = False

    def owns(self, address: Address) -> bool:
        return self.alive and address == self.bindings[0][0]

    def bound(self, address: Address, ufrag: str, *, nominated: bool, size_bytes: int) -> None:
        assert size_bytes
        assert ufrag == self.credentials.ufrag
        self.bindings.append((address, nominated))

    def answered(self, address: Address) -> None:
        self.answers.append(address)

    def received(self, datagram: bytes, address: Address) -> None:
        assert address in {known for known, _ in self.bindings}
        if datagram == b"\xffbug":
            raise RuntimeError("our own bug")
        self.datagrams.append(datagram)


def binding(
    *, user: str = "server:client", password: bytes = b"password", nominate: bool = False,
    kind: stun.Class = stun.Class.REQUEST,
) -> bytes:  # fmt: skip
    message = stun.Message(stun.Method.BINDING, kind)
    message.attributes["USERNAME"] = user
    message.attributes["PRIORITY"] = 1
    message.attributes["ICE-CONTROLLING"] = 1
    if nominate:
        message.attributes["USE-CANDIDATE"] = None
    message.add_message_integrity(password)
    return bytes(message)


async def answer(client: socket.socket) -> bytes:
    return await asyncio.wait_for(asyncio.get_running_loop().sock_recv(client, 2048), 5)
