"""What fan-out has done on this worker since it started: plain integers, cheap where they are counted."""

from typing import Literal, get_args

from live.core.buckets import Buckets

Kind = Literal["event", "state", "notice", "reply", "snapshot"]
KINDS: tuple[Kind, ...] = get_args(Kind)
_BROADCAST_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.15, 0.2, 0.25, 0.5, 1.0)
_LAG_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)


class Figures:
    """See the module. A frame that holds an event counts as `event`, whatever else is in it."""

    __slots__ = (
        "broadcast_s", "broken", "bus_lag_s", "bytes", "events", "frames", "rounds", "skipped", "slice_s_max", "slices",
    )  # fmt: skip

    def __init__(self) -> None:
        self.frames: dict[Kind, int] = dict.fromkeys(KINDS, 0)
        self.bytes: dict[Kind, int] = dict.fromkeys(KINDS, 0)
        self.events = 0  # times viewers
        self.skipped = 0  # turns of viewers that did not read
        self.broken = 0  # viewers that writing to failed
        self.rounds = 0  # through an audience
        self.slices = 0  # of writing, between two of which other work had the loop
        self.slice_s_max = 0.0
        self.broadcast_s = Buckets(_BROADCAST_S)  # from a round's first viewer to its last
        self.bus_lag_s = Buckets(_LAG_S)  # from an event's publication to its arrival here

    def sent(self, kind: Kind, size_bytes: int) -> None:
        """Count one frame."""
        self.frames[kind] += 1
        self.bytes[kind] += size_bytes
