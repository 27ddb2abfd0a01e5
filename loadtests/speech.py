"""The viewers who speak: messages on a fixed schedule, whose way to every screen is timed.

They are *probes*: each carries its number and the time it was *due*. A screen's latency is the time of arrival minus
that time, whatever kept the message: a server that stalls for a second cannot hide it by delaying the questions (no
coordinated omission). How late the swarm itself was is reported next to it.
"""

import asyncio
import re
from collections.abc import Sequence

from loadtests import timetable
from loadtests.plan import Plan
from loadtests.shelf import Probe
from loadtests.tally import Tally
from loadtests.viewer import Viewer, now_us
from loadtests.wire import Event, Refused, Reply

WAIT_S = 10.0  # for the speakers to be connected
_FILLING = "\N{PARTY POPPER}"  # four bytes: a chat counts characters, too, and takes fewer of them


class Speech:
    """Everything that the swarm says. `viewers` are those who speak, () when another swarm does; `run` is in it."""

    def __init__(self, plan: Plan, run: str, viewers: Sequence[Viewer], tally: Tally) -> None:
        self._plan = plan
        self._run = run
        self._viewers = viewers
        self._tally = tally
        self._ready = asyncio.Event()
        self._asked: dict[int, tuple[Viewer, str]] = {}  # the probes without an answer
        self._next = 0
        self._pattern = re.compile(rb"probe %b (\d+) \d" % run.encode())

    async def run(self, start_us: int) -> None:
        """Send the probes of an event that began at `start_us`, each by the next speaker who is connected."""
        if self._plan.chat is None or not self._viewers:
            return
        end_us = start_us + int(self._plan.duration_s * 1e6)
        try:
            async with asyncio.timeout(min(WAIT_S, (end_us - now_us()) / 1e6)):
                await self._ready.wait()
        except TimeoutError:
            pass  # nobody may come at all: then the unsent probes tell
        begin_s = max(0.0, (now_us() - start_us) / 1e6)
        for number, due_s in enumerate(timetable.probes(self._plan.chat, begin_s, self._plan.duration_s)):
            due_us = start_us + int(due_s * 1e6)
            if (wait_us := due_us - now_us()) > 0:
                await asyncio.sleep(wait_us / 1e6)
            self._send(number, due_us)

    def _send(self, number: int, due_us: int) -> None:
        count = len(self._viewers)
        order = [(self._next + step) % count for step in range(count)]
        place = next((one for one in order if self._viewers[one].open), None)
        if place is None:
            self._tally.unsent += 1
            return
        self._next = place + 1
        text = self._text(number, due_us)
        self._asked[number] = (self._viewers[place], text)
        self._tally.send(number, due_us, now_us())
        self._say(self._viewers[place], number, text)

    def _text(self, number: int, due_us: int) -> str:
        assert self._plan.chat is not None
        text = f"probe {self._run} {number} {due_us}"
        filling = (self._plan.chat.size_bytes - len(text) - 1) // len(_FILLING.encode())
        return f"{text} {_FILLING * filling}" if filling > 0 else text

    def _say(self, viewer: Viewer, number: int, text: str) -> None:
        viewer.command("chat.post", {"text": text}, str(number), f"probe-{self._run}-{number}")

    def joined(self, viewer: Viewer) -> None:
        """A speaker is connected; what it was not answered, it says again under the same key, as browsers do."""
        for number, (speaker, text) in list(self._asked.items()):
            if speaker is viewer:
                self._tally.resent += 1
                self._say(viewer, number, text)
        if all(one.open for one in self._viewers):
            self._ready.set()

    def answered(self, answer: Reply | Refused, at_us: int) -> None:
        """A command was done or refused."""
        number = int(answer.id) if answer.id.isdecimal() else None
        if number is not None:
            self._asked.pop(number, None)
        if isinstance(answer, Refused):
            self._tally.answer(number, str(answer.error.get("name", "unknown")), at_us)
        else:
            self._tally.answer(number, None, at_us, shown=answer.data.get("shown") is not False)

    def probe(self, event: Event) -> Probe | None:
        """The probe that an event carries; None: it carries none of this run."""
        if event.name != "chat.message":
            return None
        words = str(event.data.get("text", "")).split()
        return (int(words[2]), int(words[3])) if words[:2] == ["probe", self._run] and len(words) >= 4 else None

    def numbers(self, snapshot: bytes) -> set[int]:
        """The probes in an encoded snapshot: they are on the screen, however they came there, and are not timed."""
        return {int(number) for number in self._pattern.findall(snapshot)}
