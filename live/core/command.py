"""What every command of the command line shares: a flag for each setting, and failures said in one line.

Beside it the commands that need nothing but the kernel.
"""

import errno
import gc
import logging
import os
from collections.abc import Callable, Coroutine
from typing import Any

import click
import msgspec

from live.core import logs, server
from live.core.auth import ALL_SHOWS, Principal, Role, Tokens
from live.core.clock import SystemClock
from live.core.database import migrate
from live.core.errors import Problem
from live.core.ids import uuid7
from live.core.limits import TOKEN_TTL_S
from live.core.settings import PREFIX, Settings, SettingsError, load, unknown
from live.core.siblings import FOLDER
from live.core.supervisor import WorkerError
from live.core.text import clean_name
from live.core.valkey import ValkeyError

log = logging.getLogger(__name__)
_NOT_FLAGS = {"demo"}  # a command of its own


def with_settings(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command one flag for each setting; a flag beats its variable."""
    for field in reversed(msgspec.structs.fields(Settings)):
        if field.name not in _NOT_FLAGS:
            flag = "--" + field.name.replace("_", "-")
            option = click.option(flag, field.name, metavar="…", help=f"Instead of {PREFIX}{field.name.upper()}.")
            command = option(command)
    return command


def settings_of(flags: dict[str, str | None], **defaults: str) -> Settings:
    """The settings of flags over variables over `defaults`; configures the logs by them.

    A variable that is no setting is not refused, but named: an orchestrator makes some of a service's name, and the
    version before must start with what the next one has added.
    """
    given = {PREFIX + name.upper(): value for name, value in flags.items() if value is not None}
    fallbacks = {PREFIX + name.upper(): value for name, value in defaults.items()}
    try:
        settings = load({**fallbacks, **os.environ, **given})
    except SettingsError as error:
        raise click.ClickException(str(error)) from None
    logs.configure(settings.log_format, settings.log_level)
    if (strange := unknown(os.environ)) and FOLDER not in os.environ:  # to a worker its supervisor has said it
        said = ", ".join(f"{name} (did you mean {like}?)" if like else name for name, like in strange.items())
        log.warning("not a setting, and without effect: %s", said)
    return settings


def run(job: Coroutine[Any, Any, None], settings: Settings) -> None:
    """Run `job`, the last thing this process does; what a person can mend is said in one line, without a traceback."""
    try:
        server.run(job)
    except KeyboardInterrupt:
        raise SystemExit(130) from None
    except (Problem, ValkeyError, WorkerError) as error:
        raise click.ClickException(str(error)) from None
    except OSError as error:
        if error.errno not in (errno.EADDRINUSE, errno.EADDRNOTAVAIL, errno.EACCES):
            raise
        where = f"{settings.host}, port {settings.port} (TCP) or {settings.udp_port} (UDP)"
        raise click.ClickException(f"{where}: {error.strerror}. Set {PREFIX}PORT to another number.") from None
    finally:
        gc.collect()  # a failure that nobody has asked about is logged now
        gc.freeze()  # the interpreter would look through everything again, thrice: 0.3 s of each end


@click.command("migrate")
@with_settings
def migrate_command(**flags: str | None) -> None:
    """Bring the database to this version's schema."""
    settings = settings_of(flags)
    run(migrate(settings.effective_database_url), settings)
    click.echo("The database is up to date.")


@click.command("token")
@click.option("--role", type=click.Choice([role.value for role in Role]), default=Role.host.value, show_default=True)
@click.option("--show", default=ALL_SHOWS, show_default="all shows", help="The show it is good for.")
@click.option("--name", default="Host", show_default=True, help="Shown beside chat messages.")
@click.option("--ttl-s", type=click.IntRange(min=1), default=TOKEN_TTL_S, show_default=True, help="Seconds it lasts.")
@with_settings
def token_command(role: str, show: str, name: str, ttl_s: int, **flags: str | None) -> None:
    """Print a signed token."""
    settings = settings_of(flags)
    principal = Principal(subject=uuid7(), role=Role(role), show=show, name=clean_name(name))
    click.echo(Tokens(settings.secret, SystemClock()).sign(principal, ttl_s))
