"""The page's socket and the model that judges recoveries, here and in load tests, do the same with any message."""

import json
import random
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from loadtests.sequence import Sequence, Verdict

ROOT = Path(__file__).parents[2]
TRACES = 300
STEPS = 30
Done = list[list[Any]]


class Model:
    """What a page does, by `Sequence`."""

    def __init__(self) -> None:
        self.sequence = Sequence()
        self.asked: dict[str, Any] = {"epoch": "", "offset": 0}
        self.known = False
        self.joined = False  # the connection's first question has been answered

    @property
    def position(self) -> dict[str, Any] | None:
        return {"epoch": self.sequence.epoch, "offset": self.sequence.offset} if self.known else None

    def take(self, step: dict[str, Any]) -> Done:
        sequence = self.sequence
        match step["type"]:
            case "drop":
                sequence.disconnected()
                self.joined = False
                return self._ask("connect")
            case "event":
                verdict = sequence.event(step["offset"])
                if verdict is Verdict.gap:
                    return self._ask("recover")
                return [["applied", step["offset"]]] if verdict is Verdict.applied else []
            case "position":
                if sequence.here(step["position"]["epoch"], step["position"]["offset"]):
                    return self._ask("recover")
                return []
        position = step["position"]
        self.joined = True
        if not step["recovered"]:
            sequence.connected(position["epoch"], position["offset"])
            self.known = True
            return []
        numbers = [event["offset"] for event in step["events"]]
        new = [["applied", number] for number in numbers if number > sequence.offset]
        sequence.restored(position["epoch"], position["offset"], numbers)
        return new

    def _ask(self, what: str) -> Done:
        self.asked = self.position or self.asked
        return [[what, self.position]]


def _next(model: Model, dice: random.Random) -> dict[str, Any]:
    """Something that a server may say, now and then something that it must not."""
    offset, epoch = model.sequence.offset, model.sequence.epoch or "e0"
    if model.sequence.recovering and dice.random() < 0.4:
        reached = model.asked["offset"] + dice.randint(0, 4)
        if model.known and dice.random() < 0.7:
            events = [_event(number) for number in range(model.asked["offset"] + 1, reached + 1)]
            position = {"epoch": epoch, "offset": reached}
            return {"type": "connected", "recovered": True, "position": position, "events": events}
        return _snapshot(dice.choice([epoch, f"e{dice.randint(0, 99)}"]), dice.randint(0, 20))
    match dice.choice(["event"] * 6 + ["gap", "again", "position", "position", "refresh", "drop"]):
        case "event":
            return _event(offset + 1)
        case "gap":
            return _event(offset + dice.randint(2, 4))
        case "again":
            return _event(max(1, offset - dice.randint(0, 3)))
        case "position":
            at = {"epoch": dice.choice([epoch, epoch, "other"]), "offset": max(0, offset + dice.randint(-2, 1))}
            return {"type": "position", "position": at}
        case "refresh" if model.joined:
            return _snapshot(f"e{dice.randint(0, 99)}", dice.randint(0, 20)) | {"id": ""}
    return {"type": "drop"}


def _event(offset: int) -> dict[str, Any]:
    return {"type": "event", "offset": offset, "at_ms": 0, "name": "n", "data": {}}


def _snapshot(epoch: str, offset: int) -> dict[str, Any]:
    return {"type": "connected", "recovered": False, "position": {"epoch": epoch, "offset": offset}, "snapshot": {}}


def test_page_and_model_agree() -> None:
    node = shutil.which("node")
    if node is None:
        pytest.skip("node is not installed: the page's socket was not compared with the model of it")
    dice = random.Random(4)
    traces: list[list[dict[str, Any]]] = []
    expected: list[list[Done]] = []
    for _ in range(TRACES):
        model, trace, done = Model(), [], []
        for _ in range(STEPS):
            trace.append(_next(model, dice))
            done.append(model.take(trace[-1]))
        traces.append(trace)
        expected.append(done)
    run = subprocess.run(
        [node, str(Path(__file__).with_name("replay.mjs")), (ROOT / "live/web/js/socket.js").as_uri()],
        input=json.dumps(traces), capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    for trace, does, model_does in zip(traces, json.loads(run.stdout), expected, strict=True):
        for index, step in enumerate(trace):
            assert does[index] == model_does[index], (trace[: index + 1], step)
