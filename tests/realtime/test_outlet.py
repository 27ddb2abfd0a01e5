"""A bus that hangs holds up nobody twice: what could not be told goes by snapshot."""

import asyncio
from collections.abc import Sequence
from typing import Any, cast

import pytest

from live.core.bus import Bus, BusError, Parcel
from live.core.position import Position
from live.core.servers import Alone
from live.realtime.news import News
from live.realtime.outlet import Outlet


class Hanging:
    """A bus that answers nothing until it `wakes`; who asks gets an error after a moment."""

    def __init__(self) -> None:
        self.awake = asyncio.Event()
        self.calls: list[str] = []

    async def _answer(self, what: str) -> Position:
        self.calls.append(what)
        try:
            async with asyncio.timeout(0.05):
                await self.awake.wait()
        except TimeoutError:
            raise BusError("no answer") from None
        return Position("e", 1)

    async def publish_all(self, show: str, parcels: Sequence[Parcel]) -> Position:
        return await self._answer("publish")

    async def send(self, show: str, payload: bytes, kind: str) -> None:
        await self._answer(kind)

    async def rotate(self, show: str) -> Position:
        return await self._answer("rotate")

    async def position(self, *arguments: Any) -> Position:
        return Position("e", 1)


@pytest.mark.parametrize("first", ["event", "state"])
async def test_nothing_of_a_show_is_tried_again_until_its_viewers_can_take_a_snapshot(first: str) -> None:
    bus = Hanging()
    outlet = Outlet(cast(Bus, bus))
    if first == "event":
        await outlet.event("demo", 0, "word", {})
    else:
        await outlet.state("demo", "stock", {})
    tried = [call for call in bus.calls if call != "rotate"]
    for _ in range(20):
        await outlet.event("demo", 0, "word", {})
        await outlet.state("demo", "stock", {})
        await outlet.tell("demo", [News("notice", "cart.changed", {}, key="v")])
    assert [call for call in bus.calls if call != "rotate"] == tried, "each would have waited"
    assert outlet.lost_events == 20 + (first == "event")
    bus.awake.set()
    async with asyncio.timeout(10):
        assert outlet._repair is not None
        await outlet._repair
    assert bus.calls[-1] == "rotate"
    await outlet.event("demo", 0, "word", {})
    assert bus.calls[-1] == "publish"
    await outlet.close()


async def test_what_is_lost_while_a_snapshot_is_ordered_orders_another() -> None:
    bus = Hanging()
    outlet = Outlet(cast(Bus, bus))
    await outlet.event("demo", 0, "word", {})
    while "rotate" not in bus.calls:
        await asyncio.sleep(0)
    await outlet.state("demo", "stock", {})  # while it is ordered: maybe after it was
    bus.awake.set()
    async with asyncio.timeout(10):
        assert outlet._repair is not None
        await outlet._repair
    assert bus.calls.count("rotate") >= 2
    await outlet.close()


async def test_a_server_that_hangs_is_given_up_by_those_in_a_hurry() -> None:
    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    server = await asyncio.start_server(silent, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    alone = Alone(f"redis://127.0.0.1:{port}/0")
    try:
        async with asyncio.timeout(2.0):
            for _ in range(3):
                with pytest.raises(TimeoutError):
                    await alone.execute("key", "PING", patience_s=0.05)
    finally:
        await alone.close()
        server.close()
        await server.wait_closed()
