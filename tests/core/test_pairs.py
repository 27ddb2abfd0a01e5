"""Rows found by pairs of columns, the same on both databases."""

from typing import Any

from sqlalchemy import Column, Connection, MetaData, String, Table, bindparam, insert, select

from live.core.database import Database
from live.core.pairs import pairs_in

NAMES = ("ada", "bob", 'a "quoted"', "[1, 2]", "back\\slash", "Grüße 🎁", "7", "null", "", "{}", "a,b", "%s")
rows = Table(
    "pair_sample", MetaData(), Column("name", String, primary_key=True), Column("key", String, primary_key=True)
)
FIND = (
    select(rows.c.name, rows.c.key)
    .where(pairs_in(rows.c.name, rows.c.key, "wanted"), rows.c.name != bindparam("but"))
    .with_for_update()
)


async def test_just_the_pairs_are_found(database: Database) -> None:
    def work(conn: Connection) -> list[set[Any]]:
        rows.create(conn)
        conn.execute(insert(rows), [{"name": name, "key": key} for name in NAMES for key in NAMES])
        crossed = list(zip(NAMES, reversed(NAMES), strict=True))
        asked: list[list[tuple[str, str]]] = [[], [("ada", "bob")], [("ada", "ada"), ("ada", "no one")], crossed * 2]
        return [{tuple(row) for row in conn.execute(FIND, {"wanted": pairs, "but": "bob"})} for pairs in asked]

    async with database.write() as conn:
        none, one, some, many = await conn.run_sync(work)
    assert (none, one, some) == (set(), {("ada", "bob")}, {("ada", "ada")})
    assert many == set(zip(NAMES, reversed(NAMES), strict=True)) - {("bob", "a,b")}
