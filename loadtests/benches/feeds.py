"""A feed of 100,000 lines and one of a million, read again as a continuous feed is: does memory grow with it, and how
long does a click of a running show wait meanwhile?

Each is read by a process of its own, over SQLite, against a catalogue that has all its SKUs: one line in a hundred has
another price, one in ten is broken, the others say nothing new. The ratio of the two peaks of resident memory is the
figure. Beside the reading, a small write transaction is done every 10 ms, as a click's is; how long it takes is
compared with the same before the feed was read.
"""

import asyncio
import contextlib
import json
import resource
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from sqlalchemy import text

from cart.feeds.importer import Options, import_stream
from cart.service import Shop
from live.core.clock import SystemClock
from live.core.database import Database, migrate
from live.core.tasks import end
from live.realtime.news import News
from live.service import Shows
from loadtests.benches.figure import figure

SMALL, LARGE = 100_000, 1_000_000
RATIO_MAX = 1.25
CLICK_EVERY_S = 0.01
CLICK_WAIT_MS_MAX = 50.0  # of 99 in 100
_HEAD = b"product_id,title,sku,price,currency\n"
_NUMBERS = "WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i + 1 < ?)"


class _Nobody:
    """An outlet that nobody listens to."""

    async def tell(self, _show: str, _news: Sequence[News]) -> None: ...


def _line(number: int) -> bytes:
    if number % 10 == 9:
        return b"p%d,Thing %d,S%d,-10.00,EUR\n" % (number, number, number)
    cents = 99 if number % 100 == 0 else 0
    return b"p%d,Thing %d,S%d,10.%02d,EUR\n" % (number, number, number, cents)


def _stock(path: Path, lines: int) -> None:
    with contextlib.closing(sqlite3.connect(path)) as db, db:
        db.execute(
            f"{_NUMBERS} INSERT INTO product (id, title, description, picture, currency, categories, updated_at_ms)"
            " SELECT 'p' || i, 'Thing ' || i, '', '', 'EUR', '[]', 0 FROM n",
            (lines,),
        )
        db.execute(
            f"{_NUMBERS} INSERT INTO variant (sku, product_id, position, title, price_minor, hidden)"
            " SELECT 'S' || i, 'p' || i, 0, '', 1000, 0 FROM n",
            (lines,),
        )
        db.execute(
            f"{_NUMBERS} INSERT INTO stock_level (sku, location, on_hand, allocated, held)"
            " SELECT 'S' || i, 'main', 5, 0, 0 FROM n",
            (lines,),
        )
        db.execute(f"{_NUMBERS} INSERT INTO feed_item (feed, sku) SELECT 'goods', 'S' || i FROM n", (lines,))


async def _clicks(database: Database, waits_ms: list[float]) -> None:
    while True:
        began_s = time.perf_counter()
        await database.write_sync(
            lambda conn: conn.execute(text("UPDATE stock_level SET held = held WHERE sku = 'S1'")).rowcount
        )
        waits_ms.append((time.perf_counter() - began_s) * 1000)
        await asyncio.sleep(CLICK_EVERY_S)


async def _read(folder: Path, lines: int) -> dict[str, float]:
    url = f"sqlite:///{folder / 'bench.db'}"
    await migrate(url)
    await asyncio.to_thread(_stock, folder / "bench.db", lines)
    clock = SystemClock()
    database = await Database.open(url, clock)
    shows = Shows(database, _Nobody(), clock)
    shop = Shop(database, shows, clock)
    shop.attach()
    file = await asyncio.to_thread((folder / "feed.csv").open, "w+b")
    await asyncio.to_thread(lambda: file.writelines([_HEAD]))
    for start in range(0, lines, 10_000):
        body = b"".join(_line(number) for number in range(start, min(start + 10_000, lines)))
        await asyncio.to_thread(file.write, body)
    floor_ms: list[float] = []
    clicking = asyncio.create_task(_clicks(database, floor_ms))
    await asyncio.sleep(2.0)
    await end(clicking)
    waits_ms: list[float] = []
    clicking = asyncio.create_task(_clicks(database, waits_ms))
    began_s = time.perf_counter()
    outcome = await import_stream(file, shows, "csv", Options(feed="goods", missing="hidden", gentle=True))
    took_s = time.perf_counter() - began_s
    await end(clicking)
    report = outcome.report
    assert (report.refused, report.changed) == (lines // 10, lines // 100), report
    await shop.close()
    await shows.close()
    await database.close()
    return {
        "rss_kib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss,
        "lines_per_s": lines / took_s,
        "transaction_ms_max": report.transaction_ms_max,
        "click_ms_p99": sorted(waits_ms)[int(len(waits_ms) * 0.99)],
        "click_ms_max": max(waits_ms),
        "floor_ms_p99": sorted(floor_ms)[int(len(floor_ms) * 0.99)],
    }


def _alone(lines: int) -> dict[str, float]:
    """What a process of its own found."""
    command = [sys.executable, "-m", "loadtests.benches.feeds", str(lines)]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True)
    found: dict[str, float] = json.loads(done.stdout)
    return found


def main() -> None:
    if len(sys.argv) > 1:
        with tempfile.TemporaryDirectory() as folder:
            print(json.dumps(asyncio.run(_read(Path(folder), int(sys.argv[1])))))
        return
    small, large = _alone(SMALL), _alone(LARGE)
    figure("feeds_rss_ratio", large["rss_kib"] / small["rss_kib"], "×", RATIO_MAX)
    figure("feeds_rss_mib", large["rss_kib"] / 1024, "MiB")
    figure("feeds_lines_per_s", large["lines_per_s"], "1/s")
    figure("feeds_transaction_ms_max", large["transaction_ms_max"], "ms")
    figure("feeds_click_ms_p99", large["click_ms_p99"], "ms", CLICK_WAIT_MS_MAX)
    figure("feeds_click_ms_p99_before", large["floor_ms_p99"], "ms")


if __name__ == "__main__":
    main()
