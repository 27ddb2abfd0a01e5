"""How often one may ask, on a clock of our own."""

import pytest

from live.core.addresses import network
from live.core.gate import Gate


def test_a_burst_is_granted_then_the_rate() -> None:
    gate = Gate(rate_per_s=10, burst=5, size=100)
    assert [gate.take("192.0.2.1", 50.0) for _ in range(5)] == [0.0] * 5
    assert gate.take("192.0.2.1", 50.0) == pytest.approx(0.1)
    assert gate.take("192.0.2.1", 50.05) == pytest.approx(0.05)
    assert gate.take("192.0.2.1", 50.1) == 0.0
    assert gate.take("192.0.2.1", 50.1) == pytest.approx(0.1)
    assert [gate.take("192.0.2.1", 60.0) for _ in range(6)][-2:] == [0.0, pytest.approx(0.1)]


@pytest.mark.parametrize("now", [0.1, 12_345_678.9, 3.2e8])
def test_a_burst_is_whole_however_long_the_clock_has_run(now: float) -> None:
    gate = Gate(rate_per_s=333, burst=1000, size=100)
    assert [gate.take("192.0.2.1", now) for _ in range(1000)] == [0.0] * 1000
    assert gate.take("192.0.2.1", now) > 0


def test_a_flood_costs_nobody_else_anything() -> None:
    gate = Gate(rate_per_s=1, burst=2, size=100)
    for _ in range(1000):
        gate.take("192.0.2.1", 5.0)
    assert gate.take("192.0.2.2", 5.0) == 0.0
    assert gate.take("192.0.2.1", 6.0) == 0.0, "being refused takes nothing"


def test_the_table_is_bounded_and_forgets_who_asked_least_lately() -> None:
    gate = Gate(rate_per_s=1, burst=1, size=3)
    for number in range(3):
        gate.take(f"192.0.2.{number}", 5.0)
    gate.take("192.0.2.0", 5.0)
    gate.take("192.0.2.9", 5.0)
    assert len(gate) == 3
    assert gate.take("192.0.2.0", 5.0) > 0
    assert gate.take("192.0.2.1", 5.0) == 0.0


def test_a_key_is_what_it_is_and_no_address() -> None:
    """Keys that are no addresses would push the addresses out of what `network` remembers."""
    before = network.cache_info()
    gate = Gate(rate_per_s=1, burst=1, size=3)
    assert [gate.take(key, 5.0) for key in ("demo 2001:db8::1", "demo 2001:db8::2")] == [0.0, 0.0]
    assert network.cache_info() == before
