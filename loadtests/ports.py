"""Ports for servers that must be told one.

A port that the kernel gives for 0 is one it may give to any connection a moment later, and then the server cannot have
it, or cannot have it back after a restart. These lie below the kernel's, are free for TCP and UDP, and are claimed from
all other runs on this machine while the process lives (portpicker, which does the first two, claims nothing and knows
no neighbours).
"""

import errno
import fcntl
import os
import random
import re
import socket
import tempfile
from functools import cache
from pathlib import Path

FIRST_PORT = 20_000
_RANGE = Path("/proc/sys/net/ipv4/ip_local_port_range")
_RANGE_ELSEWHERE = 49_152  # RFC 6335, section 6: dynamic ports

_given: set[int] = set()  # a lock of fcntl(2) does not keep the process that holds it from taking it again


def free_port(count: int = 1) -> int:
    """The first of `count` neighbours that are free on 127.0.0.1 and given to nobody else. `OSError`: none are left."""
    firsts = range(FIRST_PORT, _kernels_first() - count)
    for first in random.sample(firsts, len(firsts)):
        chosen = range(first, first + count)
        if all(_free(port) for port in chosen) and all(_claimed(port) for port in chosen):
            return first
    raise OSError(errno.EADDRNOTAVAIL, f"no {count} ports are left between {firsts.start} and {firsts.stop}")


def _kernels_first() -> int:
    """The lowest port that a connection may get; one above ours where all are the kernel's."""
    try:
        lowest = int(re.split(r"\s+", _RANGE.read_text())[0])
    except OSError:
        lowest = _RANGE_ELSEWHERE
    return lowest if lowest > FIRST_PORT + 1000 else 2 * FIRST_PORT


def _claimed(port: int) -> bool:
    if port in _given:
        return False
    try:
        fcntl.lockf(_claims(), fcntl.LOCK_EX | fcntl.LOCK_NB, 1, port)
    except OSError:
        return False
    _given.add(port)
    return True


@cache
def _claims() -> int:
    """The file whose locks are the claims, open while the process lives: to close it once would drop them all."""
    return os.open(Path(tempfile.gettempdir()) / f"showcart-ports-{os.getuid()}", os.O_RDWR | os.O_CREAT, 0o600)


def _free(port: int) -> bool:
    with socket.socket() as tcp, socket.socket(type=socket.SOCK_DGRAM) as udp:
        try:
            tcp.bind(("127.0.0.1", port))
            udp.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
