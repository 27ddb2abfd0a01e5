"""Cases that were thought of first, each of which once parted a screen from the truth, or kept mending without end."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator

import pytest

from live.core.bus import BusError
from live.core.limits import BUS_CONFIRM_S, BUS_TIMEOUT_S, POSITION_INTERVAL_S
from tests.properties.world import SHOW, Screen, World


@pytest.fixture
def world() -> Iterator[World]:
    """Two workers, one screen each."""
    made = World(1)
    made.loop.run_until_complete(made.open())
    for worker in made.workers:
        made.screens.append(Screen(made))
        made.loop.call_soon(made.screens[-1].connect, worker)
    made.run(1.0)
    yield made
    made.loop.run_until_complete(made.close())
    made.loop.close()


def do(world: World, *actions: Callable[[], object], seconds: float = 0.5) -> None:
    """Do each at once, and let time go by."""
    for action in actions:
        world.loop.call_soon(action)
    world.run(seconds)


def wait(world: World, work: Awaitable[object]) -> None:
    async def go() -> None:
        await work

    world.loop.run_until_complete(go())


def test_an_ordinary_show(world: World) -> None:
    snapshots = [screen.snapshots for screen in world.screens]
    for worker in world.workers * 3:
        do(world, worker.write)
    world.check()
    world.settle()
    assert snapshots == [screen.snapshots for screen in world.screens], "confirmations cost nobody a snapshot"


def test_last_message_before_a_quiet_spell_is_lost_without_a_sign(world: World) -> None:
    world.workers[1].road.pranks.append("lose")
    do(world, world.workers[0].write)
    assert world.screens[1].board != world.board, "nobody can know yet"
    world.run(POSITION_INTERVAL_S + 2.0)
    world.check()


def test_event_that_a_replaced_server_took(world: World) -> None:
    """The screens of the others were in the new epoch before it was committed, and nothing is missing there."""
    one, other = world.workers
    do(world, one.write)
    do(world, lambda: world.replace(0, believer=one))
    do(world, one.write)
    do(world, world.heal, seconds=5.0)
    do(world, other.write)
    assert world.screens[1].board != world.board, "nobody can know yet"
    world.run(BUS_CONFIRM_S + 5.0)
    world.check()


def test_event_that_is_done_after_it_was_given_up(world: World) -> None:
    one, other = (worker.bus for worker in world.workers)
    world.node.stand_still()

    async def given_up() -> None:
        with pytest.raises(BusError):
            await one.publish(SHOW, b"old")

    wait(world, given_up())
    (late,) = world.node.withhold("publish")
    do(world, lambda: world.node.go_on(world.dice))
    wait(world, other.rotate(SHOW))
    wait(world, other.publish(SHOW, b"new"))
    do(world, late)
    assert list(world.node.show.history.values()) == [b"new"]


def test_epoch_never_begins_twice(world: World) -> None:
    """A rotation that was asked for again, because it was not answered, may be done twice, with a while between."""
    bus = world.workers[0].bus
    world.node.stand_still()
    asking = world.loop.create_task(bus.rotate(SHOW))
    world.run(BUS_TIMEOUT_S + 1.0)
    first, again = world.node.withhold("rotate")
    do(world, lambda: world.node.go_on(world.dice))
    do(world, first)
    epoch = world.node.show.epoch
    do(world, again)
    assert world.node.show.epoch != epoch
    wait(world, asking)


def test_last_word_of_a_replaced_server(world: World) -> None:
    """It comes when nobody knows which epoch to expect; mending because of it ends."""
    do(world, lambda: world.node._rotate("new"), lambda: world.node._push(b"eold:7\n\x80"), seconds=5.0)
    repairs = [worker.hub.repairs for worker in world.workers]
    assert max(repairs) < 10
    world.run(10.0)
    assert repairs == [worker.hub.repairs for worker in world.workers]
    world.settle()


def test_server_that_does_not_say_who_it_is(world: World) -> None:
    """A replica that takes over without the last writes, and cannot be told from the one before."""
    for worker in world.workers:
        do(world, worker.write, worker.write)
    identity = world.node.identity

    def fail_over() -> None:
        world.replace(2)
        world.node.identity = identity

    epoch = world.node.show.epoch
    do(world, fail_over, seconds=5.0)
    assert world.node.show.epoch != epoch, "else the numbers of the lost events would be given out again"
    do(world, world.workers[0].write)
    world.settle()


def test_mending_that_fails_for_a_reason_of_our_own(world: World, caplog: pytest.LogCaptureFixture) -> None:
    hub, bus = world.workers[0].hub, world.workers[0].bus
    history = bus.history
    bus.history = lambda *args: asyncio.sleep(0, 1 / 0)  # type: ignore[method-assign]
    world.workers[0].road.pranks.append("lose")
    do(world, world.workers[1].write, world.workers[1].write, seconds=1.0)
    assert "mending the show" in caplog.text
    bus.history = history  # type: ignore[method-assign]
    world.run(5.0)
    world.check()
    assert hub.repairs


def test_viewer_that_stalls_on_its_way_back_in(world: World) -> None:
    """It is neither here nor there; when its socket goes, nothing of it stays."""
    screen, hub = world.screens[0], world.workers[0].hub
    viewer = screen.viewer
    assert viewer is not None
    do(world, screen.recover, seconds=0.02)
    viewer.channel.leave(viewer)
    do(world, viewer.stalled, screen.leave, seconds=30.0)
    assert not viewer.channel.slow
    assert not hub.closed_slow
