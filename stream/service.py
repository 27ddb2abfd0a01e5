"""Who publishes what and who watches it: the media sessions of one worker.

`Media` owns the UDP port, the certificate and the tables; `stream.api` speaks HTTP for it. A show's `Relay` outlives
its publishers, so a publisher who comes back, or another one who takes over, goes on in front of the same viewers.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from prometheus_client import CollectorRegistry

from live.core.auth import Rank
from live.core.clock import Clock
from live.core.errors import Kind, Problem
from live.core.gate import Gate
from live.core.limits import (
    DRAIN_WINDOW_S,
    MEDIA_CALLS_BURST,
    MEDIA_CALLS_PER_S,
    MEDIA_POSTERS_MAX,
    MEDIA_POSTS_BURST,
    MEDIA_POSTS_PER_S,
    MEDIA_TICK_S,
    PEER_SWEEP_INTERVAL_S,
    PUBLISHERS_MAX,
    SUBSCRIBERS_MAX,
)
from live.core.settings import Settings
from live.core.tasks import end
from stream.bulletins import Bulletins
from stream.cluster.cluster import Cluster, new_name, stage_name
from stream.connections import Connection, Publication, Subscription
from stream.desk import Desk
from stream.downstream.fanout import Pump
from stream.downstream.relay import Relay
from stream.feed import Feed
from stream.metrics import MediaCollector
from stream.notices import Notices, census
from stream.room import Full, evictable
from stream.stage import NOT_LIVE_RETRY_S, Stage
from stream.transport.ice import IcePort, announced
from stream.transport.paths import Credentials
from stream.transport.peers import Certificate
from stream.transport.sessions import Reason, Role, Session, State
from stream.transport.turn import IceServers
from stream.trickle import Restarted, patched
from stream.wire import sdp

logger = logging.getLogger(__name__)

_STOP_TIMEOUT_S = 2.0
_ENDS_IN_A_TURN = 50  # sessions; to end 1000 at once took 14 to 25 ms


@dataclass(frozen=True, slots=True)
class Created:
    """What a POST made: the session's id, its strong ETag and the SDP answer."""

    session_id: str
    etag: str
    answer: str


