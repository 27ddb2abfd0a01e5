"""What is told of each show's video once a second: to its studio, to Prometheus, and to the worker that adds it up."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import msgspec

from live.core.limits import MEDIA_REPORT_INTERVAL_S
from stream.downstream.tally import AudienceFigures, merged
from stream.stage import Stage

logger = logging.getLogger(__name__)


class Bulletins:
    """The newest figures of the shows in `stages`. `tell` hears of those whose publisher is on air here."""

    def __init__(self, stages: Mapping[str, Stage], tell: Callable[[str, dict[str, Any]], Awaitable[None]]) -> None:
        self.local: dict[str, dict[str, Any]] = {}
        """Of each show that is shown here, the publisher's figures if it is here, and those of the viewers here."""
        self._stages = stages
        self._tell = tell
        self._whole: dict[str, dict[str, Any]] = {}

    async def run(self) -> None:
        """Tell, until cancelled."""
        while True:
            await asyncio.sleep(MEDIA_REPORT_INTERVAL_S)
            for stage in tuple(self._stages.values()):
                self._measure(stage)
                figures = self._whole.get(stage.show)
                if figures is not None:
                    try:
                        await self._tell(stage.show, figures)
                    except Exception:
                        logger.warning("could not tell the figures of %s", stage.show, exc_info=True)

    def forget(self, show: str) -> None:
        """Nobody publishes or watches here any more."""
        self.local.pop(show, None)
        self._whole.pop(show, None)

    def whole(self, show: str) -> dict[str, Any] | None:
        """A show's `downstream.tally.VideoFigures` as plain values; None: its publisher is not on air here."""
        stage = self._stages.get(show)
        if stage is None or stage.publication is None:
            return None
        if show not in self._whole:
            self._measure(stage)  # it has just begun
        return self._whole[show]

    def _measure(self, stage: Stage) -> None:
        """Rates are since the last time."""
        self.forget(stage.show)
        if stage.relay.feed is None:
            return
        audience = AudienceFigures(**stage.relay.statistics())
        number = len(stage.relay.subscribers)
        publication = stage.publication
        figures = publication.ingest.statistics() if publication is not None else {}
        self.local[stage.show] = figures | {"audience": msgspec.to_builtins(audience)}
        if publication is None:
            stage.tell_origin(audience)
            return
        everybody = merged(((number, audience), *stage.elsewhere))
        self._whole[stage.show] = figures | {
            "rank": publication.rank.value,
            "rtt_ms": everybody.rtt_ms,
            "subscribers": number + stage.viewers_elsewhere,
            "audience": msgspec.to_builtins(everybody),
        }
