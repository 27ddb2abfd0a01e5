"""One show on one worker: who publishes here, who of all workers is on air, and the relay to the viewers here.

The worker whose publisher is on air holds the show's lease and exports what other workers want; a worker that has
viewers or stand-bys without it pulls. `stream.casting` says who should be on air; here it is carried out:

    a publisher connects ──▶ lease free, or may be taken over ──▶ on air ──▶ stalls, or another takes the lease
            ▲                                                                              │
            └───────────────────────────── stands by, warm ◀───────────────────────────────┘

A bus that is away ends nothing: whoever is on air goes on, and newcomers are decided about by what is known here.
Viewers stay through all of it; only what fills their relay changes.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Collection, Coroutine
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import Any, Protocol

from live.core.auth import Rank
from live.core.bus import BusError
from live.core.errors import Kind, Problem
from live.core.leases import FREE
from live.core.limits import (
    CASTING_INTERVAL_S,
    LEASE_PATIENCE_S,
    LEASE_RENEWAL_S,
    LEASE_TTL_S,
    REACH_SHOW_S,
    STALL_S,
)
from live.core.listener import Message
from live.core.tasks import end
from stream import casting, connections, signals
from stream.casting import BACKUP, PRIMARY, Holder, Player
from stream.cluster import Cluster, stage_name
from stream.connections import Connection, Publication, Subscription
from stream.export import Export
from stream.feed import Arrival, LayerState
from stream.pull import Pull
from stream.relay import Relay
from stream.sessions import Reason, State
from stream.subscribers import Subscriber

logger = logging.getLogger(__name__)

NOT_LIVE_RETRY_S = 3
_RANKS = {Rank.primary: PRIMARY, Rank.backup: BACKUP}


class House(connections.House, Protocol):
    """What a stage needs of the worker's media part."""

    cluster: Cluster | None

    def announce(self, show: str) -> None:
        """Whether `show` is on air through this worker may have changed."""

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Do something in the background; stopping the media part waits for it."""


class Stage:
    """See the module; `stream.pull.Target` for what comes from other workers."""

    def __init__(self, show: str, relay: Relay, house: House) -> None:
        self.show = show
        self.relay = relay
        self.publication: Publication | None = None  # who is on air through this worker
        self.publications: list[Publication] = []  # who is connected here, the newest last
        self.candidates: dict[Rank, Publication] = {}  # who has asked and is about to connect
        self.connections: dict[str, Connection] = {}
        self.pull: Pull | None = None
        self.visitors = 0  # viewers who are about to be given a session
        self.fence: int | None = None  # of the lease, while this worker holds it
        self._house = house
        self._cluster = house.cluster
        self._export: Export | None = None
        self._renewed_at = float("-inf")
        self._listening = False  # to what edges say
        self._vacant = False  # seen without a holder when last looked at
        self._stalled = False  # the others know it already
        self._present = False
        self._news = asyncio.Event()
        self._director: asyncio.Task[None] | None = None

    # --- who comes and goes -------------------------------------------------------------------------------------

    def enter(self, connection: Connection) -> None:
        """A session has been made."""
        self.connections[connection.session.id] = connection
        self._follow()

    def arrived(self, publication: Publication) -> None:
        """A publisher's handshake is done: it takes the stage, or stands by."""
        if self.candidates.get(publication.rank) is publication:
            del self.candidates[publication.rank]
        self.publications.append(publication)
        if self._cluster is None or (self.publication is not None and self._may_take(publication, self._local())):
            self._decide_alone()  # else other workers are asked first
        if self._director is None:
            self._director = asyncio.create_task(self._direct(), name=f"director of {self.show}")
        self._news.set()
        self._follow()

    def left(self, connection: Connection) -> None:
        """A session is over."""
        self.connections.pop(connection.session.id, None)
        if isinstance(connection, Publication):
            if self.candidates.get(connection.rank) is connection:
                del self.candidates[connection.rank]
            if connection in self.publications:
                self.publications.remove(connection)
            if self.publication is connection:
                self._off_air(release=True)
            self._news.set()
        self._follow()

    async def close(self) -> None:
        """Nobody is left; stop for good."""
        self.relay.close()
        await end(self._director)
        if self.pull is not None:
            await self.pull.close()

    def poll(self, now: float) -> None:
        """Do what is due, every MEDIA_TICK_S."""
        for publication in self.publications:
            if publication.session.state is State.connected:
                publication.ingest.poll(now)
        self.relay.poll(now)
        if self._present != self.present:
            self._present = self.present
            self._house.announce(self.show)

    @property
    def viewers_elsewhere(self) -> int:
        """How many viewers other workers show this worker's publisher to."""
        return 0 if self._export is None else self._export.viewers

    @property
    def present(self) -> bool:
        """Whether somebody is on air through this worker and sends."""
        return self.publication is not None and not self.publication.missing(self._house.now())

    # --- on air -------------------------------------------------------------------------------------------------

    def _take(self, publication: Publication) -> None:
        """Put a publisher of this worker on air; those of the same rank are over."""
        before, self.publication = self.publication, publication
        if before is not None:
            before.ingest.attach(())
        self._close_export(ended=False)
        self._unfollow()
        publication.taken_at = self._house.now()
        stranded = self.relay.begin(publication.ingest)
        publication.ingest.attach((self.relay,))
        for other in tuple(self.publications):
            if other is not publication and other.rank is publication.rank:
                self._house.end(other, Reason.taken_over)
        self._strand(stranded)
        self._house.announce(self.show)

    def _strand(self, subscribers: Collection[Subscriber]) -> None:
        """Hang up on viewers who cannot play what is sent now."""
        for connection in tuple(self.connections.values()):
            if isinstance(connection, Subscription) and connection.subscriber in subscribers:
                self._house.end(connection, Reason.codec_changed)

    def _off_air(self, *, release: bool) -> None:
        """Nobody of this worker is on air any more; `release`: nobody else has taken the lease."""
        publication, self.publication = self.publication, None
        assert publication is not None
        publication.ingest.attach(())
        self._close_export(ended=release)
        self.relay.end()
        fence, self.fence = self.fence, None
        if release and fence is not None and self._cluster is not None:
            self._house.spawn(self._release(self._cluster, fence))
        self._house.announce(self.show)
        self._follow()

    async def _release(self, cluster: Cluster, fence: int) -> None:
        try:
            await cluster.leases.release(stage_name(self.show), cluster.name, fence)
        except BusError as error:
            logger.info("the lease of %s runs out by itself: %s", self.show, error)

    def _close_export(self, *, ended: bool) -> None:
        if self._export is not None:
            self._export.close(ended=ended)
            self._export = None

    # --- casting ------------------------------------------------------------------------------------------------

    def _player(self, publication: Publication) -> Player:
        now = self._house.now()
        return Player(_RANKS[publication.rank], publication.silent_s(now), publication.steady_s(now), publication.fresh)

    def _local(self) -> Holder | None:
        """Who is on air through this worker."""
        if self.publication is None:
            return None
        player = self._player(self.publication)
        return Holder(self.fence or 0, player.rank, player.silent_s)

    def _may_take(self, publication: Publication, holder: Holder | None) -> bool:
        return casting.may_take(self._player(publication), holder)

    def _challengers(self) -> list[Publication]:
        """Who stands by here, the best first: primaries, then the newest."""
        waiting = [each for each in reversed(self.publications) if each is not self.publication]
        return sorted(waiting, key=lambda each: _RANKS[each.rank])

    def _decide_alone(self) -> None:
        """Decide by what is known here, without the others."""
        holder = self._local()
        if holder is None and self.pull is not None and self.pull.announced is not None:
            holder = Holder(0, self.pull.announced.rank, 0.0)
        for publication in self._challengers():
            if self._may_take(publication, holder):
                self._take(publication)
                return

    async def _direct(self) -> None:
        """Keep the lease in step with who is on air, for as long as somebody is connected."""
        async with AsyncExitStack() as listening:
            while True:
                self._news.clear()
                try:
                    async with asyncio.timeout(LEASE_PATIENCE_S):
                        await self._decide(listening)
                except (BusError, TimeoutError):
                    self._decide_alone()
                except Exception:  # our own bug: the show goes on
                    logger.exception("the director of %s failed", self.show)
                with suppress(TimeoutError):
                    async with asyncio.timeout(CASTING_INTERVAL_S):
                        await self._news.wait()

    async def _decide(self, listening: AsyncExitStack) -> None:
        cluster = self._cluster
        if cluster is None:
            self._decide_alone()
            return
        if not self._listening:
            await listening.enter_async_context(cluster.wire.subscribe(signals.up(self.show), self._heard))
            self._listening = True
        await self._step(cluster)

    async def _step(self, cluster: Cluster) -> None:
        if self.publication is not None:
            await self._hold(cluster, self.publication)
        holder = self._local()
        challengers = self._challengers()
        if holder is None and challengers:
            holder = await self._remote(cluster)
            if holder is None and not self._vacant and not any(each.fresh for each in challengers):
                self._vacant = True  # a holder whose bus was away renews at once; look again
                return
        self._vacant = False
        for publication in challengers:
            if self._may_take(publication, holder):
                await self._acquire(cluster, publication, FREE if holder is None else holder.fence)
                return
            if holder is not None and casting.is_replaced(self._player(publication), holder):
                self._house.end(publication, Reason.taken_over)

    async def _remote(self, cluster: Cluster) -> Holder | None:
        """Who is on air on another worker, by its own words or by the lease."""
        announced = self.pull.announced if self.pull is not None else None
        lease = await cluster.leases.read(stage_name(self.show))
        if lease is None:
            return None
        if announced is None or announced.fence != lease.fence:
            return Holder(lease.fence, lease.rank, 0.0)
        return Holder(lease.fence, lease.rank, announced.silent_ms / 1000)

    async def _hold(self, cluster: Cluster, publication: Publication) -> None:
        """Keep the lease for who is on air here, or find out who has it now."""
        now = self._house.now()
        if self.fence is None or publication.fresh:
            await self._acquire(cluster, publication, FREE)
        elif now - self._renewed_at >= LEASE_RENEWAL_S:
            if await cluster.leases.renew(stage_name(self.show), cluster.name, self.fence, LEASE_TTL_S):
                self._renewed_at = now
            else:
                self.fence = None
                await self._acquire(cluster, publication, FREE)
        stalled = publication.silent_s(now) >= STALL_S
        if stalled != self._stalled and self._export is not None:
            self._export.announce()  # a backup elsewhere waits for this
        self._stalled = stalled

    async def _acquire(self, cluster: Cluster, publication: Publication, over: int) -> None:
        """Ask for the lease: go on air with it, or let whoever has it be."""
        rank = _RANKS[publication.rank]
        name = stage_name(self.show)
        lease, granted = await cluster.leases.acquire(name, cluster.name, b"", rank=rank, ttl_s=LEASE_TTL_S, over=over)
        holder = Holder(lease.fence, lease.rank, 0.0)
        if not granted and publication.session.state is State.connected and self._may_take(publication, holder):
            lease, granted = await cluster.leases.acquire(
                name, cluster.name, b"", rank=rank, ttl_s=LEASE_TTL_S, over=lease.fence
            )
            holder = Holder(lease.fence, lease.rank, 0.0)
        if publication.session.state is not State.connected:
            if granted:
                await cluster.leases.release(name, cluster.name, lease.fence)
            return
        if granted:
            self._hold_with(cluster, publication, lease.fence)
            return
        publication.fresh = False
        if self.publication is publication:
            self._off_air(release=False)
            if casting.is_replaced(self._player(publication), holder):
                self._house.end(publication, Reason.taken_over)

    def _hold_with(self, cluster: Cluster, publication: Publication, fence: int) -> None:
        """The lease is ours for `publication`."""
        publication.fresh = False
        if self.publication is not publication:
            self._take(publication)
        self.fence, self._renewed_at = fence, self._house.now()
        self._close_export(ended=False)
        self._stalled = False
        self._export = Export(
            self.show, fence, _RANKS[publication.rank], cluster.name, publication.ingest, cluster.wire,
            self._house.counts, self._house.now, lambda: publication.silent_s(self._house.now()),
        )  # fmt: skip
        publication.ingest.attach((self.relay, self._export))
        self._export.announce()

    def _heard(self, message: Message) -> None:
        if self._export is not None:
            self._export.heard(message)

    # --- from other workers -------------------------------------------------------------------------------------

    @asynccontextmanager
    async def visited(self) -> AsyncIterator[None]:
        """Within the context there is somebody on air, if anybody is anywhere.

        Raises `Problem` not_live when nobody is, unavailable when a worker should be and does not answer.
        """
        assert self._cluster is not None
        if await self._cluster.leases.read(stage_name(self.show)) is None:
            raise Problem(Kind.not_live, retry_after_s=NOT_LIVE_RETRY_S)
        self.visitors += 1
        self._follow()
        try:
            if self.pull is not None:
                try:
                    async with asyncio.timeout(REACH_SHOW_S):
                        await self.pull.announcement.wait()
                except TimeoutError:
                    raise Problem(Kind.unavailable, "The show's worker does not answer.", retry_after_s=1) from None
            yield
        finally:
            self.visitors -= 1
            self._follow()

    def _follow(self) -> None:
        """Listen to the others while somebody here depends on them: viewers, or publishers who stand by."""
        wanted = self._cluster is not None and self.publication is None and bool(self.connections or self.visitors)
        if wanted and self.pull is None:
            assert self._cluster is not None
            cluster, house = self._cluster, self._house
            self.pull = Pull(self.show, cluster.name, cluster.wire, self, house.counts, house.now)
            self.pull.start()
        elif not wanted:
            self._unfollow()
        if self.pull is not None:
            self.pull.audience = sum(isinstance(each, Subscription) for each in self.connections.values())

    def _unfollow(self) -> None:
        pull, self.pull = self.pull, None
        if pull is not None:
            pull.silence()
            self._house.spawn(pull.close())

    def pulled(self, pull: Pull) -> None:
        """Another worker's publisher is on air."""
        self._strand(self.relay.begin(pull))
        self._news.set()

    def pull_ended(self) -> None:
        """Nobody is on air on another worker any more."""
        self.relay.end()
        self._news.set()

    def push(self, arrival: Arrival) -> None:
        self.relay.push(arrival)

    def restarted(self, layer: int) -> None:
        self.relay.restarted(layer)

    def sender_report(self, layer: int, ntp: int, timestamp: int) -> None:
        self.relay.sender_report(layer, ntp, timestamp)

    def described(self, layers: tuple[LayerState, ...]) -> None:
        self.relay.described(layers)
