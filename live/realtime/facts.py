"""The newest value of each thing a show tells by state: stock, counts. Values are conflated, never queued."""

import math
from collections.abc import Iterator

import msgspec

from live.core.limits import STATE_INTERVAL_S, STATES_MAX
from live.realtime.protocol import State


class _Fact(msgspec.Struct):
    """A value and when it came (seconds of any clock that never goes back)."""

    message: State
    staff: bool
    since_s: float


class Facts:
    """See the module. `due_s` is when changes may go out; `changed` says whether there are any."""

    __slots__ = ("_changed", "_facts", "due_s")

    def __init__(self) -> None:
        self.due_s = 0.0
        self._facts: dict[tuple[str, str], _Fact] = {}  # the newest is last
        self._changed: set[tuple[str, str]] = set()

    @property
    def changed(self) -> bool:
        return bool(self._changed)

    def put(self, message: State, staff: bool, now_s: float) -> bool:
        """Take the newest value of something; of more than STATES_MAX things the oldest value is forgotten (True)."""
        key = (message.name, message.key)
        forgets = key not in self._facts and len(self._facts) >= STATES_MAX
        if forgets:
            self._facts.pop(next(iter(self._facts)))
        self._facts.pop(key, None)
        self._facts[key] = _Fact(message, staff, now_s)
        self._changed.add(key)
        return forgets

    def know(self, message: State, staff: bool) -> None:
        """Take a value that was told before anybody could be here to hear it."""
        self._facts[message.name, message.key] = _Fact(message, staff, -math.inf)

    def since(self, since_s: float, staff: bool) -> list[State]:
        """The values that changed since; those for the staff only if asked for."""
        return [f.message for f in self._facts.values() if f.since_s >= since_s and (staff or not f.staff)]

    def take(self, now_s: float) -> tuple[list[State], list[State]]:
        """What changed and is due, for everybody and for the staff alone; nothing more for STATE_INTERVAL_S."""
        if not self._changed or now_s < self.due_s:
            return [], []
        self.due_s = now_s + STATE_INTERVAL_S
        facts = list(self._taken())
        return [f.message for f in facts if not f.staff], [f.message for f in facts if f.staff]

    def _taken(self) -> Iterator[_Fact]:
        for key in self._changed:
            if fact := self._facts.get(key):
                yield fact
        self._changed.clear()
