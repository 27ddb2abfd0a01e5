"""Whatever the network, the bus and its servers do: no gap goes unnoticed, nothing comes twice, all screens come right.

The parts are real, the servers are scripted and time is virtual (see `world`).
"""

from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test

from live.core.limits import POSITION_INTERVAL_S
from tests.properties.world import Screen, World

WHO = st.integers(0, 3)
WORKER = st.integers(0, 1)
MOMENT = st.sampled_from([0.0, 0.001, 0.01, 0.03])


class Network(RuleBasedStateMachine):
    """Each rule does something and lets a moment go by, so that whatever is under way meets what comes next.

    The servers are well; messages get lost without a sign, and connections end.
    """

    def __init__(self) -> None:
        super().__init__()
        self.world: World | None = None

    @initialize(seed=st.integers(0, 2**16))
    def begin(self, seed: int) -> None:
        self.world = World(seed)
        self.world.loop.run_until_complete(self.world.open())
        for index in range(4):
            self.world.screens.append(Screen(self.world))
            self.connect(index, index % 2, 0.0)
        self.world.run(0.5)

    def _do(self, action: Callable[[World], None], moment_s: float) -> None:
        world = self.world
        assert world is not None
        world.loop.call_soon(action, world)
        world.run(moment_s)

    # --- what people do

    @rule(who=WORKER, count=st.sampled_from([1, 1, 2, 5, 40, 320]), moment_s=MOMENT)
    def write(self, who: int, count: int, moment_s: float) -> None:
        def go(world: World) -> None:
            for _ in range(count):
                world.workers[who].write()

        self._do(go, moment_s)

    @rule(who=WHO, worker=WORKER, moment_s=MOMENT)
    def connect(self, who: int, worker: int, moment_s: float) -> None:
        self._do(lambda world: world.screens[who].connect(world.workers[worker]), moment_s)

    @rule(who=WHO, moment_s=MOMENT)
    def leave(self, who: int, moment_s: float) -> None:
        self._do(lambda world: world.screens[who].leave(), moment_s)

    @rule(who=WHO, moment_s=MOMENT)
    def recover(self, who: int, moment_s: float) -> None:
        self._do(lambda world: world.screens[who].recover(), moment_s)

    @rule(who=WHO, stalled=st.booleans(), moment_s=MOMENT)
    def read(self, who: int, stalled: bool, moment_s: float) -> None:
        def go(world: World) -> None:
            if (viewer := world.screens[who].viewer) is not None:
                (viewer.stalled if stalled else viewer.drained)()

        self._do(go, moment_s)

    @rule(seconds=st.sampled_from([0.1, 1.0, 6.0, 31.0]))
    def wait(self, seconds: float) -> None:
        self._do(lambda world: None, seconds)

    @rule(who=WORKER, moment_s=MOMENT)
    def renew(self, who: int, moment_s: float) -> None:
        """As in a rolling restart."""
        self._do(lambda world: world.workers[who].renew(), moment_s)

    # --- what the network does

    @rule(who=WORKER, pranks=st.lists(st.sampled_from(["", "lose", "double", "swap", "late"]), max_size=4))
    def play(self, who: int, pranks: list[str]) -> None:
        self._do(lambda world: world.workers[who].road.pranks.extend(pranks), 0.0)

    @rule(who=WORKER, moment_s=MOMENT)
    def cut(self, who: int, moment_s: float) -> None:
        self._do(lambda world: world.workers[who].road.cut(), moment_s)

    @rule(moment_s=MOMENT)
    def rotate(self, moment_s: float) -> None:
        def go(world: World) -> None:
            world.node.do(lambda: world.node._rotate(f"rotated {world.dice.random()}"), call="rotate")

        self._do(go, moment_s)

    def teardown(self) -> None:
        if self.world is None:
            return
        try:
            self._end(self.world)
        finally:
            self.world.loop.run_until_complete(self.world.close())
            self.world.loop.close()

    def _end(self, world: World) -> None:
        """A hole shows with the next event, or with the next look at the position when there is none."""
        self._do(World.heal, 0.1)
        if world.dice.random() < 0.5:
            self.write(0, 1, 0.0)
            self.write(1, 1, 0.0)
            world.settle(after_s=10.0)
        else:
            world.settle(after_s=POSITION_INTERVAL_S + 10.0)


class Servers(Network):
    """Servers stand still, die, lose what they knew, and are replaced without knowing it."""

    def _end(self, world: World) -> None:
        world.settle(after_s=60.0)

    @rule(who=WORKER, share=st.sampled_from([0.0, 0.3, 1.0]))
    def fail(self, who: int, share: float) -> None:
        def go(world: World) -> None:
            world.workers[who].road.failing = share

        self._do(go, 0.0)

    @rule(head=st.booleans(), history=st.booleans(), moment_s=MOMENT)
    def evict(self, head: bool, history: bool, moment_s: float) -> None:
        self._do(lambda world: world.node.evict(head=head, history=history), moment_s)

    @rule(moment_s=MOMENT)
    def stand_still(self, moment_s: float) -> None:
        self._do(lambda world: world.node.stand_still(), moment_s)

    @rule(moment_s=MOMENT)
    def go_on(self, moment_s: float) -> None:
        self._do(lambda world: world.node.go_on(world.dice), moment_s)

    @rule(moment_s=MOMENT)
    def restart(self, moment_s: float) -> None:
        self._do(lambda world: world.restart(), moment_s)

    @rule(lost=st.integers(0, 4), moment_s=MOMENT)
    def fail_over(self, lost: int, moment_s: float) -> None:
        self._do(lambda world: world.replace(lost), moment_s)

    @rule(lost=st.integers(0, 4), believer=WORKER, moment_s=MOMENT)
    def split(self, lost: int, believer: int, moment_s: float) -> None:
        self._do(lambda world: world.replace(lost, believer=world.workers[believer]), moment_s)

    @rule(who=WORKER, count=st.integers(1, 6), seconds=st.sampled_from([4.0, 5.5, 11.0, 16.0]), moment_s=MOMENT)
    def pause(self, who: int, count: int, seconds: float, moment_s: float) -> None:
        """What is asked meanwhile is given up by those who asked, and done all the same."""
        self.stand_still(0.0)
        self.write(who, count, seconds)
        self.go_on(moment_s)

    @rule(lost=st.integers(0, 2), believer=WORKER, count=st.integers(1, 3), moment_s=MOMENT)
    def cut_off(self, lost: int, believer: int, count: int, moment_s: float) -> None:
        """A worker writes to a server that has been replaced."""
        self.split(lost, believer, 0.5)
        self.write(believer, count, moment_s)
        self.heal(moment_s)

    @rule(moment_s=MOMENT)
    def heal(self, moment_s: float) -> None:
        self._do(lambda world: world.heal(), moment_s)


def run(machine: type[Network], examples: int) -> None:
    # Shrinking a minute of a show takes many minutes, and a failure has the steps that lead to it anyway.
    phases = (Phase.explicit, Phase.generate)
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=examples,
            stateful_step_count=30,
            deadline=None,
            phases=phases,
            suppress_health_check=list(HealthCheck),
        ),
    )


@pytest.mark.timeout(300)  # half a minute of the processor, of which others leave a slow machine's tests little
def test_whatever_the_network_does() -> None:
    run(Network, 100)


@pytest.mark.timeout(300)
def test_whatever_the_servers_do() -> None:
    run(Servers, 70)
