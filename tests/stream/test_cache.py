"""The packet cache: what NACKs find, where joining viewers begin, and its bounds."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from live.core.limits import GOP_AGE_S_MAX, GOP_BYTES_MAX, GOP_HOLE_PACKETS_MAX, GOP_PACKETS_MAX
from stream.downstream.cache import Entry, PacketCache
from stream.downstream.layers import Mark


def entry(sequence: int, timestamp: int = 0, *, key: bool = False, size: int = 100) -> Entry:
    return Entry(0, Mark(sequence, timestamp), (b"%d" % sequence).ljust(size), key)


def put(cache: PacketCache, sequence: int, *, timestamp: int = 0, key: bool = False, now: float = 0.0) -> bool:
    return cache.put(entry(sequence, timestamp, key=key), now)


def test_a_packet_is_found_by_its_extended_and_by_its_short_number() -> None:
    cache = PacketCache()
    put(cache, 65530)
    put(cache, 65540)
    assert cache.get(65530) == entry(65530)
    assert cache.get(65531) is None
    assert cache.find(65540 & 0xFFFF) == entry(65540)
    assert cache.find(65530) == entry(65530)
    assert cache.find(100) is None


def test_old_packets_give_way_and_do_not_come_back() -> None:
    cache = PacketCache()
    put(cache, 10)
    assert not cache.taken(11)
    put(cache, 10 + GOP_PACKETS_MAX)
    assert cache.get(10) is None
    assert cache.taken(10)
    assert cache.get(10 + GOP_PACKETS_MAX) is not None
    assert cache.head == 11 + GOP_PACKETS_MAX


def test_a_number_is_taken_by_one_packet_even_when_that_is_forgotten() -> None:
    cache = PacketCache()
    put(cache, 7)
    assert cache.taken(7)
    assert not cache.taken(8)
    cache.clear()
    assert cache.taken(7)
    with pytest.raises(AssertionError):
        put(cache, 7)


def test_a_smaller_ring_forgets_sooner() -> None:
    cache = PacketCache(4)
    for sequence in range(1, 6):
        put(cache, sequence, key=sequence == 1)
    assert [cache.get(sequence) is None for sequence in range(1, 6)] == [True, False, False, False, False]
    assert cache.gop(0.0) is None


def test_a_group_begins_with_the_first_packet_of_a_keyframe() -> None:
    cache = PacketCache()
    assert cache.gop(0.0) is None
    assert cache.gop_age(0.0) == float("inf")
    assert cache.opens_gop(entry(100, 1, key=True))
    assert put(cache, 100, timestamp=1, key=True, now=5.0)
    assert not cache.opens_gop(entry(101, 1, key=True))
    assert not cache.opens_gop(entry(102, 2))
    assert not put(cache, 101, timestamp=1, key=True, now=5.0)
    assert cache.gop(5.0) == 100
    assert cache.gop_age(7.0) == 2.0
    assert put(cache, 110, timestamp=2, key=True, now=6.0)
    assert cache.gop(6.0) == 110


def test_parameter_sets_that_come_late_belong_to_their_picture() -> None:
    cache = PacketCache()
    put(cache, 101, timestamp=1, key=True)
    assert not put(cache, 100, timestamp=1, key=True)
    assert cache.gop(0.0) == 100


def test_an_old_keyframe_that_comes_late_is_not_the_newest() -> None:
    cache = PacketCache()
    put(cache, 110, timestamp=2, key=True)
    assert not put(cache, 100, timestamp=1, key=True)
    assert cache.gop(0.0) == 110


@pytest.mark.parametrize("bound", ["age", "packets", "bytes", "hole"])
def test_a_group_out_of_bounds_is_played_to_nobody(bound: str) -> None:
    cache = PacketCache()
    put(cache, 1, timestamp=1, key=True)
    if bound == "packets":
        for sequence in range(2, GOP_PACKETS_MAX + 1):
            put(cache, sequence)
        assert cache.gop(0.0) == 1
        put(cache, GOP_PACKETS_MAX + 1)
    elif bound == "bytes":
        cache.put(entry(2, 1, size=GOP_BYTES_MAX), 0.0)
    elif bound == "hole":
        put(cache, 2 + GOP_HOLE_PACKETS_MAX)
        assert cache.gop(0.0) == 1
        put(cache, 4 + 2 * GOP_HOLE_PACKETS_MAX)
    assert cache.gop(GOP_AGE_S_MAX + 0.1 if bound == "age" else 0.0) is None


def test_after_a_change_of_source_nothing_is_played_until_its_keyframe() -> None:
    cache = PacketCache()
    put(cache, 1, timestamp=1, key=True)
    cache.forget_gop()
    assert cache.gop(0.0) is None
    assert not put(cache, 3, timestamp=1, key=True)  # the rest of the old picture
    assert put(cache, 5, timestamp=9, key=True)
    assert cache.gop(0.0) == 5


def test_after_clearing_nothing_is_found_and_the_numbering_goes_on() -> None:
    cache = PacketCache()
    put(cache, 7, timestamp=1, key=True)
    cache.clear()
    assert cache.find(7) is None
    assert cache.get(7) is None
    assert cache.gop(0.0) is None
    assert cache.head == 8


@given(st.lists(st.integers(0, 3 * GOP_PACKETS_MAX), max_size=60))
def test_what_is_found_is_what_was_put(sequences: list[int]) -> None:
    cache = PacketCache()
    for sequence in sequences:
        if not cache.taken(sequence):
            put(cache, sequence)
    for sequence in sequences:
        assert cache.taken(sequence)
        assert cache.get(sequence) in (entry(sequence), None)
    if sequences:
        assert cache.get(max(sequences)) == entry(max(sequences))
