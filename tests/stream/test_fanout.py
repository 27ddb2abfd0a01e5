"""The inner loop with scripted trouble: slices, round robin, a kernel that takes no more, packets that cannot go."""

import asyncio
import errno
from collections import Counter
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, cast

import pytest

from live.core.limits import SOUND_GRACE_PACKETS_MAX, SOUND_GRACE_S
from stream.downstream.cache import Entry
from stream.downstream.fanout import Pump, Sender
from stream.downstream.layers import NO_VIDEO, Mark, Translation
from stream.downstream.subscribers import Group, Subscriber
from stream.feed import AUDIO as SOUND
from stream.transport.ice import IcePort
from stream.transport.peers import Peer

VIDEO, AUDIO = 102, 111


def packet(payload_type: int, number: int, *, marker: bool = False) -> bytes:
    return bytes((0x80, payload_type | (0x80 if marker else 0), 0, number)) + bytes(8)


class ScriptedPort:
    """A port whose socket fails as told: one entry a call, None succeeds."""

    def __init__(self, *script: Exception | None) -> None:
        self.script = list(script)
        self.sent: list[tuple[bytes, Any]] = []
        self.raw = self

    def sendto(self, datagram: bytes, address: Any) -> None:
        failure = self.script.pop(0) if self.script else None
        if failure is not None:
            raise failure
        self.sent.append((datagram, address))


def viewer(number: int, protect: Callable[[bytes], bytes] = bytes) -> Subscriber:
    peer = SimpleNamespace(protect=protect, address=("127.0.0.1", number))
    return Subscriber(cast(Peer, peer), {})


def sender(port: ScriptedPort, counts: Counter[str], now: Callable[[], float] = lambda: 0.0) -> Sender:
    return Sender(cast(IcePort, port), counts, now)


def send(port: ScriptedPort, subscribers: list[Subscriber], *packets: bytes) -> Counter[str]:
    counts: Counter[str] = Counter()
    for _ in sender(port, counts).to_all([(subscribers, list(packets), VIDEO)]):
        pass
    return counts


def test_each_viewer_gets_the_whole_batch_in_order() -> None:
    port, batch = ScriptedPort(), [packet(VIDEO, 1), packet(AUDIO, 2), packet(VIDEO, 3, marker=True)]
    viewers = [viewer(number) for number in range(100)]
    counts = send(port, viewers, *batch)
    assert port.sent == [(each, one.peer.address) for one in viewers for each in batch]
    assert counts == {"sent": 300}


def test_it_pauses_often() -> None:
    one = sender(ScriptedPort(), Counter())
    viewers = [viewer(number) for number in range(100)]
    assert len(list(one.to_all([(viewers, [packet(VIDEO, 1)], VIDEO)]))) == 2
    assert len(list(one.to_all([(viewers, [packet(VIDEO, 1)] * 16, VIDEO)]))) == 25


@pytest.mark.parametrize("full", [BlockingIOError(), OSError(errno.ENOBUFS, "no room")])
def test_a_full_kernel_costs_a_viewer_the_rest_of_the_frame_but_not_its_sound(full: OSError) -> None:
    port = ScriptedPort(None, full)
    batch = [packet(VIDEO, 1), packet(VIDEO, 2), packet(AUDIO, 3), packet(VIDEO, 4, marker=True), packet(VIDEO, 5)]
    one, two = viewer(1), viewer(2)
    counts = send(port, [one, two], *batch)
    assert [datagram for datagram, address in port.sent if address[1] == 1] == [batch[0], batch[2], batch[4]]
    assert [datagram for datagram, address in port.sent if address[1] == 2] == batch
    assert counts == {"sent": 8, "send_full": 1, "frame_dropped": 1}
    assert one.dropped == 2


def test_a_frame_is_dropped_across_batches() -> None:
    one, port = viewer(1), ScriptedPort(BlockingIOError())
    send(port, [one], packet(VIDEO, 1))
    assert one.skipping is True
    counts = send(port, [one], packet(VIDEO, 2), packet(AUDIO, 3))
    assert counts == {"sent": 1, "frame_dropped": 1}
    send(port, [one], packet(VIDEO, 4, marker=True), packet(VIDEO, 5))
    assert [datagram[3] for datagram, _ in port.sent] == [3, 5]


