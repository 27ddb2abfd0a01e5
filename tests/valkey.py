"""What happens to a Valkey in the tests beyond being started and stopped."""

import os
import signal

from live.core.valkey import EmbeddedValkey


def crash(valkey: EmbeddedValkey) -> None:
    """Kill the server where it stands; it comes back by itself, without what it knew."""
    assert valkey.pid is not None
    os.kill(valkey.pid, signal.SIGKILL)
