"""A process that sends, until it is killed: `python -m tests.cart.webhooks.worker <database url>`."""

import asyncio
import sys

from cart.webhooks.exchange import Exchange
from cart.webhooks.sealing import Seal
from cart.webhooks.sender import Sender
from live.core.clock import SystemClock
from live.core.database import Database
from tests.cart.webhooks.conftest import LOOPBACK, SECRET


async def work(url: str) -> None:
    clock = SystemClock()
    database = await Database.open(url, clock)
    exchange = Exchange(clock, LOOPBACK)
    await Sender(database, clock, Seal(SECRET), exchange.send, exchange.keep, kept_days=1).run()


if __name__ == "__main__":
    asyncio.run(work(sys.argv[1]))
