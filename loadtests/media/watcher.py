"""One viewer of the video: comes when it is due, receives, asks and reports as browsers do, and comes back when lost.

Every packet is read, authenticated and looked at; nothing is decoded.
"""

import asyncio
import random
from typing import Protocol

from loadtests.media.client import PAYLOAD_TYPES, RTX_PAYLOAD_TYPES, Client
from loadtests.media.doors import Doors, RefusedError
from loadtests.media.receiver import Receiver
from loadtests.media.tally import Tally
from loadtests.viewer import BACKOFF_S_MAX, now_us
from stream.transport.peers import Certificate, ProtectError
from stream.wire import rtcp

TICK_S = 0.1
REPORT_TICKS = 10  # once a second
KEEP_ALIVE_TICKS = 30
FREEZE_US = 500_000
SILENCE_US_MAX = 5_000_000  # of a server that does not even answer STUN: a browser calls that disconnected
READS_MAX = 64  # datagrams of one viewer before the others' turn
_BUFFER_BYTES = 2048
_REMB_FACTOR = 2  # of the stream's rate: this machine's own interface is never the bottleneck


class House(Protocol):
    """What a viewer needs of the audience that it belongs to."""

    tally: Tally
    doors: Doors
    certificate: Certificate
    gate: asyncio.Semaphore
    stopping: bool
    host: str
    bits_per_s: int
    fps: int


