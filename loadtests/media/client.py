"""A WebRTC client that decodes nothing: for load tests, benches and tests that need many viewers, or exact packets.

It makes an offer, finds the server with STUN binding requests, does the DTLS handshake and then hands over plain RTP
and RTCP, or only counts. `transport.peers` is its engine in the DTLS client's role, so it proves nothing about foreign
stacks; for those there are aiortc's own RTCPeerConnection, node-datachannel and Chromium in the tests.
"""

import asyncio
import secrets
import socket
from collections import Counter
from collections.abc import Callable

from aioice import stun

from stream.transport.ice import Address
from stream.transport.paths import Credentials
from stream.transport.peers import Certificate, Peer

_CODECS = {
    "h264": ("H264/90000", "level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42e01f"),
    "vp8": ("VP8/90000", ""),
    "vp9": ("VP9/90000", "profile-id=0"),
    "av1": ("AV1/90000", "level-idx=5;profile=0;tier=0"),
    "opus": ("opus/48000/2", "minptime=10;useinbandfec=1"),
}
PAYLOAD_TYPES = {"h264": 102, "vp8": 96, "vp9": 98, "av1": 45, "opus": 111}
RTX_PAYLOAD_TYPES = {"h264": 103, "vp8": 97, "vp9": 99, "av1": 46}
MID_ID, RID_ID, REPAIRED_RID_ID = 4, 10, 11
"""The header extensions' numbers in our offers (RFC 8285)."""
_EXTENSIONS = {
    MID_ID: "urn:ietf:params:rtp-hdrext:sdes:mid",
    RID_ID: "urn:ietf:params:rtp-hdrext:sdes:rtp-stream-id",
    REPAIRED_RID_ID: "urn:ietf:params:rtp-hdrext:sdes:repaired-rtp-stream-id",
}
_REQUEST_INTERVAL_S, _REQUEST_INTERVAL_S_MAX = 0.05, 0.5


