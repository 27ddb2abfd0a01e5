"""Brings product files into the catalogue, a batch of lines a transaction, while the shop is open.

The good lines land, the others are reported with their numbers. A product or variant that the file does not name
stays as it is. Stock means the units that are there, those in orders and carts included (`on_hand`), or those that
can still be sold, as many shops' feeds have it (`available`). Screens hear at once: `product.changed` in the shows
that have the product in their lineup, stock as always.
"""

import asyncio
import contextlib
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO, Literal

import msgspec
from msgspec import UNSET

from cart import shelf, store
from cart.catalogue import ProductEntry, VariantEntry
from cart.feeds.formats import Entry, Format, LineError, read
from cart.moves import Moves
from cart.shelf import Item
from cart.stock import Level, Movement
from cart.store import Part
from live.core.limits import IMPORT_BATCH, IMPORT_ERRORS_SHOWN
from live.pinning import Changed
from live.service import Batch, Shows

StockMeans = Literal["on_hand", "available"]
Progress = Callable[[int, int], None]  # bytes read, bytes in the file


class ImportReport(msgspec.Struct):
    """What came of a file. An entry is a product of a JSON file or a row of a CSV file.

    `created` and `changed` count entries that made a product or altered one; `unchanged` ones said nothing new.
    `errors` holds the first IMPORT_ERRORS_SHOWN of `refused`. With `dry_run` nothing was kept.
    """

    dry_run: bool
    created: int = 0
    changed: int = 0
    unchanged: int = 0
    refused: int = 0
    errors: list[LineError] = []

    @property
    def accepted(self) -> int:
        return self.created + self.changed + self.unchanged

    def refuse(self, error: LineError) -> None:
        self.refused += 1
        if len(self.errors) < IMPORT_ERRORS_SHOWN:
            self.errors.append(error)


def format_of(path: Path) -> Format:
    """The format that a file's name promises; raises `ValueError`."""
    formats: dict[str, Format] = {".csv": "csv", ".tsv": "csv", ".json": "json", ".jsonl": "json", ".ndjson": "json"}
    format_ = formats.get(path.suffix.lower())
    if format_ is None:
        raise ValueError(f"{path.name}: the name must end with {', '.join(formats)}")
    return format_


async def import_products(
    path: Path,
    shows: Shows,
    *,
    format_: Format | None = None,
    dry_run: bool = False,
    stock_means: StockMeans = "on_hand",
    progress: Progress | None = None,
) -> ImportReport:
    """Import the file at `path`. `format_` None: by its name; `dry_run`: only say what would happen.

    Raises `ValueError` for a name without a known ending, `OSError` for a file that cannot be read, and `Problem`
    when the store is out of reach: batches that were committed before stay.
    """
    format_ = format_ or format_of(path)
    size_bytes = (await asyncio.to_thread(path.stat)).st_size
    source = await asyncio.to_thread(path.open, "rb")
    try:
        return await import_stream(
            source, size_bytes, shows, format_, dry_run=dry_run, stock_means=stock_means, progress=progress
        )
    finally:
        await asyncio.to_thread(source.close)


async def import_stream(
    source: BinaryIO,
    size_bytes: int,
    shows: Shows,
    format_: Format,
    *,
    dry_run: bool = False,
    stock_means: StockMeans = "on_hand",
    progress: Progress | None = None,
) -> ImportReport:
    """As `import_products`, from an open, seekable file."""
    report = ImportReport(dry_run=dry_run)
    made: dict[str, str] = {}  # product → currency, of those that a dry run would have made
    items = read(source, format_)
    # Reading and parsing may take long: both are a thread's work.
    while batch := await asyncio.to_thread(lambda: list(islice(items, IMPORT_BATCH))):
        for item in batch:
            if isinstance(item, LineError):
                report.refuse(item)
        entries = [item for item in batch if isinstance(item, Entry)]
        if entries:
            await _import_batch(shows, entries, report, made, stock_means)
        if progress is not None:
            progress(min(await asyncio.to_thread(source.tell), size_bytes), size_bytes)
    return report


class _DryRun(Exception):
    """Rolls a batch back."""


async def _import_batch(
    shows: Shows, entries: list[Entry], report: ImportReport, made: dict[str, str], stock_means: StockMeans
) -> None:
    def work(tx: Batch) -> None:
        batch = _Import(Moves(tx), report, made, stock_means, shows.pinning.changed)
        batch.prepare(entries)
        for entry in entries:
            batch.apply(entry)
        if report.dry_run:
            raise _DryRun
        batch.announce()

    with contextlib.suppress(_DryRun):
        _, told = await shows.batch(work, here=False)
        await told


