"""How many changes over HTTP one may ask for."""

import asyncio
from collections.abc import Sequence

from prometheus_client import CollectorRegistry, generate_latest

from live.access.holders import Holders
from live.access.warden import Warden
from live.core.bus import Bus
from live.core.clock import ManualClock
from live.core.database import Database
from live.core.errors import Kind, Problem
from live.core.limits import (
    ADDRESS_CHANGES_BURST,
    ADDRESS_CHANGES_PER_S,
    CHANGES_BURST,
    CHANGES_BUS_AGAIN_S,
    CHANGES_PER_S,
    SERVICE_CHANGES_BURST,
    SERVICE_CHANGES_PER_S,
    STAFF_CHANGES_BURST,
    STAFF_CHANGES_PER_S,
)
from live.core.tallies import Pace, Tallies
from tests.live.access.conftest import ADA, HOST, OPS, Rates, Worker, issue, name_of

_SHOPPER = ("shopper:ada", Pace(CHANGES_PER_S, CHANGES_BURST))
_ADDRESS = ("address:2001:db8:1:2::", Pace(ADDRESS_CHANGES_PER_S, ADDRESS_CHANGES_BURST))
_IP = "2001:db8:1:2:3:4:5:6"


async def test_each_is_counted_by_who_and_where_it_is(worker: Worker, rates: Rates) -> None:
    assert (await worker(ADA, "POST", "/quotes", ip=_IP)).status_code == 200
    assert rates.asked == [[_SHOPPER, _ADDRESS]], "an IPv6 network is one address"
    rates.asked.clear()
    assert (await worker(OPS, "POST", "/orders", ip=_IP)).status_code == 200
    assert rates.asked == [[("staff:ops", Pace(STAFF_CHANGES_PER_S, STAFF_CHANGES_BURST)), _ADDRESS]]
    rates.asked.clear()
    secret = await issue(worker, "orders:write")
    subject = (await worker(secret, "POST", "/orders", ip=_IP)).json()["subject"]
    own = (f"service:{subject}", Pace(SERVICE_CHANGES_PER_S, SERVICE_CHANGES_BURST))
    assert rates.asked == [[own]], "a service has its own bound, wherever it calls from"
    rates.asked.clear()
    await worker(ADA, "GET", "/cart")
    assert (await worker(HOST, "POST", "/orders")).status_code == 403
    assert rates.asked == [], "reading and what is refused anyway is not counted"


async def test_too_many_are_refused_with_a_time_to_come_back(worker: Worker, rates: Rates) -> None:
    rates.waits = {_SHOPPER[0]: 0.2}
    refused = await worker(ADA, "POST", "/quotes", ip=_IP)
    assert name_of(refused) == (429, "rate_limited") and refused.headers["retry-after"] == "1"
    assert "20 changes a second for one shopper" in refused.json()["detail"]
    rates.waits = {_ADDRESS[0]: 7.1}
    refused = await worker(ADA, "POST", "/quotes", ip=_IP)
    assert name_of(refused) == (429, "rate_limited") and refused.headers["retry-after"] == "8"
    registry = CollectorRegistry()
    registry.register(worker.warden)
    said = generate_latest(registry).decode()
    for of, count in (("shopper", 1), ("address", 1), ("staff", 0), ("service", 0)):
        assert f'showcart_changes_throttled_total{{of="{of}"}} {count}.0' in said


async def test_a_flood_is_refused_without_the_bus(worker: Worker, rates: Rates, clock: ManualClock) -> None:
    for _ in range(CHANGES_BURST):
        await worker.warden.take(ADA, "")
    assert len(rates.asked) == CHANGES_BURST
    assert name_of(await worker(ADA, "POST", "/quotes", ip="192.0.2.1")) == (429, "rate_limited")
    assert len(rates.asked) == CHANGES_BURST
    clock.advance(1 / CHANGES_PER_S)
    assert (await worker(ADA, "POST", "/quotes", ip="192.0.2.1")).status_code == 200


async def test_a_bus_that_hangs_is_waited_for_by_one_and_not_by_all(clock: ManualClock) -> None:
    """Each change would take the four seconds in which it does not answer."""
    answers_in_s = 4.0
    asked = 0

    async def take(channel: str, buckets: Sequence[tuple[str, Pace]]) -> tuple[str, float]:
        nonlocal asked
        asked += 1
        clock.advance(answers_in_s)
        return "", 0.0

    holders: Holders = _Nobody()  # type: ignore[assignment]
    warden = Warden(holders, take, clock, addresses=True)
    for _ in range(20):
        await warden.take(ADA, "")
    assert asked == 1
    clock.advance(CHANGES_BUS_AGAIN_S)
    for _ in range(20):
        await warden.take(ADA, "")
    assert asked == 2
    clock.advance(CHANGES_BUS_AGAIN_S)
    answers_in_s = 0.0
    for _ in range(20):
        await warden.take(ADA, "")
    assert asked == 22, "it is back"


async def test_behind_a_proxy_that_hides_everybody_no_address_is_bounded(
    database: Database, clock: ManualClock, rates: Rates
) -> None:
    worker = Worker(database, clock, rates, addresses=False)
    assert (await worker(ADA, "POST", "/quotes")).status_code == 200
    assert rates.asked == [[_SHOPPER]]
    await worker.warden.take(None, "192.0.2.1")
    assert rates.asked == [[_SHOPPER]]
    await worker.holders.close()


class _Nobody:
    """No key is ever looked up here."""


async def test_two_workers_count_together(bus: Bus, clock: ManualClock) -> None:
    holders: Holders = _Nobody()  # type: ignore[assignment]
    workers = [Warden(holders, bus.tallies.take_all, clock, addresses=True) for _ in range(2)]
    taken, began_s = 0, asyncio.get_running_loop().time()
    for number in range(2 * CHANGES_BURST):
        try:
            await workers[number % 2].take(ADA, "192.0.2.1")
            taken += 1
        except Problem as problem:
            assert (problem.kind, problem.retry_after_s) == (Kind.rate_limited, 1)
    assert sum(worker.refused["shopper"] for worker in workers) == 2 * CHANGES_BURST - taken
    earned = CHANGES_PER_S * (asyncio.get_running_loop().time() - began_s) + 1  # by the bus's own clock
    assert CHANGES_BURST <= taken <= CHANGES_BURST + earned


async def test_one_of_each_or_nothing_of_any(bus: Bus) -> None:
    take = bus.tallies.take_all
    mine, ours = ("a", Pace(0.001, 2)), ("b", Pace(0.001, 3))
    assert [await take("c", [mine, ours]) for _ in range(2)] == [("", 0.0)] * 2
    name, wait_s = await take("c", [mine, ours])
    assert name == "a" and 990 < wait_s <= 1000
    assert await take("c", [ours]) == ("", 0.0), "who is over their own bound took nothing of their neighbours'"
    assert (await take("c", [("d", Pace(0.001, 2)), ours]))[0] == "b"


async def test_a_shop_without_the_bus_goes_on() -> None:
    async def away(script: str, keys: list[str], arguments: list[str | bytes | float]) -> None:
        raise Problem(Kind.unavailable)

    pace = Pace(0.001, 1)
    for _ in range(2):
        assert await Tallies(away).take_all("c", [("a", pace)]) == ("", 0.0), (
            "a shop without a rate limit beats a shop that is shut"
        )
