"""Faults of a server are done to our own only, and the plan of an event is kept."""

import signal
import subprocess
import sys
from collections.abc import Iterator

import psutil
import pytest

from loadtests.faults import FaultError, ServerFaults, marks
from loadtests.measures import Mark
from loadtests.scenario import (
    Burst,
    Chat,
    Reconnect,
    ServerFault,
    Slow,
    ValkeyPause,
    ValkeyRestart,
    Viewers,
    Wave,
    WorkerKill,
)
from loadtests.timetable import belongs, joins, leaves, probes

# A process with one child, which is named as a Valkey and called as a worker is.
_FAMILY = """
import os, sys
if os.fork() == 0:
    os.execv(sys.executable, ["valkey-server", "-c", "import signal; signal.pause()", "worker", "0"])
print(flush=True)
os.wait()
os.wait()
"""


@pytest.fixture
def family() -> Iterator[psutil.Process]:
    process = subprocess.Popen([sys.executable, "-c", _FAMILY], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
    assert process.stdout is not None
    process.stdout.readline()
    parent = psutil.Process(process.pid)
    yield parent
    for one in (*parent.children(), parent):
        one.kill()
    process.wait()
    process.stdout.close()


def named(family: psutil.Process, monkeypatch: pytest.MonkeyPatch) -> psutil.Process:
    """The child; its name is what a Valkey's is, which a script's cannot be."""
    monkeypatch.setattr(psutil.Process, "name", lambda one: "valkey-server")
    return family.children()[0]


def test_a_worker_is_killed_when_it_is_due(family: psutil.Process) -> None:
    child = family.children()[0]
    while "worker" not in child.cmdline():  # it has not become another program yet
        pass
    faults = ServerFaults([Slow(1.0, 1.0), WorkerKill(2.0)], family.pid, own_valkey=True, workers=2)
    faults.tick(1.9)
    assert child.is_running()
    faults.tick(2.1)
    psutil.wait_procs([child], timeout=10)
    faults.tick(3.0)
    assert not child.is_running() or child.status() == psutil.STATUS_ZOMBIE


def test_a_valkey_is_paused_and_goes_on(family: psutil.Process, monkeypatch: pytest.MonkeyPatch) -> None:
    child = named(family, monkeypatch)
    sent: list[int] = []
    monkeypatch.setattr(psutil.Process, "send_signal", lambda one, number: sent.append(number))
    faults = ServerFaults([ValkeyPause(1.0, 5.0), ValkeyPause(2.0, 1.0)], family.pid, own_valkey=True, workers=1)
    faults.tick(1.0)
    faults.tick(2.0)
    assert sent == [signal.SIGSTOP, signal.SIGSTOP]
    faults.tick(3.0)
    assert sent[2:] == [signal.SIGCONT]
    faults.end()
    assert sent[3:] == [signal.SIGCONT]
    assert child.is_running()


def test_a_valkey_is_killed(family: psutil.Process, monkeypatch: pytest.MonkeyPatch) -> None:
    child = named(family, monkeypatch)
    ServerFaults([ValkeyRestart(0.0)], family.pid, own_valkey=True, workers=1).tick(0.0)
    assert child in psutil.wait_procs([child], timeout=10)[0] or child.status() == psutil.STATUS_ZOMBIE


@pytest.mark.parametrize(
    ("fault", "pid", "own_valkey", "said"),
    [
        (ValkeyRestart(1.0), None, True, "run without --host"),
        (ValkeyPause(1.0, 1.0), 1, False, "run without --redis-url"),
        (WorkerKill(1.0), 1, True, "--workers 2 or more"),
    ],
)
def test_what_cannot_be_done_is_said_before(fault: ServerFault, pid: int | None, own_valkey: bool, said: str) -> None:
    with pytest.raises(FaultError, match=said):
        ServerFaults([fault], pid, own_valkey=own_valkey, workers=1)


def test_what_is_not_there_is_said() -> None:
    childless = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        faults = ServerFaults([ValkeyRestart(1.0)], childless.pid, own_valkey=True, workers=1)
        with pytest.raises(FaultError, match="no Valkey at the moment"):
            faults.tick(1.0)
    finally:
        childless.communicate()


def test_faults_are_marked() -> None:
    found = marks([Slow(3.0, 2.0, 0.25), Reconnect(9.0), ValkeyPause(10.0, 4.0)])
    assert found == [Mark(3.0, "slow 25%", 5.0), Mark(9.0, "reconnect"), Mark(10.0, "valkey-pause", 14.0)]


# --- the timetable


def test_viewers_come_by_ramp_and_waves() -> None:
    viewers = Viewers(
        4, 2.0, wave=(Wave(5.0, joins=2, within_s=1.0), Wave(7.0, leaves=2, within_s=4.0), Wave(6.0, leaves=1))
    )
    assert joins(viewers) == [0.0, 0.5, 1.0, 1.5, 5.0, 5.5]
    assert leaves(viewers) == [6.0, 7.0, 9.0]
    assert viewers.total == 6


def test_chat_keeps_its_rates() -> None:
    chat = Chat(2.0, (Burst(1.2, 0.5, 10.0),))
    assert [round(due, 3) for due in probes(chat, 0.0, 3.0)] == [
        0.0, 0.5, 1.0, 1.2, 1.3, 1.4, 1.5, 1.6, 1.7, 2.2, 2.7,
    ]  # fmt: skip
    assert list(probes(Chat(2.0), 0.9, 2.0)) == [0.9, 1.4, 1.9]
    assert chat.speakers == 20


@pytest.mark.parametrize("share", [0.01, 0.1, 0.5, 1.0])
def test_a_share_is_that_many_of_any_swarm(share: float) -> None:
    for swarm in range(3):
        hit = sum(belongs(index, share) for index in range(swarm, 6000, 3))
        assert abs(hit - 2000 * share) <= 10
