"""Marks on the bus: who is at work. A mark that runs out, instead of being taken away, tells of an unclean end."""

from pathlib import Path
from typing import Any

from live.core.limits import HISTORY_TTL_S
from live.core.tallies import Run

_MARKS = (Path(__file__).parent / "marks.lua").read_text()
# One key, so that one call sees all marks. No show is called so: their ids have no slash.
_KEY = "showcart:{workers/marks}:marks"


class Marks:
    """See the module and `marks.lua`. `run` as for `Tallies`; both methods raise `BusError`."""

    def __init__(self, run: Run) -> None:
        self._run = run

    async def beat(self, member: str, ttl_s: float, silence_s: float) -> list[str]:
        """Say that `member` is at work, for `ttl_s` from now; answers whose marks have run out, each told once.

        When nobody was heard for `silence_s`, not even `member`, all marks are good for `ttl_s` once more.
        """
        # Kept as long as the positions of shows: after that nobody can come back to what was not told.
        arguments: list[str | bytes | float] = [
            "beat", member, round(ttl_s * 1000), round(silence_s * 1000), HISTORY_TTL_S,
        ]  # fmt: skip
        found: list[Any] = await self._run(_MARKS, [_KEY], arguments)
        return [each.decode() for each in found]

    async def leave(self, member: str) -> None:
        """Take the mark away: `member` has ended as it should."""
        await self._run(_MARKS, [_KEY], ["leave", member])
