"""Shows over three workers go on when the host, a worker or the bus fails: takeovers, backups, and what viewers see."""

import asyncio
import os
import signal
import time

import pytest

from live.core.bus import Bus, BusError
from live.core.tasks import running
from live.core.valkey import EmbeddedValkey
from stream.cluster.cluster import stage_name
from stream.transport.sessions import Reason
from tests.cluster.conftest import SHOW, Publish, Watch, on_air, said, until
from tests.stalls import Stalls
from tests.stream.conftest import BEARER, House

pytestmark = pytest.mark.timeout(90)


# --- the host's bad day ---------------------------------------------------------------------------------------


async def test_the_same_key_takes_over_from_another_worker(houses: list[House], publish: Publish, watch: Watch) -> None:
    a, b, _ = houses
    await publish(a, 1)
    await on_air(a)
    viewers = [await watch(house) for house in houses]
    await until(lambda: all(viewer.sees(1) for viewer in viewers))
    at = time.monotonic()
    await publish(b, 2)
    await until(lambda: all(viewer.sees(2) for viewer in viewers))
    said(f"takeover seen everywhere after {time.monotonic() - at:.2f} s")
    await until(lambda: a.media.ended["publisher", Reason.taken_over.value] == 1)
    assert all(viewer.unbroken for viewer in viewers)
    assert not b.media.ended["publisher", "taken_over"]
    assert a.media.stages[SHOW].publication is None
    await until(lambda: b.told == [(SHOW, True)])
    assert (SHOW, False) not in a.told


@pytest.mark.parametrize("place", ["the same worker", "another worker"])
async def test_a_backup_takes_over_from_who_falls_silent_and_gives_it_back(
    houses: list[House], publish: Publish, watch: Watch, place: str
) -> None:
    a, b, _ = houses
    second = a if place == "the same worker" else b
    host = await publish(a, 1)
    await on_air(a)
    backup = await publish(second, 2, backup=True)
    viewers = [await watch(house) for house in houses]
    await until(lambda: all(viewer.sees(1) for viewer in viewers))
    assert all(number == 1 for viewer in viewers for number, *_ in viewer.seen), "a backup stands by"
    host.sending = False
    at = time.monotonic()
    await until(lambda: all(viewer.sees(2) for viewer in viewers))
    said(f"the backup is seen everywhere after {time.monotonic() - at:.2f} s")
    assert all(viewer.pause_s() < 2.0 for viewer in viewers)
    host.sending = True
    back = time.monotonic()
    await until(lambda: all(viewer.sees(1) for viewer in viewers))
    assert time.monotonic() - back > 1.5, "only when it is steady"
    assert all(viewer.unbroken for viewer in viewers)
    assert not any((SHOW, False) in house.told for house in houses)
    assert not any(house.media.ended["publisher", "taken_over"] for house in houses)
    assert backup.client.peer is not None


async def test_a_backup_goes_on_when_the_primary_leaves(houses: list[House], publish: Publish, watch: Watch) -> None:
    a, b, _ = houses
    host = await publish(a, 1)
    await on_air(a)
    await publish(b, 2, backup=True)
    viewers = [await watch(house) for house in houses]
    await until(lambda: all(viewer.sees(1) for viewer in viewers))
    assert (await b.http.delete(host.address, headers=BEARER)).status_code == 200
    await until(lambda: all(viewer.sees(2) for viewer in viewers))
    assert all(viewer.pause_s() < 2.0 for viewer in viewers)
    await until(lambda: b.told == [(SHOW, True)])
    await asyncio.sleep(1.0)  # the other worker's patience
    assert a.told == [(SHOW, True)]


async def test_a_backup_alone_is_on_air_until_the_primary_is_steady(houses: list[House], publish: Publish) -> None:
    a, b, _ = houses
    await publish(b, 2, backup=True)
    await on_air(b)
    host = await publish(a, 1)
    at, stalls = time.monotonic(), Stalls()
    assert a.media.stages[SHOW].publication is None
    async with running(stalls.watch()):
        await on_air(a)
    took_s = time.monotonic() - at
    assert 1.5 < took_s < 4 + stalls.stood_s(at, at + took_s)
    assert b.media.stages[SHOW].publications, "the backup stands by"
    host.sending = False
    await until(lambda: b.media.stages[SHOW].publication is not None)


async def test_silence_is_a_slate_and_viewers_stay(houses: list[House], publish: Publish, watch: Watch) -> None:
    a, b, _ = houses
    host = await publish(a, 1)
    await on_air(a)
    viewer = await watch(b)
    await until(lambda: viewer.sees(1))
    host.sending = False
    await until(lambda: a.told == [(SHOW, True), (SHOW, False)])
    host.sending = True
    at = time.monotonic()
    await until(lambda: a.told[2:] == [(SHOW, True)])
    await until(lambda: viewer.sees(1, since=at))
    assert viewer.unbroken


