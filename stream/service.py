"""Who publishes what and who watches it: the media sessions of one worker.

`Media` owns the UDP port, the certificate and the tables; `stream.api` speaks HTTP for it. A show's `Relay` outlives
its publishers, so a publisher who comes back, or another one who takes over, goes on in front of the same viewers.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from prometheus_client import CollectorRegistry

from live.core.auth import Rank
from live.core.clock import Clock
from live.core.errors import Kind, Problem
from live.core.limits import (
    HANDSHAKE_GRACE_S,
    HANDSHAKES_MAX,
    MEDIA_POSTERS_MAX,
    MEDIA_POSTS_BURST,
    MEDIA_POSTS_PER_S,
    MEDIA_REPORT_INTERVAL_S,
    MEDIA_TICK_S,
    PEER_SWEEP_INTERVAL_S,
    PUBLISHERS_MAX,
    SUBSCRIBERS_MAX,
)
from live.core.settings import Settings
from stream import sdp
from stream.connections import Connection, Publication, Stage, Subscription
from stream.fanout import Pump
from stream.gate import Gate
from stream.ice import IcePort, announced
from stream.metrics import MediaCollector
from stream.paths import Credentials
from stream.peers import Certificate
from stream.relay import Relay
from stream.sessions import Reason, Role, Session, State
from stream.trickle import Restarted, patched
from stream.turn import IceServers

logger = logging.getLogger(__name__)

NOT_LIVE_RETRY_S = 3
FULL_RETRY_S = 5
_NOTICE_RETRY_S = 1.0
_STOP_TIMEOUT_S = 2.0


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
        show_exists: Callable[[str], Awaitable[None]],
        show_open: Callable[[str], Awaitable[None]],
        on_publisher: Callable[[str, bool], Awaitable[None]],
        on_statistics: Callable[[str, dict[str, Any]], Awaitable[None]],
        registry: CollectorRegistry | None = None,
        worker: int = 0,
    ) -> None:
        """`worker` counts from 0 and is added to the media port; `registry` None: no Prometheus figures.

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
        self.port = IcePort()
        self.counts = self.port.counts
        self.ended: Counter[tuple[str, str]] = Counter()
        self.certificate = Certificate.generateCertificate()
        self._settings = settings
        self._worker = worker
        self._clock = clock
        self._on_publisher = on_publisher
        self._on_statistics = on_statistics
        self._pump = Pump()
        self.stages: dict[str, Stage] = {}
        self.sessions: dict[str, Connection] = {}
        self.figures: dict[str, dict[str, Any]] = {}
        """The newest `statistics` of each show on air."""
        self._announcements: dict[str, None] = {}
        self._announced: set[str] = set()
        self._announce = asyncio.Event()
        self._told = asyncio.Event()
        self._told.set()
        self._tasks: list[asyncio.Task[None]] = []
        self._closing: set[asyncio.Task[None]] = set()
        if registry is not None:
            MediaCollector(self.counts, self.ended, self._figures, lambda: self.figures).register(registry)

    # --- life ---------------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Bind the UDP port. Raises `OSError` when it is taken."""
        base = self._settings.udp_port
        self.port.open(self._settings.host, base + self._worker if base else 0, dscp=self._settings.dscp)
        self._tasks = [
            asyncio.create_task(job(), name=f"media {name}")
            for name, job in (("tick", self._tick), ("statistics", self._report), ("notices", self._notify))
        ]

    async def stop(self) -> None:
        """End every session, tell everybody, free the port; stopping twice does no harm."""
        for connection in tuple(self.sessions.values()):
            self.end(connection, Reason.shutdown)
        if self._closing:
            await asyncio.wait(self._closing, timeout=_STOP_TIMEOUT_S)
        try:
            async with asyncio.timeout(_STOP_TIMEOUT_S):
                await self._told.wait()
        except TimeoutError:
            logger.warning("stopped before everybody could be told that the publishers are gone")
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
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
        if stage.candidate is not None:
            self.end(stage.candidate, Reason.taken_over)
            stage = self._stage(show)
        connection = stage.candidate = Publication(self, stage, offer, codecs)
        connection.rank = rank
        return self._created(connection, connection.tracks())

    def subscribe(self, show: str, offer_text: str) -> Created:
        """A WHEP POST: a viewer joins. Raises `Problem` not_live, overloaded, or for what the offer lacks."""
        offer = sdp.parse_offer(offer_text)
        stage = self.stages.get(show)
        if stage is None or stage.publication is None:
            raise Problem(Kind.not_live, retry_after_s=NOT_LIVE_RETRY_S)
        feed = stage.relay.feed
        codecs = sdp.subscribed(offer, feed.codecs if feed is not None else {})
        self._make_room(Role.subscriber, SUBSCRIBERS_MAX)
        connection = Subscription(self, stage, offer, codecs)
        stage.relay.prepare_join()
        return self._created(connection, connection.tracks())

    def _created(self, connection: Connection, tracks: dict[str, sdp.Track]) -> Created:
        session = connection.session
        self.sessions[session.id] = connection
        connection.stage.connections[session.id] = connection
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

    def end_show(self, show: str) -> None:
        """The show is over: hang up on its publisher and its viewers."""
        if stage := self.stages.get(show):
            for connection in list(stage.connections.values()):
                self.end(connection, Reason.show_over)

    def end(self, connection: Connection, reason: Reason) -> None:
        """End a session, whatever its state; ending twice does no harm."""
        session = connection.session
        if session.state is State.closed:
            return
        session.ended(reason)
        self.ended[session.role.value, reason.value] += 1
        connection.left()
        self.sessions.pop(session.id, None)
        stage = connection.stage
        stage.connections.pop(session.id, None)
        if not stage.connections:
            stage.relay.close()
            self.stages.pop(session.show, None)
            self.figures.pop(session.show, None)
        task = asyncio.get_running_loop().create_task(connection.peer.close())
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
            stage = self.stages[show] = Stage(show, relay)
        return stage

    def _make_room(self, role: Role, limit: int) -> None:
        """Raise `Problem` overloaded when the worker is full, unless somebody has asked and never come.

        Only so many handshakes are unfinished at a time: a flood of offers must neither fill the worker nor push out
        those who have asked just now.
        """
        same = [connection for connection in self.sessions.values() if connection.role is role]
        if len(same) >= limit:
            idle = next((connection for connection in same if connection.session.state is State.waiting), None)
            if idle is None:
                self.counts["refused_full"] += 1
                detail = "This server carries no more media sessions."
                raise Problem(Kind.overloaded, detail, retry_after_s=FULL_RETRY_S)
            self.end(idle, Reason.evicted)
        unfinished = [each for each in self.sessions.values() if each.session.state is not State.connected]
        if len(unfinished) >= HANDSHAKES_MAX:
            oldest = unfinished[0]
            if oldest.session.age_s(self.now()) < HANDSHAKE_GRACE_S:
                self.counts["refused_handshakes"] += 1
                raise Problem(Kind.overloaded, "Too many are joining at once.", retry_after_s=FULL_RETRY_S)
            self.end(oldest, Reason.evicted)

    # --- telling others -----------------------------------------------------------------------------------------

    def on_air(self, show: str) -> bool:
        """Whether somebody publishes to `show` through this worker."""
        stage = self.stages.get(show)
        return stage is not None and stage.publication is not None

    def announce(self, show: str) -> None:
        """The publisher of `show` may have come or gone; the newest truth is told."""
        self._announcements[show] = None
        self._told.clear()
        self._announce.set()

    async def _notify(self) -> None:
        while True:
            await self._announce.wait()
            self._announce.clear()
            while self._announcements:
                show = next(iter(self._announcements))
                present = self.on_air(show)
                if present != (show in self._announced):
                    try:
                        await self._on_publisher(show, present)
                    except Exception:
                        logger.exception("could not tell that the publisher of %s changed; trying again", show)
                        await asyncio.sleep(_NOTICE_RETRY_S)
                        continue
                    (self._announced.add if present else self._announced.discard)(show)
                if self.on_air(show) == present:
                    self._announcements.pop(show, None)
            self._told.set()

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

    async def _report(self) -> None:
        while True:
            await asyncio.sleep(MEDIA_REPORT_INTERVAL_S)
            for stage in tuple(self.stages.values()):
                if stage.publication is None:
                    self.figures.pop(stage.show, None)
                else:
                    figures = self.figures[stage.show] = self.statistics(stage)
                    try:
                        await self._on_statistics(stage.show, figures)
                    except Exception:
                        logger.warning("could not tell the figures of %s", stage.show, exc_info=True)

    def statistics(self, stage: Stage) -> dict[str, Any]:
        """The figures of a show for its studio, since the last call where they are rates.

        What comes from the host is described at `Ingest.statistics` (`bitrate_bps`, `fps`, `loss`, `codec`, `layers`
        and more; absent while nobody publishes here); `rank` says whether the primary or a backup is on air, None:
        nobody here. `subscribers` is the number of viewers, `rtt_ms` the median of
        their round trips (None: not known yet), and `audience` tells more of them:

            layers         {rid: viewers who are sent it}; "" is the RID of a single layer
            audio_only     viewers who are sent sound only, by their wish, their path or their player
            waiting        viewers who want video and wait for its first keyframe
            bitrate_bps    what all of them are sent, without headers and retransmissions
            loss loss_p95  mean and 95th percentile of what they report (0 to 1; before retransmission); None: no report
            rtt_ms rtt_p95_ms jitter_ms     median, 95th percentile; median; None: not known yet
            nacks plis     their requests for packets and for keyframes since the relay began
            retransmitted dropped           packets sent again, and not sent because their path took no more
            frozen         viewers without a picture for more than FREEZE_S now, as far as can be told from here: they
                           wait for a keyframe, or asked for one (their decoder has stopped) and got none since
            freezes        how often that has happened
        """
        figures = stage.publication.ingest.statistics() if stage.publication is not None else {}
        audience = stage.relay.statistics()
        number = len(stage.relay.subscribers)
        rank = stage.publication.rank.value if stage.publication is not None else None
        return figures | {"rank": rank} | {"rtt_ms": audience["rtt_ms"], "subscribers": number, "audience": audience}

    def _figures(self) -> Counter[tuple[str, str]]:
        return Counter((connection.role.value, connection.session.state.value) for connection in self.sessions.values())
