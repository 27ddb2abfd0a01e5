"""What the tests of locations say often: `berlin` is a store beside `main`, where `CUP` has ten units."""

from typing import Any

import pytest
from sqlalchemy import select

from cart.places import store
from cart.places.locations import StockLocation, TransferLine
from cart.service import Shop
from cart.stock import Level
from cart.tables import stock_movement
from live.core.auth import Principal, Role
from live.core.codec import decode, encode
from live.core.database import Database
from tests.cart.waiting.conftest import other

__all__ = ["other"]  # another worker's shop, on the same store

OPS = Principal(subject="ops", role=Role.ops, show="*", name="Ops")
BERLIN = StockLocation("berlin", "Berlin", "store", "Uferweg 1", "Berlin", "10115", "DE")


@pytest.fixture
async def places(shop: Shop) -> Shop:
    """The shop, with `berlin`."""
    await shop.places.create(BERLIN, OPS)
    return shop


async def send(shop: Shop, source: str, to: str, units: dict[str, int], key: str | None = None) -> dict[str, Any]:
    """Transfer units of SKUs."""
    lines = [TransferLine(sku, quantity) for sku, quantity in units.items()]
    answer = await shop.places.transfer(source, to, lines, OPS, key=key)
    transfer: dict[str, Any] = decode(encode(answer.body, "json"), "json", dict)["transfer"]
    return transfer


async def at(database: Database, sku: str = "CUP") -> dict[str, tuple[int, int, int]]:
    """(on_hand, allocated, held) of a SKU, by location."""
    async with database.read() as conn:
        found: list[Level] = await conn.run_sync(store.levels, sku)
    return {one.location: (one.on_hand, one.allocated, one.held) for one in found}


async def movements(database: Database, sku: str = "CUP") -> list[tuple[str, str, int, str | None, str | None]]:
    """(location, kind, quantity, transfer, reason) of the movements of a SKU that the staff made, in their order."""
    columns = [stock_movement.c[name] for name in ("location", "kind", "quantity", "transfer_id", "reason")]
    ours = stock_movement.c.transfer_id.is_not(None) | stock_movement.c.reason.is_not(None)
    statement = select(*columns).where(stock_movement.c.sku == sku, ours).order_by(stock_movement.c.id)
    async with database.read() as conn:
        return [(row[0], row[1], row[2], row[3], row[4]) for row in await conn.execute(statement)]
