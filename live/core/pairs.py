"""Rows by pairs of columns, given as one value, and found in the index by each pair.

A list of pairs that SQLAlchemy writes into the statement is not looked up: with more than one pair SQLite reads every
row that the rest of the condition leaves, PostgreSQL may as well, and each number of pairs is another statement. A
join with the pairs is looked up by both: among 100,000 chat messages of a show 8 pairs took 46 ms and take 0.04 on
SQLite, 128 pairs took 15 ms and take 1.7 on PostgreSQL.
"""

from typing import Any

from sqlalchemy import JSON, ColumnElement, bindparam, tuple_
from sqlalchemy.dialects import postgresql
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement

# An array, and not a JSON list, on PostgreSQL: of an array it knows how long it is, of a list it believes in 100.
_PAIRS = JSON().with_variant(postgresql.ARRAY(JSON, dimensions=1), "postgresql")


class _Rows(FunctionElement[Any]):
    name = "rows_of_pairs"
    inherit_cache = True


@compiles(_Rows, "sqlite")
def _json_each(rows: _Rows, compiler: SQLCompiler, **options: Any) -> str:
    pairs = compiler.process(rows.clauses, **options)
    return f"(SELECT json_extract(value, '$[0]'), json_extract(value, '$[1]') FROM json_each({pairs}))"


@compiles(_Rows, "postgresql")
def _unnest(rows: _Rows, compiler: SQLCompiler, **options: Any) -> str:
    return f"(SELECT pair ->> 0, pair ->> 1 FROM unnest({compiler.process(rows.clauses, **options)}) AS pair)"


def pairs_in(first: ColumnElement[str], second: ColumnElement[str], name: str = "pairs") -> ColumnElement[bool]:
    """The condition that two columns of text are one of the pairs of parameter `name`, a list of (text, text)."""
    return tuple_(first, second).bool_op("IN")(_Rows(bindparam(name, type_=_PAIRS)))
