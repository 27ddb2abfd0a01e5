"""The page is well-formed, complete, and asks no other address for anything."""

import re
from io import StringIO
from pathlib import Path
from xml.etree import ElementTree

import msgspec
import pytest
from rich.console import Console

from loadtests import poster, report
from loadtests.cards import _closes, cards
from loadtests.charts import Line, chart, holed, legend, number, thin, time_ticks
from loadtests.codes import told
from loadtests.histogram import Histogram
from loadtests.knee import Knee, Level
from loadtests.measures import Mark, Second
from loadtests.merge import merged_seconds, merged_totals, spread
from loadtests.page import html as page_of
from loadtests.progress import bars, closing, next_step, panel
from loadtests.report import Outcome, Report
from loadtests.run import write
from loadtests.scenario import Scenario, load
from loadtests.summary import markdown
from loadtests.tables import spreads
from loadtests.verdict import Run, doubts, judge
from tests.loadtests.samples import histogram, sample_run, sample_screening


def sample(scenario: Scenario | None = None, *runs: Run) -> Report:
    scenario, runs = scenario or load("drop"), runs or (sample_run(),)
    return Report(
        scenario=scenario, server="http://127.0.0.1:8000", own_server=True, settings={"swarms": "1"},
        machine={"processor": "2 × <Chip>", "memory": "8 GiB"}, versions={"showcart": "0.1.0"},
        runs=[
            Outcome("2026-01-02T03:04:05+00:00", run, judge(run, scenario.thresholds), ["A doubt & a half."])
            for run in runs
        ],
    )  # fmt: skip


def quiet_run() -> Run:
    """Of nobody: nothing was measured."""
    run, empty = sample_run(), Histogram().plain()
    names = {name: empty for name in ("join", "delivery", "acknowledge", "late", "back")}
    totals = msgspec.structs.replace(run.totals, joined=0, deliveries=0, closes={}, refused={}, **names)
    return Run(seconds=[], totals=totals)


@pytest.mark.parametrize("run", [sample_run(), quiet_run()], ids=["full", "empty"])
def test_the_page_is_well_formed_and_asks_nobody(run: Run) -> None:
    page = page_of(sample(None, run))
    ElementTree.fromstring(page)
    assert not re.search(r"\b(src|href|srcset|data|action|poster)\s*=|url\(|@import|<script|<iframe|<link", page)
    assert "default-src 'none'" in page
    assert {found for found in re.findall(r"https?://[^\s<\"']+", page)} <= {"http://127.0.0.1:8000"}


def test_the_page_says_what_happened() -> None:
    page = page_of(sample())
    words = " ".join(ElementTree.fromstring(page).itertext())
    for expected in ("A drop", "thresholds broken", "2026-01-02 03:04 UTC",
                     "socket closed: 4001", "refused: slow_mode", "add: sold_out",
                     "<overloaded> & co", "2 × <Chip>", "A doubt & a half.", "Is it fast?", "Is the picture live?",
                     "Who is too slow?", "closed by the server, they did not catch up",
                     "session ended: silence", "drop"):  # fmt: skip
        assert expected in words, expected
    assert page.count("<svg") == 19
    assert page.count('class="span"') == 19, "a fault that lasts is shaded in each chart"


def test_the_files_are_written(tmp_path: Path) -> None:
    write(sample(), tmp_path)
    stored = msgspec.json.decode((tmp_path / "report.json").read_bytes())
    assert stored.pop("ok") is False
    assert stored.pop("spreads")["lost_max"] == {"median": 6, "low": 6, "high": 6}
    assert stored["runs"][0]["run"]["totals"]["lost"] == 5
    assert msgspec.convert(stored, Report) == sample()
    assert (tmp_path / "report.html").read_text().startswith("<!DOCTYPE html>")
    assert (tmp_path / "report.md").read_text().startswith("# A drop")
    assert "](report.svg)" in (tmp_path / "report.md").read_text().partition("\n## ")[0], "pictures first"
    ElementTree.fromstring((tmp_path / "report.svg").read_text())


