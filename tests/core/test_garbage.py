"""What is set apart, and when it is looked through after all."""

import gc
import sys
import weakref
from collections.abc import Iterator

import pytest

from live.core import garbage
from live.core.garbage import Tidy


class Ring:
    def __init__(self) -> None:
        self.me = self


@pytest.fixture
def tidy() -> Iterator[Tidy]:
    gc.collect()
    before = gc.get_threshold()
    tidy = Tidy()
    yield tidy
    tidy.close()
    assert gc.get_threshold() == before
    assert gc.get_freeze_count() == 0
    gc.freeze()  # as it is for all tests


def test_young_cycles_are_found_before_the_rest_is_set_apart(tidy: Tidy) -> None:
    ring = Ring()
    seen = weakref.ref(ring)
    del ring
    tidy.now()
    assert seen() is None
    assert gc.get_freeze_count() > 0


def test_what_is_set_apart_is_freed_when_nothing_refers_to_it(tidy: Tidy) -> None:
    kept: list[object] = [{"a": []} for _ in range(1000)]
    tidy.now()
    count = gc.get_freeze_count()
    del kept
    assert gc.get_freeze_count() <= count - 1000


def test_old_cycles_are_found_when_half_is_gone(tidy: Tidy, monkeypatch: pytest.MonkeyPatch) -> None:
    ring = Ring()
    seen = weakref.ref(ring)
    tidy.now()
    monkeypatch.setattr(garbage, "_SOME_BLOCKS", 1000)
    many: list[object] = [[{}] for _ in range(sys.getallocatedblocks())]
    tidy.now()
    tidy.now()
    del ring
    tidy.now()
    assert seen() is not None, "it is not looked for among so much"
    del many
    tidy.now()
    assert seen() is None


def test_old_cycles_are_found_when_there_is_too_much(tidy: Tidy, monkeypatch: pytest.MonkeyPatch) -> None:
    ring = Ring()
    seen = weakref.ref(ring)
    tidy.now()
    monkeypatch.setattr(garbage, "_MANY_BLOCKS", sys.getallocatedblocks() + 1000)
    del ring
    tidy.now()
    assert seen() is not None
    many: list[object] = [[{}] for _ in range(1000)]
    tidy.now()
    tidy.now()
    assert seen() is None
    ring = Ring()
    seen = weakref.ref(ring)
    tidy.now()
    del ring
    tidy.now()
    assert seen() is not None, "what there is was looked through, and has not doubled since"
    del many
