"""The inner loop with scripted trouble: slices, round robin, a kernel that takes no more, packets that cannot go."""

import asyncio
from collections import Counter
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, cast

import pytest

from stream.fanout import Entry, Group, Pump, Sender, Subscriber
from stream.ice import IcePort
from stream.peers import Peer

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


def send(port: ScriptedPort, subscribers: list[Subscriber], *packets: bytes) -> Counter[str]:
    counts: Counter[str] = Counter()
    for _ in Sender(cast(IcePort, port), counts).to_all(subscribers, list(packets), VIDEO):
        pass
    return counts


def test_each_viewer_gets_the_whole_batch_in_order() -> None:
    port, batch = ScriptedPort(), [packet(VIDEO, 1), packet(AUDIO, 2), packet(VIDEO, 3, marker=True)]
    viewers = [viewer(number) for number in range(100)]
    counts = send(port, viewers, *batch)
    assert port.sent == [(each, one.peer.address) for one in viewers for each in batch]
    assert counts == {"sent": 300}


def test_it_pauses_often() -> None:
    sender = Sender(cast(IcePort, ScriptedPort()), Counter())
    viewers = [viewer(number) for number in range(100)]
    assert len(list(sender.to_all(viewers, [packet(VIDEO, 1)], VIDEO))) == 2
    assert len(list(sender.to_all(viewers, [packet(VIDEO, 1)] * 16, VIDEO))) == 25


def test_a_full_kernel_costs_a_viewer_the_rest_of_the_frame_but_not_its_sound() -> None:
    port = ScriptedPort(None, BlockingIOError())
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


def test_a_refused_sound_packet_does_not_stop_the_video() -> None:
    one = viewer(1)
    counts = send(ScriptedPort(BlockingIOError(), BlockingIOError()), [one], packet(AUDIO, 1), packet(AUDIO, 2))
    assert not one.skipping
    assert counts == {"sent": 0, "send_full": 2}


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
        Entry(True, 1, 0, packet(VIDEO, 1, marker=True), False),
        Entry(False, 1, 0, packet(AUDIO, 2), False),
    ]
    assert Group(VIDEO, AUDIO).translate(entries)[0] is entries[0].packet, "the same numbers need no copy"
    assert [each[1] for each in Group(45, 46).translate(entries)] == [0x80 | 45, 46]
    assert [each[1] for each in Group(None, AUDIO).translate(entries)] == [AUDIO]
    assert [each[1] for each in Group(VIDEO, AUDIO).translate(entries, video=False)] == [AUDIO]


def test_retransmissions_have_an_allowance_that_refills() -> None:
    one = viewer(1)
    assert one.may_retransmit(200, 0.0) == 200
    assert one.may_retransmit(200, 0.0) == 56
    assert one.may_retransmit(200, 0.1) == 50
    assert one.may_retransmit(1000, 100.0) == 256


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
