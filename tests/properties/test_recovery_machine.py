"""Whatever the network, the bus and its servers do: no gap goes unnoticed, nothing comes twice, all screens come right.

The parts are real, the servers are scripted and time is virtual (see `world`).
"""

from collections.abc import Callable

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test

from tests.properties.world import Screen, World

WHO = st.integers(0, 3)
WORKER = st.integers(0, 1)
MOMENT = st.sampled_from([0.0, 0.001, 0.01, 0.03])


class Recovery(RuleBasedStateMachine):
    """Each rule does something and lets a moment go by, so that whatever is under way meets what comes next."""

    def __init__(self) -> None:
        super().__init__()
        self.world: World | None = None

    @initialize(seed=st.integers(0, 2**16))
    def begin(self, seed: int) -> None:
        self.world = World(seed)
        self.world.loop.run_until_complete(self.world.open())
        for index in range(4):
            self.world.screens.append(Screen(self.world))
            self._do(lambda world, index=index: world.screens[index].connect(world.workers[index % 2]), 0.0)
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

    # --- what the network does

    @rule(who=WORKER, pranks=st.lists(st.sampled_from(["", "lose", "double", "swap", "late"]), max_size=4))
    def play(self, who: int, pranks: list[str]) -> None:
        self._do(lambda world: world.workers[who].road.pranks.extend(pranks), 0.0)

    @rule(who=WORKER, moment_s=MOMENT)
    def cut(self, who: int, moment_s: float) -> None:
        self._do(lambda world: world.workers[who].road.cut(), moment_s)

    @rule(who=WORKER, share=st.sampled_from([0.0, 0.3, 1.0]))
    def fail(self, who: int, share: float) -> None:
        def go(world: World) -> None:
            world.workers[who].road.failing = share

        self._do(go, 0.0)

    # --- what the servers do

    @rule(moment_s=MOMENT)
    def rotate(self, moment_s: float) -> None:
        def go(world: World) -> None:
            world.node.do(lambda: world.node._rotate(f"rotated {world.dice.random()}"), call=True)

        self._do(go, moment_s)

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

    @rule(moment_s=MOMENT)
    def heal(self, moment_s: float) -> None:
        self._do(lambda world: world.heal(), moment_s)

    def teardown(self) -> None:
        if self.world is None:
            return
        try:
            self.world.settle()
        finally:
            self.world.loop.run_until_complete(self.world.close())
            self.world.loop.close()


def test_whatever_happens() -> None:
    run_state_machine_as_test(
        Recovery,
        settings=settings(
            max_examples=60, stateful_step_count=30, deadline=None, suppress_health_check=list(HealthCheck)
        ),
    )


