"""Who is behind what: changed addresses, ICE restarts, NAT, IPv6, and a real TURN server."""

import asyncio
import re
import shutil
from collections import Counter
from collections.abc import AsyncIterator, Callable
from itertools import pairwise

import pytest
from aiortc import RTCConfiguration, RTCIceServer, RTCPeerConnection, RTCSessionDescription
from aiortc.rtcconfiguration import RTCIceTransportPolicy

from live.core.gate import Gate
from live.core.limits import CONSENT_EXPIRY_S, MOVED_PACKETS, PATH_CHECK_INTERVAL_S
from loadtests.media.client import Client
from loadtests.media.source import Source
from loadtests.ports import free_port
from stream.connections import Connection
from stream.wire import rtcp
from stream.wire.rtp import parse
from tests.stream.conftest import BEARER, House, patch, running, until

Make = Callable[..., Client]
VIDEO = 102
SECRET = "shared with coturn"


class Show:
    """A publisher who sends frames, and a viewer who keeps the numbers of what it gets."""

    def __init__(self, house: House, make: Make, hosts: tuple[str, str] = ("127.0.0.1", "127.0.0.1")) -> None:
        self.house = house
        self.numbers: list[int] = []
        self.asked: list[rtcp.Packet] = []
        self.source = Source()
        self.publisher = make(host=hosts[0], on_rtcp=lambda data: self.asked.extend(rtcp.parse(data)))
        self.viewer = make(host=hosts[1], on_rtp=self._got)
        self.addresses: dict[Client, str] = {}

    def _got(self, packet: bytes) -> None:
        if packet[1] & 0x7F == VIDEO:
            self.numbers.append(parse(packet).sequence)

    async def begin(self) -> None:
        self.addresses[self.publisher] = await self.house.enter(self.publisher, "whip")
        await until(lambda: self.house.told)
        self.addresses[self.viewer] = await self.house.enter(self.viewer, "whep")
        await until(lambda: self.house.media.stages["demo"].relay.subscribers)
        await self.play()

    def send(self) -> None:
        assert self.publisher.peer is not None
        for packet in self.source.frame():
            self.publisher.peer.send_rtp(packet)

    async def play(self) -> None:
        """One more frame reaches the viewer, and nothing before it is missing."""
        before = len(self.numbers)
        self.send()
        await until(lambda: len(self.numbers) == before + 6)
        assert all((after - before) & 0xFFFF == 1 for before, after in pairwise(self.numbers))

    async def trusted(self, client: Client) -> None:
        """`client` has answered a check of the server."""
        paths, address = self.session(client).peer._paths, client.socket.getsockname()
        await until(lambda: paths.trusts(address))

    def report(self, count: int = 1) -> None:
        """The viewer says that it is well."""
        assert self.viewer.peer is not None
        for _ in range(count):
            self.viewer.peer.send_rtcp(rtcp.build([rtcp.ReceiverReport(5)]))

    def session(self, client: Client) -> Connection:
        return self.house.media.sessions[self.addresses[client].rpartition("/")[2]]

    def sent_to(self, client: Client) -> bool:
        """Whether the server sends to where `client` is now."""
        address: object = client.socket.getsockname()
        return self.session(client).peer.address == address


@pytest.fixture
async def show(house: House, client: Make) -> Show:
    made = Show(house, client)
    await made.begin()
    return made


# --- another address ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("who", ["publisher", "viewer"])
async def test_a_nominated_path_is_taken_at_once_and_nothing_is_lost(show: Show, who: str) -> None:
    mover: Client = getattr(show, who)
    mover.move()
    assert not show.sent_to(mover)
    mover.keep_alive(nominate=True)
    await until(lambda: show.sent_to(mover))
    await show.play()
    await show.play()
    assert show.house.media.counts["path_changed"] == 1


async def test_a_viewer_behind_a_nat_that_forgot_it_is_found_by_its_reports(show: Show) -> None:
    show.viewer.move()
    show.report(MOVED_PACKETS)  # of an address that nobody has proved
    await until(lambda: show.house.media.counts["unknown_address"] == MOVED_PACKETS)
    show.viewer.keep_alive(nominate=False)
    await show.trusted(show.viewer)
    show.report(MOVED_PACKETS)
    await until(lambda: show.sent_to(show.viewer))
    await show.play()


