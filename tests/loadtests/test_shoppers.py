"""Locust's shoppers against the scripted show, and what is read from their files."""

import asyncio
from pathlib import Path

import msgspec
import pytest

from loadtests import crowd
from loadtests.outcomes import judged, problem, quantities, skus
from loadtests.scenario import Scenario, Shoppers, Viewers, Weights
from tests.loadtests.scripted import ScriptedShow


def test_a_busy_shops_no_is_not_a_failure() -> None:
    assert judged("add", None) == ("add", False)
    assert judged("add", "5003 sold_out") == ("add: 5003 sold_out", False)
    assert judged("add", "1015 internal") == ("add", True)
    assert judged("add", "no answer") == ("add", True)


def test_problems_have_numbers_and_names() -> None:
    assert problem({"code": 5003, "name": "sold_out"}, 409) == "5003 sold_out"
    assert problem({"detail": "?"}, 502) == "http 502"
    assert problem([]) == "http 0"


def test_lineups_and_carts_are_read() -> None:
    product = {"variants": [{"sku": "A"}, {"sku": "B"}]}
    assert skus([product, None]) == ["A", "B"]
    assert skus(None) == []
    assert quantities({"lines": [{"sku": "A", "quantity": 2}]}) == {"A": 2}
    assert quantities(None) == {}


def test_the_history_counts_from_the_start() -> None:
    row = {"Timestamp": "107", "User Count": "5", "Name": "Aggregated", "Requests/s": "3.5", "Failures/s": "0.0"}
    seconds = crowd.history([row | {"50%": "N/A", "99%": "9"}, row | {"Name": "add"}], 100.0)
    assert [msgspec.structs.astuple(one) for one in seconds] == [(7.0, 5, 3.5, 0.0, None, 9.0)]


def test_shoppers_that_did_not_finish_are_a_failure(tmp_path: Path) -> None:
    assert crowd.results(tmp_path, 0.0).failures_count == 1


@pytest.mark.parametrize("processes", [1, 2])
async def test_shoppers_act(tmp_path: Path, processes: int) -> None:
    """Only those on the socket: the scripted show has no HTTP API."""
    shoppers = Shoppers(
        count=4, ramp_s=0.2, think_min_s=0.05, think_max_s=0.1, weights=Weights(read=1, chat=4, react=4, leave=2)
    )
    scenario = Scenario(title="t", duration_s=5.0, viewers=Viewers(count=1), shoppers=shoppers)
    async with ScriptedShow().on_air() as show:
        process = crowd.start(show.url, scenario, tmp_path, "SocketShopper", processes=processes)
        try:
            assert await asyncio.to_thread(process.wait, 60) == 0, (tmp_path / "shoppers.log").read_text()
        finally:
            process.kill()
    shopping = crowd.results(tmp_path, 0.0)
    assert shopping.failures == {}
    counts = {one.name: one.count for one in shopping.actions}
    assert counts["join"] == 4, "of all processes"
    assert min(counts["chat"], counts["react"], counts["come back"]) >= 1
    assert shopping.seconds
    assert shopping.p99_ms is not None
