"""Everything that reads what the network sends, as functions of bytes: what must hold, whatever the bytes are."""

import hashlib
import hmac
import itertools
import re
import struct
from collections.abc import Callable

from aioice import stun

from live.core.errors import Problem
from live.core.limits import (
    NACK_SEQUENCES_MAX,
    PEER_ADDRESSES_MAX,
    PICTURE_SIDE_MAX,
    SIMULCAST_LAYERS_MAX,
    UDP_DATAGRAM_BYTES_MAX,
)
from stream.transport.ice import IcePort
from stream.transport.paths import Address, Credentials
from stream.wire import payloads, rtcp, rtp, sdp
from tests.faults import messages
from tests.stream.offers import LOCAL, OFFERS, answered

CODECS = ("h264", "vp8", "vp9", "av1")


def read_rtp(data: bytes) -> None:
    """Headers, extensions and retransmissions: `PacketError`, or offsets within the packet."""
    try:
        header = rtp.parse(data)
    except rtp.PacketError:
        return
    assert rtp.HEADER_BYTES <= header.payload <= header.end <= len(data)
    bare = rtp.plain(data, header)
    again = rtp.parse(bare)
    assert again[:5] == header[:5] and again.payload == rtp.HEADER_BYTES
    assert bare[again.payload : again.end] == data[header.payload : header.end]
    for identifier in (*range(1, 16), 255):
        value = rtp.extension(data, header, identifier)
        assert value is None or value in data[rtp.HEADER_BYTES : header.payload]
    wrapped = rtp.wrap_rtx(bare, payload_type=97, sequence=70000, ssrc=9)
    repair = rtp.parse(wrapped)
    assert (repair.payload_type, repair.sequence, repair.ssrc, repair.marker) == (97, 70000 - 65536, 9, header.marker)
    original = rtp.unwrap_rtx(wrapped, repair, payload_type=header.payload_type, ssrc=header.ssrc)
    assert original is not None
    assert original[1:] == bare[1 : again.end]
    taken = rtp.unwrap_rtx(data, header, payload_type=1, ssrc=1)
    assert taken is None or rtp.parse(taken).ssrc == 1
    for codec in CODECS:
        _read_payload(codec, data, header.payload, header.end)


def read_payload(data: bytes) -> None:
    """Payloads of the four codecs; the first byte says of which."""
    if data:
        _read_payload(CODECS[data[0] % len(CODECS)], bytes(12) + data[1:] + b"\xff", 12, 11 + len(data))


def _read_payload(codec: str, packet: bytes, start: int, end: int) -> None:
    opens = payloads.opens_keyframe(codec)
    assert opens is not None
    found = opens(packet, start, end)
    # What is outside the payload makes no difference.
    assert opens(packet[start:end], 0, end - start) is found
    size = payloads.picture_size(codec, packet, start, end)
    assert size is None or all(0 < side <= PICTURE_SIDE_MAX for side in size)
    assert size is None or found or codec == "h264"
    numbers = payloads.vp8_numbers(packet, start, end)
    if numbers is not None:
        assert payloads.with_vp8_numbers(packet, start, picture_id=None, tl0=None) == packet
        changed = payloads.with_vp8_numbers(packet, start, picture_id=99_999, tl0=999)
        assert len(changed) == len(packet) and changed[end:] == packet[end:]
        renumbered = payloads.vp8_numbers(changed, start, end)
        assert renumbered is not None and renumbered.picture_id_bits == numbers.picture_id_bits
        assert renumbered.tl0 in (None, 999 & 0xFF)
        assert renumbered.picture_id in (None, 99_999 & (1 << numbers.picture_id_bits) - 1)


def read_rtcp(data: bytes) -> None:
    """Compounds: `PacketError`, or packets that are the same when they are written and read again."""
    try:
        packets = rtcp.parse(data)
    except rtp.PacketError:
        return
    lost = [packet for packet in packets if isinstance(packet, rtcp.Nack)]
    assert sum(len(packet.sequences) for packet in lost) <= NACK_SEQUENCES_MAX
    kept = [packet for packet in packets if not isinstance(packet, rtcp.Nack)]
    for packet in kept:
        if not isinstance(packet, rtcp.Bye) or packet.ssrcs:
            assert rtcp.parse(rtcp.build([packet])) == [packet]
    for nack in lost:
        (found,) = rtcp.parse(rtcp.build([nack]))
        assert isinstance(found, rtcp.Nack) and set(found.sequences) == set(nack.sequences)


