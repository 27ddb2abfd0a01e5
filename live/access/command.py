"""`showcart key`: service keys from the command line, for who has the database's address and no token yet."""

from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import click

from live.access.keys import ServiceKey
from live.access.service import Keys
from live.core.auth import SCOPES
from live.core.clock import SystemClock
from live.core.command import run, settings_of, with_settings
from live.core.database import Database, schema
from live.core.limits import SERVICE_KEY_OVERLAP_S
from live.core.settings import Settings

_BY = "command line"
_DAY_S = 24 * 3600


@click.group("key")
def key_command() -> None:
    """Service keys: how other programs call this server's API."""


@key_command.command("create")
@click.option("--label", required=True, help="Whose key it is, for people.")
@click.option(
    "--scope", "scopes", multiple=True, required=True, type=click.Choice(list(SCOPES)), help="What it may do."
)
@click.option("--show", help="Only what is under this show.")
@click.option("--days", type=click.IntRange(min=1), help="How long it is good; else it never expires.")
@with_settings
def create_command(
    label: str, scopes: tuple[str, ...], show: str | None, days: int | None, **flags: str | None
) -> None:
    """Make a key and print it: it is shown this once."""

    async def job(keys: Keys) -> None:
        expires_in_s = None if days is None else days * _DAY_S
        made = await keys.create(_BY, label, scopes, show=show, expires_in_s=expires_in_s)
        click.echo(f"id {made.key.id}", err=True)
        click.echo(made.secret)

    _do(job, flags)


@key_command.command("list")
@with_settings
def list_command(**flags: str | None) -> None:
    """List the keys that are not revoked."""

    async def job(keys: Keys) -> None:
        for key in await keys.all():
            click.echo(_line(key))

    _do(job, flags)


@key_command.command("rotate")
@click.argument("id_")
@click.option("--overlap-s", type=int, default=SERVICE_KEY_OVERLAP_S, show_default=True,
              help="Seconds that the secret of before is good for.")  # fmt: skip
@with_settings
def rotate_command(id_: str, overlap_s: int, **flags: str | None) -> None:
    """Print a new secret for a key: it is shown this once."""

    async def job(keys: Keys) -> None:
        click.echo((await keys.rotate(_BY, id_, overlap_s)).secret)

    _do(job, flags)


@key_command.command("revoke")
@click.argument("id_")
@with_settings
def revoke_command(id_: str, **flags: str | None) -> None:
    """Make a key useless; running servers refuse it two seconds later."""
    _do(lambda keys: keys.revoke(id_), flags)


def _do(job: Callable[[Keys], Coroutine[Any, Any, None]], flags: dict[str, str | None]) -> None:
    settings = settings_of(flags, log_level="warning")

    async def work() -> None:
        async with _keys(settings) as keys:
            await job(keys)

    run(work(), settings)


@asynccontextmanager
async def _keys(settings: Settings) -> AsyncIterator[Keys]:
    if await schema(settings.effective_database_url) != "current":
        raise click.ClickException("Run `showcart migrate` first: the database has not this version's schema.")
    database = await Database.open(settings.effective_database_url, SystemClock())
    try:
        yield Keys(database)
    finally:
        await database.close()


def _line(key: ServiceKey) -> str:
    times = [("expires", key.expires_at_ms), ("last used", key.last_used_at_ms), ("old secret until", key.old_until_ms)]
    said = [f"{name} {datetime.fromtimestamp(at / 1000, UTC):%Y-%m-%d %H:%M}Z" for name, at in times if at is not None]
    where = [] if key.show is None else [f"show {key.show}"]
    return "  ".join([key.id, f"{key.prefix}…", key.label, ",".join(key.scopes), *where, *said])
