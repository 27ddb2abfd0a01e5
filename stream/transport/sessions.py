"""The life of a media session, publisher or subscriber: a transition table and the deadlines that end it.

    WAITING ──a──▶ CHECKED ──b──▶ CONNECTED
       │              │               │
       └──────c───────┴───────c───────┴──▶ CLOSED

a  BOUND     a STUN binding request with the session's password arrived: the address is real (RFC 8445, section 7.3)
b  SECURED   the DTLS handshake is complete and the certificate is the one of the offer (RFC 5763)
c  ENDED     DELETE, takeover, DTLS close, expiry, shutdown

Deadlines: a handshake that takes too long; silence (nothing that authenticates arrives); consent, which only
binding requests renew (RFC 7675, section 5.1): without it we must stop sending, whatever else arrives.
"""

import enum
import hmac

from live.core.limits import (
    ADDRESS_QUIET_S,
    CONSENT_EXPIRY_S,
    HANDSHAKE_TIMEOUT_S,
    PEER_DEAD_S,
    PEER_SWEEP_INTERVAL_S,
)

# A peer must be found dead within PEER_DEAD_S although we look only once per sweep.
SILENCE_S_MAX = PEER_DEAD_S - 2 * PEER_SWEEP_INTERVAL_S


class Role(enum.Enum):
    publisher = "publisher"
    subscriber = "subscriber"


class State(enum.Enum):
    waiting = "waiting"
    checked = "checked"
    connected = "connected"
    closed = "closed"


class Trigger(enum.Enum):
    bound = "bound"
    secured = "secured"
    ended = "ended"


class Reason(enum.Enum):
    """Why a session ended; the label of the counter."""

    deleted = "deleted"
    taken_over = "taken_over"
    closed_by_peer = "closed_by_peer"
    handshake_failed = "handshake_failed"
    handshake_timeout = "handshake_timeout"
    silent = "silent"
    consent_expired = "consent_expired"
    evicted = "evicted"
    codec_changed = "codec_changed"
    show_over = "show_over"
    shutdown = "shutdown"


TRANSITIONS: dict[tuple[State, Trigger], State] = {
    (State.waiting, Trigger.bound): State.checked,
    (State.checked, Trigger.secured): State.connected,
    (State.waiting, Trigger.ended): State.closed,
    (State.checked, Trigger.ended): State.closed,
    (State.connected, Trigger.ended): State.closed,
}


class IllegalTransition(Exception):
    """Our own bug: a trigger that the present state does not know."""


class Session:
    """One session's state, its ETag and its clock readings. Times are seconds on a monotonic clock."""

    def __init__(self, session_id: str, show: str, role: Role, etag: str, now: float) -> None:
        self.id = session_id
        self.show = show
        self.role = role
        self.etag = etag
        self.state = State.waiting
        self.reason: Reason | None = None
        self._created = now
        self._heard = now
        self._consented = now

    def trigger(self, trigger: Trigger) -> None:
        """Follow the table; raises `IllegalTransition` where it has no entry."""
        try:
            self.state = TRANSITIONS[self.state, trigger]
        except KeyError:
            raise IllegalTransition(f"{trigger.value} in the state {self.state.value}") from None

    def consented(self, now: float) -> None:
        """A binding request passed its integrity check; the first one proves the address."""
        self._consented = self._heard = now
        if self.state is State.waiting:
            self.trigger(Trigger.bound)

    def heard(self, now: float) -> None:
        """A packet passed SRTP or SRTCP authentication."""
        self._heard = now

    def alive(self, now: float) -> bool:
        """Whether the peer was heard so lately that nobody else can be at its address."""
        return self.state is State.connected and now - self._heard < ADDRESS_QUIET_S

    def secured(self, now: float) -> None:
        """The DTLS handshake is complete."""
        self._heard = now
        self.trigger(Trigger.secured)

    def ended(self, reason: Reason) -> None:
        """The session is over; the first reason stays."""
        self.trigger(Trigger.ended)
        self.reason = reason

    def age_s(self, now: float) -> float:
        """How long ago it was asked for."""
        return now - self._created

    def expired(self, now: float) -> Reason | None:
        """Why the session must end now; None while it may go on."""
        if self.state is State.closed:
            return None
        if self.state is not State.connected:
            return Reason.handshake_timeout if now - self._created >= HANDSHAKE_TIMEOUT_S else None
        if now - self._heard >= SILENCE_S_MAX:
            return Reason.silent
        if now - self._consented >= CONSENT_EXPIRY_S:
            return Reason.consent_expired
        return None

    def matches(self, if_match: str) -> bool:
        """Whether an If-Match header (RFC 9110, section 13.1.1) names this ICE session.

        "*" matches too; RFC 9725 sends it, also in quotes, to restart ICE whatever the present tag is.
        """
        tags = [tag.strip() for tag in if_match.split(",")]
        return any(tag in ("*", '"*"') or hmac.compare_digest(tag.encode(), self.etag.encode()) for tag in tags)
