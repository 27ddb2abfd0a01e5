"""The command line's `import`: product files, while the shop is open or before it opens."""

from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Protocol

import click
from rich import progress as bars

from cart.feeds.importer import Options, import_products
from cart.feeds.report import ImportReport
from live.core.command import run, settings_of, with_settings
from live.core.settings import Settings
from live.service import Shows


class Store(Protocol):
    """What changes products and tells the screens."""

    @property
    def shows(self) -> Shows: ...


class OpenStore(Protocol):
    """Opens database and bus; `join`: of a server that runs in this data folder already."""

    def __call__(self, settings: Settings, *, join: bool) -> AbstractAsyncContextManager[Store]: ...


def import_command(open_store: OpenStore) -> click.Command:
    """The command, over whatever the product is put together from."""

    @click.command("import")
    @click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
    @click.option("--dry-run", is_flag=True, help="Only say what would happen.")
    @with_settings
    def command(file: Path, dry_run: bool, **flags: str | None) -> None:
        """Read products from a CSV or JSON file; good lines land, bad ones are named."""
        settings = settings_of(flags, log_level="warning")

        async def job() -> None:
            async with open_store(settings, join=True) as store:
                report = await _import_watched(file, store.shows, dry_run=dry_run)
            _show(report)
            if report.refused:
                raise SystemExit(1)

        try:
            run(job(), settings)
        except ValueError as error:
            raise click.ClickException(str(error)) from None

    return command


async def _import_watched(path: Path, shows: Shows, *, dry_run: bool) -> ImportReport:
    """As `import_products`, with a bar on the terminal that shows how far it is."""
    columns = (bars.TextColumn("{task.description}"), bars.BarColumn(), bars.TaskProgressColumn())
    with bars.Progress(*columns, transient=True) as bar:
        task = bar.add_task(path.name, total=None)

        async def show(done: int, total: int) -> None:
            bar.update(task, completed=done, total=total)

        return await import_products(path, shows, Options(dry_run=dry_run), progress=show)


def _show(report: ImportReport) -> None:
    """Print it, what was refused to standard error."""
    would = "would be " if report.dry_run else ""
    click.echo(f"{report.created} {would}created, {report.changed} {would}changed, {report.unchanged} unchanged")
    for error in report.errors:
        click.echo(f"line {error.line}: {error.field + ': ' if error.field else ''}{error.detail}", err=True)
    if report.refused > len(report.errors):
        click.echo(f"… and {report.refused - len(report.errors)} more", err=True)