class Client:
    """One client on its own UDP socket. `on_rtp` and `on_rtcp` get plain packets."""

    def __init__(
        self,
        certificate: Certificate | None = None,
        *,
        on_rtp: Callable[[bytes], None] | None = None,
        on_rtcp: Callable[[bytes], None] | None = None,
        host: str = "127.0.0.1",
    ) -> None:
        """`certificate` None: a fresh one; many clients of one process may share theirs."""
        self.counts: Counter[str] = Counter()
        self.answers = True  # checks of the server, as full ICE does
        self.connected = asyncio.Event()
        self.closed = asyncio.Event()
        self.on_rtp = on_rtp or (lambda packet: None)
        self.on_rtcp = on_rtcp or (lambda packet: None)
        self.peer: Peer | None = None
        self._certificate = certificate or Certificate.generate()
        self._ufrag, self._password = secrets.token_hex(4), secrets.token_hex(16)
        self._server: Address | None = None
        self._remote = ("", "")
        self.socket = _socket(host)
        self._reading = False

    @property
    def server(self) -> Address:
        """Where the server is."""
        assert self._server is not None, "connect first"
        return self._server

    @property
    def credentials(self) -> tuple[str, str]:
        """Our ICE ufrag and password, as in the offer."""
        return self._ufrag, self._password

    def offer(
        self,
        direction: str,
        codecs: tuple[str, ...] = ("h264", "opus"),
        setup: str = "actpass",
        *,
        rids: tuple[str, ...] = (),
        rtx: bool = False,
    ) -> str:
        """An offer with one section for the video codecs, as alternatives, and one for opus.

        `rids` offers simulcast (RFC 8853) of that many layers, `rtx` retransmissions of the video (RFC 4588).
        """
        sections = {"video": [name for name in codecs if name != "opus"], "audio": [n for n in codecs if n == "opus"]}
        used = {kind: names for kind, names in sections.items() if names}
        lines = ["v=0", "o=- 1 1 IN IP4 127.0.0.1", "s=-", "t=0 0", "a=group:BUNDLE " + " ".join(used)]
        for kind, names in used.items():
            video = kind == "video"
            numbers = [PAYLOAD_TYPES[name] for name in names]
            numbers += [RTX_PAYLOAD_TYPES[name] for name in names] if video and rtx else []
            lines += [f"m={kind} 9 UDP/TLS/RTP/SAVPF {' '.join(map(str, numbers))}", "c=IN IP4 0.0.0.0"]
            lines += [f"a=mid:{kind}", f"a={direction}"]
            lines += ["a=rtcp-mux", f"a=ice-ufrag:{self._ufrag}", f"a=ice-pwd:{self._password}"]
            lines += [f"a=fingerprint:sha-256 {self._certificate.fingerprint}", f"a=setup:{setup}"]
            for name in names:
                lines += _codec_lines(name, feedback=video, rtx=video and rtx)
            if video and rids:
                lines += [f"a=extmap:{number} {uri}" for number, uri in _EXTENSIONS.items()]
                lines += [*(f"a=rid:{rid} send" for rid in rids), f"a=simulcast:send {';'.join(rids)}"]
        return "\r\n".join(lines) + "\r\n"

    async def connect(self, answer: str, timeout_s: float = 10.0) -> None:
        """Find the server that gave `answer` and do the handshake. Raises `TimeoutError`, `ConnectionError`."""
        lines = answer.split("\r\n")
        found = {line[2:].partition(":")[0]: line.partition(":")[2] for line in lines if line.startswith("a=")}
        candidates = [line.split() for line in lines if line.startswith("a=candidate:")]
        candidate = next((one for one in candidates if len(one) > 5 and one[2].lower() == "udp"), None)
        if candidate is None or not {"ice-ufrag", "ice-pwd", "fingerprint", "setup"} <= found.keys():
            raise ConnectionError("the answer does not say where the server is")
        self._server = (candidate[4], int(candidate[5]))
        self._remote = (found["ice-ufrag"], found["ice-pwd"])
        algorithm, _, fingerprint = found["fingerprint"].partition(" ")
        active = found["setup"] == "passive"
        self.peer = Peer(self, self._certificate, ((algorithm, fingerprint),), self, active=active)  # type: ignore[arg-type]
        asyncio.get_running_loop().add_reader(self.socket.fileno(), self._read)
        self._reading = True
        async with asyncio.timeout(timeout_s):
            pause_s = _REQUEST_INTERVAL_S
            while not self.connected.is_set():
                self.keep_alive()
                try:
                    async with asyncio.timeout(pause_s):
                        await self.connected.wait()
                except TimeoutError:
                    # As browsers do (RFC 8445, section 14.3): a busy machine must not drown in its own requests.
                    pause_s = min(pause_s * 2, _REQUEST_INTERVAL_S_MAX)

    def keep_alive(self, password: str | None = None, *, nominate: bool = True) -> None:
        """Send a binding request: it renews consent. `password` None: the right one."""
        assert self._server is not None, "connect first"
        request = stun.Message(stun.Method.BINDING, stun.Class.REQUEST)
        request.attributes["USERNAME"] = f"{self._remote[0]}:{self._ufrag}"
        request.attributes["PRIORITY"] = 1845501695
        request.attributes["ICE-CONTROLLING"] = 1
        if nominate:
            request.attributes["USE-CANDIDATE"] = None
        request.add_message_integrity((password or self._remote[1]).encode())
        self.socket.sendto(bytes(request), self._server)

    def restart(self) -> str:
        """New ICE credentials, and the fragment that tells the server of them (RFC 9725, section 4.4.3)."""
        self._ufrag, self._password = secrets.token_hex(4), secrets.token_hex(16)
        section = "m=video 9 UDP/TLS/RTP/SAVPF 0\r\na=mid:video\r\n"
        return f"{section}a=ice-ufrag:{self._ufrag}\r\na=ice-pwd:{self._password}\r\n"

    def restarted(self, fragment: str) -> None:
        """The server's answer to a restart: its new credentials."""
        found = {line[2:].partition(":")[0]: line.partition(":")[2] for line in fragment.split("\r\n")}
        self._remote = (found["ice-ufrag"], found["ice-pwd"])

    def move(self) -> None:
        """Go on from another address, as behind a NAT that has forgotten us, or in another network."""
        loop = asyncio.get_running_loop()
        host = self.socket.getsockname()[0]
        loop.remove_reader(self.socket.fileno())
        self.socket.close()
        self.socket = _socket(host)
        loop.add_reader(self.socket.fileno(), self._read)

    def stop_reading(self) -> socket.socket:
        """Hand the socket over to somebody who only counts."""
        asyncio.get_running_loop().remove_reader(self.socket.fileno())
        self._reading = False
        return self.socket

    async def close(self) -> None:
        """Say good-bye and free the socket."""
        if self.peer is not None:
            await self.peer.close()
        if self._reading:
            self.stop_reading()
        self.socket.close()

    def _read(self) -> None:
        while True:
            try:
                datagram, address = self.socket.recvfrom(2048)
            except (BlockingIOError, ConnectionRefusedError):
                return
            self.take(datagram, address)
            if not self._reading:
                return

    def take(self, datagram: bytes, address: Address) -> None:
        """Deal with one datagram, for somebody who reads the socket after `stop_reading`."""
        assert self.peer is not None
        if datagram[0] < 4:
            self._stun(stun.parse_message(datagram), address)
        else:
            self.counts["received"] += 1
            self.peer.received(datagram, address)

    def _stun(self, message: stun.Message, address: Address) -> None:
        assert self.peer is not None
        if message.message_class is stun.Class.RESPONSE:
            self.counts["stun"] += 1
            self.peer.bound(address, "", nominated=False)
        elif self.answers and message.check_message_integrity(self._password.encode()):
            self.counts["checks"] += 1
            mapped = {"XOR-MAPPED-ADDRESS": address[:2]}
            reply = stun.Message(stun.Method.BINDING, stun.Class.RESPONSE, message.transaction_id, mapped)
            reply.add_message_integrity(self._password.encode())
            self.send(bytes(reply), address)

    # What `Peer` asks of its port ...

    def add(self, peer: Peer, credentials: Credentials) -> None: ...

    def remove(self, peer: Peer) -> None: ...

    def send(self, datagram: bytes, address: Address) -> bool:
        self.socket.sendto(datagram, address)
        return True

    # ... and of its owner.

    def peer_bound(self) -> None: ...

    def peer_secured(self) -> None:
        self.connected.set()

    def peer_closed(self, *, failed: bool) -> None:
        self.counts["failed" if failed else "closed"] += 1
        self.closed.set()

    def peer_rtp(self, packet: bytes) -> None:
        self.on_rtp(packet)

    def peer_rtcp(self, packet: bytes) -> None:
        self.on_rtcp(packet)


def _socket(host: str) -> socket.socket:
    opened = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM)
    opened.setblocking(False)
    opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 * 1024 * 1024)
    opened.bind((host, 0))
    return opened


def _codec_lines(name: str, *, feedback: bool, rtx: bool) -> list[str]:
    number, (rtpmap, fmtp) = PAYLOAD_TYPES[name], _CODECS[name]
    lines = [f"a=rtpmap:{number} {rtpmap}"]
    lines += [f"a=fmtp:{number} {fmtp}"] if fmtp else []
    lines += [f"a=rtcp-fb:{number} {item}" for item in ("nack", "nack pli", "ccm fir", "goog-remb")] if feedback else []
    again = RTX_PAYLOAD_TYPES.get(name)
    lines += [f"a=rtpmap:{again} rtx/90000", f"a=fmtp:{again} apt={number}"] if rtx else []
    return lines
