"""What is in the store survives a new schema, on both stores."""

import sys

import pytest
from alembic import command
from alembic.script import ScriptDirectory
from blockbuster import BlockBuster
from sqlalchemy import Connection, text

from live.core import database
from live.core.clock import ManualClock
from live.core.database import Database, migrate
from live.service import Shows
from live.shows import ShowState
from tests.live.recorder import Recorder


def _back_to(connection: Connection, revision: str) -> None:
    config = database._config()
    config.attributes["connection"] = connection
    command.downgrade(config, revision)


def test_the_newest_revision_is_known_by_its_file_s_name() -> None:
    assert [database._newest()] == ScriptDirectory.from_config(database._config()).get_heads()


async def test_a_schema_that_is_new_enough_is_left_alone_without_alembic(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "alembic", None)
    await migrate(database_url)
    assert await database.schema(database_url) == "current"


async def test_keys_and_shows_of_before_backup_publishers_are_as_they_were(
    database_url: str, clock: ManualClock, blockbuster: BlockBuster
) -> None:
    async with database._schema_connection(database_url) as connection:
        blockbuster.deactivate()  # Alembic reads its files
        await connection.run_sync(_back_to, "0004")
        blockbuster.activate()
        await connection.execute(
            text(
                "INSERT INTO show"
                " (id, title, state, created_at_ms, publishing, auto_live, timeline_seq, timeline_at_ms)"
                " VALUES ('old', 'Old', 'live', 1, true, false, 0, 0)"
            )
        )
        await connection.execute(
            text("INSERT INTO stream_key (id, show_id, hash, label, created_at_ms) VALUES ('k', 'old', 'h', 'OBS', 1)")
        )
    assert await database.schema(database_url) == "other"
    await migrate(database_url)
    assert await database.schema(database_url) == "current"
    store = await Database.open(database_url, clock)
    shows = Shows(store, Recorder(), clock)
    show, (key,) = await shows.get("old"), await shows.stream_keys.good("old")
    await store.close()
    assert (show.state, show.publishing, show.publisher_lost_at_ms) == (ShowState.live, True, None)
    assert (key.label, key.backup) == ("OBS", False)
