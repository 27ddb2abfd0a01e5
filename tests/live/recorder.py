"""An outlet that remembers what it was told, and a catalogue of made-up products."""

import asyncio
from collections.abc import Sequence
from typing import Any, NamedTuple

from live import timeline


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

    async def event(self, show: str, at_ms: int, name: str, data: dict[str, Any], *, key: str | None = None) -> None:
        await self._pass()
        self.keys.append(key)
        self.told.append(Told("event", show, name, data, at_ms))

    async def state(self, show: str, name: str, data: dict[str, Any], *, key: str = "", staff: bool = False) -> None:
        await self._pass()
        self.told.append(Told("staff" if staff else "state", show, name, data, to=key))

    async def notice(self, show: str, viewer_id: str, name: str, data: dict[str, Any]) -> None:
        await self._pass()
        self.told.append(Told("notice", show, name, data, to=viewer_id))

    async def staff_notice(self, show: str, name: str, data: dict[str, Any]) -> None:
        await self._pass()
        self.told.append(Told("staff notice", show, name, data))

    async def notify(self, show: str, notices: Sequence[tuple[str, str, dict[str, Any]]]) -> None:
        for viewer_id, name, data in notices:
            await self.notice(show, viewer_id, name, data)

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

    async def __call__(self, product_ids: list[str]) -> list[timeline.Product]:
        return [self.product(id_) for id_ in product_ids if id_ not in self.gone and not id_.startswith("no-")]

    def product(self, id_: str) -> timeline.Product:
        title = self.titles.get(id_, id_.title())
        return {"id": id_, "title": title, "variants": [{"sku": f"{id_}-1", "available": 3}]}