# --- the bus's bad day ----------------------------------------------------------------------------------------


async def test_a_bus_that_hangs_ends_no_show(
    houses: list[House], publish: Publish, watch: Watch, valkey: EmbeddedValkey
) -> None:
    a, b, _ = houses
    await publish(a, 1)
    await on_air(a)
    near, far = await watch(a), await watch(b)
    await until(lambda: near.sees(1) and far.sees(1))
    assert valkey.pid is not None
    os.kill(valkey.pid, signal.SIGSTOP)
    try:
        at = time.monotonic()
        late = await watch(a)
        await until(lambda: all(viewer.sees(1, since=at + 5) for viewer in (near, late)))
    finally:
        os.kill(valkey.pid, signal.SIGCONT)
    back = time.monotonic()
    assert near.pause_s() < 2.0
    assert near.unbroken and late.unbroken
    await until(lambda: far.sees(1, since=back + 0.5))
    said(f"the other worker's viewer is back {far.seen[-1][2] - back:.1f} s after the bus")
    await asyncio.sleep(1.0)
    assert a.told == [(SHOW, True)]
    assert a.media.ended["publisher", "taken_over"] == 0
    assert far.client.peer is not None


async def test_a_bus_that_forgets_everything_ends_no_show(
    houses: list[House], publish: Publish, watch: Watch, valkey: EmbeddedValkey, buses: list[Bus]
) -> None:
    a, b, _ = houses
    await publish(a, 1)
    await on_air(a)
    near, far = await watch(a), await watch(b)
    await until(lambda: near.sees(1) and far.sees(1))
    first = a.media.stages[SHOW].director.fence
    assert valkey.pid is not None
    os.kill(valkey.pid, signal.SIGKILL)
    await until(lambda: a.media.stages[SHOW].director.fence not in (first, None))
    at = time.monotonic()
    await until(lambda: far.sees(1, since=at))
    assert near.pause_s() < 2.0
    assert a.told == [(SHOW, True)]
    lease = await buses[2].leases.read(stage_name(SHOW))
    assert lease is not None
    assert lease.owner == a.media.name


async def test_a_host_comes_while_the_bus_is_away(
    houses: list[House], publish: Publish, watch: Watch, valkey: EmbeddedValkey
) -> None:
    a, b, _ = houses
    assert valkey.pid is not None
    os.kill(valkey.pid, signal.SIGSTOP)
    try:
        await publish(a, 1)
        await until(lambda: a.media.on_air(SHOW))
        near = await watch(a)
        await until(lambda: near.sees(1))
    finally:
        os.kill(valkey.pid, signal.SIGCONT)
    await on_air(a)
    far = await watch(b)
    await until(lambda: far.sees(1))
    assert near.unbroken


async def test_a_worker_that_could_not_reach_the_bus_tells_of_its_shows_again(
    houses: list[House], publish: Publish, buses: list[Bus], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stream.director.LEASE_TTL_S", 60.0)  # it ends when this test says so, not on a busy machine
    monkeypatch.setattr("stream.director.LEASE_RENEWAL_S", 0.1)
    monkeypatch.setattr("stream.notices.CENSUS_INTERVAL_S", 0.2)
    a, b, c = houses
    await publish(a, 1)
    await on_air(a)
    await until(lambda: a.lit == {SHOW})

    async def away(*call: object) -> None:
        raise BusError("away")

    assert a.media.cluster is not None
    with monkeypatch.context() as broken:
        broken.setattr(a.media.cluster.leases, "_run", away)
        lease = await buses[2].leases.read(stage_name(SHOW))
        assert lease is not None
        assert await buses[2].leases.release(stage_name(SHOW), lease.owner, lease.fence)
        await until(lambda: not a.lit)
        assert a.media.on_air(SHOW), "its video goes on"
        assert (SHOW, False) in b.told + c.told
    await until(lambda: a.lit == {SHOW})
    await asyncio.sleep(1.0)  # for the others' census
    assert a.lit == {SHOW}
    assert a.told == [(SHOW, True), (SHOW, True)]


async def test_the_shows_of_a_worker_that_died_are_found(houses: list[House], publish: Publish) -> None:
    a = houses[0]
    await publish(a, 1)
    await until(lambda: a.lit == {SHOW})
    a.lit.add("other")  # a show whose worker is gone
    await until(lambda: a.lit == {SHOW})
    assert [told for house in houses for told in house.told if told[0] == "other"] in (
        [("other", False)] * i for i in (1, 2, 3)
    )
