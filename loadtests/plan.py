"""What one swarm, and the video's generator, are told to do, and where viewers connect to."""

import base64
import ipaddress
import os
import ssl
from typing import NamedTuple
from urllib.parse import urlsplit

import msgspec

from live.core.codec import Encoding
from live.realtime.protocol import SUBPROTOCOLS
from loadtests.scenario import Chat, Media, Scenario, ViewerFault, Viewers

VIEWERS_PER_ADDRESS = 10_000  # of ~28,000 local ports; further viewers come from 127.0.0.2, .3, …


class Plan(msgspec.Struct, frozen=True):
    """One of `swarms` swarms that are an audience together: it is every viewer whose index leaves `swarm`.

    `run` tells its probes from those of another run; `start_us` is when the event begins on the machine's monotonic
    clock, None: now. `chat` None: nobody speaks. Else the first viewers do, and all of them belong to swarm 0.
    """

    url: str  # of the server: http://127.0.0.1:8000
    show: str
    viewers: Viewers
    duration_s: float
    drain_s: float
    chat: Chat | None = None
    faults: tuple[ViewerFault, ...] = ()
    swarm: int = 0
    swarms: int = 1
    run: str = ""
    start_us: int | None = None

    @property
    def speakers(self) -> int:
        """How many of this swarm's viewers speak; the first ones."""
        return self.chat.speakers if self.chat is not None and self.swarm == 0 else 0

    @property
    def indices(self) -> range:
        """This swarm's viewers among all of them."""
        return range(self.swarm, self.viewers.total, self.swarms)


def plans(scenario: Scenario, url: str, swarms: int, run: str, start_us: int) -> list[Plan]:
    """The plans of the swarms that are the scenario's audience together."""
    faults = tuple(fault for fault in scenario.fault if isinstance(fault, ViewerFault))
    return [
        Plan(
            url=url, show=scenario.show, viewers=scenario.viewers, duration_s=scenario.duration_s,
            drain_s=scenario.drain_s, chat=scenario.chat, faults=faults, swarm=swarm, swarms=swarms, run=run,
            start_us=start_us,
        )
        for swarm in range(swarms)
    ]  # fmt: skip


class MediaPlan(msgspec.Struct, frozen=True):
    """What is to be broadcast and watched; `start_us` is as in `Plan`."""

    url: str
    show: str
    media: Media
    duration_s: float
    start_us: int | None = None


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
