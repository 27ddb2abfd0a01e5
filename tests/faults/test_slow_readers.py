"""Viewers that read nothing while much happens: they are cut, come back and are right; the others notice nothing."""

import asyncio

import pytest

from tests.faults.audience import attending, over
from tests.faults.pages import Screen
from tests.faults.stand import CONVERGE_S, LINEUP, SHOW, Stand

pytestmark = [pytest.mark.timeout(120)]

SLOW = 4


async def test_slow_readers(stand: Stand) -> None:
    fat = [f"fat-{i}" for i in range(20)]
    products = [
        {"id": id_, "title": id_, "currency": "EUR", "description": "word " * 390,
         "variants": [{"sku": id_, "title": "One", "price_minor": 100, "stock": 1}]}
        for id_ in fat
    ]  # fmt: skip
    await asyncio.to_thread(stand.ask, "POST", "/api/products/import", products)
    async with attending(stand) as audience:
        slow = [Screen(stand.port, 2000 + i, receive_bytes=4096) for i in range(SLOW)]
        audience.screens += slow
        async with asyncio.timeout(CONVERGE_S):
            await asyncio.gather(*(screen.joined.wait() for screen in slow))
        for screen in slow:
            screen.reads.clear()
        healthy = [each.visits for each in audience.everybody if each not in slow]

        async def cut() -> bool:
            told = await stand.totals("showcart_subscriptions")
            return told["showcart_subscriptions"] <= len(audience.everybody) - SLOW

        async with asyncio.timeout(CONVERGE_S + 10):
            while not await cut():
                fat = [*fat[1:], fat[0]]
                await asyncio.to_thread(stand.ask, "PUT", f"/api/shows/{SHOW}/lineup", {"product_ids": [*LINEUP, *fat]})
        assert [each.visits for each in audience.everybody if each not in slow] == healthy, "nobody else was cut"
        for screen in slow:
            screen.reads.set()
        await over(audience)
        assert all(each.visits > 1 for each in slow)
    await asyncio.to_thread(stand.ask, "PUT", f"/api/shows/{SHOW}/lineup", {"product_ids": LINEUP})
