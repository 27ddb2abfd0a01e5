"""This worker among the others: its name, and its ways to them."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from live.core.bus import Bus, Wire
from live.core.ids import secret_token

_NAME_BYTES = 6
NAME_CHARS = 8


def new_name() -> str:
    """A name that no other worker has had: sessions carry it, so it must not come again after a restart."""
    return secret_token(_NAME_BYTES)


class Cluster:
    """The bus and the wire for packets beside it; all workers of a service are on the same ones."""

    def __init__(self, bus: Bus, wire: Wire) -> None:
        self.name = new_name()
        self.bus = bus
        self.wire = wire
        self.leases = bus.leases

    @classmethod
    @asynccontextmanager
    async def open(cls, bus: Bus, url: str) -> AsyncIterator["Cluster"]:
        """A worker on `bus`, with a wire of its own to the server at `url`; raises `BusError`."""
        wire = await Wire.open(url)
        try:
            yield cls(bus, wire)
        finally:
            await wire.close()


def stage_name(show: str) -> str:
    """The name of the lease that whoever is on air holds."""
    return f"{show}/stage"
