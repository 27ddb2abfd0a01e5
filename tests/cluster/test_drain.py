"""Media sessions leave a worker that ends: host and viewers are on another one before the first is gone."""

import asyncio

import pytest

from live.core.errors import Kind, Problem
from stream.transport.sessions import Reason
from tests.cluster.conftest import SHOW, Publish, Watch, on_air, until
from tests.stream.conftest import House, refused

pytestmark = pytest.mark.timeout(60)


async def test_everybody_goes_over_before_the_worker_ends(houses: list[House], publish: Publish, watch: Watch) -> None:
    ending, staying, _ = houses
    host = await publish(ending, 1)
    await on_air(ending)
    here, there = await watch(ending), await watch(staying)
    await until(lambda: here.sees(1) and there.sees(1))
    told: list[tuple[str, str]] = []

    async def on_leaving(show: str, leaving: dict[str, object]) -> None:
        told.append((show, str(leaving["worker"])))

    def full() -> None:
        raise Problem(Kind.draining, retry_after_s=1)

    ending.media.on_leaving, ending.media.admit = on_leaving, full
    await ending.media.leave()
    name = ending.media.name
    assert told == [(SHOW, name)]
    assert here.address.startswith(f"/whep/{SHOW}/{name}.") and host.address.startswith(f"/whip/{SHOW}/{name}.")
    assert not there.address.startswith(f"/whep/{SHOW}/{name}."), "who is elsewhere knows it by the name"
    late = await ending.post("whep", here.client.offer("recvonly"))
    assert refused(late, Kind.draining).headers["retry-after"] == "1"

    again = await publish(staying, 2)
    moved = await watch(staying)
    await until(lambda: all(viewer.sees(2) for viewer in (here, there, moved)))
    assert host.client.closed.is_set() or ending.media.ended["publisher", Reason.taken_over.value] == 1
    ending.media.dismiss()
    async with asyncio.timeout(30):
        await here.client.closed.wait()
    assert ending.media.ended["subscriber", Reason.shutdown.value] == 1
    assert not ending.media.sessions
    since = there.seen[-1][2]
    await until(lambda: there.sees(2, since=since) and moved.sees(2, since=since))
    assert there.unbroken and moved.unbroken and again.client.peer is not None
    assert [present for house in houses for _, present in house.told] == [True, True], "viewers are told of no end"
