"""Where a show's stream of events stands."""

import msgspec


class Position(msgspec.Struct, frozen=True):
    """A place in a show's stream of events. Offsets count up by one within an epoch."""

    epoch: str
    offset: int
