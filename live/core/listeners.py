"""All of the bus's ears: which channel is heard at which server, so that none is deaf for long.

A channel belongs to the server that owns its slot. When that changes (a slot moved, a replica was promoted, a server
refuses or gives a channel up), the channel is subscribed at the new owner, and its handlers are told `gone`: what was
published in between may have been missed. Whoever hears `gone` compares positions, so being told too often is cheap
and being told too seldom is not possible: a subscription is either confirmed by its server without a break or stale.

What an owner is is looked at again every few seconds, and at once when anything speaks against it.
"""

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable
from typing import Protocol

from live.core.limits import (
    BUS_RETRY_S_MAX,
    BUS_TIMEOUT_S,
    CLUSTER_DOUBTED_S_MAX,
    CLUSTER_LOOK_S,
    CLUSTER_LOOK_S_MIN,
)
from live.core.listener import GONE, Connection, Handler, Listener, Message, Subscription, parse
from live.core.slots import Address
from live.core.tasks import end

log = logging.getLogger(__name__)


class Servers(Protocol):
    """What is used of `live.core.servers.Servers`."""

    home: Address | None
    doubted: asyncio.Event

    def owner(self, name: bytes) -> Address | None: ...
    def connection(self, address: Address) -> Connection: ...
    def refused(self, name: bytes, error: Exception) -> None: ...
    async def refresh(self) -> None: ...


