"""Ports that servers are told: free, not the kernel's to give away, and nobody else's."""

import socket
import subprocess
import sys
from pathlib import Path

import pytest

from loadtests import ports
from loadtests.ports import FIRST_PORT, free_port

_MANY = """
from loadtests.ports import free_port
print([free_port() for _ in range(50)], flush=True)
input()
"""


def test_two_processes_never_get_the_same() -> None:
    others = [
        subprocess.Popen([sys.executable, "-c", _MANY], stdin=subprocess.PIPE, stdout=subprocess.PIPE) for _ in "ab"
    ]
    got = [free_port() for _ in range(50)]
    for each in others:
        assert each.stdout is not None
        got += map(int, each.stdout.readline().decode().strip("[]\n").split(", "))
    for each in others:
        each.communicate(b"\n")
    assert len(set(got)) == 150


def test_no_connection_gets_one() -> None:
    lowest = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    assert all(FIRST_PORT <= free_port() < max(lowest, 2 * FIRST_PORT) for _ in range(50))


@pytest.mark.parametrize("kind", [socket.SOCK_STREAM, socket.SOCK_DGRAM])
def test_what_is_taken_is_passed_over(monkeypatch: pytest.MonkeyPatch, kind: socket.SocketKind) -> None:
    first = free_port(4)
    monkeypatch.setattr(ports, "_given", set())  # as in another process, after this one has ended
    monkeypatch.setattr("random.sample", lambda firsts, count: range(first, first + count))
    with socket.socket(type=kind) as taken:
        taken.bind(("127.0.0.1", first + 1))
        assert (free_port(), free_port(2)) == (first, first + 2)


def test_when_none_are_left_that_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("random.sample", lambda firsts, count: [])
    with pytest.raises(OSError, match="no 3 ports are left"):
        free_port(3)
