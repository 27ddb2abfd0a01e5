"""One show on one worker: who publishes here, who watches here, and where the relay's packets come from.

The worker whose publisher is on air serves others what they want of it (`cluster.export`); a worker that has viewers or
stand-bys without it pulls (`cluster.pull`). Which it is the director decides, with those of the other workers. Viewers
stay through all of it: only what fills their relay changes.
"""

import asyncio
from collections.abc import AsyncIterator, Coroutine, Iterable, Sequence
from contextlib import asynccontextmanager
from typing import Any, Protocol

from live.core.auth import Rank
from live.core.errors import Kind, Problem
from live.core.limits import REACH_SHOW_S
from stream import connections
from stream.cluster import signals
from stream.cluster.cluster import Cluster, stage_name
from stream.cluster.export import Export
from stream.cluster.pull import Pull
from stream.connections import Connection, Publication, Subscription
from stream.director import Director
from stream.downstream.relay import Relay
from stream.downstream.subscribers import Subscriber
from stream.downstream.tally import AudienceFigures
from stream.feed import Arrival, LayerState
from stream.transport.sessions import Reason, State

NOT_LIVE_RETRY_S = 3


class House(connections.House, Protocol):
    """What a stage needs of the worker's media part."""

    cluster: Cluster | None

    def announce(self, show: str) -> None:
        """Whether `show` is on air through this worker may have changed."""

    def end_all(self, connections: Sequence[Connection], reason: Reason) -> None:
        """These sessions are over: some at once, the others soon, so that no turn of the loop takes long."""

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Do something in the background; stopping the media part waits for it."""


class Stage:
    """See the module; `cluster.pull.Target` for what comes from other workers."""

    def __init__(self, show: str, relay: Relay, house: House) -> None:
        self.show = show
        self.relay = relay
        self.publication: Publication | None = None  # who is on air through this worker
        self.publications: list[Publication] = []  # who is connected here, the newest last
        self.candidates: dict[Rank, Publication] = {}  # who has asked and is about to connect
        self.connections: dict[str, Connection] = {}
        self.pull: Pull | None = None
        self._viewers = 0  # of `connections`; to count them at every leave would take a large show long to end
        self.visitors = 0  # viewers who are about to be given a session
        self.director = Director(self, house, house.cluster)
        self._house = house
        self._cluster = house.cluster
        self._present = False

    # --- who comes and goes -------------------------------------------------------------------------------------

    def enter(self, connection: Connection) -> None:
        """A session has been made."""
        self.connections[connection.session.id] = connection
        self._viewers += isinstance(connection, Subscription)
        self._follow()

    def arrived(self, publication: Publication) -> None:
        """A publisher's handshake is done: it takes the stage, or stands by."""
        if self.candidates.get(publication.rank) is publication:
            del self.candidates[publication.rank]
        self.publications.append(publication)
        self.director.newcomer(publication)
        self._follow()

    def left(self, connection: Connection) -> None:
        """A session is over."""
        if self.connections.pop(connection.session.id, None) is not None:
            self._viewers -= isinstance(connection, Subscription)
        if isinstance(connection, Publication):
            if self.candidates.get(connection.rank) is connection:
                del self.candidates[connection.rank]
            if connection in self.publications:
                self.publications.remove(connection)
            if self.publication is connection:
                self.off_air(ended=True)
            self.director.look()
        self._follow()

    async def close(self) -> None:
        """Nobody is left; stop for good."""
        self.relay.close()
        await self.director.close()
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
        return 0 if self.director.export is None else self.director.export.viewers

    @property
    def elsewhere(self) -> list[tuple[int, AudienceFigures]]:
        """Their figures, worker by worker, with the number of viewers."""
        return [] if self.director.export is None else self.director.export.audiences

    def tell_origin(self, audience: AudienceFigures) -> None:
        """Have the worker whose publisher is shown here know of the viewers here."""
        if self.pull is not None:
            self.pull.figures = audience

    @property
    def present(self) -> bool:
        """Whether somebody is on air through this worker and sends."""
        return self.publication is not None and not self.publication.missing(self._house.now())

    # --- on air -------------------------------------------------------------------------------------------------

    def take(self, publication: Publication) -> None:
        """Put a publisher of this worker on air; those of the same rank are over."""
        before, self.publication = self.publication, publication
        if before is not None:
            before.ingest.attach(())
        self.director.close_export(ended=False)
        self._unfollow()
        publication.taken_at = self._house.now()
        stranded = self.relay.begin(publication.ingest)
        publication.ingest.attach((self.relay,))
        for other in tuple(self.publications):
            if other is not publication and other.rank is publication.rank:
                self._house.end(other, Reason.taken_over)
        self._strand(stranded)
        self._house.announce(self.show)

    def serve(self, export: Export) -> None:
        """Give who is on air to other workers, too."""
        assert self.publication is not None
        self.publication.ingest.attach((self.relay, export))

    def _strand(self, subscribers: Iterable[Subscriber]) -> None:
        """Hang up on viewers who cannot play what is sent now; they have left the relay already."""
        if stranded := set(subscribers):
            viewers = (each for each in self.connections.values() if isinstance(each, Subscription))
            self._house.end_all([each for each in viewers if each.subscriber in stranded], Reason.codec_changed)

    def off_air(self, *, ended: bool) -> None:
        """Nobody of this worker is on air any more; `ended`: nor of another."""
        publication, self.publication = self.publication, None
        assert publication is not None
        publication.ingest.attach(())
        self.relay.end()
        self.director.resign(release=ended)
        self._house.announce(self.show)
        self._follow()

    # --- from other workers -------------------------------------------------------------------------------------

    @asynccontextmanager
    async def visited(self) -> AsyncIterator[None]:
        """Within the context there is somebody on air, if anybody is anywhere.

        Raises `Problem` not_live when nobody is, unavailable when a worker should be and does not answer.
        """
        assert self._cluster is not None
        self.visitors += 1
        try:
            if await self._cluster.leases.read(stage_name(self.show)) is None:
                raise Problem(Kind.not_live, retry_after_s=NOT_LIVE_RETRY_S)
            self._follow()
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

    @property
    def announced(self) -> signals.Announced | None:
        """Who is on air on another worker, as far as that was heard."""
        return None if self.pull is None else self.pull.announced

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
            self.pull.audience = self._viewers

    def _unfollow(self) -> None:
        pull, self.pull = self.pull, None
        if pull is not None:
            pull.silence()
            self._house.spawn(pull.close())

    def pulled(self, pull: Pull) -> None:
        """Another worker's publisher is on air."""
        self._strand(self.relay.begin(pull))
        self.director.look()

    def pull_ended(self) -> None:
        """Nobody is on air on another worker any more."""
        self.relay.end()
        self.director.look()

    def push(self, arrival: Arrival) -> None:
        self.relay.push(arrival)

    def restarted(self, layer: int) -> None:
        self.relay.restarted(layer)

    def sender_report(self, layer: int, ntp: int, timestamp: int) -> None:
        self.relay.sender_report(layer, ntp, timestamp)

    def described(self, layers: tuple[LayerState, ...]) -> None:
        self.relay.described(layers)
        self.director.look()  # it may have been said that nothing comes
