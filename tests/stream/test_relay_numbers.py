"""What must hold for every viewer whatever happens: one number, one content; and what follows looks like one stream."""

import random
from itertools import pairwise

import pytest

from stream.downstream.layers import Mark
from stream.feed import AUDIO, Arrival
from stream.transport.srtp import Keys, ProtectError
from stream.wire import rtcp
from stream.wire.payloads import vp8_numbers
from stream.wire.rtp import parse
from tests.stream.relaying import H264, VP8, Host, Show, Viewer


class Chaos:
    """Everything that can happen to a show, in an order that follows from the seed."""

    def __init__(self, seed: int, *, secure: bool = False) -> None:
        self.random = random.Random(seed)
        self.secure = secure
        self.show = Show()
        self.show.full = lambda: self.random.random() < 0.01
        self.late: list[Arrival] = []
        self.host = self._host()
        self.watching: list[Viewer] = []

    def _host(self) -> Host:
        codec = self.random.choice((H264, VP8))
        return self.show.host(self.random.choice((1, 2, 3)), codec, seed=self.random.randrange(1 << 30))

    def act(self) -> None:
        rules = {
            self.frames: 40, self.overdue: 10, self.pass_time: 12, self.join: 6, self.leave: 2, self.choose: 10,
            self.ask: 12, self.picture: 3, self.keyframe: 3, self.restart: 1, self.replace: 1, self.go: 1,
            self.work: 8, self.cap: 2, self.twice: 2,
        }  # fmt: skip
        self.random.choices(list(rules), list(rules.values()))[0]()

    def frames(self) -> None:
        """A moment of the show, with loss and delay on the way to us; the work is done in parts."""
        arrivals = [self.host.sound()]
        for layer in range(len(self.host.feed.rids)):
            arrivals += self.host.picture(layer, self.random.choice((1, 3, 40 if self.random.random() < 0.1 else 5)))
        for arrival in arrivals:
            fate = self.random.random()
            if fate < 0.05:
                self.late.append(arrival)
            elif fate > 0.02:
                self.show.relay.push(arrival)
            if self.random.random() < 0.1:
                self.show.work(self.random.randrange(1, 4))
        self.show.pass_time(self.random.choice((0.0, 0.01, 0.04)))

    def overdue(self) -> None:
        while self.late and self.random.random() < 0.7:
            self.show.relay.push(self.late.pop(self.random.randrange(len(self.late))))

    def twice(self) -> None:
        """A hostile publisher sends another packet under a number that it has used."""
        arrival = self.host.picture(0, 1)[0]
        self.show.relay.push(arrival)
        self.show.work(self.random.randrange(3))
        self.show.relay.push(arrival._replace(packet=arrival.packet + b"!\x00"))

    def pass_time(self) -> None:
        self.show.pass_time(self.random.choice((0.02, 0.1, 0.5)))

    def work(self) -> None:
        self.show.work(self.random.randrange(1, 6))

    def join(self) -> None:
        if len(self.watching) < 8:
            rtx, sound = self.random.random() < 0.5, self.random.random() < 0.9
            viewer = self.show.viewer(rtx=rtx, sound=sound)
            self.watching.append(viewer)
            if self.secure:
                SecureEnds(viewer, self.random)

    def leave(self) -> None:
        if self.watching:
            viewer = self.watching.pop(self.random.randrange(len(self.watching)))
            self.show.relay.leave(viewer.subscriber)

    def choose(self) -> None:
        """A path that changes as no path does; the selector itself is tried elsewhere."""
        if self.watching:
            viewer = self.random.choice(self.watching)
            layers = range(len(self.host.feed.rids))
            wish = self.random.choice((*layers, *layers, None))
            viewer.subscriber.selector.choose = (  # type: ignore[method-assign]
                lambda layers, *_: None if wish is None else min(wish, len(layers) - 1)
            )

    def cap(self) -> None:
        if self.watching:
            viewer = self.random.choice(self.watching)
            height = self.random.choice((None, 180, 360))
            self.show.relay.cap(viewer.subscriber, height, video=self.random.random() < 0.8)

    def ask(self) -> None:
        """NACKs for what was lost, for what came, for what was never sent, for what is yet to be sent."""
        if self.watching:
            viewer = self.random.choice(self.watching)
            for kind in ("video", "audio"):
                numbers = viewer.numbers(kind) or [self.random.randrange(1 << 16)]
                around = self.random.choice(numbers) if self.random.random() < 0.5 else numbers[-1]
                asked = tuple((around + self.random.randrange(-40, 40)) & 0xFFFF for _ in range(20))
                viewer.report(rtcp.Nack(5, self.show.relay.ssrc(kind), asked))

    def picture(self) -> None:
        if self.watching:
            self.random.choice(self.watching).report(rtcp.Pli(5, 1))

    def keyframe(self) -> None:
        self.host.keyframes.add(self.random.randrange(len(self.host.feed.rids)))

    def restart(self) -> None:
        self.late.clear()
        self.host.restart(self.random.choice((AUDIO, *range(len(self.host.feed.rids)))))

    def replace(self) -> None:
        self.late.clear()
        self.host = self._host()

    def go(self) -> None:
        self.late.clear()
        self.show.relay.end()
        self.show.pass_time(0.1)
        self.host = self._host()


@pytest.mark.parametrize("seed", range(40))
def test_no_viewer_gets_two_contents_under_one_number(seed: int) -> None:
    chaos = Chaos(seed)
    for _ in range(300):
        chaos.act()
    # What was sent was checked when it was; this says that the rules did reach what they are about.
    assert any(viewer.packets for viewer in chaos.show.viewers.values())