@pytest.mark.parametrize("run", [sample_run(), quiet_run()], ids=["full", "empty"])
def test_the_poster_has_all_charts_and_asks_nobody(run: Run) -> None:
    report = sample(None, run)
    drawn = poster.svg(report)
    words = list(ElementTree.fromstring(drawn).itertext())
    shown = cards(report.scenario, run)
    assert [card.question for card in shown if card.question not in words] == []
    assert drawn.count("<svg") == 1 + len(shown)
    assert "<circle" not in drawn and not re.search(r"\b(src|href)\s*=|url\(|@import|<script", drawn)


def test_several_runs_show_their_spread() -> None:
    slow = sample_run()
    late = histogram(500_000).plain()
    slow.totals = msgspec.structs.replace(slow.totals, delivery=late, lost=0, unseen=0)
    report = sample(None, sample_run(), slow)
    words = " ".join(ElementTree.fromstring(page_of(report)).itertext())
    for expected in (
        "2 runs and their spread",
        "Run 2 · 2026-01-02",
        "thresholds broken in 2 runs",
        "270 40 500 40 500",
    ):
        assert expected in words, expected
    assert report.broken.count("delivery_p99_ms") == 1
    told = markdown(report, "report.svg")
    assert "(of the last run)" in told
    assert "2 × \\<Chip\\>" in told
    assert all(line.count("|") >= 3 for line in told.splitlines() if line.startswith("|"))


def test_a_figure_that_one_run_lacks_has_no_spread() -> None:
    report = sample(None, sample_run(), msgspec.structs.replace(sample_run(), shopping=None))
    assert report.spreads["shopper_p99_ms"] is None
    rows = {row[0]: row[1:] for row in spreads(report).rows}
    assert rows["shopper_p99_ms"] == ("–", "–", "–", "9", "–")
    assert rows["lost_max"] == ("6", "6", "6", "6", "6")
    assert "knee_viewers" not in rows, "no run has one"
    assert spread([1.0, 5.0, 2.0]) == (2.0, 1.0, 5.0)
    assert spread([1.0, None]) is None
    assert spread([]) is None


def test_swarms_add_up() -> None:
    run = sample_run()
    whole = merged_totals([run.totals, run.totals])
    assert (whole.viewers, whole.lost, whole.closes) == (102, 10, {"4001": 4, "http 503": 2})
    assert whole.lag_max_ms == 1.5
    assert whole.histogram("delivery").count == 2 * run.totals.histogram("delivery").count
    seconds = merged_seconds([run.seconds, run.seconds[:2]])
    assert [(one.at_s, one.open) for one in seconds] == [(1, 20), (2, 40), (3, 50), (4, 60), (5, 70)]
    assert merged_seconds([run.seconds]) == run.seconds


def test_machine_and_versions_are_known() -> None:
    assert {"system", "python"} <= report.machine().keys()
    assert {"uvicorn", "websockets"} <= report.versions().keys()


def test_doubts_say_that_the_generator_was_too_slow() -> None:
    run = sample_run()
    assert doubts(run) == []
    late = msgspec.structs.replace(run.totals, late=histogram(80_000).plain(), lag_max_ms=300.0)
    busy = [msgspec.structs.replace(one, cpu_percent=99.0) for one in run.usage]
    assert len(doubts(Run(seconds=run.seconds, totals=late, usage=busy, unread=3))) == 5
    run.server = [msgspec.structs.replace(one, slow=0.0, slow_closed=0.0) for one in run.server]
    [doubt] = doubts(run)
    assert doubt.startswith("The server skipped none of those who stopped reading")
    run.marks = [mark for mark in run.marks if not mark.word.startswith("slow")]
    assert doubts(run) == []
    assert run.screening is not None and run.media is not None
    run.screening.totals = msgspec.structs.replace(run.media, late=histogram(80_000).plain(), lag_max_ms=300.0)
    assert len(doubts(run)) == 2


