"""How shows sell, for those who plan the next one."""

from sqlalchemy import Connection

from cart.insight import store
from cart.insight.report import Clock, Revenue, assemble
from live.core.database import Database
from live.core.limits import REVENUE_PINS_MAX
from live.service import Shows


class Insight:
    """See the module."""

    def __init__(self, database: Database, shows: Shows) -> None:
        self._database = database
        self._shows = shows

    async def revenue(self, show_id: str) -> Revenue:
        """What each pin of a show sold; raises `Problem` unknown_show."""

        def read(conn: Connection) -> Revenue:
            show, _ = self._shows.on_screen(conn, show_id)
            listed = store.pins(conn, show_id, REVENUE_PINS_MAX)
            # Orders before adds: whatever comes between the two, nothing is ordered that was not held.
            sums = store.sums(conn, show_id, listed)
            taken = store.taken(conn, show_id, listed)
            clock = Clock(show.started_at_ms, show.ended_at_ms, self._database.now_ms_sync(conn))
            return assemble(show_id, clock, listed, taken, sums)

        return await self._database.read_sync(read)