def read_offer(data: bytes) -> None:
    """Offers: `Problem`, or an answer to publishers and viewers of plain lines."""
    try:
        offer = sdp.parse_offer(data.decode(errors="replace"))
    except Problem:
        return
    for answer in (answered, _answered_viewer, _restarted):
        try:
            lines = answer(offer).split("\r\n")
        except Problem:
            continue
        assert lines.pop() == ""
        assert all(re.fullmatch(r"[a-z]=[ -~]+", line) for line in lines)
        assert sum(line.startswith("a=rid:") for line in lines) <= SIMULCAST_LAYERS_MAX


def _answered_viewer(offer: sdp.Offer) -> str:
    tracks = {kind: sdp.Track(codecs, 7, 8) for kind, codecs in sdp.subscribed(offer, {}).items()}
    return sdp.write_answer(offer, LOCAL, tracks, stream="demo", version=1)


def _restarted(offer: sdp.Offer) -> str:
    return sdp.write_fragment(offer, LOCAL)


def read_fragment(data: bytes) -> None:
    """Bodies of PATCHes: `Problem`, or credentials that can be looked up."""
    try:
        fragment = sdp.parse_fragment(data.decode(errors="replace"))
    except Problem:
        return
    assert all(value is None or re.fullmatch(r"[!-~]{4,256}", value) for value in (fragment.ufrag, fragment.password))


class Port(IcePort):
    """The port without its socket."""

    def __init__(self) -> None:
        super().__init__()
        self.sent: list[bytes] = []

    def send(self, datagram: bytes, address: Address) -> bool:
        self.sent.append(datagram)
        return True

    def take(self, datagram: bytes, address: Address) -> None:
        self._route(datagram, address)

    @property
    def state(self) -> tuple[object, ...]:
        return (*self._by_address.items(), *((key, tuple(value)) for key, value in self._addresses.items()))


class Session:
    def __init__(self) -> None:
        self.bindings = 0
        self.datagrams = 0

    def owns(self, address: Address) -> bool:
        return False

    def bound(self, address: Address, ufrag: str, *, nominated: bool, size_bytes: int) -> None:
        self.bindings += 1

    def answered(self, address: Address) -> None:
        raise AssertionError("nothing was asked")

    def received(self, datagram: bytes, address: Address) -> None:
        self.datagrams += 1


_UFRAG, _PASSWORD = "ABCDEFGH", "p" * 24


def read_datagram(data: bytes) -> None:
    """The media port: who does not know the password gets nothing and leaves nothing; answers are not longer than
    requests; the addresses of a session are bounded."""
    port, session = Port(), Session()
    port.add(session, Credentials(_UFRAG, _PASSWORD))
    before = port.state
    port.take(data, ("192.0.2.1", 5000))
    if _is_signed(data):
        assert session.bindings <= 1
    else:
        assert (port.sent, port.state, session.bindings, session.datagrams) == ([], before, 0, 0)
    port.sent.clear()
    for number in range(PEER_ADDRESSES_MAX + 2):
        for host in ("192.0.2.1", "2001:db8::1", "::ffff:192.0.2.1"):
            request = signed(data[: UDP_DATAGRAM_BYTES_MAX - 44])
            port.take(request, (host, 5000 + number))
            assert all(len(answer) <= len(request) for answer in port.sent)
            port.sent.clear()
    assert len(port._by_address) <= PEER_ADDRESSES_MAX
    port.remove(session)
    assert port.state == ()


def signed(attributes: bytes) -> bytes:
    """A binding request with these attributes, whatever they are, and a valid MESSAGE-INTEGRITY at the end."""
    attributes += bytes(-len(attributes) % 4)
    head = struct.pack("!HHI12s", 1, len(attributes) + 24, stun.COOKIE, b"transaction.") + attributes
    return head + struct.pack("!HH", 8, 20) + hmac.new(_PASSWORD.encode(), head, hashlib.sha1).digest()


