"""How much one viewer may have sent again: a rate for all, and for each packet a number of times and a distance.

A viewer behind a broken path, or a hostile one, asks for everything again and again; each answer costs as much as a
packet of the stream. So all answers together have an allowance that refills, one packet is sent again at most
RETRANSMISSIONS_PER_PACKET_MAX times, and not before the last answer had the time to arrive.
"""

from live.core.limits import (
    RETRANSMISSION_INTERVAL_S,
    RETRANSMISSION_INTERVAL_S_MIN,
    RETRANSMISSIONS_BURST,
    RETRANSMISSIONS_PER_PACKET_MAX,
    RETRANSMISSIONS_PER_S,
    RETRANSMISSIONS_REMEMBERED,
)


class Allowance:
    """What one viewer has left; `now` is monotonic seconds."""

    def __init__(self) -> None:
        self._tokens = float(RETRANSMISSIONS_BURST)
        self._tokens_at = 0.0
        self._sent: dict[tuple[int, int], tuple[int, float]] = {}  # packet → times, when last

    def take(self, count: int, now: float) -> int:
        """How many of `count` packets the viewer may ask for now; they are taken from its allowance."""
        refill = (now - self._tokens_at) * RETRANSMISSIONS_PER_S
        self._tokens = min(self._tokens + refill, float(RETRANSMISSIONS_BURST))
        self._tokens_at = now
        granted = min(count, int(self._tokens))
        self._tokens -= granted
        return granted

    def again(
        self, layer: int, sequence: int, now: float, rtt_s: float | None, times: int = RETRANSMISSIONS_PER_PACKET_MAX
    ) -> bool:
        """Whether this packet may be sent again now, at most `times` in all; notes that it is.

        `sequence` is the relay's extended number in `layer`; `rtt_s` is the viewer's round trip, None when unknown.
        """
        key = (layer, sequence)
        sent, at = self._sent.pop(key, (0, float("-inf")))
        interval = RETRANSMISSION_INTERVAL_S if rtt_s is None else max(rtt_s, RETRANSMISSION_INTERVAL_S_MIN)
        granted = sent < times and now - at >= interval
        self._sent[key] = (sent + 1, now) if granted else (sent, at)
        if len(self._sent) > RETRANSMISSIONS_REMEMBERED:
            del self._sent[next(iter(self._sent))]
        return granted
