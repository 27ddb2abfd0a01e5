"""Who may write now: mutes, slow mode and rates as one decision, without a clock or a store.

The order of the questions is the order of what a viewer can do about the answer: a ban (nothing), a timeout (wait
long), the rate (wait a moment), slow mode (wait a moment). Moderators, hosts and ops are asked nothing.
"""

from enum import Enum

import msgspec

from live.core.auth import Principal, Role
from live.core.errors import Kind, Problem
from live.core.limits import SLOW_MODE_S_MAX, TIMEOUT_S_MAX


class Mute(Enum):
    """How a viewer is kept from writing."""

    none = "none"
    timeout = "timeout"  # until a time
    ban = "ban"  # until a moderator lifts it


class Standing(msgspec.Struct, frozen=True):
    """What a show's chat knows of a viewer. Times are Unix milliseconds; `posted_at_ms` None: wrote nothing yet.

    `muted_until_ms` is set for a timeout only.
    """

    mute: Mute = Mute.none
    muted_until_ms: int | None = None
    reason: str = ""
    posted_at_ms: int | None = None

    def muted_at(self, now_ms: int) -> Mute:
        """The mute that holds at `now_ms`; a timeout ends by itself."""
        if self.mute is Mute.timeout and (self.muted_until_ms or 0) <= now_ms:
            return Mute.none
        return self.mute


class Refusal(msgspec.Struct, frozen=True):
    """Why a viewer may not write. `wait_ms` None: waiting does not help."""

    kind: Kind
    wait_ms: int | None
    reason: str = ""

    def problem(self) -> Problem:
        """The numbered error for the viewer."""
        retry_after_s = None if self.wait_ms is None else -(-self.wait_ms // 1000)
        return Problem(self.kind, self.reason, retry_after_s=retry_after_s)


def is_exempt(principal: Principal, show_id: str) -> bool:
    """Whether no mute, mode or rate of the show's chat applies."""
    return principal.may(Role.moderator, show_id)


def refusal(standing: Standing, slow_s: int, now_ms: int) -> Refusal | None:
    """Why a viewer of this `standing` may not write at `now_ms`; None: go ahead. `slow_s` 0: no slow mode."""
    mute = standing.muted_at(now_ms)
    if mute is Mute.ban:
        return Refusal(Kind.banned, None, standing.reason)
    if mute is Mute.timeout:
        assert standing.muted_until_ms is not None, "a timeout has an end"
        return Refusal(Kind.timed_out, standing.muted_until_ms - now_ms, standing.reason)
    if slow_s and standing.posted_at_ms is not None:
        wait_ms = standing.posted_at_ms + slow_s * 1000 - now_ms
        if wait_ms > 0:
            return Refusal(Kind.slow_mode, wait_ms)
    return None


def rate_refusal(wait_s: float) -> Refusal | None:
    """Why a viewer whose rate limit asks for `wait_s` seconds may not write; 0: go ahead."""
    return Refusal(Kind.rate_limited, max(1, round(wait_s * 1000))) if wait_s > 0 else None


def timeout(seconds: int, now_ms: int, reason: str) -> Standing:
    """A mute for `seconds`; raises `Problem` invalid_field."""
    if not 1 <= seconds <= TIMEOUT_S_MAX:
        raise Problem(Kind.invalid_field, f"Between 1 and {TIMEOUT_S_MAX} seconds.", field="seconds")
    return Standing(mute=Mute.timeout, muted_until_ms=now_ms + seconds * 1000, reason=reason)


def check_slow(seconds: int) -> int:
    """The seconds between two messages of one viewer, 0 for none; raises `Problem` invalid_field."""
    if not 0 <= seconds <= SLOW_MODE_S_MAX:
        raise Problem(Kind.invalid_field, f"Between 0 and {SLOW_MODE_S_MAX} seconds.", field="seconds")
    return seconds


def check_mutable(role: Role) -> None:
    """Raises `Problem` role_forbidden for those whom no mute would reach."""
    if role.rank >= Role.moderator.rank:
        raise Problem(Kind.role_forbidden, "Moderators, hosts and ops cannot be muted.", field="viewer_id")