def test_the_video_is_judged_when_somebody_watched_it() -> None:
    run, limits = sample_run(), load("broadcast").thresholds
    found = {one.name: (one.value, one.ok) for one in judge(run, limits) if one.name.startswith("media_")}
    assert found == {
        "media_first_frame_p95_ms": (45.0, True), "media_delay_p95_ms": (45.0, True), "media_lost_max": (1, False),
        "media_freezes_max": (1, False), "media_not_joined_max": (1, False), "media_not_back_max": (1, False),
    }  # fmt: skip
    run.screening = None
    assert not [one for one in judge(run, limits) if one.name.startswith("media_")]


def test_the_terminal_shows_the_same() -> None:
    console = Console(width=100, file=StringIO())
    console.print(closing(sample(), Path("somewhere")))
    console.print(panel(load("quiet"), 3.0, sample_run().seconds, histogram(2000), sample_run().usage))
    console.print(closing(sample(None, sample_run(), sample_run()), Path("twice")))
    video = sample_screening().seconds
    console.print(panel(load("broadcast"), 9.0, sample_run().seconds, histogram(2000), [], video))
    console.print(panel(load("drop"), 90.0, sample_run().seconds, histogram(2000), []))
    console.print(panel(load("quiet"), 30.0, [], Histogram(), []))
    assert isinstance(console.file, StringIO)
    words = console.file.getvalue()
    for expected in ("broken", "overloaded", "somewhere/report.html", "server", "waiting for the last messages",
                     "1000 join in 10 s", "last minute", "5 of 200 watch", "1 freezes, 1 packets lost"):  # fmt: skip
        assert expected in words


def test_the_next_step_is_announced() -> None:
    assert next_step(load("drop"), 110.0) == (120.0, "drop")
    assert next_step(load("reconnect-storm"), 0.0) == (20.0, "reconnect")
    assert next_step(load("quiet"), 0.0) is None
    assert bars([0.0, 1.0, 2.0]) == "▁▅█"
    assert bars([0.0]) == "▁"


def bent(scenario: Scenario, run: Run, at: Level | None) -> Report:
    levels = [Level(float(at), at * 100, at * 1000.0, 10.0 * at, 1) for at in range(1, 8)]
    report = sample(scenario, run)
    report.runs[0].knee = Knee(20.0, 45.0, at, levels)
    return report


def test_the_knee_is_in_the_picture() -> None:
    level = Level(5.0, 500, 5000.0, 50.0, 1)
    report = bent(load("drop"), sample_run(), level)
    page = page_of(report)
    words = re.sub("[ \n]+", " ", " ".join(ElementTree.fromstring(page).itertext()))
    assert page.count("<svg") == 20
    for expected in ("knee: 500 viewers", "How many does it carry?", "flat at 20 ms", "limit 45 ms",
                     "Knee 500 viewers (5\u202f000 deliveries/s)", "knee 500 5\u202f000 50"):  # fmt: skip
        assert expected in words, expected
    assert "| knee | 500 | 5\u202f000 | 50 |" in markdown(report, "report.svg")
    assert (report.spreads["knee_viewers"], report.spreads["knee_deliveries_per_s"]) == (
        (500, 500, 500), (5000.0, 5000.0, 5000.0),
    )  # fmt: skip
    report.runs += [*bent(load("drop"), sample_run(), None).runs, *sample(None).runs]
    assert "viewers (5\u202f000 deliveries/s) in 1 of 2 runs" in page_of(report), "the third cannot tell"


def test_no_knee_is_said() -> None:
    report = bent(load("drop"), sample_run(), None)
    words = " ".join(" ".join(ElementTree.fromstring(page_of(report)).itertext()).split())
    for expected in ("no knee was reached", "Knee none up to 700 viewers", "no knee reached – – –"):
        assert expected in words, expected
    assert "knee:" not in words
    assert "Knee" not in page_of(sample()), "the run cannot tell"