class Media:
    """The media part of one worker."""

    def __init__(
        self,
        settings: Settings,
        clock: Clock,
        *,
        authorise_publisher: Callable[[str, str], Awaitable[Rank]],
        show_exists: Callable[[str], Awaitable[object]],
        show_open: Callable[[str], Awaitable[None]],
        on_publisher: Callable[[str, bool], Awaitable[None]],
        on_statistics: Callable[[str, dict[str, Any]], Awaitable[None]],
        on_air: Callable[[], Awaitable[list[str]]] | None = None,
        cluster: Cluster | None = None,
        registry: CollectorRegistry | None = None,
        worker: int = 0,
    ) -> None:
        """`worker` counts from 0 and is added to the media port; `registry` None: no Prometheus figures.

        `cluster` None: there are no other workers. `on_air` lists the shows that are told to have a publisher, by
        whichever worker; None: nobody looks after the shows of workers that died.

        `authorise_publisher`, which tells the rank, `show_exists` and `show_open` (asked for new publishers) raise
        `Problem`.
        `on_publisher` hears of each change, in order, and again after it has raised; `on_statistics` once a second
        for each show on air.
        """
        self.now = clock.monotonic
        self.now_s: Callable[[], int] = lambda: clock.now_ms() // 1000
        self.authorise_publisher = authorise_publisher
        self.show_exists = show_exists
        self.show_open = show_open
        self.ice_servers = IceServers(settings.turn_urls, settings.turn_secret)
        self.gate = Gate(MEDIA_POSTS_PER_S, MEDIA_POSTS_BURST, MEDIA_POSTERS_MAX)
        self.session_gate = Gate(MEDIA_CALLS_PER_S, MEDIA_CALLS_BURST, MEDIA_POSTERS_MAX)
        self.port = IcePort()
        self.counts = self.port.counts
        self.ended: Counter[tuple[str, str]] = Counter()
        self.certificate = Certificate.generate()
        self._settings = settings
        self._worker = worker
        self._clock = clock
        self.cluster = cluster
        self.name = new_name() if cluster is None else cluster.name
        self.desk = Desk(self, cluster)
        self._on_publisher = on_publisher
        self._pump = Pump()
        self.stages: dict[str, Stage] = {}
        self.sessions: dict[str, Connection] = {}
        self.admit: Callable[[], None] = lambda: None  # raises `Problem` when nobody new is taken in
        self.on_leaving: Callable[[str, dict[str, Any]], Awaitable[None]] = _told_to_nobody
        self.bulletins = Bulletins(self.stages, on_statistics)
        self._on_air = on_air
        self._notices = Notices(on_publisher, self._present, self._elsewhere, patient=cluster is not None)
        self._tasks: list[asyncio.Task[None]] = []
        self._closing: set[asyncio.Task[None]] = set()
        if registry is not None:
            MediaCollector(self.counts, self.ended, self._figures, lambda: self.bulletins.local).register(registry)

    # --- life ---------------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Bind the UDP port. Raises `OSError` when it is taken, `BusError`."""
        base = self._settings.udp_port
        self.port.open(self._settings.host, base + self._worker if base else 0, dscp=self._settings.dscp)
        self._tasks = [
            asyncio.create_task(job(), name=f"media {name}")
            for name, job in (("tick", self._tick), ("statistics", self.bulletins.run), ("notices", self._notices.run))
        ]
        if self.cluster is not None:
            await self.desk.start()
            if self._on_air is not None:
                work = census(self._on_air, self._held, self._on_publisher, self._notices)
                self._tasks.append(asyncio.create_task(work, name="media census"))

    async def stop(self) -> None:
        """End every session, tell everybody, free the port; stopping twice does no harm."""
        for connection in tuple(self.sessions.values()):
            self.end(connection, Reason.shutdown)
        await self.desk.stop()
        if self._closing:
            await asyncio.wait(self._closing, timeout=_STOP_TIMEOUT_S)
        try:
            async with asyncio.timeout(_STOP_TIMEOUT_S):
                await self._notices.settle()
        except TimeoutError:
            logger.warning("stopped before everybody could be told that the publishers are gone")
        await end(*self._tasks)
        self._tasks.clear()
        self._pump.close()
        self.port.close()

    async def check(self) -> None:
        """Whether the media port is really bound. Raises `Problem` unavailable."""
        if self.port.number is None:
            raise Problem(Kind.unavailable, "The media port is not bound.")

    @property
    def addresses(self) -> tuple[tuple[str, int], ...]:
        """Where clients reach the media port."""
        number = self.port.number
        assert number is not None, "started"
        ips = self._settings.public_ips or announced(self._settings.host)
        return tuple((ip, number) for ip in ips)

    # --- sessions -----------------------------------------------------------------------------------------------

    def publish(self, show: str, offer_text: str, rank: Rank = Rank.primary) -> Created:
        """A WHIP POST: a publisher wants the stage of `show`. Raises `Problem` for what the offer lacks, overloaded."""
        offer = sdp.parse_offer(offer_text)
        codecs = sdp.published(offer)
        self._make_room(Role.publisher, PUBLISHERS_MAX)
        stage = self._stage(show)
        if (candidate := stage.candidates.get(rank)) is not None:
            self.end(candidate, Reason.taken_over)
            stage = self._stage(show)
        connection = stage.candidates[rank] = Publication(self, stage, offer, codecs)
        connection.rank = rank
        return self._created(connection, connection.tracks())

    @asynccontextmanager
    async def reached(self, show: str) -> AsyncIterator[None]:
        """Within the context `subscribe` finds the show here, when it is on air on any worker.

        Raises `Problem` not_live, and unavailable when the bus or the show's worker does not answer.
        """
        if self.cluster is None or ((stage := self.stages.get(show)) and stage.relay.feed is not None):
            yield
            return
        stage = self._stage(show)
        try:
            async with stage.visited():
                yield
        finally:
            self._leave(stage)

    def subscribe(self, show: str, offer_text: str) -> Created:
        """A WHEP POST: a viewer joins. Raises `Problem` not_live, overloaded, or for what the offer lacks."""
        offer = sdp.parse_offer(offer_text)
        stage, feed = self._shown(show)
        codecs = sdp.subscribed(offer, feed.codecs)
        self._make_room(Role.subscriber, SUBSCRIBERS_MAX)
        stage, _ = self._shown(show)  # whoever made room may have been the last of this show
        connection = Subscription(self, stage, offer, codecs)
        stage.relay.prepare_join()
        return self._created(connection, connection.tracks())

    def _shown(self, show: str) -> tuple[Stage, Feed]:
        """The stage of a show that is on air here, and what is sent. Raises `Problem` not_live."""
        stage = self.stages.get(show)
        if stage is None or stage.relay.feed is None:
            raise Problem(Kind.not_live, retry_after_s=NOT_LIVE_RETRY_S)
        return stage, stage.relay.feed

    def _created(self, connection: Connection, tracks: dict[str, sdp.Track]) -> Created:
        session = connection.session
        self.sessions[session.id] = connection
        self.stages[session.show].enter(connection)
        local = self._local(connection.peer.credentials)
        answer = sdp.write_answer(connection.offer, local, tracks, stream=session.show, version=self._clock.now_ms())
        return Created(session.id, session.etag, answer)

    def _local(self, credentials: Credentials) -> sdp.Local:
        return sdp.Local(*credentials, self.certificate.fingerprint, self.addresses)

    def session(self, show: str, role: Role, session_id: str) -> Session:
        """The session at a URL. Raises `Problem` unknown_session."""
        return self._connection(show, role, session_id).session

    def patch(
        self, show: str, role: Role, session_id: str, if_match: str | None, fragment_text: str
    ) -> Restarted | None:
        """Trickled candidates (None), or an ICE restart: see `stream.trickle`. Raises `Problem` unknown_session too."""
        return patched(self._connection(show, role, session_id), if_match, fragment_text, self._local)

    def limit(self, show: str, session_id: str, max_height: int | None, *, video: bool) -> None:
        """What a viewer wants of the video at most, from now on; None: the best. Raises `Problem` unknown_session."""
        connection = self._connection(show, Role.subscriber, session_id)
        assert isinstance(connection, Subscription), "its role says so"
        connection.limit(max_height, video=video)

    def delete(self, show: str, role: Role, session_id: str) -> None:
        """End a session on its owner's wish. Raises `Problem` unknown_session."""
        self.end(self._connection(show, role, session_id), Reason.deleted)

    def hang_up(self, show: str) -> None:
        """The show is over: end the sessions of its publishers and viewers, on all workers."""
        self.spawn(self.desk.end_show(show))

    async def leave(self) -> None:
        """Have everybody go over to other workers: who has a session knows this one's name by its address."""
        self._notices.part()
        for show in tuple(self.stages):
            await self.on_leaving(show, {"worker": self.name, "within_s": DRAIN_WINDOW_S})

    def dismiss(self) -> None:
        """End the sessions of all who have not gone over to another worker; they are told by DTLS, and come again."""
        everybody = sorted(self.sessions.values(), key=lambda each: each.role is Role.publisher)
        self.end_all(everybody, Reason.shutdown)

    def end_show(self, show: str) -> None:
        """End the sessions of a show on this worker."""
        if stage := self.stages.get(show):
            # Publishers first: there is nothing to see while the viewers' turns come.
            everybody = sorted(stage.connections.values(), key=lambda each: each.role is Role.subscriber)
            self.end_all(everybody, Reason.show_over)

    def end_all(self, connections: Sequence[Connection], reason: Reason) -> None:
        """End these sessions, a few at once and the others soon; who comes meanwhile stays."""
        for connection in connections[:_ENDS_IN_A_TURN]:
            self.end(connection, reason)
        if len(connections) > _ENDS_IN_A_TURN:
            self.spawn(self._end_others(connections[_ENDS_IN_A_TURN:], reason))

    async def _end_others(self, connections: Sequence[Connection], reason: Reason) -> None:
        for index, connection in enumerate(connections):
            if index % _ENDS_IN_A_TURN == 0:
                await asyncio.sleep(0)
            self.end(connection, reason)  # ending twice does no harm

    def end(self, connection: Connection, reason: Reason) -> None:
        """End a session, whatever its state; ending twice does no harm."""
        session = connection.session
        if session.state is State.closed:
            return
        session.ended(reason)
        self.ended[session.role.value, reason.value] += 1
        self.sessions.pop(session.id, None)
        connection.left()
        stage = self.stages[session.show]
        stage.left(connection)
        self._leave(stage)
        self.spawn(connection.peer.close())

    def _leave(self, stage: Stage) -> None:
        """Give up a stage that nobody needs any more."""
        if not stage.connections and not stage.visitors and self.stages.get(stage.show) is stage:
            del self.stages[stage.show]
            self.bulletins.forget(stage.show)
            self.spawn(stage.close())

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Do something in the background; `stop` waits for it."""
        task = asyncio.get_running_loop().create_task(work)
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)

    def _connection(self, show: str, role: Role, session_id: str) -> Connection:
        connection = self.sessions.get(session_id)
        if connection is None or connection.session.show != show or connection.role is not role:
            raise Problem(Kind.unknown_session)
        return connection

    def _stage(self, show: str) -> Stage:
        stage = self.stages.get(show)
        if stage is None:
            relay = Relay(show, self.port, self._pump, self.counts, self.now)
            stage = self.stages[show] = Stage(show, relay, self)
        return stage

    def _make_room(self, role: Role, limit: int) -> None:
        """Raise `Problem` overloaded when the worker is full."""
        try:
            while (connection := evictable(self.sessions.values(), role, limit, self.now())) is not None:
                self.end(connection, Reason.evicted)
        except Full as full:
            self.counts[full.count] += 1
            raise

    # --- telling others -----------------------------------------------------------------------------------------

    def on_air(self, show: str) -> bool:
        """Whether a publisher of this worker has the stage of `show`."""
        stage = self.stages.get(show)
        return stage is not None and stage.publication is not None

    def _present(self, show: str) -> bool:
        """Whether it sends, too."""
        stage = self.stages.get(show)
        return stage is not None and stage.present

    def announce(self, show: str) -> None:
        """The publisher of `show` may have come or gone; the newest truth is told."""
        self._notices.announce(show)

    async def _held(self, show: str) -> bool:
        """Whether any worker has `show` on air. Raises `BusError`."""
        return self.cluster is not None and await self.cluster.leases.read(stage_name(show)) is not None

    async def _elsewhere(self, show: str) -> bool:
        """Whether another worker has `show` on air, or is late to say so. Raises `BusError`."""
        lease = None if self.cluster is None else await self.cluster.leases.last(stage_name(show))
        return lease is not None and lease.owner != self.name

    async def _tick(self) -> None:
        swept = self.now()
        while True:
            await asyncio.sleep(MEDIA_TICK_S if self.stages else PEER_SWEEP_INTERVAL_S)
            now = self.now()
            for stage in tuple(self.stages.values()):
                self._guarded(stage.poll, now)
            if now - swept >= PEER_SWEEP_INTERVAL_S:
                swept = now
                self._guarded(self.sweep, now)

    def _guarded(self, work: Callable[[float], None], now: float) -> None:
        """Our own bug in one show must not leave every other without feedback and its dead peers alive."""
        try:
            work(now)
        except Exception:
            logger.exception("the media part's tick failed")
            self.counts["crashed"] += 1

    def sweep(self, now: float) -> None:
        """End the sessions whose peers are dead; `now` is monotonic seconds."""
        for connection in tuple(self.sessions.values()):
            reason = connection.session.expired(now)
            if reason is not None:
                self.end(connection, reason)

    def video(self, show: str) -> dict[str, Any] | None:
        """The `downstream.tally.VideoFigures` of a show, as plain values; None: its publisher is not on air here."""
        return self.bulletins.whole(show)

    def _figures(self) -> Counter[tuple[str, str]]:
        return Counter((connection.role.value, connection.session.state.value) for connection in self.sessions.values())


async def _told_to_nobody(show: str, leaving: dict[str, Any]) -> None:
    """Where there is no other worker, nobody is told to go to one."""
