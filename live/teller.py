"""Who tells the screens: what is committed, in the order of the commits, as much of it at once as there is.

A transaction takes a *place* for each of its shows while it still holds the database's locks, so places are in the
order of the commits. When it is through it settles them: with its news, or with none. A show's news leave from the
first place on, up to one that is not settled; while one call of the bus is under way, those that are settled meanwhile
gather for the next. So a show has one call under way at a time, however many transactions it has a second: a round
trip each took 16 ms on a loop that writes to ten thousand viewers, and with 25 messages a second they queued.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Sequence
from typing import Protocol

from live.core.limits import TELLING_NEWS_MAX
from live.core.tracing import active
from live.realtime.news import News

log = logging.getLogger(__name__)


class Outlet(Protocol):
    """Where news go after COMMIT."""

    async def tell(self, show: str, news: Sequence[News]) -> None:
        """Tell all of them, in their order. Never raises because the bus is down."""
        ...


class Place:
    """Of one transaction among those of a show; `told` is set when its news have left, or there were none."""

    __slots__ = ("_line", "news", "told")

    def __init__(self, line: "_Line") -> None:
        self._line = line
        self.news: Sequence[News] | None = None
        self.told = asyncio.Event()

    def settle(self, news: Sequence[News]) -> None:
        """The transaction is committed and has `news`, or it has none. Once."""
        assert self.news is None, "a transaction ends once"
        around = active()
        for one in news:
            one.around = around
        self.news = news
        self._line.go_on()


class _Line:
    """The places of one show."""

    def __init__(self, teller: "Teller", show: str) -> None:
        self._teller = teller
        self._show = show
        self.places: deque[Place] = deque()
        self._telling: asyncio.Task[None] | None = None

    def go_on(self) -> None:
        if self._telling is None and self.places[0].news is not None:
            self._telling = asyncio.create_task(self._tell(), name=f"news of {self._show}")

    async def _tell(self) -> None:
        try:
            while leaving := self._settled():
                news = [one for place in leaving for one in place.news or ()]
                try:
                    if news:
                        await self._teller.outlet.tell(self._show, news)
                except Exception as error:  # a bug in the outlet must not silence the show, nor fail what is committed
                    log.error("news of %s were committed but not told: %r", self._show, error)
                for place in leaving:
                    place.told.set()
                    self.places.popleft()
        finally:
            self._telling = None
            if not self.places:
                self._teller.forget(self._show)

    def _settled(self) -> list[Place]:
        """The first places, as far as they are settled."""
        found: list[Place] = []
        count = 0
        for place in self.places:
            if place.news is None or (found and count + len(place.news) > TELLING_NEWS_MAX):
                break
            found.append(place)
            count += len(place.news)
        return found


class Teller:
    """See the module."""

    def __init__(self, outlet: Outlet) -> None:
        self.outlet = outlet
        self._lines: dict[str, _Line] = {}

    def place(self, show: str) -> Place:
        """The place behind all there are for `show`. Whoever takes one settles it, whatever happens."""
        line = self._lines.setdefault(show, _Line(self, show))
        place = Place(line)
        line.places.append(place)
        return place

    def forget(self, show: str) -> None:
        """Nobody has a place for `show` any more."""
        del self._lines[show]
