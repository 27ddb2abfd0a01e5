"""The Prometheus text format (version 0.0.4), as far as it takes to make one answer of several workers' answers.

Each worker tells its own families; a scrape wants each family once, with a label that says whose the samples are. That
is done with the text: reading it into objects and writing it again would take ten times as long.
"""

from collections.abc import Mapping

_UP = "showcart_worker_up"


def labelled(text: str, worker: int) -> str:
    """`text` with the label `worker` in every sample that has none."""
    return "\n".join(line if line.startswith("#") or not line else _with(line, worker) for line in text.split("\n"))


def _with(line: str, worker: int) -> str:
    brace, space = line.find("{"), line.find(" ")
    if brace < 0 or space < brace:
        return f'{line[:space]}{{worker="{worker}"}}{line[space:]}'
    if line.startswith('worker="', brace + 1):
        return line
    return f'{line[: brace + 1]}worker="{worker}",{line[brace + 1 :]}'


def merged(texts: Mapping[int, str | None]) -> str:
    """One text of the workers' labelled texts; None: that worker did not answer, and is told to be down."""
    heads: dict[str, list[str]] = {}  # by family: its HELP and TYPE
    samples: dict[str, list[str]] = {}
    for text in texts.values():
        family = ""
        for line in (text or "").split("\n"):
            if line.startswith("# "):
                _, kind, family, *_ = line.split(" ", 3)
                if not any(told.startswith(f"# {kind} ") for told in heads.setdefault(family, [])):
                    heads[family].append(line)
            elif line:
                samples.setdefault(family, []).append(line)
    up = [f'{_UP}{{worker="{worker}"}} {int(text is not None)}' for worker, text in sorted(texts.items())]
    lines = [f"# HELP {_UP} Whether the worker answered this scrape within a second.", f"# TYPE {_UP} gauge", *up]
    for family, head in heads.items():
        lines += head
        lines += samples.get(family, ())
    return "\n".join(lines) + "\n"
