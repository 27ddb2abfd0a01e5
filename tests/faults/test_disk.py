"""The disk is full in the middle of a show: writers are told to ask later, the others see the show go on."""

import asyncio
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.faults.audience import attending, over
from tests.faults.pages import PATIENCE_S, Screen
from tests.faults.stand import Stand

pytestmark = [pytest.mark.timeout(120)]

_DISK = "16m"
_READ = "import json, sqlite3, sys; print(json.dumps(sqlite3.connect(sys.argv[1]).execute(sys.argv[2]).fetchall()))"


class _Boxed(Stand):
    """Its data is on a small disk of its own, in a mount namespace that ends with it."""

    def __init__(self, folder: Path) -> None:
        mount = f'mount -t tmpfs -o size={_DISK} showcart {folder / "var"} && exec "$@"'
        super().__init__(folder, workers=1, prefix=("unshare", "--mount", "sh", "-c", mount, "sh"))
        self.data.mkdir(parents=True)

    async def rows(self, query: str) -> list[tuple[Any, ...]]:
        command = ["nsenter", "--mount", "--target", str(self.pid), sys.executable, "-c", _READ]
        told = await asyncio.to_thread(
            subprocess.run, [*command, str(self.data / "showcart.db"), query], check=True, capture_output=True
        )
        return [tuple(row) for row in json.loads(told.stdout)]

    def fill(self) -> None:
        with (self._seen(self.data) / "filling").open("wb", buffering=0) as file:
            try:
                while True:
                    file.write(bytes(4096))
            except OSError:
                return

    def free(self) -> None:
        (self._seen(self.data) / "filling").unlink()


def _missing() -> str | None:
    if not shutil.which("unshare") or not shutil.which("nsenter"):
        return "a disk of one's own needs the commands unshare and nsenter (package util-linux)"
    made = subprocess.run(
        ["unshare", "--mount", "mount", "-t", "tmpfs", "showcart", "/mnt"], capture_output=True, text=True, check=False
    )
    return f"a disk of one's own is not allowed here: {made.stderr.strip()}" if made.returncode else None


async def test_the_disk_is_full_for_a_while(tmp_path: Path) -> None:
    if missing := _missing():
        pytest.skip(missing)
    stand = _Boxed(tmp_path)
    try:
        stand.start()
        async with attending(stand) as audience:
            stand.fill()
            async with asyncio.timeout(30):
                while audience.refused["unavailable"] < 5:
                    await asyncio.sleep(0.05)
            late = Screen(stand.port, 99)
            async with asyncio.timeout(PATIENCE_S):
                await late.joined.wait()
            await late.close()
            stand.free()
            await over(audience)
    finally:
        stand.stop()
