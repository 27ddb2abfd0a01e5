"""An outlet that remembers what it was told, and a catalogue of made-up products."""

import asyncio
from collections.abc import Sequence
from typing import Any, NamedTuple

from sqlalchemy import Connection

from live import timeline
from live.realtime.news import News


class Told(NamedTuple):
    """One call of the outlet; `to` is a state's key or a notice's viewer."""

    kind: str
    show: str
    name: str
    data: dict[str, Any]
    at_ms: int | None = None
    to: str = ""


class Recorder:
    """Stands where the outlet stands: in the order of the calls, or slowly, or broken."""

    def __init__(self) -> None:
        self.told: list[Told] = []
        self.keys: list[str | None] = []
        self.gate: asyncio.Event | None = None  # while it is unset, calls wait
        self.reached = asyncio.Event()  # a call has come as far as the gate
        self.broken = False

    async def tell(self, show: str, news: Sequence[News]) -> None:
        await self._pass()
        for one in news:
            if one.kind == "event":
                self.keys.append(one.key or None)
                self.told.append(Told("event", show, one.name, one.data, one.at_ms))
            elif one.kind == "state":
                self.told.append(Told("staff" if one.staff else "state", show, one.name, one.data, to=one.key))
            else:
                self.told.append(Told("staff notice" if one.staff else "notice", show, one.name, one.data, to=one.key))

    @property
    def names(self) -> list[str]:
        return [told.name for told in self.told]

    async def _pass(self) -> None:
        self.reached.set()
        if self.broken:
            raise ConnectionError("the bus is down")
        if self.gate is not None:
            await self.gate.wait()


class Catalogue:
    """Products that exist unless they are in `gone`."""

    def __init__(self) -> None:
        self.gone: set[str] = set()
        self.titles: dict[str, str] = {}

    def __call__(
        self, _conn: Connection, product_ids: Sequence[str], _show_id: str, _pin: timeline.Pin | None
    ) -> list[timeline.Product]:
        return [self.product(id_) for id_ in product_ids if id_ not in self.gone and not id_.startswith("no-")]

    def product(self, id_: str) -> timeline.Product:
        title = self.titles.get(id_, id_.title())
        return {"id": id_, "title": title, "variants": [{"sku": f"{id_}-1", "available": 3}]}
