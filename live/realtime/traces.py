"""How far the traced events of a show have got on this worker: come from the bus, being written, with everybody.

An event has been delivered when a round of writing is over that had begun after the event came: then every viewer who
keeps up has been written it (see `channel`).
"""

from live.core.limits import TRACES_MAX
from live.core.tracing import Span


class _Traced:
    __slots__ = ("offset", "span", "stage", "writing")

    def __init__(self, offset: int, span: Span) -> None:
        self.offset = offset
        self.span = span
        self.stage = span.child("batch wait")
        self.writing = False


class Traces:
    """See the module; of more than TRACES_MAX at a time the newest are not followed."""

    __slots__ = ("_traced",)

    def __init__(self) -> None:
        self._traced: list[_Traced] = []

    def took(self, offset: int, span: Span) -> None:
        """The event of this offset came, and `span` is its delivery."""
        if len(self._traced) < TRACES_MAX:
            self._traced.append(_Traced(offset, span))
        else:
            span.end(outcome="not followed")

    def began(self, received: int) -> None:
        """A round begins that brings everybody the events up to `received`."""
        for traced in self._traced:
            if traced.offset <= received and not traced.writing:
                traced.writing = True
                traced.stage.end()
                traced.stage = traced.span.child("write")

    def finished(self, received: int, viewers: int) -> None:
        """The round is over; `viewers` were looked at."""
        for traced in [each for each in self._traced if each.offset <= received]:
            self._traced.remove(traced)
            traced.stage.end()
            traced.span.end(viewers=viewers, outcome="written")

    def void(self) -> None:
        """Everybody takes a snapshot instead."""
        for traced in self._traced:
            traced.stage.end()
            traced.span.end(outcome="snapshot")
        self._traced.clear()
