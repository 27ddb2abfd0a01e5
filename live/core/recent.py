"""The figures of the last quarter of an hour, so that a page that is opened now is not blank.

A row has the time and a value for each series, in the order in which series were first seen. A series that was not
there yet when a row was taken is missing at the row's end.
"""

from array import array
from collections import deque
from collections.abc import Iterable
from typing import Any

from live.core.limits import RECENT_ROWS, RECENT_SERIES_MAX


class Recent:
    """See the module. `left_out` counts series beyond RECENT_SERIES_MAX, which are not kept."""

    def __init__(self) -> None:
        self._columns: dict[str, int] = {}  # by series
        self._rows: deque[array[float]] = deque(maxlen=RECENT_ROWS)
        self.left_out = 0

    def take(self, at_s: float, values: Iterable[tuple[str, float]]) -> None:
        """Keep the values of a moment (unix seconds) by series; what is not named is NaN."""
        row = array("d", [float("nan")] * len(self._columns))
        for series, value in values:
            column = self._columns.get(series)
            if column is None:
                if len(self._columns) >= RECENT_SERIES_MAX:
                    self.left_out += 1
                    continue
                column = self._columns[series] = len(self._columns)
                row.append(value)
            else:
                row[column] = value
        row.insert(0, at_s)
        self._rows.append(row)

    def since(self, at_s: float) -> dict[str, Any]:
        """The rows that are younger than `at_s`, oldest first; a value that is missing is None."""
        rows = [
            [None if value != value else value for value in row]  # only NaN is not itself
            for row in self._rows
            if row[0] > at_s
        ]
        return {"series": list(self._columns), "rows": rows}
