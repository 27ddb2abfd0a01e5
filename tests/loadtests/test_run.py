"""The rehearsal's ends that need no server, and the benchmarks' common line."""

import json
import sys
from io import StringIO
from pathlib import Path

import psutil
import pytest
from rich.console import Console

from loadtests.benches import __main__ as benches
from loadtests.benches.figure import figure
from loadtests.measures import OTHERS
from loadtests.ports import free_port
from loadtests.run import Options, run
from loadtests.server import Meter, ready


def said(
    scenario: str, tmp_path: Path, viewers: int | None = None, swarms: int = 1, *, host: str = "",
    token: str = "a host's",
) -> tuple[int, str]:  # fmt: skip
    file = StringIO()
    console = Console(file=file, width=200)
    options = Options(host=host or f"http://127.0.0.1:{free_port()}", token=token, swarms=swarms)
    code = run(scenario, options, output=tmp_path, console=console, viewers=viewers)
    return code, file.getvalue()


def test_what_cannot_be_rehearsed_is_said(tmp_path: Path) -> None:
    code, words = said("nowhere", tmp_path)
    assert code == 2
    assert "ready scenarios are" in words
    code, words = said("quiet", tmp_path, viewers=1)
    assert code == 2
    assert "chat.rate_per_s" in words
    code, words = said("quiet", tmp_path, viewers=-1)
    assert code == 2
    assert words.startswith("--viewers: ")
    code, words = said("quiet", tmp_path, swarms=100)
    assert code == 2
    assert "--swarms: the first swarm" in words
    code, words = said("quiet", tmp_path)
    assert code == 2
    assert "GET http://127.0.0.1" in words


@pytest.mark.parametrize(
    "host", ["notaurl", "ftp://a", "http://", "http://a:b", "http://a:0", "http://a/show", "http://[a", "http://u:p@a"]
)
def test_a_host_that_is_no_server_is_refused(host: str, tmp_path: Path) -> None:
    code, words = said("quiet", tmp_path, host=host)
    assert code == 2
    assert words.splitlines() == [f"--host: {host!r} is not the URL of a server, such as https://shop.example"]


def test_nothing_is_done_on_a_server_without_its_hosts_token(tmp_path: Path) -> None:
    code, words = said("quiet", tmp_path, token="")
    assert code == 2
    assert words.startswith("--token: is missing; the show of that server is put on air")
    assert not list(tmp_path.iterdir())


def test_a_meter_reads_a_family() -> None:
    process = psutil.Popen(
        [sys.executable, "-c", "import sys; print(flush=True); sys.stdin.read()"], stdin=-1, stdout=-1
    )
    try:
        process.stdout.readline()  # before its interpreter has started it has next to no memory
        meter = Meter({"server": [process.pid], "gone": [2**22 - 1]})
        first, second = meter.read(0.0), meter.read(1.0)
    finally:
        process.kill()
        process.wait()
        process.stdin.close()
        process.stdout.close()
    assert [one.process for one in (*first, *second)] == ["server", OTHERS] * 2
    assert first[0].memory_mb > 1
    assert second[0].at_s == 1.0
    assert [one.process for one in meter.read(2.0)] == [OTHERS]


def test_nobody_is_ready_where_nobody_is() -> None:
    assert not ready(f"http://127.0.0.1:{free_port()}")


def test_a_figure_is_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    figure("relay_us", 1.23456, "µs", 2.0)
    figure("relay_us", 2.5, "µs", 2.0)
    figure("viewers", 500, "")
    kept, missed, told = (json.loads(line) for line in capsys.readouterr().out.splitlines())
    assert kept == {"name": "relay_us", "value": 1.235, "unit": "µs", "budget": 2.0, "ok": True}
    assert not missed["ok"]
    assert told["ok"]
    assert told["budget"] is None


def test_benches_pass_figures_through(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    printed = ['{"name": "a", "value": 1.5, "unit": "ms", "budget": 1.0, "ok": false}\n', "a word\n", "[1]\n"]
    monkeypatch.setattr(benches, "lines", lambda bench: iter(printed))
    assert benches.main(["hotpath"]) == 0
    assert capsys.readouterr().out == "".join(printed)
    assert benches.main(["--table", "hotpath", "fanout"]) == 0
    table = capsys.readouterr().out.splitlines()
    assert table[2:] == ["| `a` | 1.5 ms | ≤ 1 | **missed** |"] * 2
    assert benches.main(["relay"]) == 0
    assert capsys.readouterr().out == "".join(printed) * 3, "the relay, who joins it, and who pulls it"


def test_a_bench_that_crashes_is_told(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(benches, "BENCHES", ("missing",))
    assert benches.main(["missing"]) == 1
    assert "the benchmark missing failed" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        benches.main(["unknown"])
    assert "there is no benchmark 'unknown'" in capsys.readouterr().err
