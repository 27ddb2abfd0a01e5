"""The primary of a show dies in the middle of it, and another one stands still: its replica goes on."""

import asyncio
from pathlib import Path

import pytest

from tests.cluster.valkeys import Valkeys
from tests.faults.audience import attending, over
from tests.faults.stand import PAUSE_S, SHOW, Stand

pytestmark = [pytest.mark.timeout(120)]


async def test_a_primary_dies_and_the_next_one_stands_still(valkeys: Valkeys, tmp_path: Path) -> None:
    hosts = ",".join(f"127.0.0.1:{node.port}" for node in valkeys.nodes)
    stand = Stand(tmp_path, SHOWCART_REDIS_URL=f"redis+cluster://{hosts}")
    try:
        stand.start()
        async with attending(stand) as audience:
            dead = valkeys.kill_primary(SHOW)
            await valkeys.promoted(SHOW, dead)
            await audience.more(20)
            with valkeys.paused(SHOW):
                await asyncio.sleep(PAUSE_S)
            await over(audience)
    finally:
        stand.stop()
