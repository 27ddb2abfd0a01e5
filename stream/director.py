"""Carries out what `stream.casting` says: keeps a show's lease in step with who is on air through this worker.

    a publisher connects ──▶ lease free, or may be taken over ──▶ on air ──▶ stalls, or another takes the lease
            ▲                                                                              │
            └───────────────────────────── stands by, warm ◀───────────────────────────────┘

It looks every CASTING_INTERVAL_S and whenever something happened. While the bus does not answer, whoever is on air goes
on, and newcomers are decided about by what is known here.
"""

import asyncio
import logging
from collections.abc import Callable, Coroutine, Sequence
from contextlib import AsyncExitStack, suppress
from typing import Any, Protocol

from live.core.auth import Rank
from live.core.bus import BusError
from live.core.leases import FREE
from live.core.limits import CASTING_INTERVAL_S, LEASE_PATIENCE_S, LEASE_RENEWAL_S, LEASE_TTL_S, STALL_S
from live.core.listener import Message
from live.core.tasks import end
from stream import casting
from stream.casting import BACKUP, PRIMARY, Holder, Player
from stream.cluster import signals
from stream.cluster.cluster import Cluster, stage_name
from stream.cluster.export import Export
from stream.connections import Publication
from stream.transport.sessions import Reason, State

logger = logging.getLogger(__name__)

RANKS = {Rank.primary: PRIMARY, Rank.backup: BACKUP}


class Stage(Protocol):
    """What a director needs of the stage; `stream.stage.Stage`."""

    show: str
    publication: Publication | None
    publications: list[Publication]

    @property
    def announced(self) -> signals.Announced | None:
        """Who is on air on another worker, as far as that was heard."""

    def take(self, publication: Publication) -> None:
        """Put a publisher of this worker on air."""

    def serve(self, export: Export) -> None:
        """Give who is on air to other workers, too."""

    def off_air(self, *, ended: bool) -> None:
        """Nobody of this worker is on air any more; `ended`: nor of another."""


class House(Protocol):
    """What a director needs of the worker's media part."""

    counts: Any
    now: Callable[[], float]

    def end(self, connection: Publication, reason: Reason) -> None: ...
    def spawn(self, work: Coroutine[Any, Any, None]) -> None: ...


