"""How a database finds the rows of a statement: what it reads whole, and what it begins at an index too coarse."""

import re
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from typing import Any

from sqlalchemy import event, text
from sqlalchemy.engine import Engine
from sqlalchemy.ext.asyncio import create_async_engine

from live.core import sqlite
from live.core.database import metadata

Statements = dict[str, tuple[str, Any]]  # the words without what differs → the words and parameters of the first time

# Of these there are tens, or thousands when there have been shows for years; everything else grows.
SMALL = frozenset({
    "feed_source", "location", "price_clock", "price_ruleset", "service_key", "shipping_method", "shop_fact", "show",
    "webhook_endpoint",
})  # fmt: skip
OF_A_SHOW = frozenset({"lineup_item", "stream_key"})  # a show has few
# Values that very many rows share: an index that is asked for nothing else is no look-up.
COARSE = frozenset({"show", "show_id", "state", "location", "kind", "feed", "endpoint_id", "spread"})
_READS = re.compile(r"\s*(SELECT|UPDATE|DELETE|INSERT|WITH)\b")
_LIST = re.compile(r"\((?:\?|\$\d+(?:::\w+)?)(?:, (?:\?|\$\d+(?:::\w+)?))+\)")
_STEP = re.compile(r"(SCAN|SEARCH) (\S+)(?: USING (?:COVERING )?(?:INDEX \S+|INTEGER PRIMARY KEY))?(?: \((.*)\))?")
_ALIASES = re.compile(r"\b(?:FROM|JOIN|,)\s+(\w+) AS \"?(\w+)\"?")


@contextmanager
def recorded() -> Iterator[Statements]:
    """Every statement that anybody executes meanwhile, by its words."""
    found: Statements = {}

    def keep(_conn: Any, _cursor: Any, statement: str, parameters: Any, _context: Any, many: bool) -> None:
        if _READS.match(statement):
            found.setdefault(_LIST.sub("(…)", statement), (statement, parameters[0] if many else parameters))

    event.listen(Engine, "before_cursor_execute", keep)
    try:
        yield found
    finally:
        event.remove(Engine, "before_cursor_execute", keep)


async def faults(url: str, statements: Statements) -> Mapping[str, str]:
    """By statement, in one line: what its plan reads that it should not."""
    judge = _sqlite(url, statements) if url.startswith("sqlite") else await _postgresql(url, statements)
    return {" ".join(words.split()): fault for words, fault in judge.items() if fault}


# --- SQLite ---------------------------------------------------------------------------------------------------------


def _sqlite(url: str, statements: Statements) -> dict[str, str]:
    with closing(sqlite3.connect(url.removeprefix("sqlite:///"))) as conn:
        return {
            words: _steps(words, [row[3] for row in conn.execute(f"EXPLAIN QUERY PLAN {statement}", parameters)])
            for words, (statement, parameters) in statements.items()
        }


def _steps(words: str, steps: Sequence[str]) -> str:
    tables = {alias: table for table, alias in _ALIASES.findall(words)}
    # A page begins at a key, in the order of an index, and ends.
    page = "LIMIT" in words and not any("TEMP B-TREE" in step for step in steps)
    for step in steps:
        found = _STEP.match(step)
        name = "" if found is None else str(found[2])
        table = tables.get(name, name)
        if found is None or table not in metadata.tables or table in SMALL:
            continue
        partial = any(
            f" {index.name} " in f"{step} " and index.dialect_options["sqlite"]["where"] is not None
            for index in metadata.tables[table].indexes
        )
        begins_at = found[3] or ""
        whole = found[1] == "SCAN" and not (page and "WHERE" not in words)
        columns = set(re.findall(r"(\w+)[=<>]", begins_at))
        coarse = (
            bool(columns) and columns <= COARSE and columns != set(metadata.tables[table].primary_key.columns.keys())
        )
        if not partial and (whole or (coarse and not page and table not in OF_A_SHOW)):
            return step
    return ""


# --- PostgreSQL -----------------------------------------------------------------------------------------------------


async def _postgresql(url: str, statements: Statements) -> dict[str, str]:
    engine = create_async_engine(url.replace("postgresql://", "postgresql+asyncpg://"), **sqlite.JSON)
    found = {}
    async with engine.connect() as conn:
        # A table of a few rows is read whole, and joined whole, by anybody who may.
        for way in ("seqscan", "hashjoin", "mergejoin"):
            await conn.execute(text(f"SET enable_{way} = off"))
        for words, (statement, parameters) in statements.items():
            plan = (await conn.exec_driver_sql(f"EXPLAIN (FORMAT JSON) {statement}", parameters)).scalar_one()
            found[words] = next(filter(None, (_node(words, node) for node in _nodes(plan[0]["Plan"]))), "")
    await engine.dispose()
    return found


def _nodes(plan: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    yield plan
    for below in plan.get("Plans", ()):
        yield from _nodes(below)


def _node(words: str, node: Mapping[str, Any]) -> str:
    table: str = node.get("Relation Name", "")
    if table in SMALL or table not in metadata.tables or not node["Node Type"].endswith("Scan"):
        return ""
    used = node.get("Index Name")
    partial = any(
        index.name == used and index.dialect_options["postgresql"]["where"] is not None
        for index in metadata.tables[table].indexes
    )
    page = "LIMIT" in words and "WHERE" not in words
    whole = node["Node Type"] == "Seq Scan" or (used is not None and "Index Cond" not in node)
    return f"{node['Node Type']} of {table} {used}: {node.get('Filter')}" if whole and not (partial or page) else ""