def test_sockets_close_for_reasons() -> None:
    words = " ".join(ElementTree.fromstring(page_of(sample())).itertext())
    for expected in ("4001 too slow to keep up", "http 503", "replaced by a snapshot", "Why do sessions end?"):
        assert expected in words, expected
    assert (told("1006"), told("4000"), told("OSError")) == ("1006 cut off", "4000 server is going away", "OSError")
    run = sample_run()
    run.seconds[0].closes = {str(3000 + code): 9 - code for code in range(9)}
    lines = _closes(run.seconds)
    assert [line.name for line in lines] == ["3000", "3001", "3002", "3003", "3004", "others"]
    assert [value for _, value in lines[-1].points] == [4 + 3 + 2 + 1, 3, 0, 0, 0]
    run.seconds[1].closes = run.seconds[0].closes = {}
    assert [(line.name, line.points[0]) for line in _closes(run.seconds)] == [("closes", (1.0, 0))]


# --- charts


def test_nothing_is_drawn_where_nobody_measured() -> None:
    points = [(float(at), 1.0) for at in (1, 2, 3, 40, 41)]
    assert [value for _, value in holed(points)] == [1.0, 1.0, 1.0, None, 1.0, 1.0]
    assert holed([]) == []
    assert chart([Line("a", points)], "", end_s=41).count("<polyline") == 2
    assert chart([Line("a", points)], "", end_s=41, across="viewers").count("<polyline") == 1


def test_what_lies_across_may_be_people() -> None:
    drawn = chart([Line("p99", [(100.0, 5.0), (9000.0, 7.0)])], "ms", end_s=9000, across="viewers")
    assert "p99: 7 ms at 9\u202f000 viewers" in drawn
    assert re.findall(r'class="time"[^>]*>([^<]*)<', drawn) == ["0", "2\u202f500", "5\u202f000", "7\u202f500"]


def test_none_is_said_where_nothing_happened() -> None:
    line = Line("lost", [(1.0, 0.0), (2.0, 0.0)])
    assert "lost <b>none</b>" in legend([line], "")
    assert "lost –" in legend([Line("lost", [])], "")
    assert re.findall(r'class="tick"[^>]*>([^<]*)<', chart([line], "", end_s=2)) == ["0", "1"]


def test_a_line_with_holes_is_drawn_in_pieces() -> None:
    drawn = chart([Line("a", [(0.0, 1.0), (1.0, None), (2.0, 3.0), (3.0, 4.0)])], "ms", end_s=3)
    assert drawn.count("<polyline") == 2
    assert drawn.count("<circle") == 3


@pytest.mark.parametrize("log", [False, True])
@pytest.mark.parametrize("top", [0.0, 0.3, 1.0, 7.0, 999.0, 1e6])
def test_everything_is_inside_the_axes(top: float, log: bool) -> None:
    drawn = chart(
        [Line("a", [(0.0, 0.0), (9.0, top)])], "ms", end_s=9, limit=top / 2, marks=[Mark(4.0, "drop", 99.0)], log=log
    )
    for x, y in re.findall(r'cx="([\d.-]+)" cy="([\d.-]+)"', drawn):
        assert 52 <= float(x) <= 466
        assert 12 <= float(y) <= 192


def test_long_runs_are_thinned_to_their_peaks() -> None:
    points = [(float(at), float(at % 100)) for at in range(10_000)]
    thinned = thin(points)
    assert len(thinned) <= 240
    assert max(value or 0 for _, value in thinned) == 99


def test_numbers_and_times_are_for_people() -> None:
    assert [number(one) for one in (0, 0.125, 2.5, 12.34, 123.4, 12345.6)] == [
        "0", "0.12", "2.5", "12.3", "123", "12\u202f346",
    ]  # fmt: skip
    for end_s in (3, 20, 40, 600, 86_400):
        assert 3 <= len(time_ticks(end_s)) <= 13, "a day has a tick every two hours"


def test_rates_are_of_the_time_that_passed() -> None:
    from loadtests.cards import _counts

    seconds = sample_run().seconds
    short = msgspec.structs.replace(seconds[-1], at_s=5.1, deliveries=1)
    points = _counts([*seconds, short], "deliveries").points
    assert points[0] == (1.0, 100.0)
    assert points[-1] == (5.1, None), "too short to tell"
    assert isinstance(short, Second)
