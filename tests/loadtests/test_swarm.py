"""A small audience against a scripted show that loses, repeats and closes on purpose."""

import asyncio
from typing import Literal

import pytest

from loadtests.measures import Line, Second, Totals
from loadtests.swarm import Plan, Swarm, Target, run
from tests.loadtests.scripted import ScriptedShow


async def watch(
    show: ScriptedShow, *, viewers: int = 20, chat_per_s: float = 10.0, encoding: Literal["json", "msgpack"] = "json",
    duration_s: float = 1.0, drain_s: float = 2.0,
) -> tuple[Totals, list[Second]]:  # fmt: skip
    lines: list[Line] = []
    plan = Plan(
        url=show.url, show="demo", viewers=viewers, ramp_s=0.2, duration_s=duration_s, drain_s=drain_s,
        encoding=encoding, chat_per_s=chat_per_s,
    )  # fmt: skip
    totals = await Swarm(plan, lines.append).run()
    return totals, [line for line in lines if isinstance(line, Second)]


@pytest.mark.parametrize("encoding", ["json", "msgpack"])
async def test_a_good_show_is_found_good(encoding: Literal["json", "msgpack"]) -> None:
    async with ScriptedShow().on_air() as show:
        totals, seconds = await watch(show, encoding=encoding)
    assert totals.joined == 20
    assert totals.sent == totals.acknowledged == show.offset > 5
    assert (totals.unsent, totals.unanswered, totals.unseen) == (0, 0, 0)
    assert (totals.lost, totals.gaps, totals.duplicates, totals.replaced) == (0, 0, 0, 0)
    assert (totals.closes, totals.refused) == ({}, {})
    assert totals.deliveries == sum(second.deliveries for second in seconds)
    assert totals.deliveries >= totals.histogram("delivery").count > 20 * show.offset * 0.5
    assert totals.histogram("join").count == 20
    assert totals.histogram("late").count == totals.sent
    assert seconds[-1].open == 20


async def test_a_lost_event_is_a_gap_and_recovered() -> None:
    async with ScriptedShow(lambda viewer, offset: int((viewer, offset) != (3, 4))).on_air() as show:
        totals, _ = await watch(show)
    assert totals.gaps == 1
    assert (totals.lost, totals.duplicates) == (0, 0)


async def test_a_lost_event_that_cannot_be_recovered_is_lost() -> None:
    async with ScriptedShow(lambda viewer, offset: int((viewer, offset) != (3, 4)), recovers=False).on_air() as show:
        totals, _ = await watch(show, drain_s=0.5)
    assert totals.gaps == 1
    assert totals.lost == show.offset - 3, "that viewer stood still from the gap on"


async def test_the_last_event_lost_is_lost() -> None:
    """No later event shows the gap."""
    async with ScriptedShow(lambda viewer, offset: int(viewer != 3 or offset < 5)).on_air() as show:
        totals, _ = await watch(show, drain_s=0.5, duration_s=1.0)
        assert show.offset >= 5
    assert totals.gaps == 0
    assert totals.lost == show.offset - 4


async def test_an_event_that_nobody_sees_is_missed() -> None:
    async with ScriptedShow(lambda viewer, offset: 0).on_air() as show:
        totals, _ = await watch(show, drain_s=0.5)
    assert totals.unseen == totals.acknowledged > 0
    assert totals.deliveries == 0


async def test_a_repeated_event_is_a_duplicate() -> None:
    async with ScriptedShow(lambda viewer, offset: 2 if (viewer, offset) == (3, 4) else 1).on_air() as show:
        totals, _ = await watch(show)
    assert totals.duplicates == 1
    assert (totals.gaps, totals.lost) == (0, 0)


async def test_closed_sockets_come_back_and_miss_nothing() -> None:
    show = ScriptedShow()
    show.close_after = 3
    async with show.on_air():
        totals, _ = await watch(show, drain_s=5.0, duration_s=2.5)
    assert set(totals.closes) == {"4000"}
    assert 15 <= totals.closes["4000"] <= 20
    assert (totals.lost, totals.duplicates) == (0, 0)


async def test_refusals_are_counted_by_name() -> None:
    show = ScriptedShow()
    show.refuse_commands = True
    async with show.on_air():
        totals, _ = await watch(show)
    assert totals.refused == {"slow_mode": totals.sent}
    assert totals.acknowledged == 0


async def test_it_runs_on_uvloop() -> None:
    lines: list[Line] = []
    async with ScriptedShow().on_air() as show:
        plan = Plan(
            url=show.url, show="demo", viewers=3, ramp_s=0.1, duration_s=0.5, drain_s=2.0, encoding="msgpack",
            chat_per_s=5.0,
        )  # fmt: skip
        totals = await asyncio.to_thread(run, plan, lines.append)
    assert totals.joined == 3
    assert totals.acknowledged == totals.sent > 0


async def test_nobody_joins_a_server_that_is_not_there() -> None:
    async with ScriptedShow().on_air() as show:
        pass
    totals, _ = await watch(show, viewers=2, drain_s=0.5, duration_s=0.5)
    assert totals.joined == 0
    assert totals.not_joined == 2
    assert totals.closes_count >= 2
    assert totals.unsent == 0, "the swarm waited for its speakers until the end"


def test_many_viewers_come_from_several_addresses() -> None:
    target = Target.of("http://127.0.0.1:8000")
    assert target.local_address(9_999) is None
    assert target.local_address(10_000) == ("127.0.0.2", 0)
    assert Target.of("https://shop.example").port == 443
    assert Target.of("https://shop.example").local_address(10_000) is None
