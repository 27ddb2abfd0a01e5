"""What a run has met so far, on disk: a feed may have a million lines, and a run must not grow with them.

It is a private database of its own (SQLite, in a temporary file that is gone with it), because neither order nor
memory of a feed can be relied on. Plain functions, for threads that take turns: whoever is cancelled leaves its thread
behind, and a connection that is closed while a thread asks it takes the process with it.
"""

import sqlite3
import threading
from collections.abc import Iterable, Mapping

from cart.feeds.entries import Broken, Entry, LineError
from live.core.limits import IMPORT_SKUS_MAX

_CACHE_KIB = 4096
_TABLES = """
PRAGMA journal_mode = OFF; PRAGMA temp_store = FILE; PRAGMA locking_mode = EXCLUSIVE;
CREATE TABLE sku (sku TEXT PRIMARY KEY, line INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE refused (sku TEXT PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE product (id TEXT PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE made (id TEXT PRIMARY KEY, currency TEXT NOT NULL) WITHOUT ROWID;
BEGIN;
"""


class Seen:
    """See the module; close it."""

    def __init__(self) -> None:
        self._turn = threading.Lock()
        self._db = sqlite3.connect("", check_same_thread=False, isolation_level=None)
        self._db.execute(f"PRAGMA cache_size = -{_CACHE_KIB}")
        self._db.executescript(_TABLES)
        self._count = 0
        self.unnamed = 0  # refused lines that nobody knows the SKU of

    def close(self) -> None:
        """Whoever asks afterwards gets `sqlite3.ProgrammingError`."""
        with self._turn:
            self._db.close()

    def take(self, entry: Entry) -> LineError | None:
        """Remember an entry's SKUs; why it cannot be used when one of them was there already. Raises `Broken`."""
        skus = [variant.sku for variant in entry.product.variants]
        with self._turn:
            for sku in skus:
                row = self._db.execute("SELECT line FROM sku WHERE sku = ?", (sku,)).fetchone()
                if row is not None:
                    detail = f"the SKU {sku} is in line {row[0]} already"
                    return LineError(line=entry.line, detail=detail, field="sku", skus=tuple(skus))
            self._count += len(skus)
            if self._count > IMPORT_SKUS_MAX:
                raise Broken(entry.line, f"more than {IMPORT_SKUS_MAX} SKUs; split the file")
            self._db.executemany("INSERT INTO sku VALUES (?, ?)", [(sku, entry.line) for sku in skus])
        return None

    def refuse(self, error: LineError) -> None:
        """A line is not used; what it is about is not missing for that."""
        if not error.skus and error.field != "sku":
            self.unnamed += 1
        with self._turn:
            self._db.executemany("INSERT OR IGNORE INTO refused VALUES (?)", [(sku,) for sku in error.skus])

    def first(self, product_id: str) -> bool:
        """Whether a product was not met before."""
        with self._turn:
            return self._db.execute("INSERT OR IGNORE INTO product VALUES (?)", (product_id,)).rowcount == 1

    def lacks(self, skus: Iterable[str]) -> list[str]:
        """Those that no line was about."""
        known = "SELECT 1 FROM sku WHERE sku = :sku UNION ALL SELECT 1 FROM refused WHERE sku = :sku LIMIT 1"
        with self._turn:
            return [sku for sku in skus if self._db.execute(known, {"sku": sku}).fetchone() is None]

    def learn(self, made: Mapping[str, str], refused: Iterable[LineError]) -> None:
        """Products are new, which a dry run does not find in the store, with their currencies; lines are not used."""
        with self._turn:
            self._db.executemany("INSERT OR IGNORE INTO made VALUES (?, ?)", made.items())
        for error in refused:
            self.refuse(error)

    def made(self, product_ids: Iterable[str]) -> dict[str, str]:
        """Product → currency, of those that are new."""
        with self._turn:
            rows = (self._db.execute("SELECT id, currency FROM made WHERE id = ?", (id_,)) for id_ in product_ids)
            return {found[0]: found[1] for row in rows if (found := row.fetchone()) is not None}
