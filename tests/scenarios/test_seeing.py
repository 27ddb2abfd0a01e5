"""What operators watch with: every figure that the dashboard and the alerts ask for is one that workers tell."""

import asyncio
import json
import re
import shutil
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from live.core.metrics import REMEMBERED
from tests.scenarios.conftest import Run, port_of

ROOT = Path(__file__).resolve().parents[2] / "docs"
OPERATIONS = ROOT / "operations"
RULES = OPERATIONS / "prometheus/alerts.yml"
DASHBOARD = OPERATIONS / "grafana/dashboards/showcart.json"
_SUFFIX = re.compile(r"_(total|bucket|sum|count|created)$")


def _rules() -> list[dict[str, Any]]:
    groups = yaml.safe_load(RULES.read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


def _panels() -> list[dict[str, Any]]:
    panels: list[dict[str, Any]] = json.loads(DASHBOARD.read_text())["panels"]
    return panels


def _asked() -> set[str]:
    """The families that the rules and the panels ask for."""
    expressions = [rule["expr"] for rule in _rules()]
    expressions += [target["expr"] for panel in _panels() for target in panel.get("targets", ())]
    return {_SUFFIX.sub("", name) for text in expressions for name in re.findall(r"\b(?:showcart|process)_\w+", text)}


def _documented() -> set[str]:
    """The families of the table in operations.md; "a_*" stands for all that begin so."""
    table = (ROOT / "operations.md").read_text().partition("| figures | names |\n")[2].partition("\n\n")[0]
    cells = re.sub(r"\([^)]*\)", "", "".join(line.split("|")[2] for line in table.splitlines()[1:]))
    return {_SUFFIX.sub("", name) for name in re.findall(r"`([a-z_]+\*?)(?:\{[a-z_,]+\})?`", cells)}


def _is_documented(family: str) -> bool:
    name = family.removeprefix("showcart_")
    return any(name == each or (each.endswith("*") and name.startswith(each[:-1])) for each in _documented())


@pytest.fixture
async def port(showcart: Run) -> AsyncIterator[int]:
    process = await showcart("demo", "--workers", "2", SHOWCART_LOG_LEVEL="error")
    yield await port_of(process)
    process.terminate()
    await asyncio.wait_for(process.communicate(), 60)


async def test_workers_tell_what_is_asked_for(port: int) -> None:
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=10) as client:
        text = (await client.get("/metrics")).text
        told = {_SUFFIX.sub("", name) for name in re.findall(r"^# TYPE (\w+) ", text, re.MULTILINE)}
        assert "showcart_lane_wait_seconds" in told
        assert _asked() - told == set()
        assert REMEMBERED - told == set()
        assert {name for name in told if not _is_documented(name)} == set()
        bare = {name.removeprefix("showcart_") for name in told}
        assert {name for name in _documented() if not name.endswith("*")} - bare == set()
        for worker in (0, 1):
            assert f'showcart_worker_up{{worker="{worker}"}} 1' in text
            assert re.search(rf'^showcart_lane_waiting{{worker="{worker}",lane="cart"}} 0', text, re.MULTILINE)
        assert {name for name in told if not name.startswith(("showcart_", "process_"))} == set()
        recent = (await client.get("/metrics?recent=0")).json()
        assert [worker["up"] for worker in recent["workers"]] == [True, True]
    if shutil.which("promtool") is None:
        pytest.skip("promtool is not installed: the exposition was not linted (Debian: the package prometheus)")
    lint = subprocess.run(["promtool", "check", "metrics"], input=text, capture_output=True, text=True, check=False)
    assert lint.returncode == 0, lint.stdout + lint.stderr


def test_promtool_takes_the_rules() -> None:
    if shutil.which("promtool") is None:
        pytest.skip("promtool is not installed: the alert rules were not linted (Debian: the package prometheus)")
    config = str(OPERATIONS / "prometheus/prometheus.yml")
    lint = subprocess.run(["promtool", "check", "config", config], capture_output=True, text=True, check=False)
    assert lint.returncode == 0, lint.stdout + lint.stderr


def test_an_alert_fires_when_a_worker_is_away(tmp_path: Path) -> None:
    if shutil.which("promtool") is None:
        pytest.skip("promtool is not installed: the alert rules were not tried (Debian: the package prometheus)")
    labels = 'instance="a", job="showcart", worker="1"'
    steps = [
        (f"showcart_worker_up{{{labels}}}", "1x4 0x20"),
        (f'showcart_lane_refused_total{{{labels}, lane="cart"}}', "0x12 1x12"),
    ]
    case = {
        "rule_files": [str(RULES)],
        "evaluation_interval": "5s",
        "tests": [
            {
                "interval": "5s",
                "input_series": [{"series": series, "values": values} for series, values in steps],
                "alert_rule_test": [
                    {"eval_time": eval_time, "alertname": name, "exp_alerts": alerts}
                    for eval_time, name, alerts in (
                        ("20s", "ShowcartWorkerDown", []),
                        ("70s", "ShowcartWorkerDown", [_fired("ShowcartWorkerDown", worker="1")]),
                        ("50s", "ShowcartLaneFull", []),
                        ("75s", "ShowcartLaneFull", [_fired("ShowcartLaneFull", worker="1", lane="cart")]),
                    )
                ],
            }
        ],
    }
    path = tmp_path / "case.yml"
    path.write_text(yaml.safe_dump(case))
    run = subprocess.run(["promtool", "test", "rules", str(path)], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout + run.stderr


def _fired(name: str, **labels: str) -> dict[str, Any]:
    rule = next(rule for rule in _rules() if rule["alert"] == name)
    labels = {"instance": "a", "job": "showcart", **labels}
    told = {
        key: re.sub(r"\{\{ \$labels\.(\w+) \}\}", lambda found: labels[found[1]], text)
        for key, text in rule["annotations"].items()
    }
    return {"exp_labels": {**labels, **rule["labels"]}, "exp_annotations": told}


def test_every_alert_says_what_to_do() -> None:
    documents = (ROOT / "operations.md").read_text()
    headings = {heading.lower() for heading in re.findall(r"^#+ (\w+)$", documents, re.MULTILINE)}
    for rule in _rules():
        assert {"summary", "description", "runbook"} <= rule["annotations"].keys(), rule["alert"]
        path, _, anchor = rule["annotations"]["runbook"].partition("#")
        assert (ROOT.parent / path).is_file()
        assert anchor in headings, rule["alert"]
        assert rule["labels"]["severity"] in ("critical", "warning")


def test_the_dashboard_asks_the_provisioned_source() -> None:
    provisioning = OPERATIONS / "grafana/provisioning"
    (source,) = yaml.safe_load((provisioning / "datasources/prometheus.yaml").read_text())["datasources"]
    asked = {target["datasource"]["uid"] for panel in _panels() for target in panel.get("targets", ())}
    assert asked == {source["uid"]}
    (provider,) = yaml.safe_load((provisioning / "dashboards/showcart.yaml").read_text())["providers"]
    compose = yaml.safe_load((ROOT.parent / "compose.yaml").read_text())["services"]
    mounts = dict(volume.split(":")[:2] for volume in compose["grafana"]["volumes"])
    assert mounts["./docs/operations/grafana/dashboards"] == provider["options"]["path"]
    assert len({panel["id"] for panel in _panels()}) == len(_panels())
    scraped = yaml.safe_load((OPERATIONS / "prometheus/prometheus.yml").read_text())["scrape_configs"]
    assert scraped[0]["static_configs"][0]["targets"] == ["showcart:8000"]
    assert "showcart" in compose
