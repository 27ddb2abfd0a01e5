"""A `Selector` that is asked at once and in virtual time, on the layers of `viewing`."""

from stream.downstream.selection import Selector
from stream.feed import LayerState
from tests.stream.viewing import LAYERS

LOW, MIDDLE, HIGH = 0, 1, 2


class Driver:
    """A Selector that is asked every 100 ms, on a relay that switches at once."""

    def __init__(self, layers: tuple[LayerState, ...] = LAYERS) -> None:
        self.selector = Selector()
        self.layers = layers
        self.now = 100.0
        self.layer: int | None = None

    def run(self, seconds: float, **report: float) -> int | None:
        """Let time pass, with this report once a second; returns the layer."""
        for tick in range(round(seconds * 10)):
            if tick % 10 == 0:
                self.report(**report)
            self.layer = self.selector.choose(self.layers, self.layer, self.now)
            self.now += 0.1
        return self.layer

    def report(self, **report: float) -> None:
        remb = report.get("remb")
        self.selector.report(
            remb=None if remb is None else round(remb),
            loss=report.get("loss"),
            rtt_s=report.get("rtt_s"),
            now=self.now,
        )

    def climb(self) -> None:
        """To the best layer, long enough for the usual round trip to be known and every trial to have passed."""
        assert self.run(40, loss=0.0, rtt_s=0.05) == len(self.layers) - 1
