"""Stock and carts come right on every screen as well, whatever happens: nobody tells them a second time."""

from collections.abc import Callable, Iterator

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import initialize, rule

from live.core.limits import CHANNEL_LINGER_S
from tests.properties.shop import Shop
from tests.properties.test_recovery_machine import MOMENT, WHO, WORKER, Network, run


@pytest.fixture
def shop() -> Iterator[Shop]:
    """Two workers, one screen each."""
    made = Shop(1)
    made.loop.run_until_complete(made.open())
    for worker in made.workers:
        made.loop.call_soon(made.come().connect, worker)
    made.run(1.0)
    yield made
    made.loop.run_until_complete(made.close())
    made.loop.close()


def do(shop: Shop, *actions: Callable[[], object], seconds: float = 0.5) -> None:
    """Do each at once, and let time go by."""
    for action in actions:
        shop.loop.call_soon(action)
    shop.run(seconds)


def test_an_ordinary_show(shop: Shop) -> None:
    do(shop, *[clerk.sell for clerk in shop.clerks], lambda: shop.give(0), lambda: shop.give(1))
    shop.check()
    assert [screen.snapshots for screen in shop.screens] == [1, 1]
    shop.settle()


def test_a_worker_that_did_not_listen_while_the_stock_changed(shop: Shop) -> None:
    """The other one's channel is opened by who comes back: it asks for the events and the newest states."""
    one, other = shop.workers
    customer = shop.customers[1]
    do(shop, one.write)
    do(shop, customer.leave, seconds=CHANNEL_LINGER_S + 5.0)
    assert not other.hub.channels()
    do(shop, shop.clerks[0].sell, one.write)
    do(shop, lambda: customer.connect(other))
    shop.check()
    assert customer.recoveries == customer.snapshots == 1


@pytest.mark.parametrize("moment_s", [0.001, 0.01, 0.1, 1.0, 5.0])
def test_a_younger_worker_serves_as_one_that_listened(shop: Shop, moment_s: float) -> None:
    """Whenever it begins to listen: before, while, and after something is told that who comes over has not seen."""
    one, other = shop.workers
    staying, going = shop.customers
    do(shop, one.write, shop.clerks[0].sell, going.leave, other.renew, seconds=moment_s)
    do(shop, one.write, shop.clerks[0].sell, lambda: shop.give(1), seconds=moment_s)
    do(shop, lambda: going.connect(other), shop.clerks[0].sell, seconds=3.0)
    shop.check()
    assert going.recoveries == going.snapshots == staying.snapshots == 1


def test_events_are_told_sooner_than_states(shop: Shop) -> None:
    """Who leaves in between has not seen a state of before the last event it has seen. A worker that does not know all
    states does not take that for one who has."""
    one, other = shop.workers
    going, staying = shop.customers
    for _ in range(20):
        do(shop, shop.clerks[0].sell, seconds=0.05)
        do(shop, shop.clerks[0].sell, seconds=0.02)
        do(shop, lambda: shop.node._forget(forgot=True), other.renew, seconds=0.01)
        do(shop, lambda: staying.connect(other), seconds=0.05)
        do(shop, one.write, seconds=0.08)
        do(shop, lambda: going.connect(other), seconds=0.5)
        assert going.stock == shop.stock
        do(shop, lambda: going.connect(one), seconds=0.5)


def test_a_connection_of_the_bus_that_ends_between_two_states(shop: Shop) -> None:
    """The server stays, and its history is complete."""
    do(shop, shop.workers[0].road.cut, shop.clerks[1].sell, lambda: shop.give(0), seconds=5.0)
    shop.check()
    shop.settle()


def test_who_asks_for_events_while_it_waits_for_a_snapshot(shop: Shop) -> None:
    """There are none, and its worker was deaf."""
    for moment in range(40):
        do(shop, shop.workers[0].road.cut, shop.clerks[1].sell, lambda: shop.give(0), seconds=moment * 0.01)
        do(shop, shop.screens[0].recover, seconds=3.0)
        shop.check()


def test_a_notice_that_could_not_be_sent(shop: Shop) -> None:
    """It is all that happens while the bus is out of the worker's reach, and others go on."""
    road = shop.workers[0].road
    road.failing = 1.0
    do(shop, lambda: shop.give(0), seconds=1.0)
    road.failing = 0.0
    shop.run(10.0)
    shop.check()
    shop.settle()


class Selling(Network):
    """A network that loses nothing without ending a connection, as TCP; servers that die and are replaced."""

    world: Shop | None

    @initialize(seed=st.integers(0, 2**16))
    def begin(self, seed: int) -> None:
        self.world = shop = Shop(seed)
        shop.loop.run_until_complete(shop.open())
        for index in range(4):
            shop.come()
            self.connect(index, index % 2, 0.0)
        shop.run(0.5)

    def _end(self, world: object) -> None:
        assert self.world is not None
        self.world.settle(after_s=60.0)

    @rule(who=WORKER, times=st.integers(1, 3), moment_s=MOMENT)
    def sell(self, who: int, times: int, moment_s: float) -> None:
        assert self.world is not None
        for _ in range(times):
            self.world.loop.call_soon(self.world.clerks[who].sell)
        self.world.run(moment_s)

    @rule(who=WHO, moment_s=MOMENT)
    def give(self, who: int, moment_s: float) -> None:
        assert self.world is not None
        self.world.loop.call_soon(self.world.give, who)
        self.world.run(moment_s)

    @rule(who=WORKER, pranks=st.lists(st.sampled_from(["", "double", "late"]), max_size=4))
    def play(self, who: int, pranks: list[str]) -> None:
        self._do(lambda world: world.workers[who].road.pranks.extend(pranks), 0.0)

    @rule(who=WORKER, share=st.sampled_from([0.0, 0.3, 1.0]))
    def fail(self, who: int, share: float) -> None:
        def go(world: object) -> None:
            assert self.world is not None
            self.world.workers[who].road.failing = share

        self._do(go, 0.0)

    @rule(moment_s=MOMENT)
    def restart(self, moment_s: float) -> None:
        self._do(lambda world: world.restart(), moment_s)

    @rule(lost=st.integers(0, 4), moment_s=MOMENT)
    def fail_over(self, lost: int, moment_s: float) -> None:
        self._do(lambda world: world.replace(lost), moment_s)


class Rolling(Selling):
    """Workers are exchanged, and nothing fails: no snapshot heals what a younger one does not know."""

    cut = rotate = fail = restart = fail_over = None  # type: ignore[assignment]

    @rule(who=WHO, worker=WORKER, moment_s=MOMENT)
    def come_over(self, who: int, worker: int, moment_s: float) -> None:
        """To a younger worker, while the other one sells."""
        self.leave(who, moment_s)
        self.renew(worker, 0.0)
        self.sell(1 - worker, 1, moment_s)
        self.write(1 - worker, 1, moment_s)
        self.connect(who, worker, moment_s)


def test_whatever_happens() -> None:
    run(Selling, 40)


def test_whatever_happens_while_workers_are_exchanged() -> None:
    run(Rolling, 20)
