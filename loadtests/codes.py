"""What a close code means, for people (RFC 6455, section 7.4.1, and those of the server)."""

from live.core.errors import CLOSES

_WORDS = {"1005": "without a code", "1006": "cut off", "1009": "too big", "1011": "server error", "1012": "restart"}
_WORDS |= {str(one.code): one.reason for one in CLOSES}


def told(code: str) -> str:
    """`code`, as in `Totals.closes`, with its meaning; as it is when it has none."""
    return f"{code} {_WORDS[code]}" if code in _WORDS else code
