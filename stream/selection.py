"""Which layer a viewer gets: down at once when its path is too narrow, up by trials, one step at a time."""

from collections.abc import Sequence

from live.core.limits import START_BITS_PER_S
from stream.feed import LayerState


def ranked(layers: Sequence[LayerState]) -> list[int]:
    """The layers from the lowest quality to the highest, by picture area, then bitrate.

    Layers that do not arrive now are left out, unless none does.
    """
    order = sorted(range(len(layers)), key=lambda index: (layers[index].width * layers[index].height, layers[index][0]))
    return [index for index in order if layers[index].bits_per_s > 0] or order


class Selector:
    """The choice for one viewer. `now` is monotonic seconds; all rates are bits per second."""

    def __init__(self) -> None:
        self.cap: int | None = None
        """The highest rank that the viewer wants: 0 is the lowest layer; None: no cap."""
        self.video = True
        """False: the viewer wants audio only."""
        self.limited = False
        """Whether the viewer's path, not the viewer or the publisher, keeps it from a better layer."""

    def report(
        self, *, remb: int | None = None, loss: float | None = None, rtt_s: float | None = None, now: float
    ) -> None:
        """Take what a viewer's RTCP said: REMB in bits per second, loss from 0 to 1; None: not told this time."""

    def choose(self, layers: Sequence[LayerState], current: int | None, now: float) -> int | None:
        """The layer to show, `current` being what is sent now (None: no video); None: audio only.

        To be asked every MEDIA_TICK_S to 0.25 s. The answer holds until a keyframe of the layer lets the viewer switch.
        """
        if not self.video or not layers:
            return None
        ladder = ranked(layers)
        if self.cap is not None:
            ladder = ladder[: self.cap + 1]
        if current is None:
            fitting = [layer for layer in ladder if layers[layer].bits_per_s <= START_BITS_PER_S]
            return (fitting or ladder[:1])[-1]
        return current if current in ladder else ladder[-1]
