"""What a show's screens are told, whoever tells it."""

from dataclasses import dataclass
from typing import Any, Literal

from live.core.tracing import Span


@dataclass(slots=True)
class News:
    """An event for all screens, numbered and recoverable; a state, of which the newest counts; or a notice for one.

    `key`: makes an event harmless to repeat ("": it is not), says which thing a state is of, and to which viewer id a
    notice goes. `staff`: to moderators, hosts and ops only. `at_ms`: of an event, on the show's clock. `around`: what
    causes it (None: it is not traced).
    """

    kind: Literal["event", "state", "notice"]
    name: str
    data: dict[str, Any]
    at_ms: int = 0
    key: str = ""
    staff: bool = False
    around: Span | None = None