class Watcher:
    """`index` spreads the viewers' reports over time."""

    def __init__(self, house: House, index: int) -> None:
        self.index = index
        self.due_us = 0
        self.been = self.open = False
        self._house = house
        self._client: Client | None = None
        self._receiver: Receiver | None = None
        self._over = asyncio.Event()
        self._why = ""
        self._attempt = 0
        self._heard_us = self._timed_from_us = self._lost_us = 0
        self._first_due_us = self._last_due_us = 0
        self._shown = self._shown_us = 0
        self._frozen = False

    async def watch(self) -> None:
        """Until cancelled: connect, stay, come back with full jitter."""
        while not self._house.stopping:
            retry_s = await self._connect()
            if retry_s is not None:
                await asyncio.sleep(retry_s)
                continue
            await self._over.wait()
            self._lost_us = now_us()
            self._house.tally.closes[self._why] += 1
            await self.leave()
            await asyncio.sleep(self._backoff_s())

    async def _connect(self) -> float | None:
        """Seconds until the next attempt; None when we are connected."""
        house = self._house
        receiver = Receiver(PAYLOAD_TYPES["h264"], RTX_PAYLOAD_TYPES["h264"], self._show)
        client = Client(house.certificate, on_rtp=lambda packet: receiver.rtp(packet, now_us()), host=house.host)
        self._receiver, self._client = receiver, client
        try:
            async with house.gate:
                await house.doors.enter(client, "whep", rtx=True)
        except (OSError, EOFError, TimeoutError) as error:
            self._client = None
            await client.close()
            refused = error if isinstance(error, RefusedError) else None
            house.tally.refused[refused.name if refused else type(error).__name__] += 1
            return max((refused and refused.retry_after_s) or 0.0, self._backoff_s())
        except asyncio.CancelledError:
            self._client = None
            await client.close()
            raise
        client.stop_reading()
        asyncio.get_running_loop().add_reader(client.socket.fileno(), self._read)
        self.open = True
        self._over.clear()
        self._heard_us = self._timed_from_us = now_us()
        house.tally.watching += 1
        return None

    def _backoff_s(self) -> float:
        self._attempt += 1
        return random.uniform(0, min(BACKOFF_S_MAX, 0.25 * 2**self._attempt))

    async def leave(self) -> None:
        """Say good-bye, and take what the session counted into the figures."""
        client, receiver, self._client, self._receiver = self._client, self._receiver, None, None
        if client is None or receiver is None:
            return
        if self.open:
            self.open = False
            if not self._house.stopping:  # the last second tells who was there at the end
                self._house.tally.watching -= 1
            asyncio.get_running_loop().remove_reader(client.socket.fileno())
        await client.close()
        receiver.end()
        self._settle(receiver)

    def settle(self) -> None:
        """Take what was counted since the last time into the figures."""
        if self._receiver is not None:
            self._settle(self._receiver)

    def end(self, at_us: int) -> None:
        """The run is over: a freeze that goes on counts until now."""
        if self._frozen:
            self._house.tally.frozen_us += at_us - self._shown_us
        if self._shown:
            expected = round((self._last_due_us - self._first_due_us) * self._house.fps / 1e6) + 1
            self._house.tally.skipped += max(0, expected - self._shown)

    # --- what comes

    def _read(self) -> None:
        client, receiver = self._client, self._receiver
        if client is None or receiver is None or client.peer is None:
            return
        receive, keys = client.socket.recv, client.peer.keys
        try:
            for _ in range(READS_MAX):
                datagram = receive(_BUFFER_BYTES)
                if datagram[0] >= 128 and not 192 <= datagram[1] <= 223 and keys is not None:  # RTP, not RTCP
                    try:
                        packet = keys.unprotect(datagram)
                    except ProtectError:
                        self._house.tally.refused["not authentic"] += 1
                        continue
                    receiver.rtp(packet, now_us())
                else:
                    client.take(datagram, client.server)
        except (BlockingIOError, ConnectionRefusedError):
            pass
        self._heard_us = now_us()
        if receiver.wants_packets:
            self._ask(client, receiver, self._heard_us)

    def _ask(self, client: Client, receiver: Receiver, at_us: int) -> None:
        if asked := receiver.ask(at_us):
            self._tell(client, rtcp.Nack(1, receiver.ssrc or 0, asked))

    def _show(self, due_us: int, at_us: int) -> None:
        tally = self._house.tally
        # What a server sends of the past, so that the picture begins at once, is no latency.
        tally.picture(at_us - due_us if due_us >= self._timed_from_us else None)
        if not self.been:
            self.been = True
            self._first_due_us = due_us
            tally.join(at_us - self.due_us)
        elif self._lost_us:
            tally.come_back(at_us - self._lost_us)
        if self._shown_us and at_us - self._shown_us > FREEZE_US:
            tally.freezes += not self._frozen
            tally.frozen_us += at_us - self._shown_us
        self._frozen = False
        self._lost_us = self._attempt = 0
        self._shown += 1
        self._shown_us, self._last_due_us = at_us, due_us

    # --- what is due, `TICK_S` after the last time

    def tick(self, number: int, at_us: int) -> None:
        """The `number`th tick: ask, report, and see whether the server is still there."""
        if self._shown_us and not self._frozen and at_us - self._shown_us > FREEZE_US:
            self._frozen = True
            self._house.tally.freezes += 1
        client, receiver = self._client, self._receiver
        if not self.open or client is None or client.peer is None or receiver is None:
            return
        if client.closed.is_set() or at_us - self._heard_us > SILENCE_US_MAX:
            self._why = "closed by the server" if client.closed.is_set() else "silence"
            self._over.set()
            return
        turn = number + self.index
        self._ask(client, receiver, at_us)
        if receiver.wants_keyframe or (turn % REPORT_TICKS == 0 and receiver.waiting and receiver.ssrc):
            receiver.wants_keyframe = False
            self._tell(client, rtcp.Pli(1, receiver.ssrc or 0))
        if turn % REPORT_TICKS == 0:
            if (block := receiver.report()) is not None:
                remb = rtcp.Remb(1, self._house.bits_per_s * _REMB_FACTOR, (block.ssrc,))
                client.peer.send_rtcp(rtcp.build((rtcp.ReceiverReport(1, (block,)), remb)))
        if turn % KEEP_ALIVE_TICKS == 0:
            client.keep_alive()

    def _tell(self, client: Client, packet: rtcp.Packet) -> None:
        if client.peer is not None:
            client.peer.send_rtcp(rtcp.build((rtcp.ReceiverReport(1), packet)))

    def _settle(self, receiver: Receiver) -> None:
        tally = self._house.tally
        for name, count in receiver.news().items():
            setattr(tally, name, getattr(tally, name) + count)