async def test_a_publisher_behind_a_nat_that_forgot_it_goes_on_with_its_next_check(show: Show) -> None:
    show.publisher.move()
    show.publisher.keep_alive(nominate=False)
    await show.play()
    await show.trusted(show.publisher)
    await show.play()
    await until(lambda: show.sent_to(show.publisher))
    relay = show.house.media.stages["demo"].relay
    asked = len(show.asked)
    show.house.clock.shift_s += 2
    assert show.viewer.peer is not None
    show.viewer.peer.send_rtcp(rtcp.build([rtcp.ReceiverReport(5), rtcp.Pli(5, relay.ssrc("video"))]))
    await until(lambda: len(show.asked) > asked)


async def test_nothing_is_sent_to_an_address_that_does_not_answer(show: Show) -> None:
    """A source address can be forged: a viewer's own password does not let it direct a show at somebody else."""
    viewer, session = show.viewer, show.session(show.viewer)
    before = session.peer.address
    viewer.answers = False
    viewer.move()
    received = viewer.counts["received"]
    for _ in range(5):
        answered = viewer.counts["stun"]
        viewer.keep_alive(nominate=True)
        await until(lambda then=answered: viewer.counts["stun"] > then)  # type: ignore[misc]
    show.report(5 * MOVED_PACKETS)
    show.send()
    answered = viewer.counts["stun"]
    viewer.keep_alive(nominate=True)  # it comes after the reports, so those have been read when it is answered
    await until(lambda: viewer.counts["stun"] > answered)
    assert session.peer.address == before
    assert viewer.counts["received"] == received
    viewer.answers = True
    await asyncio.sleep(PATH_CHECK_INTERVAL_S)
    viewer.keep_alive(nominate=True)
    await until(lambda: show.sent_to(viewer))


async def test_an_address_that_was_left_belongs_to_nobody(show: Show, client: Make) -> None:
    session = show.session(show.viewer)
    left = session.peer.address
    assert left is not None
    assert session.peer.owns(left)
    show.viewer.move()
    show.viewer.keep_alive()
    await until(lambda: show.sent_to(show.viewer))
    assert not session.peer.owns(left)
    assert session.peer.owns(show.viewer.socket.getsockname())


async def test_only_checks_on_the_path_that_is_used_renew_consent(show: Show) -> None:
    elsewhere = show.viewer
    session = show.session(elsewhere).session
    elsewhere.move()
    for _ in range(3):  # checks of a path that the viewer does not use
        stun = elsewhere.counts["stun"]
        show.house.clock.shift_s += CONSENT_EXPIRY_S / 3
        session.heard(show.house.media.now())
        show.session(show.publisher).session.consented(show.house.media.now())
        elsewhere.keep_alive(nominate=False)
        await until(lambda before=stun: elsewhere.counts["stun"] > before)  # type: ignore[misc]
    await until(lambda: show.house.media.ended["subscriber", "consent_expired"] == 1)
    assert show.house.media.on_air("demo")


# --- ICE restart ----------------------------------------------------------------------------------------------


async def restart(show: Show, client: Client) -> None:
    answer = await patch(show.house, show.addresses[client], client.restart(), "*")
    assert answer.status_code == 200, answer.text
    client.restarted(answer.text)


@pytest.mark.parametrize("who", ["publisher", "viewer"])
async def test_after_a_restart_the_same_streams_go_on_by_another_path(show: Show, who: str) -> None:
    mover: Client = getattr(show, who)
    await show.play()
    await restart(show, mover)
    await show.play()
    mover.move()
    mover.keep_alive()
    await until(lambda: show.sent_to(mover))
    await show.play()
    assert len(show.house.media.sessions) == 2


