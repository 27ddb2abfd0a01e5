"""The migrated schema is what the stores of all parts declare."""

from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection

import cart.feeds.tables
import cart.handoff.tables
import cart.pricing.tables
import cart.store
import cart.webhooks.tables
import chat.store
import live.access.tables
import live.store
from live.core.database import Database, metadata


async def test_the_schema_is_what_the_stores_declare(database: Database) -> None:
    assert cart.feeds.tables and cart.handoff.tables and cart.store and cart.pricing.tables and cart.webhooks.tables
    assert chat.store and live.access.tables and live.store

    def differences(connection: Connection) -> list[object]:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        return list(compare_metadata(context, metadata))

    async with database.read() as connection:
        assert await connection.run_sync(differences) == []