class Listeners:
    """Handlers of channels at the servers that have them. `tidied` is awaited after each look at who has what."""

    def __init__(
        self,
        servers: Servers,
        failures: tuple[type[Exception], ...],
        refusals: tuple[type[Exception], ...] = (),
        tidied: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        self._servers = servers
        self._failures = failures
        self._refusals = refusals
        self._tidied = tidied
        self._listeners: dict[Address, Listener] = {}
        self._subscriptions: dict[bytes, Subscription] = {}
        self._at: dict[bytes, Address] = {}  # where each is subscribed, or was asked to be
        self._keeper: asyncio.Task[None] | None = None
        self.losses = 0  # of connections, failed attempts at one included
        self.gone = 0  # channels whose handlers were told that something may be missing

    async def start(self) -> None:
        """Begin to listen; answers once connected to the one server, if it is one. Raises `TimeoutError`."""
        self._keeper = asyncio.create_task(self._keep(), name="bus listeners")
        if self._servers.home is not None:
            async with asyncio.timeout(BUS_TIMEOUT_S):
                await asyncio.shield(self._listener(self._servers.home).connected)

    async def stop(self) -> None:
        """Close all connections; handlers hear nothing more."""
        await end(self._keeper)
        for listener in self._listeners.values():
            await listener.stop()
        self._listeners.clear()

    @property
    def connected(self) -> tuple[int, int]:
        """Connections that stand just now, and how many there should be."""
        return sum(listener.open for listener in self._listeners.values()), len(self._listeners)

    async def add(self, channel: bytes, handler: Handler) -> None:
        """Give `handler` every message of `channel` from a server's confirmation on, which this waits for.

        Raises `TimeoutError` when none confirms; then `handler` is out again.
        """
        subscription = self._subscriptions.get(channel)
        first = subscription is None
        if subscription is None:
            subscription = self._subscriptions[channel] = Subscription(channel)
        subscription.handlers.append(handler)
        try:
            async with asyncio.timeout(BUS_TIMEOUT_S):
                if first:
                    await self._place(subscription)
                while (confirmed := subscription.confirmed) is not None:
                    await asyncio.shield(confirmed)
        except BaseException:
            await self.remove(channel, handler)
            raise

    async def remove(self, channel: bytes, handler: Handler) -> None:
        """Take `handler` out; the channel is given up with its last handler."""
        subscription = self._subscriptions[channel]
        subscription.handlers.remove(handler)
        if not subscription.handlers:
            del self._subscriptions[channel]
            await self._leave(subscription)

    # --- what listeners tell ------------------------------------------------------------------------------------

    def frame(self, channel: bytes, frame: bytes) -> None:
        """Something came on a channel."""
        self._hand_over(channel, frame)

    def confirmed(self, subscription: Subscription) -> None:
        """Its server has the subscription."""
        if subscription.confirm():
            self._deliver(subscription, GONE)

    def evicted(self, subscription: Subscription, error: Exception | None) -> None:
        """Its server has it no more, or never had."""
        self._at.pop(subscription.channel, None)
        if error is None:
            self._servers.doubted.set()
        else:
            self._servers.refused(subscription.channel, error)

    def lost(self) -> None:
        """A connection is gone; perhaps its server is."""
        self.losses += 1
        self._servers.doubted.set()

    # --- which channel is where ---------------------------------------------------------------------------------

    def _listener(self, address: Address) -> Listener:
        listener = self._listeners.get(address)
        if listener is None:
            listener = Listener(lambda: self._servers.connection(address), self, self._failures, self._refusals)
            self._listeners[address] = listener
            listener.start()
        return listener

    async def _place(self, subscription: Subscription) -> None:
        """Subscribe at the owner; a channel that nobody owns is left to the next look."""
        address = self._servers.owner(subscription.channel)
        if address is None:
            self._servers.doubted.set()
            return
        self._at[subscription.channel] = address
        await self._listener(address).attach(subscription)

    async def _leave(self, subscription: Subscription) -> None:
        address = self._at.pop(subscription.channel, None)
        if address is not None and (listener := self._listeners.get(address)) is not None:
            await listener.detach(subscription)

    async def _keep(self) -> None:
        pause_s, failed = CLUSTER_LOOK_S_MIN, 0
        while True:
            doubted = await self._look_due()
            pause_s_max = CLUSTER_DOUBTED_S_MAX
            try:
                await self._servers.refresh()
                failed = 0
            except self._failures as error:
                failed += 1
                if failed == 1:
                    log.warning("the bus does not say which server has what: %s", error)
                self._servers.doubted.set()
                pause_s_max = BUS_RETRY_S_MAX
            try:
                await self._settle()
            except Exception:  # our own bug: without this task channels would be deaf after a move
                log.exception("bus channels could not be settled; trying again")
                self._servers.doubted.set()
            pause_s = min(pause_s * 2, pause_s_max) if doubted else CLUSTER_LOOK_S_MIN
            await asyncio.sleep(pause_s * random.uniform(0.5, 1.0))

    async def _look_due(self) -> bool:
        """Wait until it is time; answers whether something spoke against what is known."""
        try:
            async with asyncio.timeout(CLUSTER_LOOK_S * random.uniform(0.8, 1.2)):
                await self._servers.doubted.wait()
        except TimeoutError:
            return False
        self._servers.doubted.clear()
        return True

    async def _settle(self) -> None:
        """Have each channel at its owner, and no connection without a use."""
        for subscription in list(self._subscriptions.values()):
            channel = subscription.channel
            owner, at = self._servers.owner(channel), self._at.get(channel)
            if owner is None and at is None:
                self._servers.doubted.set()
            if owner is None or owner == at or self._subscriptions.get(channel) is not subscription:
                continue
            if at is not None:
                # First out of the old place: what is still on its way from there would come after newer messages.
                subscription.lost()
                await self._leave(subscription)
            if self._subscriptions.get(channel) is subscription and channel not in self._at:
                await self._place(subscription)
        used = {self._servers.home, *self._at.values()}
        for address in [address for address in self._listeners if address not in used]:
            await self._listeners.pop(address).stop()
        if self._tidied is not None:
            await self._tidied()

    # --- handing over -------------------------------------------------------------------------------------------

    def _hand_over(self, channel: bytes, frame: bytes) -> None:
        try:
            message = parse(frame)
        except ValueError:
            log.warning("a frame on %r is not ours and was ignored", channel)
            return
        if (subscription := self._subscriptions.get(channel)) is not None:
            self._deliver(subscription, message)

    def _deliver(self, subscription: Subscription, message: Message) -> None:
        message = subscription.admitted(message)
        self.gone += message is GONE
        for handler in tuple(subscription.handlers):
            try:
                handler(message)
            except Exception:  # our own bug: it must not cost other channels their reader
                log.exception("a bus handler failed on %r", subscription.channel)
