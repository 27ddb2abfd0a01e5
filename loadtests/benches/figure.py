"""A figure of a benchmark is one JSON line: what was measured, in which unit, and whether it meets its budget."""

import json


def figure(name: str, value: float, unit: str, budget: float | None = None, *, least: bool = False) -> None:
    """Print one figure. `budget` None: the figure is for information; otherwise `value` must not be above it.

    `least`: more is better, so `value` must not be below it.
    """
    ok = budget is None or (value >= budget if least else value <= budget)
    print(
        json.dumps({"name": name, "value": round(value, 3), "unit": unit, "budget": budget, "ok": ok}),
        flush=True,
    )
