"""How the processes before ended: in good order, by a kill, with a file that nobody can read."""

from collections.abc import Iterator
from contextlib import suppress
from itertools import count
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from live.core.lives import Lives


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A process comes each hundred seconds."""
    times = count(100, 100)
    monkeypatch.setattr("live.core.lives.time.time", lambda: next(times))
    yield


def told(lives: Lives) -> dict[str, tuple[float | None, float | None]]:
    """Count and time of the last one, by how it ended."""
    registry = CollectorRegistry()
    registry.register(lives)
    name = "showcart_worker_replaced"
    return {
        how: (
            registry.get_sample_value(f"{name}_total", {"how": how}),
            registry.get_sample_value(f"{name}_time_seconds", {"how": how}),
        )
        for how in ("unclean", "restart")
    }


async def killed(folder: Path) -> None:
    """A process that does not come to its end."""
    with suppress(ZeroDivisionError):
        async with Lives.open(1, folder):
            raise ZeroDivisionError


async def test_ends_are_counted_by_how_they_came_about(tmp_path: Path) -> None:
    async with Lives.open(1, tmp_path) as lives:
        assert told(lives) == {"unclean": (0, 0), "restart": (0, 0)}
    async with Lives.open(1, tmp_path) as lives:
        assert told(lives) == {"unclean": (0, 0), "restart": (1, 100)}
    await killed(tmp_path)
    await killed(tmp_path)
    async with Lives.open(1, tmp_path) as lives:
        assert told(lives) == {"unclean": (2, 400), "restart": (2, 200)}
    async with Lives.open(0, tmp_path) as lives:
        assert told(lives) == {"unclean": (0, 0), "restart": (0, 0)}, "another worker"


async def test_a_worker_alone_knows_nothing_of_those_before(tmp_path: Path) -> None:
    async with Lives.open(0, None) as lives:
        assert told(lives) == {"unclean": (None, None), "restart": (None, None)}


@pytest.mark.parametrize("found", [b"", b"[]", b'{"unclean":"many"}'])
async def test_what_cannot_be_read_keeps_nobody_from_serving(tmp_path: Path, found: bytes) -> None:
    (tmp_path / "1.past").write_bytes(found)
    async with Lives.open(1, tmp_path) as lives:
        assert told(lives)["unclean"] == (None, None)


async def test_a_folder_that_goes_first_is_no_error(tmp_path: Path) -> None:
    folder = tmp_path / "family"
    folder.mkdir()
    async with Lives.open(1, folder):
        (folder / "1.past").unlink()
        folder.rmdir()
    async with Lives.open(1, folder) as lives:
        assert told(lives)["unclean"] == (None, None), "nor is one that was never there"