class _Import:
    """Some entries in one transaction. What stands in the store is read once, for all of them."""

    def __init__(
        self, moves: Moves, report: ImportReport, made: dict[str, str], stock_means: StockMeans, told: Changed
    ) -> None:
        self._moves = moves
        self._told = told
        self._conn = moves.tx.conn
        self._report = report
        self._made = made
        self._stock_means = stock_means
        self._changed: dict[str, None] = {}  # products that screens may show, in the order of the file
        self._products: dict[str, Item] = {}
        self._owners: dict[str, str] = {}
        self._levels: dict[str, Level] = {}

    def prepare(self, entries: list[Entry]) -> None:
        """Lock what the entries may change, in the order that everybody keeps."""
        shelf.lock_catalogue(self._conn)
        skus = [variant.sku for entry in entries for variant in entry.product.variants]
        self._levels = store.lock_levels(self._conn, skus)
        self._owners = shelf.owners(self._conn, skus)
        ids = list(dict.fromkeys(entry.product.id for entry in entries))
        self._products = {product.id: product for product in shelf.items(self._conn, ids)}

    def apply(self, entry: Entry) -> None:
        """Bring one entry in, or report why not."""
        if (error := self._refusal(entry)) is not None:
            self._report.refuse(error)
            return
        new = entry.product.id not in self._products
        changed = self._save_product(entry.product, new=new)
        stocked = False
        for variant in entry.product.variants:
            changed |= self._save_variant(entry.product, variant)
            stocked |= self._save_stock(entry.product, variant)
        if new and entry.product.id not in self._made:
            self._report.created += 1
        elif changed or stocked:
            self._report.changed += 1
        else:
            self._report.unchanged += 1
        if new:
            self._made[entry.product.id] = entry.product.currency
        if changed:
            [fresh] = shelf.items(self._conn, [entry.product.id])
            self._products[entry.product.id] = fresh
            self._changed[entry.product.id] = None

    def announce(self) -> None:
        """Tell the screens of what they may be showing."""
        if self._changed:
            self._told(self._moves.tx, self._conn, list(self._changed))
        self._moves.finish()

    def _refusal(self, entry: Entry) -> LineError | None:
        """Why the store cannot take an entry that is right in itself."""
        product = entry.product
        before = self._products.get(product.id)
        currency = before.currency if before is not None else self._made.get(product.id, product.currency)
        if currency != product.currency:
            detail = f"{product.id} is sold in {currency}; a currency cannot change"
            return LineError(line=entry.line, detail=detail, field="currency")
        for variant in product.variants:
            owner = self._owners.get(variant.sku, product.id)
            if owner != product.id:
                return LineError(line=entry.line, detail=f"the SKU {variant.sku} belongs to {owner}", field="sku")
            level = self._levels.get(variant.sku)
            if level is None or variant.stock is UNSET:
                continue
            promised = level.allocated + level.held
            if self._stock_means == "on_hand" and variant.stock < promised:
                detail = f"{variant.stock} is less than the {promised} units in carts and orders"
                return LineError(line=entry.line, detail=detail, field="stock")
        return None

    def _save_product(self, entry: ProductEntry, *, new: bool) -> bool:
        members = ("title", "description", "picture", "currency", "categories", "tax_bp")
        values: dict[str, Any] = {name: getattr(entry, name) for name in members}
        before = self._products.get(entry.id)
        if before is not None and all(getattr(before, name) == value for name, value in values.items()):
            return False
        shelf.save_product(self._conn, entry.id, values | {"updated_at_ms": self._moves.tx.now_ms}, new=new)
        return True

    def _save_variant(self, entry: ProductEntry, variant: VariantEntry) -> bool:
        members = ("title", "price_minor", "list_price_minor", "tax_bp", "content")
        values = {name: getattr(variant, name) for name in members}
        if variant.sku not in self._owners:
            shelf.add_variant(self._conn, entry.id, variant.sku, values)
            self._owners[variant.sku] = entry.id
            return True
        before = next(one for one in self._products[entry.id].variants if one.sku == variant.sku)
        if all(getattr(before, name) == value for name, value in values.items()):
            return False
        shelf.save_variant(self._conn, variant.sku, values)
        return True

    def _save_stock(self, entry: ProductEntry, variant: VariantEntry) -> bool:
        if variant.stock is UNSET:
            return False
        level = self._levels.get(variant.sku)
        now = 0 if level is None else level.available if self._stock_means == "available" else level.on_hand
        more = variant.stock - now
        if more == 0:
            return False
        moved = self._moves.move(entry.id, variant.sku, Movement.counted, [Part(quantity=more)])
        assert moved is not None, "what is promised was looked at before"
        return True
