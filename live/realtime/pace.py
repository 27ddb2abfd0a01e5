"""How many commands one person and one address may ask for, whichever of their sockets to this worker they use.

A socket has its own allowance (`session`). These bounds are wider, and hold whoever opens many sockets. They are per
worker and without a store: a command is answered in less time than the bus would take.
"""

import math

from live.core.addresses import network
from live.core.errors import Kind, Problem
from live.core.gate import Gate
from live.core.limits import (
    ADDRESSES_REMEMBERED_MAX,
    COMMANDS_OF_ADDRESS_BURST,
    COMMANDS_OF_ADDRESS_PER_S,
    COMMANDS_OF_ONE_BURST,
    COMMANDS_OF_ONE_PER_S,
    WS_CONNECTIONS_MAX,
)


class Pace:
    """See the module. `addresses`: they are bounded, too."""

    def __init__(self, *, addresses: bool) -> None:
        self._persons = Gate(COMMANDS_OF_ONE_PER_S, COMMANDS_OF_ONE_BURST, WS_CONNECTIONS_MAX)
        bounds = COMMANDS_OF_ADDRESS_PER_S, COMMANDS_OF_ADDRESS_BURST, ADDRESSES_REMEMBERED_MAX
        self._addresses = Gate(*bounds) if addresses else None

    def refuse(self, subject: str, address: str, now_s: float) -> Problem | None:
        """None: one more command is counted. Else why it is too much, and until when; `now_s` is monotonic."""
        wait_s = self._persons.take(subject, now_s)
        if not wait_s and self._addresses is not None:
            wait_s = self._addresses.take(network(address), now_s)
        return Problem(Kind.rate_limited, retry_after_s=math.ceil(wait_s)) if wait_s else None
