"""A light client that keeps what it gets, so that a test can say packet by packet what that must be."""

from collections.abc import Callable
from itertools import pairwise

from loadtests.media.client import Client
from stream.wire import rtcp
from stream.wire.rtp import parse

VIDEO, AUDIO = 102, 111  # payload types, as the light client offers them


class Watcher:
    """Its packets and its RTCP, in the order of their arrival."""

    def __init__(self, make: Callable[..., Client]) -> None:
        self.packets: list[bytes] = []
        self.control: list[rtcp.Packet] = []
        self.client = make(on_rtp=self.packets.append, on_rtcp=lambda data: self.control.extend(rtcp.parse(data)))

    def of(self, payload_type: int) -> list[bytes]:
        return [packet for packet in self.packets if packet[1] & 0x7F == payload_type]

    def numbers(self, payload_type: int = VIDEO) -> list[int]:
        return [parse(packet).sequence for packet in self.of(payload_type)]

    def got(self, kind: type[rtcp.Packet]) -> list[rtcp.Packet]:
        return [packet for packet in self.control if isinstance(packet, kind)]

    def send(self, *packets: bytes) -> None:
        assert self.client.peer is not None
        for packet in packets:
            assert self.client.peer.send_rtp(packet)

    def report(self, *packets: rtcp.Packet) -> None:
        assert self.client.peer is not None
        self.client.peer.send_rtcp(rtcp.build((rtcp.ReceiverReport(5), *packets)))


def consecutive(numbers: list[int]) -> bool:
    """Whether these sequence numbers leave nothing out and repeat nothing."""
    return all((after - before) & 0xFFFF == 1 for before, after in pairwise(numbers))
