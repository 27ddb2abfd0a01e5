"""What is done to the server of a run: its own Valkey and its own workers only, never another's."""

import contextlib
import signal
from collections.abc import Callable, Sequence

import psutil

from loadtests.measures import Mark
from loadtests.scenario import Fault, ServerFault, ValkeyPause, ValkeyRestart, WorkerKill, kind_of


class FaultError(RuntimeError):
    """A fault of the scenario cannot be done to this server."""


def marks(faults: Sequence[Fault]) -> list[Mark]:
    """The faults for the charts."""
    found = []
    for fault in faults:
        for_s = getattr(fault, "for_s", None)
        share = getattr(fault, "share", 1.0)
        word = kind_of(fault) + (f" {share:.0%}" if share < 1 else "")
        found.append(Mark(fault.at_s, word, None if for_s is None else fault.at_s + for_s))
    return found


class ServerFaults:
    """The faults of one run, done when `tick` finds them due. `pid` None: the server is not ours.

    Raises `FaultError` when there is one that cannot be done: before the run begins.
    """

    def __init__(self, faults: Sequence[Fault], pid: int | None, *, own_valkey: bool, workers: int) -> None:
        self._waiting = sorted((one for one in faults if isinstance(one, ServerFault)), key=lambda one: one.at_s)
        self._pid = pid
        self._paused: list[tuple[float, psutil.Process]] = []
        for fault in self._waiting:
            name = f"fault: {kind_of(fault)}"
            if pid is None:
                raise FaultError(f"{name} is done to a server of our own only; run without --host")
            if isinstance(fault, WorkerKill) and workers < 2:
                raise FaultError(f"{name} needs a second worker; run with --workers 2 or more")
            if not isinstance(fault, WorkerKill) and not own_valkey:
                raise FaultError(f"{name} is done to a Valkey of our own only; run without --redis-url")

    def tick(self, at_s: float) -> None:
        """Do what is due `at_s` after the start; raises `FaultError` when the process to hit is not there."""
        while self._paused and self._paused[0][0] <= at_s:
            self._go_on()
        while self._waiting and self._waiting[0].at_s <= at_s:
            fault = self._waiting.pop(0)
            process = self._worker() if isinstance(fault, WorkerKill) else self._valkey()
            with contextlib.suppress(psutil.NoSuchProcess):
                if isinstance(fault, ValkeyPause):
                    process.send_signal(signal.SIGSTOP)
                    self._paused.append((at_s + fault.for_s, process))
                    self._paused.sort(key=lambda one: one[0])
                else:
                    assert isinstance(fault, WorkerKill | ValkeyRestart)
                    process.kill()

    def end(self) -> None:
        """Leave nothing paused."""
        while self._paused:
            self._go_on()

    def _go_on(self) -> None:
        _, process = self._paused.pop(0)
        with contextlib.suppress(psutil.NoSuchProcess):
            process.send_signal(signal.SIGCONT)

    def _valkey(self) -> psutil.Process:
        return self._child("Valkey", lambda one: one.name().startswith("valkey"))

    def _worker(self) -> psutil.Process:
        return self._child("worker", lambda one: "worker" in one.cmdline())

    def _child(self, name: str, fits: Callable[[psutil.Process], bool]) -> psutil.Process:
        for child in psutil.Process(self._pid).children(recursive=True):
            with contextlib.suppress(psutil.Error):
                if fits(child):
                    return child
        raise FaultError(f"the server has no {name} at the moment")
