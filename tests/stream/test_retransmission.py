"""What one viewer may have sent again: the rate, the number of times, the distance."""

from live.core.limits import (
    RETRANSMISSION_INTERVAL_S,
    RETRANSMISSION_INTERVAL_S_MIN,
    RETRANSMISSIONS_PER_PACKET_MAX,
    RETRANSMISSIONS_REMEMBERED,
)
from stream.downstream.retransmission import Allowance


def test_the_allowance_refills() -> None:
    one = Allowance()
    assert one.take(200, 0.0) == 200
    assert one.take(200, 0.0) == 56
    assert one.take(200, 0.1) == 50
    assert one.take(1000, 100.0) == 256


def test_a_packet_is_sent_again_so_often_and_no_more() -> None:
    one = Allowance()
    times = [
        one.again(0, 7, now * RETRANSMISSION_INTERVAL_S, None) for now in range(RETRANSMISSIONS_PER_PACKET_MAX + 2)
    ]
    assert times == [True] * RETRANSMISSIONS_PER_PACKET_MAX + [False, False]
    assert one.again(1, 7, 0.0, None), "another layer's packet is another one"
    assert one.again(-1, 7, 0.0, None, times=1)
    assert not one.again(-1, 7, 9.0, None, times=1)


def test_the_last_answer_gets_a_round_trip_to_arrive() -> None:
    one = Allowance()
    assert one.again(0, 7, 0.0, 0.3)
    assert not one.again(0, 7, 0.29, 0.3)
    assert one.again(0, 7, 0.3, 0.3)
    assert one.again(0, 8, 0.0, 0.0)
    assert not one.again(0, 8, RETRANSMISSION_INTERVAL_S_MIN - 0.001, 0.0)
    assert one.again(0, 8, RETRANSMISSION_INTERVAL_S_MIN, 0.0)


def test_only_so_many_packets_are_remembered() -> None:
    one = Allowance()
    for number in range(RETRANSMISSIONS_REMEMBERED + 1):
        assert one.again(0, number, 0.0, None)
    assert one.again(0, 0, 0.0, None), "the oldest one is forgotten"
    assert not one.again(0, RETRANSMISSIONS_REMEMBERED, 0.0, None)
