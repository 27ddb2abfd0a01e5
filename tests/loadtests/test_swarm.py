"""A small audience against a scripted show that loses, repeats and closes on purpose."""

import asyncio
import contextlib
import json
from collections import Counter
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any, Literal

import msgspec
import pytest

from loadtests.measures import Line, Second, Totals
from loadtests.plan import Plan, Target, plans
from loadtests.scenario import Chat, Reconnect, Scenario, Slow, Viewers, Wave
from loadtests.swarm import Swarm, main, run
from loadtests.viewer import now_us
from tests.loadtests.scripted import ScriptedShow
from tests.loadtests.virtual import door, virtually


def plan(show: ScriptedShow, viewers: Viewers, **members: Any) -> Plan:
    told: dict[str, Any] = {"duration_s": 1.0, "drain_s": 2.0, "chat": Chat(10.0)} | members
    return Plan(url=show.url, show="demo", viewers=viewers, **told)


async def watch(
    show: ScriptedShow, viewers: int = 20, *, encoding: Literal["json", "msgpack"] = "json", **members: Any
) -> tuple[Totals, list[Second]]:
    lines: list[Line] = []
    totals = await Swarm(plan(show, Viewers(viewers, 0.2, encoding), **members), lines.append).run()
    return totals, [line for line in lines if isinstance(line, Second)]


# Few join soon, and say much then: the event that a test is about comes within the second.
FEW: dict[str, Any] = {"viewers": 5, "chat": Chat(100.0)}


@pytest.mark.parametrize("encoding", ["json", "msgpack"])
@virtually
async def test_a_good_show_is_found_good(encoding: Literal["json", "msgpack"]) -> None:
    async with ScriptedShow().on_air(door()) as show:
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


@virtually
async def test_a_lost_event_is_a_gap_and_recovered() -> None:
    async with ScriptedShow(lambda viewer, offset: int((viewer, offset) != (3, 4))).on_air(door()) as show:
        totals, _ = await watch(show, **FEW)
    assert totals.gaps == 1
    assert (totals.lost, totals.duplicates) == (0, 0)


@virtually
async def test_a_lost_event_that_cannot_be_recovered_is_lost() -> None:
    show = ScriptedShow(lambda viewer, offset: int((viewer, offset) != (3, 4)), recovers=False)
    async with show.on_air(door()):
        totals, seconds = await watch(show, **FEW, drain_s=0.5)
    assert totals.gaps == sum(second.gaps for second in seconds) == 1
    assert totals.lost == show.offset - 3, "that viewer stood still from the gap on"
    assert [second.lost for second in seconds] == [0] * (len(seconds) - 1) + [totals.lost], "known at the end"


@virtually
async def test_the_last_event_lost_is_lost() -> None:
    """No later event shows the gap."""
    async with ScriptedShow(lambda viewer, offset: int(viewer != 3 or offset < 5)).on_air(door()) as show:
        totals, _ = await watch(show, **FEW, drain_s=0.5)
        assert show.offset >= 5
    assert totals.gaps == 0
    assert totals.lost == show.offset - 4


@virtually
async def test_an_event_that_nobody_sees_is_missed() -> None:
    async with ScriptedShow(lambda viewer, offset: 0).on_air(door()) as show:
        totals, _ = await watch(show, drain_s=0.5)
    assert totals.unseen == totals.acknowledged > 0
    assert totals.deliveries == 0


@virtually
async def test_a_repeated_event_is_a_duplicate() -> None:
    async with ScriptedShow(lambda viewer, offset: 2 if (viewer, offset) == (3, 4) else 1).on_air(door()) as show:
        totals, seconds = await watch(show, **FEW)
    assert totals.duplicates == sum(second.duplicates for second in seconds) == 1
    assert (totals.gaps, totals.lost) == (0, 0)


@virtually
async def test_closed_sockets_come_back_and_miss_nothing() -> None:
    show = ScriptedShow()
    show.close_after = 3
    async with show.on_air(door()):
        totals, seconds = await watch(show, drain_s=5.0, duration_s=2.5)
    assert totals.closes == sum((Counter(second.closes) for second in seconds), Counter())
    assert set(totals.closes) == {"4000"}
    assert totals.closes["4000"] == totals.recovered == totals.histogram("back").count == 20
    assert (totals.resnapped, totals.not_back) == (0, 0)
    assert (totals.lost, totals.duplicates) == (0, 0)


@virtually
async def test_refusals_are_counted_by_name() -> None:
    show = ScriptedShow()
    show.refuse_commands = True
    async with show.on_air(door()):
        totals, _ = await watch(show)
    assert totals.refused == {"slow_mode": totals.sent}
    assert totals.acknowledged == 0


async def test_it_runs_on_uvloop(monkeypatch: pytest.MonkeyPatch) -> None:
    """By the clock of a machine that may take its time: the event ends when all have come and one has spoken."""
    ends_us = 60_000_000
    until_then = Swarm._until

    async def until_due(swarm: Swarm, due_us: int) -> None:
        if due_us - swarm._start_us < ends_us:
            return await until_then(swarm, due_us)
        while swarm._tally.joins < 3 or not swarm._tally.sent:
            await asyncio.sleep(0.01)
        return None

    monkeypatch.setattr(Swarm, "_until", until_due)
    async with ScriptedShow().on_air() as show:
        told = plan(show, Viewers(3, 0.1, "msgpack"), duration_s=ends_us / 1e6, drain_s=60.0, chat=Chat(0.01))
        totals = await asyncio.to_thread(run, told, lambda line: None)
    assert totals.joined == 3
    assert totals.acknowledged == totals.sent == 1


