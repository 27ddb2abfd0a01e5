"""What accepting a viewer costs, against the least that any server of this event loop does for one, in the same run.

The floor is a bare protocol that answers the handshake with constant bytes and the first message with as many bytes as
our snapshot has: accept, two reads, two writes, and nothing is looked at. Batches of both alternate. Ours is as
`showcart serve` has it, with the garbage collector's policy, whose looks count.
"""

import asyncio
import gc
import time
from typing import cast

from live.core.garbage import keep_tidy
from live.core.tasks import running
from loadtests.benches.fanout_sinks import Sinks
from loadtests.benches.fanout_stage import Stage

_BATCHES = 4
_SNAPSHOT_BYTES = 1400
_ACCEPTED = (
    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\nSec-WebSocket-Protocol: showcart.json.v1\r\n\r\n"
)


class _Bare(asyncio.Protocol):
    _answers: tuple[bytes, ...] = (_ACCEPTED, b"x" * _SNAPSHOT_BYTES)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self.transport.write(self._answers[0])
        self._answers = self._answers[1:]


async def accept(built: Stage, crowd: Sinks, viewers: int) -> tuple[float, float]:
    """Let `viewers` in, who stay; CPU seconds for each of them, and of the floor."""
    gc.collect()
    gc.freeze()  # as a server does when it has started
    batch = viewers // _BATCHES
    ours_s = floor_s = 0.0
    bare: list[_Bare] = []

    def factory() -> _Bare:
        bare.append(_Bare())
        return bare[-1]

    server = await asyncio.get_running_loop().create_server(factory, "127.0.0.1", 0, backlog=4096)
    async with running(keep_tidy()), server:
        for _ in range(_BATCHES):
            floor_s += await _measured(crowd, server.sockets[0].getsockname()[1], batch)
            for each in bare:  # their memory is not to be taken for ours
                each.transport.abort()
            bare.clear()
            await asyncio.sleep(0.05)
            ours_s += await _measured(crowd, built.port, batch)
    return ours_s / (batch * _BATCHES), floor_s / (batch * _BATCHES)


async def _measured(crowd: Sinks, port: int, count: int) -> float:
    before_s = time.process_time()
    await crowd.connect("ours", port, count)
    return time.process_time() - before_s
