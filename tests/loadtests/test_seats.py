"""Who runs on which processor while a server and its load share a machine."""

import os
import subprocess
import sys
import threading

import pytest

from loadtests.seats import SEATS_FROM, Seats, keep, processors, seats

MANY = SEATS_FROM


@pytest.mark.parametrize(
    ("viewers", "workers", "there", "expected"),
    [
        (MANY, 1, {2, 3, 5}, Seats(frozenset({2}), frozenset({3, 5}))),
        (MANY - 1, 1, {0, 1}, None),
        (MANY, 2, {0, 1, 2, 3}, None),  # workers share what there is
        (MANY, 1, {0}, None),
        (MANY, 1, set(), None),
    ],
)
def test_a_server_that_fills_a_core_has_one(
    viewers: int, workers: int, there: set[int], expected: Seats | None
) -> None:
    found = seats(viewers, workers, frozenset(there))
    assert found == expected
    if found is not None:
        assert found.told == "server on CPU 2, swarm on CPU 3, 5"


@pytest.mark.skipif(not hasattr(os, "sched_getaffinity"), reason="this system does not say who runs where")
def test_all_threads_of_a_process_keep_their_processors() -> None:
    there = processors()
    assert there == os.sched_getaffinity(0)
    program = (
        "import threading, time; threading.Thread(target=input).start(); print('ready', flush=True); time.sleep(60)"
    )
    process = subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        one = frozenset({max(there)})
        keep(process.pid, one)
        threads = [int(thread) for thread in os.listdir(f"/proc/{process.pid}/task")]
        assert len(threads) == 2
        assert {frozenset(os.sched_getaffinity(thread)) for thread in threads} == {one}
        assert os.sched_getaffinity(threading.get_native_id()) == there
    finally:
        process.kill()
        process.communicate()
    keep(process.pid, one)  # it has ended, which is no fault
