"""Run the benchmarks, each in a process of its own: `python -m loadtests.benches [relay] [join] …`.

Every figure is one JSON line on standard output. A figure over its budget is marked, not fatal: the exit code is
non-zero only when a benchmark itself fails. `--table` prints a Markdown table instead.
"""

import argparse
import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from typing import Any

BENCHES = ("relay", "join", "edge", "hotpath", "fanout", "storm", "pricing", "price", "feeds", "stampede")
_WITH = {"relay": ("join", "edge")}  # asked for alone, they come along: one question, three processes


def lines(bench: str) -> Iterator[str]:
    """What `bench` prints, line by line as it comes; raises `CalledProcessError` when it fails."""
    command = [sys.executable, "-m", f"loadtests.benches.{bench}"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield from process.stdout
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command)


def parse(line: str) -> dict[str, Any] | None:
    """The figure in `line`, or None when the line is something else."""
    try:
        value = json.loads(line)
    except ValueError:
        return None
    return value if isinstance(value, dict) and {"name", "value", "unit"} <= value.keys() else None


def table(figures: Sequence[dict[str, Any]]) -> str:
    """`figures` as a Markdown table."""
    rows = ["| figure | value | budget | |", "| --- | ---: | ---: | --- |"]
    for item in figures:
        budget = "" if item.get("budget") is None else f"≤ {item['budget']:g}"
        mark = "" if not budget else "met" if item.get("ok") else "**missed**"
        rows.append(f"| `{item['name']}` | {item['value']:g} {item['unit']} | {budget} | {mark} |")
    return "\n".join(rows)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what was asked for; 1 when a benchmark failed."""
    parser = argparse.ArgumentParser(prog="python -m loadtests.benches", description=__doc__.partition("\n")[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"one of {', '.join(BENCHES)} (default: all)")
    parser.add_argument("--table", action="store_true", help="print a Markdown table")
    options = parser.parse_args(arguments)
    for name in options.names:
        if name not in BENCHES:
            parser.error(f"there is no benchmark {name!r}; there are {', '.join(BENCHES)}")
    figures: list[dict[str, Any]] = []
    failed = False
    asked = dict.fromkeys(bench for name in options.names for bench in (name, *_WITH.get(name, ())))
    for bench in asked or BENCHES:
        try:
            for line in lines(bench):
                print(line, end="", file=sys.stderr if options.table else sys.stdout, flush=True)
                if (item := parse(line)) is not None:
                    figures.append(item)
        except subprocess.CalledProcessError as error:
            print(f"the benchmark {bench} failed with exit code {error.returncode}", file=sys.stderr)
            failed = True
    if options.table:
        print(table(figures))
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
