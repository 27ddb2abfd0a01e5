"""Sessions with their peers: what a publisher's and a viewer's packets lead to.

A takeover happens when the newcomer's handshake is complete, not when it asks: whoever is on air stays until then.
"""

import secrets
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable
from typing import Protocol

from live.core.auth import Rank
from live.core.limits import SLATE_S, STALL_S
from stream.downstream.relay import Relay
from stream.downstream.subscribers import Subscriber
from stream.transport.ice import IcePort
from stream.transport.paths import Credentials
from stream.transport.peers import Certificate, Peer
from stream.transport.sessions import Reason, Role, Session, State
from stream.upstream.ingest import Ingest
from stream.wire import rtcp, sdp
from stream.wire.rtp import PacketError


class House(Protocol):
    """What a connection needs of the worker's media part."""

    port: IcePort
    certificate: Certificate
    counts: Counter[str]
    now: Callable[[], float]
    name: str
    """Of the worker: what its sessions' ids begin with."""

    def end(self, connection: "Connection", reason: Reason) -> None:
        """The session is over, whatever its state."""


class Scene(Protocol):
    """What a connection needs of its show; a `stream.stage.Stage`."""

    show: str
    relay: Relay

    def arrived(self, publication: "Publication") -> None:
        """The handshake of a publisher is done."""


class Connection(ABC):
    """A session with its peer; the base of both roles. The owner of the peer (`transport.peers.Owner`)."""

    role: Role

    def __init__(self, media: House, stage: Scene, offer: sdp.Offer) -> None:
        self.media = media
        self.stage = stage
        self.offer = offer
        etag = f'"{secrets.token_hex(8)}"'
        self.session = Session(f"{media.name}.{secrets.token_urlsafe(24)}", stage.show, self.role, etag, media.now())
        remote = Credentials(offer.ufrag, offer.password)
        active = offer.setup == "passive"
        self.peer = Peer(media.port, media.certificate, offer.fingerprints, self, active=active, remote=remote)

    def peer_alive(self) -> bool:
        return self.session.alive(self.media.now())

    def peer_bound(self) -> None:
        self.session.consented(self.media.now())

    def peer_secured(self) -> None:
        if self.session.state is State.closed:
            return  # it was ended in the same turn of the loop; the peer is about to be closed
        self.session.secured(self.media.now())
        self.connected()

    def peer_closed(self, *, failed: bool) -> None:
        self.media.end(self, Reason.handshake_failed if failed else Reason.closed_by_peer)

    @abstractmethod
    def connected(self) -> None:
        """The handshake is done."""

    @abstractmethod
    def left(self) -> None:
        """The session is over."""

    @abstractmethod
    def peer_rtp(self, packet: bytes) -> None:
        """A plain RTP packet came."""

    @abstractmethod
    def peer_rtcp(self, packet: bytes) -> None:
        """A plain RTCP compound came."""


class Publication(Connection):
    role = Role.publisher
    rank = Rank.primary

    def __init__(self, media: House, stage: Scene, offer: sdp.Offer, codecs: dict[str, sdp.Codec]) -> None:
        super().__init__(media, stage, offer)
        self.codecs = codecs
        self.ingest = Ingest(self.peer, offer, codecs, media.counts, media.now)
        self.fresh = True  # nobody has decided about it yet
        self.arrived_at = self.taken_at = self.flowing_since = media.now()  # monotonic seconds

    def tracks(self) -> dict[str, sdp.Track]:
        """What the answer takes up."""
        rids = {"video": self.ingest.feed.rids}
        return {kind: sdp.Track((codec,), rids=rids.get(kind, ())) for kind, codec in self.codecs.items()}

    def connected(self) -> None:
        self.arrived_at = self.flowing_since = self.media.now()
        self.stage.arrived(self)

    def left(self) -> None:
        self.ingest.attach(())

    def peer_rtp(self, packet: bytes) -> None:
        now, last = self.media.now(), self.ingest.last_packet_at
        if last is None or now - last >= STALL_S:
            self.flowing_since = now
        self.session.heard(now)
        self.ingest.received_rtp(packet)

    def peer_rtcp(self, packet: bytes) -> None:
        self.session.heard(self.media.now())
        self.ingest.received_rtcp(packet)

    # --- as casting sees it -------------------------------------------------------------------------------------

    def silent_s(self, now: float) -> float:
        """Seconds since its last packet, or since it connected."""
        last = self.ingest.last_packet_at
        return now - (self.arrived_at if last is None else last)

    def steady_s(self, now: float) -> float:
        """For how long it has sent without a stall; 0 when it stalls now."""
        if self.ingest.last_packet_at is None or self.silent_s(now) >= STALL_S:
            return 0.0
        return now - self.flowing_since

    def missing(self, now: float) -> bool:
        """Whether viewers should see a slate: on air, and nothing comes."""
        return min(self.silent_s(now), now - self.taken_at) >= SLATE_S


class Subscription(Connection):
    role = Role.subscriber

    def __init__(self, media: House, stage: Scene, offer: sdp.Offer, codecs: dict[str, tuple[sdp.Codec, ...]]) -> None:
        super().__init__(media, stage, offer)
        self.codecs = codecs
        self.subscriber: Subscriber | None = None
        self._limit: tuple[int | None, bool] = (None, True)

    def tracks(self) -> dict[str, sdp.Track]:
        """What the answer promises: the same streams to all viewers."""
        relay = self.stage.relay
        rtx = {"video": relay.rtx_ssrc} if any(codec.rtx is not None for codec in self.codecs.get("video", ())) else {}
        return {kind: sdp.Track(codecs, relay.ssrc(kind), rtx.get(kind)) for kind, codecs in self.codecs.items()}

    def connected(self) -> None:
        self.subscriber = Subscriber(self.peer, self.codecs)
        self.subscriber.max_height, self.subscriber.selector.video = self._limit
        if not self.stage.relay.join(self.subscriber):
            self.media.end(self, Reason.codec_changed)

    def left(self) -> None:
        if self.subscriber is not None:
            self.stage.relay.leave(self.subscriber)

    def limit(self, max_height: int | None, *, video: bool) -> None:
        """What the viewer wants at most, in lines of the picture; None: the best. `video` False: sound only."""
        self._limit = (max_height, video)
        if self.subscriber is not None:
            self.stage.relay.cap(self.subscriber, max_height, video=video)

    def peer_rtp(self, packet: bytes) -> None:
        self.media.counts["rtp_from_viewer"] += 1

    def peer_rtcp(self, packet: bytes) -> None:
        self.session.heard(self.media.now())
        try:
            packets = rtcp.parse(packet)
        except PacketError:
            self.media.counts["rtcp_malformed"] += 1
            return
        if self.subscriber is not None:
            self.stage.relay.feedback(self.subscriber, packets)
