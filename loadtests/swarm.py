"""A dense audience for one show: thousands of sockets in one process, and a clock on every message.

Some of the viewers also speak. Their messages are *probes*: each carries its number and the time it was *due* on a
fixed schedule. A screen's latency is the time of arrival minus that time, whatever kept the message: a server that
stalls for a second cannot hide it by delaying the questions (no coordinated omission). How late the swarm itself
was is reported next to it. Clocks agree because all of it happens on one machine.

    python -m loadtests.swarm http://127.0.0.1:8000 --show demo --viewers 1000

prints a JSON line a second and the totals at the end; `measures.py` says what is in them.
"""

import argparse
import asyncio
import base64
import contextlib
import ipaddress
import os
import random
import resource
import ssl
import sys
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, NamedTuple, get_args
from urllib.parse import urlsplit

import msgspec
import uvloop

from live.core.codec import Encoding, decode
from live.realtime.protocol import SUBPROTOCOLS, Event, ServerMessage
from loadtests.measures import Line, Totals
from loadtests.scenario import Chat
from loadtests.tally import Tally
from loadtests.viewer import Item, Probe, Viewer, now_us

VIEWERS_PER_ADDRESS = 10_000  # of ~28,000 local ports; further viewers come from 127.0.0.2, .3, …
PAYLOADS_KEPT = 256  # decoded payloads that later viewers find again
TICK_S = 1.0
LAG_PROBE_S = 0.05
SPEAKERS_WAIT_S = 10.0
JOIN_TIMEOUT_S = 20.0
BACKOFF_S_MAX = 20.0
CLOSING_S = 0.2
_MESSAGES = list[ServerMessage]


class Plan(msgspec.Struct, frozen=True):
    """What one swarm does. `chat_per_s` 0: it only watches."""

    url: str  # of the server: http://127.0.0.1:8000
    show: str
    viewers: int
    ramp_s: float
    duration_s: float
    drain_s: float
    encoding: Encoding = "json"
    chat_per_s: float = 0.0

    @property
    def speakers(self) -> int:
        """How many of the viewers speak; the first ones."""
        return min(self.viewers, Chat(self.chat_per_s).speakers) if self.chat_per_s else 0


class Target(NamedTuple):
    """Where the viewers connect to."""

    host: str
    port: int
    tls: ssl.SSLContext | None
    loopback: bool

    @classmethod
    def of(cls, url: str) -> "Target":
        """The target that a server's URL names."""
        parts = urlsplit(url)
        secure = parts.scheme in ("https", "wss")
        host = parts.hostname or "127.0.0.1"
        try:
            loopback = ipaddress.ip_address(host) in ipaddress.ip_network("127.0.0.0/8")
        except ValueError:
            loopback = False
        port = parts.port or (443 if secure else 80)
        return cls(host, port, ssl.create_default_context() if secure else None, loopback)

    def local_address(self, index: int) -> tuple[str, int] | None:
        """Where viewer `index` connects from; None: wherever the kernel likes."""
        place = index // VIEWERS_PER_ADDRESS
        return (f"127.0.0.{place + 1}", 0) if self.loopback and place else None

    def handshake(self, show: str, encoding: Encoding) -> bytes:
        """The opening request (RFC 6455, section 4.1), without compression."""
        subprotocol = next(name for name, spoken in SUBPROTOCOLS.items() if spoken == encoding)
        return (
            f"GET /ws/{show} HTTP/1.1\r\nHost: {self.host}:{self.port}\r\nUpgrade: websocket\r\n"
            f"Connection: Upgrade\r\nSec-WebSocket-Key: {base64.b64encode(os.urandom(16)).decode()}\r\n"
            f"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: {subprotocol}\r\n\r\n"
        ).encode()


