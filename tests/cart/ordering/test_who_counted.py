"""Two of the staff count stock at the same time."""

import asyncio

from sqlalchemy import text

from cart.ordering.office import Office
from cart.service import Shop
from live.core.auth import Principal, Role
from live.core.database import Database


async def test_who_has_counted_is_written_down_of_each(shop: Shop, office: Office, database: Database) -> None:
    anna = Principal(subject="anna", role=Role.ops, show="*", name="Anna")
    bert = Principal(subject="bert", role=Role.ops, show="*", name="Bert")
    await asyncio.gather(office.stocktake.adjust("CUP", -1, anna), office.stocktake.adjust("MUG-BLUE", -1, bert))
    async with database.read() as conn:
        rows = await conn.execute(text("SELECT subject, actor FROM audit WHERE action = 'stock.counted'"))
        found = {row.subject: row.actor for row in rows if row.actor != ""}
    assert {sku: found.get(f"sku:{sku}") for sku in ("CUP", "MUG-BLUE")} == {"CUP": "anna", "MUG-BLUE": "bert"}