class Director:
    """Decides for one stage. `cluster` None: there are no other workers."""

    def __init__(self, stage: Stage, house: House, cluster: Cluster | None) -> None:
        self.fence: int | None = None  # of the lease, while this worker holds it
        self.export: Export | None = None  # while the lease is held
        self._stage = stage
        self._house = house
        self._cluster = cluster
        self._lease = stage_name(stage.show)
        self._renewed_at = float("-inf")
        self._listening = False  # to what edges say
        self._vacant = False  # nobody had the lease when last looked
        self._stalled = False  # the others know it already
        self._news = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def newcomer(self, publication: Publication) -> None:
        """A publisher has connected. It is on air at once when that can be known here; else others are asked first."""
        local = self._local()
        if self._cluster is None or (local is not None and casting.may_take(self._player(publication), local)):
            self._decide_alone()
        if self._task is None:
            self._task = asyncio.create_task(self._run(), name=f"director of {self._stage.show}")
        self.look()

    def look(self) -> None:
        """Something happened: decide now."""
        self._news.set()

    def resign(self, *, release: bool) -> None:
        """Who was on air here is not any more; `release`: the lease is still ours to give back."""
        self.close_export(ended=release)
        fence, self.fence = self.fence, None
        if release and fence is not None and self._cluster is not None:
            self._house.spawn(self._release(self._cluster, fence))
        self.look()

    def close_export(self, *, ended: bool) -> None:
        """Other workers get nothing more of this publisher; `ended`: and nobody follows."""
        if self.export is not None:
            self.export.close(ended=ended)
            self.export = None

    async def close(self) -> None:
        """Decide nothing more."""
        await end(self._task)

    async def _release(self, cluster: Cluster, fence: int) -> None:
        try:
            await cluster.leases.release(self._lease, cluster.name, fence)
        except BusError as error:
            logger.info("the lease of %s runs out by itself: %s", self._stage.show, error)

    # --- deciding -----------------------------------------------------------------------------------------------

    def _player(self, publication: Publication) -> Player:
        now = self._house.now()
        return Player(RANKS[publication.rank], publication.silent_s(now), publication.steady_s(now), publication.fresh)

    def _local(self) -> Holder | None:
        """Who is on air through this worker."""
        if self._stage.publication is None:
            return None
        player = self._player(self._stage.publication)
        return Holder(self.fence or 0, player.rank, player.silent_s)

    def _challengers(self) -> Sequence[Publication]:
        """Who stands by here, the best first: primaries, then the newest."""
        waiting = [each for each in reversed(self._stage.publications) if each is not self._stage.publication]
        return sorted(waiting, key=lambda each: RANKS[each.rank])

    def _decide_alone(self) -> None:
        """Decide by what is known here, without the others."""
        holder, announced = self._local(), self._stage.announced
        if holder is None and announced is not None:
            holder = Holder(announced.fence, announced.rank, 0.0)
        for publication in self._challengers():
            if casting.may_take(self._player(publication), holder):
                self._stage.take(publication)
                return
            publication.fresh = False

    async def _run(self) -> None:
        async with AsyncExitStack() as listening:
            while True:
                self._news.clear()
                try:
                    async with asyncio.timeout(LEASE_PATIENCE_S):
                        await self._decide(listening)
                except (BusError, TimeoutError):
                    self._decide_alone()
                except Exception:  # our own bug: the show goes on
                    logger.exception("the director of %s failed", self._stage.show)
                with suppress(TimeoutError):
                    async with asyncio.timeout(CASTING_INTERVAL_S):
                        await self._news.wait()

    async def _decide(self, listening: AsyncExitStack) -> None:
        cluster = self._cluster
        if cluster is None:
            self._decide_alone()
            return
        if not self._listening:
            channel = signals.up(self._stage.show)
            await listening.enter_async_context(cluster.wire.subscribe(channel, self._heard))
            self._listening = True
        if self._stage.publication is not None:
            await self._hold(cluster, self._stage.publication)
        challengers = self._challengers()
        holder = self._local()
        if holder is None and challengers:
            holder = await self._remote(cluster)
            if holder is None and not self._vacant and not any(each.fresh for each in challengers):
                self._vacant = True  # a holder whose bus was away renews at once; look again
                return
        self._vacant = False
        for publication in challengers:
            player = self._player(publication)
            if casting.may_take(player, holder):
                await self._acquire(cluster, publication, FREE if holder is None else holder.fence)
                return
            if holder is not None and casting.is_replaced(player, holder):
                self._house.end(publication, Reason.taken_over)
            publication.fresh = False

    # --- the lease ----------------------------------------------------------------------------------------------

    async def _remote(self, cluster: Cluster) -> Holder | None:
        """Who is on air on another worker, by the lease and its own words."""
        lease = await cluster.leases.read(self._lease)
        if lease is None or lease.owner == cluster.name:  # ours: it is about to be given back
            return None
        announced = self._stage.announced
        heard = announced is not None and announced.fence == lease.fence
        return Holder(lease.fence, lease.rank, announced.silent_ms / 1000 if announced and heard else 0.0)

    async def _hold(self, cluster: Cluster, publication: Publication) -> None:
        """Keep the lease for who is on air here, or find out who has it now."""
        now = self._house.now()
        if self.fence is None or self.export is None or publication.fresh:
            await self._acquire(cluster, publication, FREE)
        elif now - self._renewed_at >= LEASE_RENEWAL_S:
            if await cluster.leases.renew(self._lease, cluster.name, self.fence, LEASE_TTL_S):
                self._renewed_at = now
            else:
                self.fence = None
                await self._acquire(cluster, publication, FREE)
        stalled = publication.silent_s(now) >= STALL_S
        if stalled != self._stalled and self.export is not None:
            self.export.announce()  # a backup elsewhere waits for this
        self._stalled = stalled

    async def _acquire(self, cluster: Cluster, publication: Publication, over: int) -> None:
        """Ask for the lease: go on air with it, or let whoever has it be."""
        lease, granted = await self._ask(cluster, publication, over)
        if not granted and casting.may_take(self._player(publication), Holder(lease.fence, lease.rank, 0.0)):
            lease, granted = await self._ask(cluster, publication, lease.fence)
        gone = publication.session.state is not State.connected
        local = None if self._stage.publication is publication else self._local()
        if gone or (local is not None and not casting.may_take(self._player(publication), local)):
            # Things changed while we asked: the next look decides again, with a lease that is ours or nobody's.
            self.fence = None
            if granted and self._stage.publication is None:
                await cluster.leases.release(self._lease, cluster.name, lease.fence)
        elif granted:
            self._begin(cluster, publication, lease.fence)
        else:
            publication.fresh = False
            if self._stage.publication is publication:
                self._stage.off_air(ended=False)
            if casting.is_replaced(self._player(publication), Holder(lease.fence, lease.rank, 0.0)):
                self._house.end(publication, Reason.taken_over)

    async def _ask(self, cluster: Cluster, publication: Publication, over: int) -> Any:
        rank = RANKS[publication.rank]
        return await cluster.leases.acquire(self._lease, cluster.name, b"", rank=rank, ttl_s=LEASE_TTL_S, over=over)

    def _begin(self, cluster: Cluster, publication: Publication, fence: int) -> None:
        """The lease is ours for `publication`."""
        now = self._house.now
        publication.fresh = False
        if self._stage.publication is not publication:
            self._stage.take(publication)
        self.close_export(ended=False)
        self.fence, self._renewed_at, self._stalled = fence, now(), False
        self.export = Export(
            self._stage.show, fence, RANKS[publication.rank], cluster.name, publication.ingest, cluster.wire,
            self._house.counts, now, silence_s=lambda: publication.silent_s(now()), replaced=self._replaced,
        )  # fmt: skip
        self._stage.serve(self.export)
        cluster.wire.send(signals.up(self._stage.show), signals.packed(signals.Taken(fence)))
        self.export.announce()

    def _replaced(self, fence: int) -> None:
        if self.fence is not None and fence > self.fence:
            self._renewed_at = float("-inf")  # ask at once whether the lease is still ours
            self.look()

    def _heard(self, message: Message) -> None:
        if self.export is not None:
            self.export.heard(message)
