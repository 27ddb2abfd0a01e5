"""The UDP port's socket: opened and closed, the addresses it announces, both families, and how packets are marked."""

import asyncio
import ipaddress
import socket
import sys

import pytest
from aioice import stun

from stream.transport.ice import IcePort, _unmapped, announced
from tests.stream.checking import Session, answer, binding
from tests.stream.conftest import until


async def test_opening_and_closing() -> None:
    port = IcePort()
    before = port.number
    assert before is None
    assert not port.send(b"x", ("127.0.0.1", 9))
    port.open("localhost", 0)
    taken = port.number
    assert taken
    other = IcePort()
    with pytest.raises(OSError, match="in use"):
        other.open("127.0.0.1", taken)
    port.close()
    port.close()
    assert port.number is None


def test_the_addresses_to_announce() -> None:
    assert announced("localhost") == ("127.0.0.1",)
    assert announced("192.0.2.7") == ("192.0.2.7",)
    assert announced("2001:db8::7") == ("2001:db8::7",)
    (four,) = announced("0.0.0.0")
    assert ipaddress.ip_address(four).version == 4
    assert "0.0.0.0" != four
    both = [ipaddress.ip_address(each) for each in announced("::")]
    assert both
    assert not any(each.is_unspecified for each in both)


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6])
async def test_the_unspecified_ipv6_address_serves_both_families(family: socket.AddressFamily) -> None:
    port, session = IcePort(), Session()
    port.open("::", 0)
    port.add(session, session.credentials)
    with socket.socket(family, socket.SOCK_DGRAM) as client:
        client.setblocking(False)
        client.connect(("127.0.0.1" if family == socket.AF_INET else "::1", port.number))
        client.send(binding())
        reply = stun.parse_message(await answer(client))
        assert reply.attributes["XOR-MAPPED-ADDRESS"] == client.getsockname()[:2]
        client.send(b"\x80")
        await until(lambda: session.datagrams)
        assert port.send(b"\x80back", session.bindings[0][0])
        assert await answer(client) == b"\x80back"
    port.close()


async def test_another_ipv6_address_is_of_one_family() -> None:
    port = IcePort()
    port.open("::1", 0)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        other.bind(("127.0.0.1", port.number or 0))  # it is free
    port.close()


def test_only_mapped_addresses_are_ipv4() -> None:
    assert _unmapped("::ffff:192.0.2.1") == "192.0.2.1"
    assert _unmapped("::ffff:0:102:304") == "::ffff:0:102:304"
    assert _unmapped("2001:db8::1") == "2001:db8::1"


@pytest.mark.parametrize(
    ("host", "reach", "level", "option", "ask"),
    [
        ("127.0.0.1", "127.0.0.1", socket.IPPROTO_IP, socket.IP_TOS, socket.IP_RECVTOS),
        ("::1", "::1", socket.IPPROTO_IPV6, socket.IPV6_TCLASS, socket.IPV6_RECVTCLASS),
        ("::", "127.0.0.1", socket.IPPROTO_IP, socket.IP_TOS, socket.IP_RECVTOS),
    ],
)
@pytest.mark.parametrize("dscp", [0, 34])
async def test_what_is_sent_is_marked(host: str, reach: str, level: int, option: int, ask: int, dscp: int) -> None:
    port = IcePort()
    port.open(host, 0, dscp=dscp)
    assert port.raw.getsockopt(level, option) == dscp << 2
    family = socket.AF_INET6 if ":" in reach else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as far:
        far.setsockopt(level, ask, 1)
        far.bind((reach, 0))
        far.settimeout(5)
        target = far.getsockname() if host == reach else ("::ffff:" + reach, far.getsockname()[1], 0, 0)
        assert port.send(b"marked", target)
        _, ancillary, _, _ = await asyncio.to_thread(far.recvmsg, 100, socket.CMSG_SPACE(4))
    # IPv4 hands over one byte, IPv6 an int.
    marks = [int.from_bytes(value, sys.byteorder) for kind, what, value in ancillary if (kind, what) == (level, option)]
    assert marks == [dscp << 2]
    port.close()
