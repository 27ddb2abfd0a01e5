"""Shows over three workers on one real Valkey, with light clients: who is on air, and what viewers see of changes."""

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack

import pytest

from live.core.bus import Bus, BusError, Wire
from live.core.errors import Kind
from live.core.leases import FREE
from live.core.valkey import EmbeddedValkey
from stream.cluster.cluster import Cluster, stage_name
from stream.feed import AUDIO
from stream.transport.sessions import Reason
from tests.cluster.actors import Host, Viewer
from tests.cluster.conftest import until
from tests.stream.conftest import BEARER, House, fragment, patch, refused, running

pytestmark = pytest.mark.timeout(90)
SHOW = "demo"


@pytest.fixture
async def houses(buses: list[Bus], wires: list[Wire]) -> AsyncIterator[list[House]]:
    """The media parts of three workers, each behind its own HTTP server."""
    lit: set[str] = set()
    async with AsyncExitStack() as stack:
        made = []
        for bus, wire in zip(buses, wires, strict=True):
            made.append(await stack.enter_async_context(running(cluster=Cluster(bus, wire), lit=lit)))
        yield made


@pytest.fixture
async def cast() -> AsyncIterator[AsyncExitStack]:
    """Whoever enters leaves at the end."""
    async with AsyncExitStack() as stack:
        yield stack


Publish = Callable[..., Awaitable[Host]]
Watch = Callable[..., Awaitable[Viewer]]


@pytest.fixture
def publish(cast: AsyncExitStack) -> Publish:
    async def make(house: House, number: int, *, backup: bool = False, **options: object) -> Host:
        host = Host(number, **options)  # type: ignore[arg-type]
        cast.push_async_callback(host.leave)
        await host.publish(house, backup=backup)
        return host

    return make


@pytest.fixture
def watch(cast: AsyncExitStack) -> Watch:
    async def make(house: House, codec: str = "h264") -> Viewer:
        viewer = Viewer(codec)
        cast.push_async_callback(viewer.leave)
        await viewer.watch(house)
        return viewer

    return make


async def on_air(house: House) -> None:
    await until(lambda: (stage := house.media.stages.get(SHOW)) and stage.director.fence is not None)


def said(figure: str) -> None:
    """For whoever runs these tests with -s."""
    print(figure)  # noqa: T201


def p(values: list[float], share: float) -> float:
    return sorted(values)[int(len(values) * share)]


# --- watching anywhere ----------------------------------------------------------------------------------------


async def test_a_show_is_watched_on_every_worker(houses: list[House], publish: Publish, watch: Watch) -> None:
    a, b, c = houses
    host = await publish(a, 1)
    await on_air(a)
    viewers = [await watch(house) for house in (a, b, b, c)]
    await until(lambda: all(len(viewer.packets) > 300 for viewer in viewers))
    assert all(viewer.unbroken for viewer in viewers)
    assert a.told == [(SHOW, True)]
    assert b.told == c.told == [], "only whoever has the publisher tells"
    # What the bus adds: both viewers got the same packets in this one process.
    near = {left: came for _, left, came in viewers[0].seen}
    added_ms = [(came - near[left]) * 1000 for _, left, came in viewers[1].seen[100:] if left in near]
    said(f"added delay over the bus: p50 {p(added_ms, 0.5):.1f} ms, p95 {p(added_ms, 0.95):.1f} ms")
    assert p(added_ms, 0.5) <= 15, "p95 as well, on a machine that does nothing else"
    assert host.plis <= 6, "many joins are few wishes"


async def test_every_worker_tells_the_figures_of_the_whole_show(
    houses: list[House], publish: Publish, watch: Watch
) -> None:
    a, b, c = houses
    assert [(await house.video()).json()["on_air"] for house in houses] == [False] * 3
    host = await publish(a, 1)
    await on_air(a)
    for house in (a, b, b, c):
        await watch(house)
    await until(lambda: a.figures and sum(a.figures[-1]["audience"]["layers"].values()) == 4)
    for house in houses:
        answer = (await house.video()).json()
        assert answer["on_air"]
        assert answer["figures"]["subscribers"] == 4
        assert sum(answer["figures"]["audience"]["layers"].values()) == 4
    assert b.figures == c.figures == [], "only whoever has the publisher tells"
    rid = next(iter(a.figures[-1]["audience"]["layers"]))
    seen = [house.registry.get_sample_value("showcart_media_viewers", {"show": SHOW, "rid": rid}) for house in houses]
    assert seen == [1, 2, 1], "each worker's own"
    await host.leave()
    await until(lambda: not a.media.on_air(SHOW))
    async with asyncio.timeout(5):
        while any([(await house.video()).json()["on_air"] for house in houses]):
            await asyncio.sleep(0.05)
    cluster = b.media.cluster
    assert cluster is not None
    # A worker that died left its lease behind.
    await cluster.leases.acquire(stage_name(SHOW), "deceased", b"", rank=0, ttl_s=30, over=FREE)
    assert not (await c.video()).json()["on_air"]


