"""Viewers who join walk the packet cache from the newest keyframe to its head, paced, and are live there.

Nothing is missed and nothing comes twice, because packets enter the cache when their batch begins: the "head" is what
the live viewers have been sent.
"""

import asyncio
from collections.abc import Callable, Iterator

from live.core.limits import JOIN_BURST_PACKETS, JOIN_INTERVAL_S
from stream.downstream.audience import Audience
from stream.downstream.fanout import Pump, Sender
from stream.downstream.lines import Outgoing, translated
from stream.downstream.subscribers import Subscriber


class Walks:
    """The walks of one show's viewers. `wake` has `steps` run soon."""

    def __init__(
        self, audience: Audience, video: Outgoing, sender: Sender, pump: Pump, wake: Callable[[], None]
    ) -> None:
        self.due = False
        self._audience = audience
        self._video = video
        self._sender = sender
        self._pump = pump
        self._wake = wake
        self._timer: asyncio.TimerHandle | None = None

    def begin(self) -> None:
        """Somebody has begun to walk."""
        if self._audience.walkers and self._timer is None:
            self._go_on()

    def close(self) -> None:
        """Stop for good."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def steps(self) -> Iterator[None]:
        """Send each walker its next burst; those who reach the head are live."""
        self.due = False
        for viewer in tuple(self._audience.walkers):
            if viewer in self._audience.walkers:  # it may have left, or moved, while others were sent theirs
                self._burst(viewer)
                yield
        if self._audience.walkers and self._timer is None:
            self._timer = self._pump.later(JOIN_INTERVAL_S, self._go_on)

    def _burst(self, viewer: Subscriber) -> None:
        translation, payload_type = viewer.numbering.current, viewer.payload_types[0]
        assert viewer.cursor is not None and translation.layer is not None, "it walks"
        cache = self._video.lines[translation.layer].cache
        end = min(viewer.cursor + JOIN_BURST_PACKETS, cache.head)
        entries = [entry for number in range(viewer.cursor, end) if (entry := cache.get(number)) is not None]
        if payload_type is not None:
            packets = [translated(entry, translation, payload_type) for entry in entries]
            self._sender.to_one(viewer, packets, payload_type)
        if entries:
            viewer.walked = entries[-1].mark
        viewer.cursor = end
        if end == cache.head:
            self._audience.arrived(viewer)

    def _go_on(self) -> None:
        self._timer = None
        self.due = True
        self._wake()
