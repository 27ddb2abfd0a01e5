"""When who does what in an event: values from a scenario, no clock."""

from collections.abc import Iterator

from loadtests.scenario import Chat, Viewers

_GOLDEN = 2_654_435_769  # 2^32 divided by the golden ratio: its multiples spread evenly


def joins(viewers: Viewers) -> list[float]:
    """When each viewer comes, in seconds from the start: those of the ramp first, then wave by wave."""
    times = [index * viewers.ramp_s / viewers.count for index in range(viewers.count)]
    for wave in viewers.wave:
        times += [wave.at_s + index * wave.within_s / wave.joins for index in range(wave.joins)]
    return times


def leaves(viewers: Viewers) -> list[float]:
    """When somebody leaves, in seconds from the start."""
    times: list[float] = []
    for wave in viewers.wave:
        times += [wave.at_s + index * wave.within_s / wave.leaves for index in range(wave.leaves)]
    return sorted(times)


def probes(chat: Chat, begin_s: float, end_s: float) -> Iterator[float]:
    """When messages are due between `begin_s` and `end_s`, in seconds from the start of the event."""
    due_s = begin_s
    while due_s < end_s:
        yield due_s
        burst = next((one for one in chat.burst if one.at_s <= due_s < one.at_s + one.for_s), None)
        rate_per_s = chat.rate_per_s if burst is None else burst.rate_per_s
        coming_s = min((one.at_s for one in chat.burst if one.at_s > due_s), default=end_s)
        due_s = min(due_s + 1 / rate_per_s, coming_s)


def belongs(index: int, share: float) -> bool:
    """Whether viewer `index` is of the `share` that a fault hits: the same ones each time, spread evenly."""
    return (index * _GOLDEN % 2**32) / 2**32 < share
