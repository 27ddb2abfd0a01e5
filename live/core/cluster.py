"""The servers of a cluster: who owns which slot, commands that follow a slot that moves, and a view that stays fresh.

Why not the client library's own cluster client: see `docs/decisions/sharded-bus.md`.

What a command meets, and what is done about it:
- MOVED: the slot is elsewhere now. Followed, remembered, and the view is refreshed.
- ASK: the slot is moving and this key has left. Followed once, with ASKING on the same connection.
- TRYAGAIN, CLUSTERDOWN, a slot that nobody owns: nothing was done, so it is tried again, as long as the caller likes.
- No connection: nothing was done either. Raised at once, unless a fresh view says that another server has the slot.
- No answer: whether it was done is not known; raised at once, and the view is refreshed.

A view is taken from any server, but only when its epoch is not older than ours: a server that was cut off from the
others still tells of the past. When no newer one can be had for `CLUSTER_VIEW_S_MAX`, any is taken.
"""

import asyncio
import logging
import random
from typing import Any

from live.core.limits import (
    BUS_TIMEOUT_S,
    CLUSTER_ASK_TIMEOUT_S,
    CLUSTER_LOOK_S_MIN,
    CLUSTER_REDIRECTS_MAX,
    CLUSTER_RETRY_S_MAX,
    CLUSTER_RETRY_S_MIN,
    CLUSTER_VIEW_S_MAX,
)
from live.core.servers import FAILURES, Connection, NotNow, NotReached, Redirected, Server, redirect
from live.core.slots import Address, View, seeds, slot_of, view

log = logging.getLogger(__name__)


class Cluster:
    """The servers that `url` leads to; it is a `live.core.servers.Servers`."""

    home: Address | None = None

    def __init__(self, url: str) -> None:
        self._seeds, self._url = seeds(url)
        self._servers: dict[Address, Server] = {}
        self._owners: dict[int, Address] = {}
        self._view = View(0, {}, frozenset())
        self._seen_at = float("-inf")
        self._looked_at = float("-inf")
        self._leaving: set[Address] = set()  # servers without a slot, as of the last view
        self._refreshing = asyncio.Lock()
        self.doubted = asyncio.Event()

    @property
    def primaries(self) -> frozenset[Address]:
        """Those that own a slot."""
        return frozenset(self._view.owners.values())

    async def open(self) -> None:
        """Find out who owns what; raises one of `FAILURES`."""
        await self.refresh()

    async def execute(self, key: str, *command: Any, patience_s: float = BUS_TIMEOUT_S) -> Any:
        """What the server that owns `key` answers; raises one of `FAILURES`."""
        loop = asyncio.get_running_loop()
        until = loop.time() + patience_s
        slot = slot_of(key.encode())
        address, asking, hops, wait_s = self._owners.get(slot), False, 0, CLUSTER_RETRY_S_MIN
        while True:
            try:
                if address is None:
                    raise NotNow("no server owns the slot")
                return await self._server(address).execute(*command, asking=asking)
            except Redirected as elsewhere:
                address, asking = self._follow(slot, address, elsewhere), elsewhere.asking
                hops += 1
                if hops < CLUSTER_REDIRECTS_MAX:
                    continue
            except NotNow:
                if loop.time() + wait_s > until:
                    raise
            except NotReached:
                if not await self._moved_from(address, slot):
                    raise
            except FAILURES:
                self.doubted.set()
                raise
            if loop.time() + wait_s > until:
                raise NotNow("the servers of the cluster disagree about the slot")
            self.doubted.set()
            await asyncio.sleep(wait_s * random.uniform(0.5, 1.0))
            wait_s = min(wait_s * 2, CLUSTER_RETRY_S_MAX)
            address, asking, hops = self._owners.get(slot), False, 0

    def owner(self, name: bytes) -> Address | None:
        """Who has the channel or key `name`; None: nobody, for the moment."""
        return self._owners.get(slot_of(name))

    def connection(self, address: Address) -> Connection:
        """An unconnected connection of the caller's own to the server at `address`."""
        return self._server(address).connection()

    def refused(self, name: bytes, error: Exception) -> None:
        """Learn from the answer of a server that was asked about `name` on a connection of the caller's own."""
        if (elsewhere := redirect(error)) is not None:
            slot = slot_of(name)
            self._follow(slot, self._owners.get(slot), elsewhere)
        self.doubted.set()

    async def refresh(self) -> None:
        """Take the view of the first server that has one and is not behind; raises one of `FAILURES`."""
        async with self._refreshing:
            self.doubted.clear()
            self._looked_at = asyncio.get_running_loop().time()
            last: Exception = NotNow("no server of the cluster has a newer view")
            for address in self._candidates():
                try:
                    async with asyncio.timeout(CLUSTER_ASK_TIMEOUT_S):
                        found = await self._ask(address)
                except FAILURES as error:
                    last = error
                    continue
                except ValueError as error:
                    last = NotNow(str(error))
                    continue
                if self._credible(found):
                    await self._take(found)
                    return
            raise last

    async def check(self) -> None:
        """Raises one of `FAILURES` when no server answers for the cluster."""
        await self.refresh()

    async def close(self) -> None:
        """Close every connection."""
        for server in self._servers.values():
            await server.close()
        self._servers.clear()

    async def _moved_from(self, address: Address | None, slot: int) -> bool:
        """Whether another server than that at `address`, which is out of reach, owns the slot by now."""
        if asyncio.get_running_loop().time() - self._looked_at > CLUSTER_LOOK_S_MIN:
            try:
                await self.refresh()
            except FAILURES:
                self.doubted.set()
        return self._owners.get(slot) not in (None, address)

    def _server(self, address: Address) -> Server:
        server = self._servers.get(address)
        if server is None:
            server = self._servers[address] = Server(self._url.format(address))
        return server

    def _follow(self, slot: int, asked: Address | None, elsewhere: Redirected) -> Address | None:
        # An empty host is that of the server that said so; "?" is one that has no name to tell.
        host = elsewhere.host or (asked.host if asked else "")
        if host in ("", "?"):
            self.doubted.set()
            return None
        address = Address(host, elsewhere.port)
        if not elsewhere.asking:
            self._owners[slot] = address
            self.doubted.set()
        return address

    def _candidates(self) -> list[Address]:
        """Those to ask: primaries in random order, so that none is asked by everybody; then whoever else is known."""
        primaries, others = list(self.primaries), [*self._view.addresses, *self._seeds]
        random.shuffle(primaries)
        random.shuffle(others)
        return list(dict.fromkeys(primaries + others))

    async def _ask(self, address: Address) -> View:
        server = self._server(address)
        info = await server.execute("CLUSTER", "INFO")
        return view(info, await server.execute("CLUSTER", "SLOTS"), address)

    def _credible(self, found: View) -> bool:
        now = asyncio.get_running_loop().time()
        return found.epoch >= self._view.epoch or now - self._seen_at > CLUSTER_VIEW_S_MAX

    async def _take(self, found: View) -> None:
        if found.owners != self._view.owners:
            log.info("the cluster's slots are at %s", ", ".join(sorted(map(str, set(found.owners.values())))))
        self._view = found
        self._owners = dict(found.owners)
        self._seen_at = asyncio.get_running_loop().time()
        # A server that lost its last slot may be one that says nothing: whoever still waits for it is let go, after a
        # moment for those that it answers yet.
        without = set(self._servers) - self.primaries
        for address in without & self._leaving:
            await self._servers.pop(address).close()
        self._leaving = without - self._leaving
        if self._leaving:
            self.doubted.set()
