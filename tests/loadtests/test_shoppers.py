"""Locust's shoppers against the scripted show, and what is read from their files."""

import asyncio
import csv
from pathlib import Path

import msgspec
import pytest

from loadtests import crowd
from loadtests.outcomes import judged, problem, quantities, refusal, skus
from loadtests.scenario import Scenario, Shoppers, Viewers, Weights
from tests.loadtests.scripted import ScriptedShow
from tests.scenarios.conftest import Run, port_of
from tests.scenarios.conftest import showcart as _showcart

showcart = _showcart
pytestmark = pytest.mark.timeout(120)
ORDERLY = Path(__file__).with_name("orderly.py")


def test_a_busy_shops_no_is_not_a_failure() -> None:
    assert judged("add", None) == ("add", False)
    assert judged("add", "5003 sold_out") == ("add: 5003 sold_out", False)
    assert judged("add", "1015 internal") == ("add", True)
    assert judged("add", "no answer") == ("add", True)


def test_problems_have_numbers_and_names() -> None:
    assert problem({"code": 5003, "name": "sold_out"}, 409) == "5003 sold_out"
    assert problem({"detail": "?"}, 502) == "http 502"
    assert problem([]) == "http 0"


def test_commands_by_post_are_refused_one_by_one() -> None:
    done, refused = {"type": "reply", "id": "1"}, {"type": "refused", "error": {"code": 1006, "name": "rate_limited"}}
    assert refusal({"messages": [done, refused]}) == "1006 rate_limited"
    assert refusal({"messages": [done]}) is None
    assert refusal({"cart": {}}) is None
    assert refusal([]) is None


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


def _counted(folder: Path) -> dict[str, int]:
    """How often they did what, by Locust's last words on it; of several processes its master's."""
    file = folder / "shoppers_stats_history.csv"
    if not file.exists():
        return {}
    with file.open(newline="") as lines:
        return {row["Name"]: int(row["Total Request Count"] or 0) for row in csv.DictReader(lines)}


@pytest.mark.parametrize("processes", [1, 2])
async def test_shoppers_act(tmp_path: Path, processes: int) -> None:
    """Only those on the socket: the scripted show has no HTTP API. It is over when they have done what they can."""
    shoppers = Shoppers(
        count=4, ramp_s=0.2, think_min_s=0.05, think_max_s=0.1, weights=Weights(read=1, chat=4, react=4, leave=2)
    )
    scenario = Scenario(title="t", duration_s=300.0, viewers=Viewers(count=1), shoppers=shoppers)
    async with ScriptedShow().on_air() as show:
        process = crowd.start(show.url, scenario, tmp_path, "SocketShopper", processes=processes)
        try:
            async with asyncio.timeout(60):
                while not {"join", "chat", "react", "come back"} <= (done := _counted(tmp_path)).keys() or (
                    done["join"] < shoppers.count
                ):
                    assert process.poll() is None, (tmp_path / "shoppers.log").read_text()
                    await asyncio.sleep(0.1)
            process.terminate()
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


async def test_the_shop_takes_all_that_shoppers_do(
    showcart: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once each, by each way, in an order that leaves nothing to chance: none of it may be a mistake of ours."""
    monkeypatch.setattr(crowd, "LOCUSTFILE", ORDERLY)
    url = f"http://127.0.0.1:{await port_of(await showcart('demo'))}"
    shoppers = Shoppers(count=2, ramp_s=0.1, think_min_s=0.0, think_max_s=0.01)
    scenario = Scenario(title="t", duration_s=80.0, viewers=Viewers(count=1), shoppers=shoppers)
    process = crowd.start(url, scenario, tmp_path)
    try:
        assert await asyncio.to_thread(process.wait, 90) == 0, (tmp_path / "shoppers.log").read_text()
    finally:
        process.kill()
    shopping = crowd.results(tmp_path, 0.0)
    assert shopping.failures == {}
    done = {(one.method, one.name): one.count for one in shopping.actions}
    both = {"join": 1, "chat": 1, "react": 1, "add": 2, "change": 1, "remove": 1, "check_out": 1}
    assert done == {
        **{(way, name): count for way in ("WS", "HTTP") for name, count in both.items()},
        ("WS", "read"): 1, ("WS", "come back"): 1,
        ("HTTP", "read"): 3,  # with each coming, and once for itself
    }  # fmt: skip
