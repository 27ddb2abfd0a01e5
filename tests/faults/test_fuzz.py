"""Nothing that the network sends ends anything: tried by random damage, and by a fuzzer that follows branches."""

import importlib.util
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stream.transport.paths import Credentials
from tests.faults.targets import TARGETS, Port, Session, signed

SEED = 1
RUNS = 4000  # of each target: about six seconds for all of them
READ_S_MAX = 0.25  # of CPU for one input; the slowest takes 5 ms here


@st.composite
def damaged(draw: st.DrawFn, known: list[bytes]) -> bytes:
    """An input of ours with some bytes replaced, left out, repeated or put in."""
    data = bytearray(draw(st.sampled_from(known)))
    for _ in range(draw(st.integers(0, 4))):
        at = draw(st.integers(0, len(data)))
        until = min(len(data), at + draw(st.integers(0, 8)))
        data[at:until] = draw(st.one_of(st.binary(max_size=8), st.just(bytes(data[at:until]) * 2)))
    return bytes(data)


@pytest.mark.parametrize("name", TARGETS)
@settings(deadline=None)
@given(data=st.data())
def test_damage_is_refused_or_makes_no_difference(name: str, data: st.DataObject) -> None:
    read, known = TARGETS[name]
    given_bytes = data.draw(st.one_of(damaged(known), st.binary(max_size=200)))
    began = time.thread_time()
    read(given_bytes)
    assert time.thread_time() - began < READ_S_MAX


def test_a_fuzzer_that_follows_branches_finds_nothing(tmp_path: Path) -> None:
    if importlib.util.find_spec("atheris") is None:
        pytest.skip("Atheris has no wheel for this Python or machine")
    command = [sys.executable, "-m", "tests.faults.fuzz", str(tmp_path), str(SEED), str(RUNS)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=100, cwd=Path(__file__).parents[2])
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-6000:]
    assert done.stderr.count(f"Done {RUNS} runs") == len(TARGETS)
    kept = {name: sum(1 for _ in (tmp_path / name).iterdir()) - len(TARGETS[name][1]) for name in TARGETS}
    assert min(kept.values()) > 0, f"new branches lead to new inputs: {kept}"


@pytest.mark.parametrize(("host", "shortest"), [("192.0.2.1", 64), ("2001:db8::1", 76)])
def test_a_binding_request_is_not_shorter_than_what_it_gets(host: str, shortest: int) -> None:
    for padding in range(0, 64, 4):
        port, session = Port(), Session()
        port.add(session, Credentials("ABCDEFGH", "p" * 24))
        request = signed(b"\x00\x06\x00\x08ABCDEFGH" + b"\x80\x22" + padding.to_bytes(2) + bytes(padding))
        port.take(request, (host, 5000))
        assert [len(answer) for answer in port.sent] == ([shortest] if len(request) >= shortest else [])
        assert port.counts == ({} if len(request) >= shortest else {"stun_too_short": 1})
