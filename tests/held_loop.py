"""Finds code of ours that holds the event loop: no callback of it may take more than HELD_S (design, Budgets).

Each callback that asyncio's own loop runs (a task's step, a timer, a reader) is measured by the CPU time of its thread,
so a busy machine accuses nobody. A test runs on the same loop as what it tests; so a thread looks every few
milliseconds which frame a long callback is in, and only the share that is spent below `live`, `chat`, `cart`, `stream`
or `app` counts. Not counted: looking for garbage, which servers do otherwise (`live.core.garbage`) and over their own
objects, not a test run's.

uvloop's callbacks are run by C code and cannot be measured like this; the same code runs on both.
"""

import asyncio
import gc
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

HELD_S = 0.05
MAY_HOLD = {"live/core/database.py:_upgrade"}  # before a server serves anybody: imports Alembic, and migrates
_LOOK_S = 0.005
_ROOT = str(Path(__file__).parents[1])
_OURS = tuple(f"{_ROOT}/{name}" for name in ("live/", "chat/", "cart/", "stream/", "app.py"))
_THEIRS = (f"{_ROOT}/tests/", f"{_ROOT}/loadtests/")


class HeldLoop:
    """Watches the loops of the thread it is made in."""

    def __init__(self) -> None:
        self.found: list[tuple[float, str]] = []  # seconds of CPU, and where they went
        self._thread = threading.get_ident()
        self._number = 0  # of the callback; even: none is running
        self._began = self._garbage = 0.0
        self._seen: Counter[str] = Counter()  # where it was, "": not in code of ours
        self._over = threading.Event()

    @contextmanager
    def watching(self) -> Iterator[None]:
        """For as long as the context lasts, every callback."""
        run = asyncio.Handle._run

        def measured(handle: asyncio.Handle) -> None:
            if threading.get_ident() != self._thread:
                run(handle)
                return
            self._number += 1
            self._garbage = 0.0
            began = time.thread_time()
            try:
                run(handle)
            finally:
                held_s = time.thread_time() - began - self._garbage
                self._number += 1
                if held_s > HELD_S:
                    self._judge(handle, held_s)
                if self._seen:
                    self._seen.clear()

        looking = threading.Thread(target=self._look, name="held loop", daemon=True)
        asyncio.Handle._run = measured  # type: ignore[method-assign, assignment]
        gc.callbacks.append(self._collecting)
        looking.start()
        try:
            yield
        finally:
            asyncio.Handle._run = run  # type: ignore[method-assign]
            gc.callbacks.remove(self._collecting)
            self._over.set()
            looking.join()

    def _collecting(self, phase: str, info: dict[str, Any]) -> None:
        if threading.get_ident() == self._thread:
            if phase == "start":
                self._began = time.thread_time()
            else:
                self._garbage += time.thread_time() - self._began

    def _look(self) -> None:
        before = 0
        while not self._over.wait(_LOOK_S):
            number = self._number
            if number % 2 and number == before and (frame := sys._current_frames().get(self._thread)):
                place = _place(frame)
                if number == self._number:
                    self._seen[place] += 1
            before = number

    def _judge(self, handle: asyncio.Handle, held_s: float) -> None:
        seen = self._seen.copy()
        if not seen:  # one call of C code, which nobody can look into: it is of whoever the callback is of
            seen[_place_of(handle)] = 1
        ours = {place: count for place, count in seen.items() if place}
        ours_s = held_s * sum(ours.values()) / seen.total()
        if ours_s > HELD_S:
            self.found.append(
                (ours_s, ", ".join(f"{place} ({count})" for place, count in Counter(ours).most_common(3)))
            )


def _place(frame: FrameType | None) -> str:
    """The innermost of our functions in a stack, if no test is below it and it may not hold the loop."""
    found = ""
    while frame is not None:
        if frame.f_code.co_filename.startswith(_OURS):
            name = _name(frame.f_code)
            if name in MAY_HOLD:
                return ""
            found = found or name
        elif not found and frame.f_code.co_filename.startswith(_THEIRS):
            return ""
        frame = frame.f_back
    return found


def _place_of(handle: asyncio.Handle) -> str:
    callback: Any = handle._callback  # type: ignore[attr-defined]
    task = getattr(callback, "__self__", None)
    of = task.get_coro() if isinstance(task, asyncio.Task) else callback
    code = getattr(of, "cr_code", None) or getattr(of, "__code__", None)
    return _name(code) if isinstance(code, CodeType) and code.co_filename.startswith(_OURS) else ""


def _name(code: CodeType) -> str:
    return f"{code.co_filename.removeprefix(_ROOT + '/')}:{code.co_qualname}"