def _is_signed(data: bytes) -> bool:
    """Whether some MESSAGE-INTEGRITY in the data is right, whatever its length says (RFC 8489, section 14.5)."""
    for at in range(20, len(data) - 23, 4):
        if data[at : at + 2] == b"\x00\x08":
            head = data[:2] + struct.pack("!H", at + 4) + data[4:at]
            if hmac.digest(_PASSWORD.encode(), head, "sha1") == data[at + 4 : at + 24]:
                return True
    return False


def _attribute(kind: int, value: bytes) -> bytes:
    return struct.pack("!HH", kind, len(value)) + value + bytes(-len(value) % 4)


def _packet(payload: str, *, first: int = 0x80, extension: str = "") -> bytes:
    return struct.pack("!BBHII", first, 0xE6, 1, 2, 3) + bytes.fromhex(extension) + bytes.fromhex(payload)


_PAYLOADS = {
    "h264": ("6742c01eda0280bfe5c044000003000400000300f03c58ba80", "7c8580", "780004674200020002658042"),
    "vp8": ("101000009d012a80026801", "90e081220041100000", "90c0810507"),
    "vp9": ("08824983422027f01670", "8a81ff3801400020b402800168020400018249834200", "2800008249"),
    "av1": ("180a0a00000024c4ffdf3fb8", "08011204" + "08000000", "28020a0032"),
}
_USER = _attribute(6, f"{_UFRAG}:there".encode())

TARGETS: dict[str, tuple[Callable[[bytes], None], list[bytes]]] = {
    "rtp": (
        read_rtp,
        [
            *(_packet(each) for each in itertools.chain(*_PAYLOADS.values())),
            _packet("0102030405000003", first=0xB2, extension="0000000100000002bede000210aa2268656c0000"),
            _packet("01", first=0x90, extension="1000000201000201aa000000"),
        ],
    ),
    "payload": (
        read_payload,
        [bytes((CODECS.index(codec),)) + bytes.fromhex(each) for codec in CODECS for each in _PAYLOADS[codec]],
    ),
    "rtcp": (
        read_rtcp,
        [
            rtcp.build(
                [rtcp.SenderReport(1, 2, 3, 4, 5, (rtcp.ReportBlock(6, 7, 8, 9, 10),)), rtcp.Description(1, "a")]
            ),
            rtcp.build([rtcp.ReceiverReport(1, ()), rtcp.Nack(1, 2, (3, 4, 19, 40)), rtcp.Pli(1, 2), rtcp.Bye((1, 2))]),
            rtcp.build([rtcp.ReceiverReport(1), rtcp.Remb(1, 1_234_567, (2, 3)), rtcp.Fir(1, ((2, 3),))]),
        ],
    ),
    "offer": (read_offer, [text.encode() for text in OFFERS.values()]),
    "fragment": (
        read_fragment,
        [
            b"a=ice-ufrag:abcd\r\na=ice-pwd:0123456789\r\n",
            b"m=audio 9 RTP/AVP 0\r\na=mid:0\r\na=candidate:1 1 udp 1 ::1 9\r\na=ice-ufrag:abcd\r\n",
        ],
    ),
    "datagram": (
        read_datagram,
        [
            _USER,
            _USER + _attribute(0x24, b"\x00\x00\x00\x01") + _attribute(0x802A, bytes(8)) + _attribute(0x25, b""),
            _attribute(0x20, b"\x00\x01" + bytes(6)) + _attribute(6, _UFRAG.encode()),
            signed(_USER),
            b"\x16\xfe\xfd" + bytes(20),
            b"\x80\xe6" + bytes(20),
        ],
    ),
}
TARGETS |= messages.TARGETS
"""By name: what reads, and inputs to begin with."""

INPUT_BYTES_MAX = max(UDP_DATAGRAM_BYTES_MAX, *(len(data) for _, known in TARGETS.values() for data in known))
