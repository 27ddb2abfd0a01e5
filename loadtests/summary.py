"""A report as one page of Markdown: the figures that one compares, fit to be kept beside the documentation."""

from collections.abc import Sequence

from loadtests import tables
from loadtests.page import machine_line, verdict, when
from loadtests.report import Report
from loadtests.tables import Table


def markdown(report: Report, picture: str) -> str:
    """The summary: verdict, machine, the charts, which are in the file `picture`, and the tables of the last run, or of
    all runs and their spread."""
    last = report.runs[-1]
    several = len(report.runs) > 1
    shown = [tables.spreads(report)] if several else []
    shown += [tables.thresholds(last), tables.latencies(last.run), tables.messages(last.run)]
    shown += [*tables.knee(last), *tables.video(last.run), *tables.shoppers(last.run), tables.generator(last.run)]
    shown += [tables.scenario(report), tables.setting(report)]
    parts = [
        f"# {_plain(report.scenario.title)}",
        f"**{verdict(report)}** · {when(report.runs[0].started_at)}",
        _plain(machine_line(report)),
        *(f"> {_plain(doubt)}" for doubt in report.doubts),
        f"![Charts of the {'last ' if several else ''}run]({picture})",
    ]
    for index, table in enumerate(shown):
        of = " (of the last run)" if several and 0 < index < len(shown) - 2 else ""
        parts.append(f"## {table.title}{of}\n\n{_table(table)}")
    return "\n\n".join(parts) + "\n"


def _table(table: Table) -> str:
    count = len(table.head)
    lines = [_row(table.head), "|" + " --- |" + " ---: |" * (count - 1)]
    return "\n".join([*lines, *(_row(row) for row in table.rows)])


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(_plain(cell) for cell in cells) + " |"


def _plain(text: str) -> str:
    """`text` as words, not as markup."""
    for sign in "\\|<>*`":
        text = text.replace(sign, "\\" + sign)
    return text.replace("\n", " ")