async def test_old_credentials_are_good_until_the_new_path_is_nominated(show: Show) -> None:
    counts, viewer = show.house.media.counts, show.viewer
    old = viewer._remote
    await restart(show, viewer)
    new = viewer._remote
    assert new != old
    viewer._remote = old
    answered = viewer.counts["stun"]
    viewer.keep_alive()
    await until(lambda: viewer.counts["stun"] == answered + 1)
    viewer._remote = new
    viewer.keep_alive(nominate=False)
    await until(lambda: viewer.counts["stun"] == answered + 2)
    viewer._remote = old
    viewer.keep_alive()
    await until(lambda: viewer.counts["stun"] == answered + 3)
    viewer._remote = new
    viewer.keep_alive()
    await until(lambda: viewer.counts["stun"] == answered + 4)
    viewer._remote = old
    viewer.keep_alive()
    await until(lambda: counts["stun_unknown_user"] == 1)
    await show.play()


async def test_restarts_that_nobody_follows_end_nothing(show: Show) -> None:
    old = show.viewer._remote
    port = show.house.media.port
    for _ in range(20):
        await restart(show, show.viewer)
    assert len(port._by_ufrag) == 3, "of the publisher one, of the viewer the old ones and the newest"
    show.viewer._remote = old
    show.viewer.keep_alive()
    await show.play()


async def test_a_session_that_has_ended_leaves_no_credentials(show: Show) -> None:
    await restart(show, show.viewer)
    await show.house.http.delete(show.addresses[show.viewer])
    await until(lambda: len(show.house.media.port._by_ufrag) == 1)
    answer = await patch(show.house, show.addresses[show.viewer], show.viewer.restart(), "*")
    assert answer.status_code == 404


# --- floods ---------------------------------------------------------------------------------------------------