async def test_the_wish_for_a_keyframe_crosses(houses: list[House], publish: Publish, watch: Watch) -> None:
    a, b, _ = houses
    host = await publish(a, 1)
    await on_air(a)
    viewer = await watch(b)
    await until(lambda: len(viewer.packets) > 50)
    await asyncio.sleep(0.6)  # longer than the interval of wishes, so that this one is not merged with the joining's
    plis = host.plis
    viewer.ask_for_keyframe()
    await until(lambda: host.plis == plis + 1)


async def test_only_watched_layers_cross(houses: list[House], publish: Publish, watch: Watch) -> None:
    a, b, c = houses
    await publish(a, 1, rids=("q", "h", "f"), codec="vp8")
    await on_air(a)
    export = a.media.stages[SHOW].director.export
    assert export is not None
    assert export.demanded == frozenset()
    viewer = await watch(b, "vp8")
    await until(lambda: len(viewer.packets) > 20 and AUDIO in export.demanded)
    low = a.media.stages[SHOW].publication.ingest._layers[0].size[1]  # type: ignore[union-attr]
    # Said at a worker that has nothing to do with the session.
    answer = await c.http.post(f"{viewer.address}/layer", json={"max_height": low, "video": True})
    assert answer.status_code == 204, answer.text
    await until(lambda: export.demanded == {0, AUDIO})
    answer = await c.http.post(f"{viewer.address}/layer", json={"max_height": None, "video": False})
    assert answer.status_code == 204, answer.text
    await until(lambda: export.demanded == {AUDIO})
    assert (await a.http.delete(viewer.address)).status_code == 200
    refused(await a.http.delete(viewer.address), Kind.unknown_session)
    await until(lambda: SHOW not in b.media.stages)


async def test_nobody_on_air_anywhere_is_not_live(
    houses: list[House], publish: Publish, watch: Watch, cast: AsyncExitStack
) -> None:
    a, b, _ = houses
    stranger = Viewer()
    cast.push_async_callback(stranger.leave)
    refused(await b.post("whep", stranger.client.offer("recvonly")), Kind.not_live)
    assert not b.media.stages
    host = await publish(a, 1)
    await on_air(a)
    viewer = await watch(b)
    assert (await b.http.delete(host.address, headers=BEARER)).status_code == 200
    await until(lambda: b.media.stages[SHOW].relay.feed is None)
    refused(await b.post("whep", stranger.client.offer("recvonly")), Kind.not_live)
    await until(lambda: a.told == [(SHOW, True), (SHOW, False)])
    # The viewer is still there when somebody publishes again, through any worker.
    await publish(houses[2], 2)
    await until(lambda: viewer.sees(2))
    assert viewer.unbroken


# --- sessions anywhere ----------------------------------------------------------------------------------------


async def test_sessions_are_reached_through_every_worker(houses: list[House], publish: Publish) -> None:
    a, b, _ = houses
    host = await publish(a, 1)
    found = await b.http.get(host.address)
    assert found.status_code == 204
    etag = found.headers["etag"]
    assert etag == (await a.http.get(host.address)).headers["etag"]
    answer = await patch(b, host.address, fragment(host.client), etag)
    assert answer.status_code == 204, answer.text
    refused(await patch(b, host.address, fragment(host.client), '"old"'), Kind.precondition_failed)
    refused(await patch(b, host.address, fragment(host.client), None), Kind.precondition_required)
    refused(await patch(b, host.address, "a=ice-ufrag:x", etag), Kind.sdp_malformed)
    refused(await b.http.delete(host.address), Kind.token_missing)
    restarted = await patch(b, host.address, host.client.restart(), etag)
    assert (restarted.status_code, restarted.headers["etag"] != etag) == (200, True), restarted.text
    host.client.restarted(restarted.text)
    assert (await b.http.delete(host.address, headers=BEARER)).status_code == 200
    refused(await b.http.delete(host.address, headers=BEARER), Kind.unknown_session)
    for nobody in ("nobodysx." + 32 * "a", "x", 500 * "a", "........." + 32 * "a"):
        refused(await b.http.get(f"/whip/{SHOW}/{nobody}"), Kind.unknown_session)


async def test_the_end_of_a_show_ends_it_everywhere(houses: list[House], publish: Publish, watch: Watch) -> None:
    a, b, c = houses
    await publish(a, 1)
    await on_air(a)
    await watch(b)
    c.media.hang_up(SHOW)
    await until(lambda: a.media.ended["publisher", "show_over"] == b.media.ended["subscriber", "show_over"] == 1)
    await until(lambda: not (a.media.stages or b.media.stages))


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
    at = time.monotonic()
    assert a.media.stages[SHOW].publication is None
    await on_air(a)
    assert 1.5 < time.monotonic() - at < 4
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
        while time.monotonic() < at + 5:
            await asyncio.sleep(0.1)
    finally:
        os.kill(valkey.pid, signal.SIGCONT)
    back = time.monotonic()
    assert late.sees(1, since=back - 0.5)
    assert near.sees(1, since=back - 0.5)
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
    houses: list[House], publish: Publish, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stream.director.LEASE_TTL_S", 0.4)
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
