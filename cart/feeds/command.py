"""The command line's `import` and `feed`: product feeds, while the shop is open or before it opens."""

import os
from collections.abc import Callable, Coroutine
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any, Protocol

import click
from rich import progress as bars

from cart.feeds.importer import Options, import_products
from cart.feeds.report import ImportReport, Missing, StockMeans
from cart.feeds.service import Feeds, NewSource
from live.core.auth import ALL_SHOWS, Principal, Role
from live.core.command import run, settings_of, with_settings
from live.core.settings import Settings
from live.service import Shows

_OPERATOR = Principal(subject="command line", role=Role.ops, show=ALL_SHOWS, name="Command line")
_MISSING = click.Choice(["kept", "hidden", "zero"])
_STOCK_MEANS = click.Choice(["on_hand", "available"])


class Store(Protocol):
    """What changes products and tells the screens."""

    @property
    def shows(self) -> Shows: ...

    @property
    def feeds(self) -> Feeds: ...


class OpenStore(Protocol):
    """Opens database and bus; `join`: of a server that runs in this data folder already."""

    def __call__(self, settings: Settings, *, join: bool) -> AbstractAsyncContextManager[Store]: ...


def add_commands(main: click.Group, open_store: OpenStore) -> None:
    """Add the commands, over whatever the product is put together from."""
    main.add_command(_import_command(open_store))
    main.add_command(_feed_group(open_store))


def _import_command(open_store: OpenStore) -> click.Command:
    @click.command("import")
    @click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
    @click.option("--dry-run", is_flag=True, help="Only say what would happen.")
    @click.option("--feed", help="The name that its SKUs are kept by, so that a later import knows what is missing.")
    @click.option("--missing", type=_MISSING, default="kept", show_default=True, help="What the feed named before.")
    @click.option("--stock-means", type=_STOCK_MEANS, default="on_hand", show_default=True, help="What units are.")
    @with_settings
    def command(
        file: Path, dry_run: bool, feed: str | None, missing: Missing, stock_means: StockMeans, **flags: str | None
    ) -> None:
        """Read products from a table, JSON or Google's XML, packed or not; good lines land, bad ones are named."""
        settings = settings_of(flags, log_level="warning")
        if missing != "kept" and feed is None:
            raise click.UsageError("--missing needs --feed: only of its own SKUs some are missing.")

        async def job() -> None:
            async with open_store(settings, join=True) as store:
                report = await _watched(file, store.shows, Options(dry_run, stock_means, feed, missing))
            _show(report)
            if report.refused:
                raise SystemExit(1)

        try:
            run(job(), settings)
        except ValueError as error:
            raise click.ClickException(str(error)) from None

    return command


def _feed_group(open_store: OpenStore) -> click.Command:
    group = click.Group("feed", help="Feeds that the server fetches again and again.")
    name = click.argument("name")

    def do(flags: dict[str, str | None], work: Callable[[Feeds], Coroutine[Any, Any, None]]) -> None:
        settings = settings_of(flags, log_level="warning")

        async def job() -> None:
            async with open_store(settings, join=True) as store:
                await work(store.feeds)

        run(job(), settings)

    @group.command("add")
    @name
    @click.argument("url")
    @click.option("--every-s", default=3600, show_default=True, help="Seconds between two times that it is fetched.")
    @click.option("--format", "format_", type=click.Choice(["auto", "csv", "json", "xml"]), default="auto")
    @click.option("--missing", type=_MISSING, default="kept", show_default=True, help="What it named before.")
    @click.option("--stock-means", type=_STOCK_MEANS, default="on_hand", show_default=True, help="What units are.")
    @click.option("--authorization-from", metavar="VARIABLE", help="The variable with that header's value.")
    @with_settings
    def add(
        name: str, url: str, every_s: int, format_: str, missing: Missing, stock_means: StockMeans,
        authorization_from: str | None, **flags: str | None,
    ) -> None:  # fmt: skip
        """Have the feed at URL (https://…, or file:name in the data folder's `feeds`) fetched again and again."""
        word = None if authorization_from is None else os.environ.get(authorization_from)
        if authorization_from is not None and word is None:
            raise click.ClickException(f"There is no variable {authorization_from}.")
        new = NewSource(name, url, format_, every_s, missing, stock_means, word)

        async def work(feeds: Feeds) -> None:
            await feeds.create(_OPERATOR, None, new)

        do(flags, work)

    @group.command("list")
    @with_settings
    def list_(**flags: str | None) -> None:
        """Say which feeds there are, and what came of the last run of each."""

        async def work(feeds: Feeds) -> None:
            for source in await feeds.sources():
                found = await feeds.runs(source.name, None)
                last = f"{found[0].state} {found[0].problem}".strip() if found else "not fetched yet"
                click.echo(f"{source.name}  {source.state}  every {source.interval_s} s  {source.url}  {last}")

        do(flags, work)

    @group.command("run")
    @name
    @with_settings
    def run_(name: str, **flags: str | None) -> None:
        """Have a feed fetched now, by a server that runs."""

        async def work(feeds: Feeds) -> None:
            await feeds.ask(_OPERATOR, None, name)

        do(flags, work)

    @group.command("pause")
    @name
    @with_settings
    def pause(name: str, **flags: str | None) -> None:
        """Fetch a feed only when it is asked for."""

        async def work(feeds: Feeds) -> None:
            await feeds.change(_OPERATOR, None, name, state="paused")

        do(flags, work)

    @group.command("resume")
    @name
    @with_settings
    def resume(name: str, **flags: str | None) -> None:
        """Fetch a paused feed again."""

        async def work(feeds: Feeds) -> None:
            await feeds.change(_OPERATOR, None, name, state="active")

        do(flags, work)

    @group.command("remove")
    @name
    @with_settings
    def remove(name: str, **flags: str | None) -> None:
        """Fetch a feed no longer; what it brought stays."""

        async def work(feeds: Feeds) -> None:
            await feeds.delete(_OPERATOR, None, name)

        do(flags, work)

    return group


async def _watched(path: Path, shows: Shows, options: Options) -> ImportReport:
    """As `import_products`, with a bar on the terminal that shows how far it is."""
    columns = (bars.TextColumn("{task.description}"), bars.BarColumn(), bars.TaskProgressColumn())
    with bars.Progress(*columns, transient=True) as bar:
        task = bar.add_task(path.name, total=None)

        async def show(done: int, total: int) -> None:
            bar.update(task, completed=done, total=total)

        return await import_products(path, shows, options, progress=show)


def _show(report: ImportReport) -> None:
    """Print it, what was refused to standard error."""
    would = "would be " if report.dry_run else ""
    click.echo(f"{report.created} {would}created, {report.changed} {would}changed, {report.unchanged} unchanged")
    if report.missing:
        click.echo(f"{report.missing} missing: {report.hidden} {would}hidden, {report.zeroed} {would}sold no longer")
    if report.note:
        click.echo(f"Nothing was done about what is missing: {report.note}", err=True)
    for line in (*report.errors, *report.warnings):
        click.echo(f"line {line.line}: {line.field + ': ' if line.field else ''}{line.detail}", err=True)
    if more := report.refused + report.short - len(report.errors) - len(report.warnings):
        click.echo(f"… and {more} more", err=True)
