"""What the host is told that its path carries: over simulated paths, with and without a bottleneck."""

import random
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from live.core.limits import (
    REMB_BITS_PER_S_MAX,
    REMB_BITS_PER_S_MIN,
    REMB_BITS_PER_S_START,
    REMB_HURRY_S,
    REMB_INTERVAL_S,
    REMB_SIMULCAST_BITS_PER_S_MAX,
    REMB_SIMULCAST_BITS_PER_S_START,
)
from stream.upstream.estimate import Estimate
from tests.faults.path import Conditions, Path

FPS, PACKET_BYTES, PACING_S = 30, 1000, 0.025


@dataclass
class Run:
    """A host that sends what it is told (`obeys`) or a fixed rate, over a path; `told` has times and REMBs."""

    conditions: Conditions
    obeys: bool = True
    stalls_per_s: float = 0.0  # of the receiver's own event loop, 20 to 50 ms each
    estimate: Estimate = field(default_factory=lambda: Estimate(simulcast=True))
    told: list[tuple[float, int]] = field(default_factory=list)
    frames: int = 0

    def run(self, seconds: float, rate: float | None = None) -> None:
        path, chance = Path(self.conditions, 5), random.Random(6)
        rate = self.estimate.bits_per_s if rate is None else rate
        last = reported = stalled_until = self.frames / FPS
        lost = expected = octets = 0
        begin, self.frames = self.frames, self.frames + round(seconds * FPS)
        for frame in range(begin, self.frames):
            count = max(1, round(rate / FPS / 8 / PACKET_BYTES))
            if chance.random() < self.stalls_per_s / FPS:
                stalled_until = frame / FPS + 0.05 + chance.random() * 0.03
            for index in range(count):
                sent = frame / FPS + index * PACING_S / count
                expected += 1
                arrivals = path.offer(PACKET_BYTES, sent)
                if not arrivals:
                    lost += 1
                    continue
                last = now = max(last, arrivals[0], stalled_until)
                octets += PACKET_BYTES
                hurry = self.estimate.received(round(sent * (1 << 18)) % (1 << 24), PACKET_BYTES, now)
                elapsed = now - reported
                if elapsed >= REMB_INTERVAL_S or (hurry and elapsed >= REMB_HURRY_S):
                    told = self.estimate.update(lost / expected, octets * 8 / elapsed, elapsed, 0.05)
                    self.told.append((now, told))
                    lost = expected = octets = 0
                    reported = now
                    rate = min(told, 5e6) if self.obeys else rate

    def after(self, seconds: float) -> list[int]:
        return [bitrate for at, bitrate in self.told if at > seconds]


@pytest.mark.parametrize(("jitter_s", "stalls_per_s"), [(0.0, 0.0), (0.03, 0.0), (0.0, 5.0)])
def test_an_open_path_is_told_more_and_more_up_to_the_maximum(jitter_s: float, stalls_per_s: float) -> None:
    run = Run(Conditions(delay_s=0.02, jitter_s=jitter_s), stalls_per_s=stalls_per_s)
    run.run(15)
    bitrates = run.after(0)
    assert bitrates == sorted(bitrates)
    assert bitrates[0] > REMB_SIMULCAST_BITS_PER_S_START
    assert bitrates[-1] == REMB_SIMULCAST_BITS_PER_S_MAX


def test_a_quiet_scene_is_no_narrow_path() -> None:
    run = Run(Conditions(delay_s=0.02), obeys=False)
    run.run(10, rate=200_000)
    assert min(run.after(0)) == REMB_SIMULCAST_BITS_PER_S_START


@pytest.mark.parametrize("capacity", [2_000_000, 1_000_000, 500_000])
def test_a_queue_that_grows_is_heeded_before_it_overflows(capacity: int) -> None:
    run = Run(Conditions(delay_s=0.02, bits_per_s=capacity, queue_bytes=10**9))
    run.run(30)
    bitrates = run.after(10)
    assert 0.4 * capacity < min(bitrates) <= max(bitrates) < 1.4 * capacity
    assert 0.6 * capacity < sum(bitrates) / len(bitrates) < 1.1 * capacity
    first = next(at for at, bitrate in run.told if bitrate < capacity)
    assert first < 2.0


def test_after_a_narrow_time_it_climbs_back() -> None:
    run = Run(Conditions(delay_s=0.02, bits_per_s=500_000, queue_bytes=20_000))
    run.run(10)
    assert run.after(8)[-1] < 700_000
    run.conditions.bits_per_s = None
    run.run(20)
    assert run.told[-1][1] > 1_500_000


def test_loss_alone_lowers_it_and_a_little_of_it_does_not() -> None:
    run = Run(Conditions(loss=0.05))
    run.run(10)
    assert min(run.after(0)) == REMB_SIMULCAST_BITS_PER_S_START
    run = Run(Conditions(loss=0.3))
    run.run(10)
    assert run.told[-1][1] < REMB_SIMULCAST_BITS_PER_S_START / 3


def test_without_times_of_sending_loss_alone_counts_and_one_stream_gets_less() -> None:
    estimate = Estimate(simulcast=False)
    assert estimate.bits_per_s == REMB_BITS_PER_S_START
    for _ in range(30):
        estimate.update(0.0, 2e6, REMB_INTERVAL_S, None)
    assert estimate.bits_per_s == REMB_BITS_PER_S_MAX
    for _ in range(30):
        estimate.update(0.5, 0.0, REMB_INTERVAL_S, None)
    assert estimate.bits_per_s == REMB_BITS_PER_S_MIN


def test_a_silence_is_no_queue() -> None:
    run = Run(Conditions())
    run.run(3)
    before = run.estimate.bits_per_s
    for index in range(100):
        # An hour later the host's clock stands anywhere.
        sent, now = (9.0 + index / 30) % 64, 3600 + index / 30
        assert not run.estimate.received(round(sent * (1 << 18)) % (1 << 24), PACKET_BYTES, now)
    assert run.estimate.update(0.0, 1e6, REMB_INTERVAL_S, None) >= before


def test_packets_that_were_overtaken_do_no_harm() -> None:
    estimate = Estimate(simulcast=True)
    for index in range(600):
        sent = index / 100 - (0.1 if index % 5 == 0 else 0.0)
        estimate.received(round(sent * (1 << 18)) % (1 << 24), PACKET_BYTES, index / 100)
    assert estimate.update(0.0, 1e6, REMB_INTERVAL_S, None) >= REMB_SIMULCAST_BITS_PER_S_START


@given(
    st.lists(
        st.tuples(st.integers(0, (1 << 24) - 1), st.integers(12, 1500), st.floats(0, 3)), min_size=1, max_size=300
    ),
    st.booleans(),
)
def test_made_up_times_never_raise_nor_leave_the_bounds(packets: list[tuple[int, int, float]], simulcast: bool) -> None:
    estimate, now = Estimate(simulcast=simulcast), 0.0
    for send_time, octets, elapsed in packets:
        now += elapsed / 50
        estimate.received(send_time, octets, now)
    told = estimate.update(0.0, 1e6, REMB_INTERVAL_S, 0.1)
    assert REMB_BITS_PER_S_MIN <= told <= REMB_SIMULCAST_BITS_PER_S_MAX
    assert len(estimate._bursts) <= 257


def test_a_flood_of_made_up_bursts_is_bounded() -> None:
    estimate = Estimate(simulcast=True)
    for index in range(2000):
        estimate.received(index * 20_000 % (1 << 24), 100, index * 1e-5)
    assert len(estimate._bursts) <= 257