def test_when_only_the_last_packet_of_a_frame_is_refused_the_next_frame_goes() -> None:
    one = viewer(1)
    counts = send(ScriptedPort(BlockingIOError()), [one], packet(VIDEO, 1, marker=True), packet(VIDEO, 2))
    assert not one.skipping
    assert counts == {"sent": 1, "send_full": 1}


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.mark.parametrize("full", [BlockingIOError(), OSError(errno.ENOBUFS, "no room")])
def test_sound_that_the_kernel_did_not_take_is_offered_again(full: OSError) -> None:
    one, counts = viewer(1), Counter[str]()
    port = ScriptedPort(full, full, None, full)
    relay = sender(port, counts)
    assert list(relay.to_all([([one], [packet(AUDIO, 1), packet(VIDEO, 2, marker=True)], VIDEO)]))
    assert (one.troubled, one.skipping) == (True, False)
    assert [datagram[3] for datagram, _ in port.sent] == [2], "the picture goes on"
    relay.offer_again()
    assert [datagram[3] for datagram, _ in port.sent] == [2]
    relay.offer_again()
    assert [datagram[3] for datagram, _ in port.sent] == [2, 1]
    assert (one.troubled, one.skipping) == (False, False)
    assert counts == {"sent": 2, "send_full": 1}
    relay.offer_again()
    assert len(port.sent) == 2


def test_late_sound_goes_before_new_packets() -> None:
    one, counts = viewer(1), Counter[str]()
    port = ScriptedPort(BlockingIOError())
    relay = sender(port, counts)
    relay.to_one(one, [packet(AUDIO, 1)], VIDEO)
    relay.to_one(one, [packet(AUDIO, 2)], VIDEO)
    assert [datagram[3] for datagram, _ in port.sent] == [1, 2]
    assert not one.troubled


def test_the_grace_of_sound_is_short_and_small() -> None:
    one, counts, clock = viewer(1), Counter[str](), Clock()
    port = ScriptedPort(*[BlockingIOError()] * (SOUND_GRACE_PACKETS_MAX + 2), OSError("unreachable"))
    relay = sender(port, counts, clock)
    relay._refused(one, packet(AUDIO, 0), VIDEO, BlockingIOError())
    clock.now = SOUND_GRACE_S / 2
    for number in range(1, SOUND_GRACE_PACKETS_MAX + 1):
        relay._refused(one, packet(AUDIO, number), VIDEO, BlockingIOError())
    assert len(one.late) == SOUND_GRACE_PACKETS_MAX
    assert counts["sound_dropped"] == one.dropped == 1
    clock.now = SOUND_GRACE_S + 0.01
    port.script = [OSError("unreachable")]
    relay.offer_again()
    # The first was too old, the second met another error.
    assert [datagram[3] for datagram, _ in port.sent] == [2, 3]
    assert (counts["sound_dropped"], counts["send_failed"], one.dropped) == (2, 1, 3)


def test_who_has_left_is_offered_nothing() -> None:
    one, port = viewer(1), ScriptedPort(BlockingIOError())
    relay = sender(port, Counter())
    relay.to_one(one, [packet(AUDIO, 1)], VIDEO)
    relay.forget(one)
    relay.offer_again()
    assert not port.sent


def test_other_errors_cost_one_packet() -> None:
    def refuses(plain: bytes) -> bytes:
        if plain[3] == 2:
            raise ValueError("packet is too long")
        return plain

    port, one = ScriptedPort(OSError("unreachable")), viewer(1, refuses)
    counts = send(port, [one], packet(VIDEO, 1), packet(VIDEO, 2), packet(VIDEO, 3))
    assert counts == {"sent": 1, "send_failed": 1, "protect_refused": 1}
    assert [datagram[3] for datagram, _ in port.sent] == [3]