class Swarm:
    """One audience from its first viewer to its last; `tell` is called with each finished second."""

    def __init__(self, plan: Plan, tell: Callable[[Line], None]) -> None:
        self.plan = plan
        self.encoding: Encoding = plan.encoding
        self.stopping = False
        self._tell = tell
        self._target = Target.of(plan.url)
        self.handshake = self._target.handshake(plan.show, plan.encoding)
        self._run = f"{random.randrange(16**6):06x}"  # tells our probes from those of another run
        self._viewers = [Viewer(self, index) for index in range(plan.viewers)]
        self._tasks: set[asyncio.Task[None]] = set()
        self._payloads: dict[bytes, list[Item]] = {}
        self._speakers_ready = asyncio.Event()
        self._start_us = now_us()
        self._tally = Tally(self._start_us)

    async def run(self) -> Totals:
        """Let everybody join, speak and leave; takes `duration_s`, up to `drain_s` more, and a moment to close."""
        loop = asyncio.get_running_loop()
        self._start_us, begin = now_us(), loop.time()
        self._tally = Tally(self._start_us)
        end = begin + self.plan.duration_s
        work = [asyncio.create_task(one) for one in (self._tell_seconds(), self._measure_lag(), self._ramp(begin))]
        try:
            await self._speak(end)
            await asyncio.sleep(end - loop.time())
            lacking = await self._drain()
            self._tell(self._tally.second(now_us()))
            sequences = (viewer.sequence for viewer in self._viewers)
            return self._tally.totals(sequences, viewers=self.plan.viewers, lacking=lacking)
        finally:
            await self._leave(work)

    # --- what the viewers tell: `viewer.Audience`

    def items(self, payload: bytes) -> list[Item]:
        found = self._payloads.get(payload)
        if found is None:
            found = [
                (message.offset, self.probe(message)) if isinstance(message, Event) else message
                for message in decode(payload, self.encoding, _MESSAGES)
            ]
            if len(self._payloads) >= PAYLOADS_KEPT:
                del self._payloads[next(iter(self._payloads))]
            self._payloads[payload] = found
        return found

    def probe(self, event: Event) -> Probe | None:
        if event.name != "chat.message":
            return None
        words = str(event.data.get("text", "")).split()
        return (int(words[2]), int(words[3])) if words[:2] == ["probe", self._run] else None

    def received(self, size_bytes: int) -> None:
        self._tally.frames += 1
        self._tally.received_bytes += size_bytes

    def joined(self, viewer: Viewer, after_us: int | None) -> None:
        self._tally.join(after_us)
        if viewer.index + 1 == self.plan.speakers:
            self._speakers_ready.set()

    def left(self, viewer: Viewer, code: str, *, was_open: bool, retry_s: float | None) -> None:
        if self.stopping:
            return
        self._tally.close(code, was_open=was_open)
        if retry_s is not None:
            self._spawn(self._connect(viewer, retry_s))

    def delivered(self, viewer: Viewer, probe: Probe | None, at_us: int) -> None:
        self._tally.deliver(probe, at_us, viewer.due_us)

    def answered(self, command: str, error: str | None, at_us: int) -> None:
        self._tally.answer(int(command) if command.isdecimal() else None, error, at_us)

    # --- the schedule

    async def _ramp(self, begin: float) -> None:
        loop = asyncio.get_running_loop()
        for index, viewer in enumerate(self._viewers):
            due = begin + index * self.plan.ramp_s / self.plan.viewers
            if (wait := due - loop.time()) > 0:
                await asyncio.sleep(wait)
            viewer.due_us = self._start_us + int((due - begin) * 1e6)
            self._spawn(self._connect(viewer, 0.0))

    async def _connect(self, viewer: Viewer, after_s: float) -> None:
        await asyncio.sleep(after_s)
        if self.stopping:
            return
        target = self._target
        try:
            async with asyncio.timeout(JOIN_TIMEOUT_S):
                await asyncio.get_running_loop().create_connection(
                    lambda: viewer, target.host, target.port,
                    ssl=target.tls, local_addr=target.local_address(viewer.index),
                )  # fmt: skip
        except (OSError, TimeoutError) as error:
            viewer.attempt += 1
            wait = random.uniform(0, min(BACKOFF_S_MAX, 0.25 * 2**viewer.attempt))
            self.left(viewer, type(error).__name__, was_open=False, retry_s=wait)

    async def _speak(self, end: float) -> None:
        """Send the probes of the schedule, each by the next speaker that is connected."""
        if not self.plan.chat_per_s:
            return
        loop = asyncio.get_running_loop()
        with contextlib.suppress(TimeoutError):  # nobody may come at all: then the unsent probes tell
            async with asyncio.timeout_at(min(end, loop.time() + SPEAKERS_WAIT_S)):
                await self._speakers_ready.wait()
        begin, begin_us, number, speaker = loop.time(), now_us(), 0, 0
        while (due := begin + number / self.plan.chat_per_s) < end:
            if (wait := due - loop.time()) > 0:
                await asyncio.sleep(wait)
            order = [(speaker + step) % self.plan.speakers for step in range(self.plan.speakers)]
            speaker = next((one for one in order if self._viewers[one].open), -1)
            if speaker < 0:
                self._tally.unsent += 1
            else:
                self._send_probe(self._viewers[speaker], number, begin_us + int((due - begin) * 1e6))
            speaker, number = speaker + 1, number + 1

    def _send_probe(self, viewer: Viewer, number: int, due_us: int) -> None:
        self._tally.send(number, due_us, now_us())
        viewer.command("chat.post", {"text": f"probe {self._run} {number} {due_us}"}, str(number))

    async def _drain(self) -> int:
        """Wait until every answer and every event came, at most `drain_s`; the number of events that did not."""
        loop = asyncio.get_running_loop()
        end = loop.time() + self.plan.drain_s
        while loop.time() < end and not self._tally.settled:  # noqa: ASYNC110 (cheaper than an event a message)
            await asyncio.sleep(LAG_PROBE_S)
        sequences = [viewer.sequence for viewer in self._viewers if viewer.been]
        latest: dict[str, int] = {}
        for one in sequences:
            latest[one.epoch] = max(latest.get(one.epoch, 0), one.offset)
        goals = [(one, one.epoch, latest[one.epoch]) for one in sequences]
        while True:
            lacking = sum(one.behind(epoch, offset) for one, epoch, offset in goals)
            if not lacking or loop.time() >= end:
                return lacking
            await asyncio.sleep(LAG_PROBE_S)

    async def _leave(self, work: list[asyncio.Task[None]]) -> None:
        self.stopping = True
        for viewer in self._viewers:
            viewer.leave()
        await asyncio.sleep(CLOSING_S)
        for viewer in self._viewers:
            viewer.give_up()
        for task in (*work, *self._tasks):
            task.cancel()
        results = await asyncio.gather(*work, *self._tasks, return_exceptions=True)
        await asyncio.sleep(0)
        for result in results:
            if isinstance(result, Exception):
                raise result

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # --- clocks

    async def _measure_lag(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            due = loop.time() + LAG_PROBE_S
            await asyncio.sleep(LAG_PROBE_S)
            self._tally.lag(int((loop.time() - due) * 1e6))

    async def _tell_seconds(self) -> None:
        loop = asyncio.get_running_loop()
        due = loop.time()
        while True:
            due += TICK_S
            await asyncio.sleep(due - loop.time())
            self._tell(self._tally.second(now_us()))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a swarm from the command line."""
    parser = argparse.ArgumentParser(prog="python -m loadtests.swarm", description=__doc__.partition("\n")[0])
    parser.add_argument("url", help="of the server, such as http://127.0.0.1:8000")
    parser.add_argument("--show", default="demo")
    parser.add_argument("--viewers", type=int, default=100)
    parser.add_argument("--ramp", type=float, default=2.0, metavar="SECONDS")
    parser.add_argument("--duration", type=float, default=10.0, metavar="SECONDS")
    parser.add_argument("--drain", type=float, default=5.0, metavar="SECONDS")
    parser.add_argument("--encoding", choices=get_args(Encoding), default="json")
    parser.add_argument("--chat", type=float, default=2.0, metavar="PER_SECOND", help="0: only watch")
    options = parser.parse_args(arguments)
    plan = Plan(
        url=options.url, show=options.show, viewers=options.viewers, ramp_s=options.ramp,
        duration_s=options.duration, drain_s=options.drain, encoding=options.encoding, chat_per_s=options.chat,
    )  # fmt: skip
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    if plan.viewers + 100 > hard:
        parser.error(f"--viewers: this process may open {hard} files; run several swarms")

    def tell(line: Line) -> None:
        print(msgspec.json.encode(line).decode(), flush=True)

    tell(run(plan, tell))
    return 0


def run(plan: Plan, tell: Callable[[Line], None]) -> Totals:
    """Run one swarm on the fastest event loop there is."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(Swarm(plan, tell).run())


if __name__ == "__main__":
    sys.exit(main())