def steady(seed: int, codec: object) -> tuple[Show, Host, list[Viewer], random.Random]:
    show = Show()
    host = show.host(3, VP8 if codec == "vp8" else H264, seed=seed)
    return show, host, [show.viewer() for _ in range(3)], random.Random(seed)


class SecureEnds:
    """SRTP to one viewer over a path that loses packets: whatever arrives must be understood."""

    def __init__(self, viewer: Viewer, chance: random.Random) -> None:
        material = bytes(range(2 * 28))
        self._ours = Keys("SRTP_AEAD_AES_128_GCM", material, active=False)
        self._theirs = Keys("SRTP_AEAD_AES_128_GCM", material, active=True)
        self._chance = chance
        self._arrived: set[bytes] = set()
        viewer.heard = self._sent

    def _sent(self, packet: bytes) -> None:
        protected = self._ours.protect(packet)
        if self._chance.random() < 0.9 and packet not in self._arrived:
            self._arrived.add(packet)
            try:
                assert self._theirs.unprotect(protected) == packet
            except ProtectError as error:  # which a sender would take for its own
                raise AssertionError("what has arrived is not understood") from error


@pytest.mark.parametrize("seed", range(10))
def test_viewers_understand_all_that_arrives_also_when_numbers_wrap(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A viewer's first number is far from a wrap; here all begin shortly before one."""
    monkeypatch.setattr("stream.downstream.layers._FIRST_NUMBER_MAX", 1 << 16)
    monkeypatch.setattr("stream.downstream.lines.secrets.randbelow", lambda below: (1 << 16) - 150)
    chaos = Chaos(seed, secure=True)
    for _ in range(250):
        chaos.act()
    numbers = [number for viewer in chaos.show.viewers.values() for number in viewer.numbers()]
    assert min(numbers) < 1 << 16 <= max(numbers)


@pytest.mark.parametrize("codec", ["h264", "vp8"])
@pytest.mark.parametrize("seed", range(8))
def test_over_all_switches_a_viewer_sees_one_stream(seed: int, codec: str) -> None:
    """Without loss there are no gaps in numbers, and timestamps and picture ids never go back."""
    show, host, viewers, chance = steady(seed, codec)
    for _ in range(200):
        arrivals = [host.sound(), *(arrival for layer in range(3) for arrival in host.picture(layer))]
        show.send(*arrivals)
        show.pass_time(0.04)
        host.keyframes |= set(host.wanted)
        host.wanted.clear()
        if chance.random() < 0.1:
            wish = chance.choice((0, 1, 2, 2, None))
            chance.choice(viewers).subscriber.selector.choose = lambda *_, wish=wish: wish  # type: ignore[method-assign]
        if chance.random() < 0.01:
            host = show.host(3, host.feed.codecs["video"], seed=chance.randrange(1 << 30))
    assert {layer for viewer in viewers for layer in viewer.layers()} == {0, 1, 2}
    for viewer in viewers:
        packets = viewer.pictures()
        numbers = viewer.numbers()
        assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))
        marks = [_mark(packet) for packet in packets]
        for before, after in pairwise(marks):
            assert (after.timestamp - before.timestamp) & 0xFFFFFFFF < 1 << 31
            if after.vp8 is not None and before.vp8 is not None:
                assert after.vp8.picture_id is not None
                assert before.vp8.picture_id is not None
                step = (after.vp8.picture_id - before.vp8.picture_id) & 0x7FFF
                assert step <= 1 if after.timestamp != before.timestamp else step == 0
        sound = viewer.numbers("audio")
        assert sound == list(range(sound[0], sound[0] + 200))


def _mark(packet: bytes) -> Mark:
    header = parse(packet)
    codec = vp8_numbers(packet, header.payload, header.end) if header.payload_type == VP8.payload_type else None
    return Mark(header.sequence, header.timestamp, codec)


def test_who_loses_all_that_comes_before_a_wrap_understands_what_follows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stream.downstream.lines.secrets.randbelow", lambda below: (1 << 16) - 4)
    show = Show()
    host = show.host(1)
    viewer = show.viewer(sound=False)
    chance = random.Random(1)
    chance.random = lambda: 1.0  # type: ignore[method-assign]
    SecureEnds(viewer, chance)  # all is lost on its way at first
    show.send(*host.picture(0, 4))
    chance.random = lambda: 0.0  # type: ignore[method-assign]
    show.send(*host.picture(0, 3), *host.picture(0, 3))
    show.pass_time(0.1)
    assert [number & 0xFFFF for number in viewer.numbers()] == list(range(10))


def test_what_comes_late_over_a_wrap_does_not_upset_who_joined_after_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stream.downstream.layers._FIRST_NUMBER_MAX", 1 << 16)
    monkeypatch.setattr("stream.downstream.lines.secrets.randbelow", lambda below: (1 << 16) - 4)
    show = Show()
    host = show.host(1)
    early = show.viewer()
    late = []
    for index in range(4):
        host.keyframes.add(0)
        arrivals = [*host.picture(0, 2), host.sound()]
        if index == 1:
            late = [arrivals.pop(1), arrivals.pop(1)]  # the last numbers before the wrap are among these
        show.send(*arrivals)
        show.pass_time(0.04)
    joined = show.viewer()
    lost = random.Random(1)
    lost.random = lambda: 1.0  # type: ignore[method-assign]
    SecureEnds(joined, lost)  # what comes now is lost on its way ...
    show.pass_time(0.04)
    show.send(*late)
    lost.random = lambda: 0.0  # type: ignore[method-assign]
    show.send(*host.picture(0), host.sound())  # ... and what comes then must be understood all the same
    assert {number >> 16 for number in early.numbers()} == {0, 1}
    assert len(joined.packets) == 2