@virtually
async def test_nobody_joins_a_server_that_is_not_there() -> None:
    async with ScriptedShow().on_air(door()) as show:
        pass
    totals, _ = await watch(show, 2, drain_s=0.5, duration_s=0.5, chat=Chat(0.5))
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


@pytest.mark.parametrize("encoding", ["json", "msgpack"])
@virtually
async def test_what_only_a_snapshot_brings_is_on_the_screens(encoding: Literal["json", "msgpack"]) -> None:
    show = ScriptedShow()
    show.forget_at = 3
    async with show.on_air(door()):
        totals, _ = await watch(show, encoding=encoding)
    assert totals.acknowledged == totals.sent == show.offset > 3
    assert (totals.unseen, totals.lost, totals.gaps, totals.duplicates) == (0, 0, 0, 0)


@contextlib.asynccontextmanager
async def watching(show: ScriptedShow, **members: Any) -> AsyncIterator[tuple[Swarm, asyncio.Task[Totals]]]:
    """A swarm of twenty, all of whom are connected and may speak."""
    swarm = Swarm(plan(show, Viewers(20, 0.1), **members), lambda line: None)
    task = asyncio.create_task(swarm.run())
    try:
        await until(lambda: task.done() or all(viewer.open for viewer in swarm._viewers))
        yield swarm, task
    finally:
        await task


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not true():
            await asyncio.sleep(0.005)


@virtually
async def test_cut_sockets_come_back_and_what_they_asked_is_asked_again() -> None:
    show = ScriptedShow()
    show.silent_for = 3  # whoever asks first is cut before the answer
    async with show.on_air(door()), watching(show, duration_s=2.0, drain_s=5.0) as (swarm, task):
        await until(lambda: len(show.silent) == 3)
        for viewer in swarm._viewers:
            viewer.cut()
        totals = await task
    assert totals.closes == {}, "only those that ended by themselves"
    assert totals.cut == totals.recovered == totals.histogram("back").count == 20
    assert totals.resent >= 3
    assert (totals.unanswered, totals.unseen, totals.lost, totals.not_back) == (0, 0, 0, 0)


@virtually
async def test_a_share_is_cut() -> None:
    async with ScriptedShow().on_air(door()) as show:
        totals, seconds = await watch(show, faults=(Reconnect(0.6, 0.5),), drain_s=5.0)
    assert totals.cut == sum(second.cut for second in seconds) <= 10
    assert (totals.joined, totals.closes, totals.not_back, totals.lost) == (20, {}, 0, 0)


@virtually
async def test_those_who_do_not_read_are_not_timed_and_catch_up() -> None:
    show = ScriptedShow()
    async with show.on_air(door()), watching(show, duration_s=2.0, drain_s=5.0) as (swarm, task):
        slow = swarm._viewers[10:]
        for viewer in slow:
            viewer.stop_reading()
        await until(lambda: swarm._viewers[0].sequence.offset >= slow[0].sequence.offset + 3)
        for viewer in slow:
            viewer.read_on()
        totals = await task
    assert (totals.lost, totals.unseen, totals.duplicates, totals.gaps) == (0, 0, 0, 0)
    assert totals.deliveries == 20 * show.offset
    assert totals.histogram("delivery").count <= totals.deliveries - 30


@virtually
async def test_some_stop_reading_for_a_while() -> None:
    async with ScriptedShow().on_air(door()) as show:
        totals, _ = await watch(show, faults=(Slow(0.5, 0.3, 0.5),), chat=Chat(2.0), duration_s=1.3, drain_s=5.0)
    assert (totals.joined, totals.lost, totals.unseen, totals.duplicates) == (20, 0, 0, 0)


@virtually
async def test_what_is_not_shown_is_not_missed() -> None:
    show = ScriptedShow()
    show.sampled_from = 4
    async with show.on_air(door()):
        totals, _ = await watch(show)
    assert (totals.sampled, totals.unseen, totals.lost) == (totals.sent - 3, 0, 0)


@virtually
async def test_waves_come_and_go() -> None:
    viewers = Viewers(10, 0.1, wave=(Wave(0.3, joins=10, within_s=0.2), Wave(0.8, leaves=5)))
    lines: list[Line] = []
    async with ScriptedShow().on_air(door()) as show:
        totals = await Swarm(plan(show, viewers, chat=Chat(2.0), duration_s=1.4), lines.append).run()
    assert (totals.joined, totals.left, totals.not_back, totals.closes) == (20, 5, 0, {})
    assert isinstance(lines[-1], Second)
    assert lines[-1].open == 15
    assert totals.lost == 0


@virtually
async def test_swarms_are_one_audience() -> None:
    async with ScriptedShow().on_air(door()) as show:
        scenario = Scenario(title="t", duration_s=1.5, drain_s=1.0, viewers=Viewers(9, 0.1), chat=Chat(2.0))
        both = plans(scenario, show.url, 2, "abc", now_us() + 200_000)
        first, second = await asyncio.gather(*(Swarm(one, lambda line: None).run() for one in both))
    assert (first.joined, second.joined) == (5, 4)
    assert (first.sent > 0, second.sent) == (True, 0)
    assert second.histogram("delivery").count > 0, "it times what the other says"


def test_a_swarm_is_told_by_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "plan.json"
    told = Plan("http://127.0.0.1:9", "demo", Viewers(1, 0.0), duration_s=0.1, drain_s=0.1)
    file.write_bytes(msgspec.json.encode(told))
    assert main(["--plan", str(file)]) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["joined"] == 0
    for wrong in ([], ["http://127.0.0.1:9", "--viewers", "90000"]):
        with pytest.raises(SystemExit):
            main(wrong)
    assert "run several swarms" in capsys.readouterr().err