async def test_a_flood_of_offers_changes_nothing_for_those_who_are_on(
    show: Show, client: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stream.room.HANDSHAKES_MAX", 20)
    for bound in ("stream.room.HANDSHAKE_GRACE_S", "stream.transport.sessions.HANDSHAKE_TIMEOUT_S"):
        monkeypatch.setattr(bound, 1000.0)  # the first keep their places till the last has asked
    house = show.house
    house.media.gate = Gate(rate_per_s=0.001, burst=60, size=10)
    offer = client().offer("recvonly")
    flood = asyncio.gather(*(house.post("whep", offer) for _ in range(100)))
    while not flood.done():
        show.viewer.keep_alive()  # it may take longer than a viewer may be silent
        await show.play()
    answers = await flood
    statuses = Counter(answer.status_code for answer in answers)
    assert statuses == {201: 20, 503: 40, 429: 40}
    assert all(int(answer.headers["retry-after"]) > 0 for answer in answers if answer.status_code != 201)
    await show.play()
    assert show.sent_to(show.viewer)
    assert house.media.on_air("demo")
    assert house.media.counts["refused_rate"] == house.media.counts["refused_handshakes"] == 40


# --- NAT and IPv6 ---------------------------------------------------------------------------------------------


def candidates(answer: str) -> list[tuple[str, int]]:
    """Address and port of the candidates of the first section, in their order of priority."""
    first = answer.split("\r\nm=")[1]
    found = [line.split() for line in first.split("\r\n") if line.startswith("a=candidate:")]
    assert [int(each[3]) for each in found] == sorted((int(each[3]) for each in found), reverse=True)
    return [(each[4], int(each[5])) for each in found]


@pytest.mark.parametrize("house", [{"public_ips": ("203.0.113.9", "2001:db8::9")}], indirect=True)
async def test_behind_a_nat_the_public_addresses_are_told(house: House, client: Make) -> None:
    number = house.media.port.number
    publisher = client()
    answer = await house.post("whip", publisher.offer("sendonly"))
    assert candidates(answer.text) == [("203.0.113.9", number), ("2001:db8::9", number)]
    assert answer.text.count("c=IN IP4 203.0.113.9\r\n") == 2
    restarted = await patch(house, answer.headers["location"], publisher.restart(), "*")
    assert restarted.text.count(" 203.0.113.9 ") == restarted.text.count(" 2001:db8::9 ") == 1


@pytest.mark.parametrize("house", ["::1"], indirect=True)
async def test_ipv6_carries_a_show(house: House, client: Make) -> None:
    show = Show(house, client, ("::1", "::1"))
    await show.begin()
    await show.play()
    show.viewer.move()
    show.viewer.keep_alive()
    await until(lambda: show.sent_to(show.viewer))
    await show.play()


@pytest.mark.parametrize("house", [{"host": "::", "public_ips": ("127.0.0.1", "::1")}], indirect=True)
async def test_one_port_carries_a_show_over_both_families(house: House, client: Make) -> None:
    show = Show(house, client, ("::1", "127.0.0.1"))
    answer = await house.post("whip", show.publisher.offer("sendonly"))
    (four, number), (six, _) = candidates(answer.text)
    assert (four, six, number) == ("127.0.0.1", "::1", house.media.port.number)
    await show.publisher.connect(answer.text.replace("127.0.0.1", "::1"))
    await until(lambda: house.told)
    await house.enter(show.viewer, "whep")
    await until(lambda: house.media.stages["demo"].relay.subscribers)
    await show.play()
    await show.play()


# --- TURN -----------------------------------------------------------------------------------------------------


@pytest.fixture
async def coturn() -> AsyncIterator[int]:
    """The port of a running coturn, for UDP and TCP."""
    program = shutil.which("turnserver")
    if program is None:
        pytest.skip("coturn is not installed, so no relay is tested: call `make system`")
    number = free_port()
    process = await asyncio.create_subprocess_exec(
        program, "-n", "--listening-ip=127.0.0.1", "--relay-ip=127.0.0.1", f"--listening-port={number}",
        "--use-auth-secret", f"--static-auth-secret={SECRET}", "--realm=showcart", "--allow-loopback-peers",
        "--no-tls", "--no-dtls", "--no-cli", "--pidfile=", "--log-file=stdout", "--simple-log",
        stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    try:
        async with asyncio.timeout(10):
            while True:
                try:
                    _, writer = await asyncio.open_connection("127.0.0.1", number)
                except OSError:
                    await asyncio.sleep(0.05)
                    continue
                writer.close()
                await writer.wait_closed()
                break
        yield number
    finally:
        process.terminate()
        await process.wait()


LINK = re.compile(r'<(turn:[^>]+)>; rel="ice-server"; username="([^"]+)"; credential="([^"]+)"')


@pytest.mark.foreign
@pytest.mark.parametrize("transport", ["udp", "tcp"])
async def test_media_comes_through_coturn_with_the_credentials_of_the_link(
    coturn: int, client: Make, transport: str
) -> None:
    url = f"turn:127.0.0.1:{coturn}?transport={transport}"
    async with running(turn_urls=("stun:127.0.0.1:9", url), turn_secret=SECRET) as house:
        show = Show(house, client)
        await show.begin()
        told = (await house.http.options("/whip/demo", headers=BEARER)).headers["link"]
        found = LINK.search(told)
        assert found is not None
        server = RTCIceServer(urls=found[1], username=found[2], credential=found[3])
        policy = RTCIceTransportPolicy.RELAY
        pc = RTCPeerConnection(RTCConfiguration(iceServers=[server], iceTransportPolicy=policy))
        pc.addTransceiver("video", direction="recvonly")
        await pc.setLocalDescription(await pc.createOffer())
        relayed = re.findall(r"a=candidate:\S+ 1 udp \d+ (\S+) (\d+) typ (\w+)", pc.localDescription.sdp)
        assert [kind for _, _, kind in relayed] == ["relay"]
        answer = await house.post("whep", pc.localDescription.sdp)
        assert answer.status_code == 201, answer.text
        assert LINK.search(answer.headers["link"]), "a viewer is told too"
        await pc.setRemoteDescription(RTCSessionDescription(answer.text, "answer"))
        session = house.media.sessions[answer.headers["location"].rpartition("/")[2]]
        await until(lambda: pc.connectionState == "connected")
        assert session.peer.address == (relayed[0][0], int(relayed[0][1]))
        try:
            async with asyncio.timeout(10):
                while await received(pc) < 12:
                    show.send()
                    await asyncio.sleep(0.02)
        finally:
            await pc.close()


async def received(pc: RTCPeerConnection) -> int:
    """How many RTP packets a connection says that it got."""
    report = await pc.getStats()
    return sum(each.packetsReceived for each in report.values() if each.type == "inbound-rtp")
