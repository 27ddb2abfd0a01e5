"""What becomes of a message after a try: it has arrived, it is tried again later, or nobody tries any more.

Only a status of 2xx says that it has arrived; a redirect does not, because nobody has looked at where it leads. Tries
follow WEBHOOK_DELAYS_S, each delay a random part longer, so that what failed together does not come back together. A
receiver may ask for more patience with Retry-After (RFC 9110, section 10.2.3), up to the longest delay.
"""

from collections.abc import Mapping
from datetime import UTC
from email.utils import parsedate_to_datetime
from enum import Enum

import msgspec

from live.core.limits import WEBHOOK_DELAYS_S, WEBHOOK_JITTER

_GONE = 410


class Fate(Enum):
    """What a try means for its message; the value is stored."""

    delivered = "delivered"
    pending = "pending"
    dead = "dead"


class Try(msgspec.Struct, frozen=True):
    """How sending went. `status` None: there was no answer, and `problem` says why. `response`: its first bytes."""

    status: int | None
    problem: str = ""
    response: str = ""
    duration_ms: int = 0
    retry_after_ms: int | None = None

    @property
    def delivered(self) -> bool:
        return self.status is not None and 200 <= self.status < 300

    @property
    def gone(self) -> bool:
        """Whether the receiver wants nothing any more."""
        return self.status == _GONE


def judge(result: Try, tries: int, now_ms: int, jitter: float) -> tuple[Fate, int]:
    """What becomes of a message after `tries` tries, the last of which was `result`, and when it is tried again.

    `jitter` is a random number of 0 … 1.
    """
    if result.delivered:
        return Fate.delivered, now_ms
    if tries >= len(WEBHOOK_DELAYS_S):
        return Fate.dead, now_ms
    delay_ms = WEBHOOK_DELAYS_S[tries] * 1000 * (1 + WEBHOOK_JITTER * jitter)
    asked_ms = min(result.retry_after_ms or 0, WEBHOOK_DELAYS_S[-1] * 1000)
    return Fate.pending, now_ms + round(max(delay_ms, asked_ms))


def retry_after_ms(headers: Mapping[str, str], now_ms: int) -> int | None:
    """How long the answer asks us to wait; None: it does not, or not in words that we know."""
    value = headers.get("retry-after", "").strip()
    if value.isdecimal() and value.isascii() and len(value) <= 9:
        return int(value) * 1000
    try:
        at = parsedate_to_datetime(value)
    except ValueError:
        return None
    at = at if at.tzinfo else at.replace(tzinfo=UTC)
    return max(0, round(at.timestamp() * 1000) - now_ms)
