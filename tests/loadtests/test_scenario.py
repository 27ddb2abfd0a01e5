"""Ready scenarios load; what is wrong in one is named."""

from pathlib import Path

import msgspec
import pytest

from loadtests.resize import resized
from loadtests.scenario import Reconnect, ScenarioError, Slow, Thresholds, ValkeyRestart, load, names, parse
from loadtests.verdict import judge

GOOD = """
title = "Mine"
duration_s = 10
[viewers]
count = 20
"""


def test_ready_scenarios_load() -> None:
    assert set(names()) == {
        "broadcast", "quiet", "drop", "join-storm", "reconnect-storm", "slow-readers", "valkey-restart",
    }  # fmt: skip
    for name in names():
        assert load(name).thresholds != Thresholds()
    drop = load("drop")
    assert drop.drop is not None
    assert (drop.viewers.total, drop.shoppers.count, drop.chat.rate_per_s) == (10_000, 200, 20)
    assert load("join-storm").viewers.wave[0].joins == 5000
    assert load("reconnect-storm").fault == (Reconnect(20.0, 1.0),)
    assert load("valkey-restart").fault == (ValkeyRestart(25.0),)
    assert isinstance(load("slow-readers").fault[0], Slow)


def test_a_file_is_a_scenario(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(GOOD)
    scenario = load(str(path))
    assert (scenario.title, scenario.show, scenario.viewers.count, scenario.shoppers.count) == ("Mine", "demo", 20, 0)


@pytest.mark.parametrize(
    ("added", "said"),
    [
        ("count = 0", "invalid"),
        ("colour = 1", "viewers: object contains unknown field `colour`"),
        ("encoding = 'xml'", "viewers.encoding: "),
        ("ramp_s = -1", "viewers.ramp_s: expected `float` >= 0"),
        ("ramp_s = 10", "viewers.ramp_s: must be shorter than duration_s"),
        ("[chat]\nrate_per_s = 0", "chat.rate_per_s: "),
        ("[chat]\nrate_per_s = 50", "chat.rate_per_s: so much chat needs at least 100 viewers"),
        ("[shoppers]\ncount = 1\nramp_s = 11", "shoppers.ramp_s: must be shorter"),
        ("[shoppers]\nthink_min_s = 3", "shoppers.think_min_s: must not be above think_max_s"),
        ("[shoppers.weights]\nadd = 'often'", "shoppers.weights.add: expected `int`"),
        ("[shoppers]\ncount = 1\n[shoppers.weights]\nread=0\nchat=0\nreact=0\nadd=0\nchange=0\ncheck_out=0\nleave=0",
         "shoppers.weights: at least one"),
        ("[[viewers.wave]]\nat_s = 2", "viewers.wave[0]: either joins or leaves"),
        ("[[viewers.wave]]\nat_s = 2\njoins = 1\nleaves = 1", "viewers.wave[0]: either joins or leaves"),
        ("[[viewers.wave]]\nat_s = 2\njoin = 1", "viewers.wave[0]: object contains unknown field `join`"),
        ("[[viewers.wave]]\nat_s = 8\nwithin_s = 2\njoins = 1", "viewers.wave[0]: must be over before duration_s"),
        ("[[viewers.wave]]\nat_s = 8\nleaves = 18", "viewers.wave[0].leaves: those who write stay; 4"),
        ("[[viewers.wave]]\nat_s = 8\njoins = 100_000", "viewers: more than 100000 in all"),
        ("[[chat.burst]]\nat_s = 8\nfor_s = 2\nrate_per_s = 1", "chat.burst[0]: must be over before"),
        ("[[chat.burst]]\nat_s = 8\nfor_s = 1\nrate_per_s = 20", "so much chat needs at least 40 viewers"),
        ("[[fault]]\nat_s = 8\nkind = 'flood'", "fault[0].kind: invalid value"),
        ("[[fault]]\nat_s = 8", "fault[0]: object missing required field `kind`"),
        ("[[fault]]\nat_s = 8\nkind = 'slow'", "fault[0]: object missing required field `for_s`"),
        ("[[fault]]\nat_s = 8\nkind = 'valkey-restart'\nshare = 1.0", "unknown field `share`"),
        ("[[fault]]\nat_s = 8\nkind = 'valkey-pause'\nfor_s = 2", "fault[0]: must be over before duration_s"),
        ("[media]\nviewers = 1\nramp_s = 10", "media.ramp_s: must be shorter"),
        ("[media]\nlayers = 4", "media.layers: "),
        ("[drop]\nat_s = 10", "drop.at_s: must be before duration_s"),
        ("[drop]\nproduct = 'x'", "drop: object missing required field `at_s`"),
        ("[thresholds]\nlost = 0", "thresholds: object contains unknown field `lost`"),
        ("[thresholds]\njoin_p99_ms = 0", "thresholds.join_p99_ms: "),
        ("[viewers", "mine.toml: "),
    ],
)  # fmt: skip
def test_errors_name_the_member(added: str, said: str) -> None:
    with pytest.raises(ScenarioError) as caught:
        parse((GOOD + added).encode(), "mine.toml")
    if said != "invalid":
        assert str(caught.value).startswith("mine.toml: ")
        assert said in str(caught.value)


def test_other_errors_name_the_file(tmp_path: Path) -> None:
    with pytest.raises(ScenarioError, match=r"nowhere: .*ready scenarios are broadcast, drop, join-storm, quiet"):
        load("nowhere")
    with pytest.raises(ScenarioError, match="title"):
        parse(b"duration_s = 3", "mine.toml")
    with pytest.raises(ScenarioError, match=r"mine\.toml: 'utf-8'"):
        parse(b"\xff", "mine.toml")
    large = tmp_path / "large.toml"
    large.write_text("#" * 100_000)
    with pytest.raises(ScenarioError, match="larger than"):
        load(str(large))


def test_sizes_can_be_set() -> None:
    drop = load("drop")
    assert drop.drop is not None
    small = resized(drop, viewers=100, shoppers=0, duration_s=drop.duration_s / 2)
    assert (small.viewers.count, small.viewers.wave[0].joins, small.shoppers.count) == (90, 10, 0)
    assert small.viewers.wave[0].at_s == drop.viewers.wave[0].at_s / 2
    assert small.viewers.ramp_s == drop.viewers.ramp_s / 2
    assert small.drop is not None
    assert small.drop.at_s == drop.drop.at_s / 2
    assert resized(drop) == drop
    assert resized(load("broadcast"), media_viewers=7).media.viewers == 7
    assert resized(drop, duration_s=drop.duration_s * 2).viewers.ramp_s == drop.viewers.ramp_s
    with pytest.raises(ScenarioError, match=r"^--viewers: "):
        resized(drop, viewers=0)
    with pytest.raises(ScenarioError, match=r"sizes: chat\.rate_per_s"):
        resized(drop, viewers=3)
    slow = resized(load("slow-readers"), duration_s=load("slow-readers").duration_s / 2).fault[0]
    assert slow == Slow(5.0, 20.0, 0.1)


def test_every_threshold_can_break() -> None:
    from tests.loadtests.samples import sample_run

    run = sample_run()
    limits = {name: 1e-9 if name.endswith(("_ms", "_percent", "_kb")) else 0 for name in Thresholds.__struct_fields__}
    broken = judge(run, msgspec.convert(limits, Thresholds))
    assert {one.name for one in broken} == set(Thresholds.__struct_fields__)
    assert not any(one.ok for one in broken)
    kept = judge(run, msgspec.convert(dict.fromkeys(limits, 500_000), Thresholds))
    assert all(one.ok for one in kept)
    alone = judge(msgspec.structs.replace(run, shopping=None), msgspec.convert(limits, Thresholds))
    assert len(alone) == len(limits) - 2, "nobody was to shop, so nothing is said about shoppers"