def test_a_group_translates_the_payload_type_and_leaves_out_what_its_viewers_did_not_ask_for() -> None:
    entries = [
        Entry(0, Mark(1, 0), packet(VIDEO, 1, marker=True), False),
        Entry(SOUND, Mark(1, 0), packet(AUDIO, 2), False),
        Entry(1, Mark(1, 0), packet(VIDEO, 3), False),
    ]
    layer = Translation(0)
    same = Group(layer, VIDEO, AUDIO).translate(entries)
    assert [each is entry.packet for each, entry in zip(same, entries[:2], strict=True)] == [True, True]
    assert [each[1] for each in Group(layer, 45, 46).translate(entries)] == [0x80 | 45, 46]
    assert [each[1] for each in Group(layer, None, AUDIO).translate(entries)] == [AUDIO]
    assert [each[1] for each in Group(layer, VIDEO, None).translate(entries)] == [0x80 | VIDEO]
    assert [each[1] for each in Group(NO_VIDEO, VIDEO, AUDIO).translate(entries)] == [AUDIO]
    assert [each[3] for each in Group(Translation(1), VIDEO, None).translate(entries)] == [3]


def test_a_group_gets_nothing_below_the_first_number_of_its_translation() -> None:
    entries = [Entry(0, Mark(number, 0), packet(VIDEO, number), False) for number in (4, 5, 6)]
    group = Group(Translation(0, first=5), VIDEO, None)
    assert [each[3] for each in group.translate(entries)] == [5, 6]


def test_a_late_packet_from_before_a_wrap_goes_to_nobody_when_somebody_began_after_it() -> None:
    wrap = 2 << 16
    entries = [
        Entry(layer, Mark(number, 0), packet(kind, number & 0x7F), False)
        for layer, kind in ((0, VIDEO), (SOUND, AUDIO))
        for number in (wrap - 1, wrap)
    ]
    group = Group(Translation(0), VIDEO, AUDIO)
    old, new = viewer(1), viewer(2)
    old.first_video = old.first_sound = wrap - 100
    new.first_video = new.first_sound = wrap + 100
    group.add(old)
    assert len(group.translate(entries)) == 4
    group.add(new)
    assert list(group.members) == [old, new]
    assert [each[3] for each in group.translate(entries)] == [0, 0]
    group.discard(new)
    assert list(group.members) == [old]


class Job:
    """Needs a number of steps, each a millisecond of a scripted clock."""

    def __init__(self, name: str, steps: int, log: list[str], clock: list[float]) -> None:
        self.name, self.steps, self.log, self.clock = name, steps, log, clock

    def run(self, expired: Callable[[], bool]) -> bool:
        while self.steps:
            self.steps -= 1
            self.clock[0] += 0.001
            self.log.append(self.name)
            if expired():
                return self.steps > 0
        return False


async def test_the_pump_gives_the_loop_back_and_takes_turns() -> None:
    log: list[str] = []
    clock = [0.0]
    pump = Pump(slice_s=0.002, now=lambda: clock[0])
    one, two = Job("one", 4, log, clock), Job("two", 3, log, clock)
    pump.wake(one)
    pump.wake(two)
    pump.wake(one)
    for _ in range(5):
        log.append("loop")
        await asyncio.sleep(0)
    assert log[:11] == ["loop", "one", "one", "loop", "two", "two", "loop", "one", "one", "loop", "two"]


async def test_a_job_that_fails_does_not_stop_the_others(caplog: pytest.LogCaptureFixture) -> None:
    class Broken:
        def run(self, expired: Callable[[], bool]) -> bool:
            raise RuntimeError("our own bug")

    failures: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: failures.append(context["exception"]))
    log: list[str] = []
    pump = Pump()
    pump.wake(Broken())
    pump.wake(Job("fine", 1, log, [0.0]))
    for _ in range(3):
        await asyncio.sleep(0)
    assert log == ["fine"]
    assert len(failures) == 1


async def test_a_closed_pump_does_nothing_more() -> None:
    log: list[str] = []
    pump = Pump()
    pump.wake(Job("never", 1, log, [0.0]))
    pump.close()
    pump.close()
    await asyncio.sleep(0)
    assert log == []
