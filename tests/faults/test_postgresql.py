"""PostgreSQL ends without a word in the middle of a show, and comes back: writers are told to ask later."""

import os
import subprocess
from pathlib import Path

import pytest
from sqlalchemy import make_url

from tests.faults.audience import attending, over
from tests.faults.stand import Stand

pytestmark = [pytest.mark.timeout(120)]


def _pg_ctl(data: Path, *arguments: str) -> None:
    server = (data / "postmaster.opts").read_text().split()[0]
    subprocess.run(
        [Path(server).with_name("pg_ctl"), "-D", str(data), "-w", "-l", str(data.parent / "log"), *arguments],
        check=True, user="postgres" if os.geteuid() == 0 else None, cwd=data.parent,
        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
    )  # fmt: skip


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
async def test_postgresql_is_restarted(database_url: str, tmp_path: Path) -> None:
    stand = Stand(tmp_path, workers=1, SHOWCART_DATABASE_URL=database_url)
    try:
        stand.start()
        async with attending(stand) as audience:
            folder = make_url(database_url).query["host"]
            assert isinstance(folder, str)
            _pg_ctl(Path(folder) / "data", "-m", "immediate", "restart")
            await over(audience)
    finally:
        stand.stop()
