"""News leave in the order of their places, and many at once when the bus is slow."""

import asyncio
from collections.abc import Sequence

import pytest

from live.realtime.news import News
from live.teller import Teller


class Calls:
    """An outlet that keeps each call apart; while `gate` is unset they wait."""

    def __init__(self) -> None:
        self.calls: list[list[str]] = []
        self.gate = asyncio.Event()

    async def tell(self, show: str, news: Sequence[News]) -> None:
        self.calls.append([one.name for one in news])
        await self.gate.wait()
        if any(one.name == "broken" for one in news):
            raise ConnectionError("a bug")


def _news(*names: str) -> list[News]:
    return [News("event", name, {}) for name in names]


async def test_what_is_settled_during_a_call_leaves_with_the_next_one() -> None:
    calls = Calls()
    teller = Teller(calls)
    places = [teller.place("demo") for _ in range(5)]
    places[0].settle(_news("a"))
    await asyncio.sleep(0)
    for place, name in zip(places[1:], "bcde", strict=True):
        place.settle(_news(name, name))
    calls.gate.set()
    await places[-1].told.wait()
    assert calls.calls == [["a"], ["b", "b", "c", "c", "d", "d", "e", "e"]]


async def test_nobody_overtakes_a_place_that_is_not_settled() -> None:
    calls = Calls()
    calls.gate.set()
    teller = Teller(calls)
    first, second, third = (teller.place("demo") for _ in range(3))
    elsewhere = teller.place("other")
    third.settle(_news("third"))
    second.settle(())
    elsewhere.settle(_news("elsewhere"))
    await elsewhere.told.wait()
    assert calls.calls == [["elsewhere"]]
    first.settle(_news("first"))
    await third.told.wait()
    assert second.told.is_set()
    assert calls.calls[1:] == [["first", "third"]]
    await asyncio.sleep(0)
    assert not teller._lines, "nothing is kept of a show that is quiet"


async def test_a_call_is_bounded_and_a_transaction_is_never_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("live.teller.TELLING_NEWS_MAX", 3)
    calls = Calls()
    calls.gate.set()
    teller = Teller(calls)
    places = [teller.place("demo") for _ in range(4)]
    for place, names in zip(places, ("ab", "cd", "efgh", "i"), strict=True):
        place.settle(_news(*names))
    await places[-1].told.wait()
    assert calls.calls == [["a", "b"], ["c", "d"], ["e", "f", "g", "h"], ["i"]]


async def test_a_call_that_fails_holds_nobody_up() -> None:
    calls = Calls()
    calls.gate.set()
    teller = Teller(calls)
    first = teller.place("demo")
    first.settle(_news("broken"))
    await first.told.wait()
    second = teller.place("demo")
    second.settle(_news("b"))
    await second.told.wait()
    assert calls.calls == [["broken"], ["b"]]
