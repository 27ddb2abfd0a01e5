"""Full carts are the dearest to change; many changes at once leave the loop to others all the same."""

import asyncio
import gc
import time

from cart.answers import Answer
from cart.catalogue import VariantEntry
from cart.service import Shop
from live.core.database import Database
from live.core.limits import CART_LINES_MAX, CHANGES_HERE_MAX, DATABASE_POOL_SIZE
from live.service import Shows
from tests.cart.conftest import product, stock, viewer

CHANGES = 128
HELD_MS_MAX = 30.0  # of CPU; sixteen changes of a full cart take about as long, eight are what the loop does itself


async def test_a_hundred_extensions_of_a_full_cart_leave_the_loop_to_others(
    shop: Shop, shows: Shows, database: Database
) -> None:
    """A look through all objects for garbage takes 200 ms here; where a server runs, `live.core.garbage` sees to it."""
    skus = [f"FULL-{number}" for number in range(CART_LINES_MAX)]
    await stock(shows, product("full", *(VariantEntry(sku=sku, title=sku, price_minor=100, stock=9) for sku in skus)))
    for first in range(0, len(skus), CHANGES_HERE_MAX):  # a first batch of all is what nobody knows the cost of
        await asyncio.gather(*(shop.add("demo", viewer(), sku) for sku in skus[first : first + CHANGES_HERE_MAX]))
    # Who waits for a connection for too long is refused: on a slow machine the last of so many would be.
    places = asyncio.Semaphore(DATABASE_POOL_SIZE if database.dialect == "postgresql" else CHANGES)
    held_ms: list[float] = []

    async def beat() -> None:
        last_s = time.thread_time()
        while True:
            await asyncio.sleep(0)
            now_s = time.thread_time()
            held_ms.append(1000 * (now_s - last_s))
            last_s = now_s

    async def extend(sku: str) -> Answer:
        async with places:
            return await shop.extend("demo", viewer(), sku)

    gc.disable()
    beating = asyncio.create_task(beat())
    try:
        answers = await asyncio.gather(*(extend(skus[n % len(skus)]) for n in range(CHANGES)))
    finally:
        gc.enable()
        beating.cancel()
        await asyncio.wait([beating])
    assert len(answers) == CHANGES
    assert max(held_ms) < HELD_MS_MAX
