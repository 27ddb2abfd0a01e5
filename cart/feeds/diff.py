"""What a few entries of a feed change in the store, in one transaction.

What stands there is read once for all of them. First without any lock: what says nothing new never takes one, so a feed
that is fetched every few minutes leaves a running show alone. What differs is looked at again with everybody's locks
held, and changed.
"""

from collections.abc import Sequence
from typing import Any, Literal

import msgspec
from msgspec import UNSET
from sqlalchemy import Connection

from cart import shelf, store
from cart.catalogue import ProductEntry, VariantEntry
from cart.feeds import items_store
from cart.feeds.entries import Entry, LineError
from cart.feeds.report import ImportReport
from cart.moves import Moves
from cart.shelf import Item, Listed
from cart.stock import Level, Movement
from cart.store import Part
from live.core.limits import VARIANTS_MAX
from live.pinning import Changed

_PRODUCT = ("title", "description", "picture", "currency", "categories", "tax_bp")
_VARIANT = ("title", "price_minor", "list_price_minor", "tax_bp", "content")


class Task(msgspec.Struct, frozen=True):
    """An entry, and whether its product's own members count: of a group's lines only the first one's do."""

    entry: Entry
    whole: bool


class Stored:
    """What the store has of some entries' products. `feed`: the name that the feed's SKUs are kept by (None: none)."""

    def __init__(self, conn: Connection, tasks: Sequence[Task], feed: str | None, *, lock: bool) -> None:
        skus = [variant.sku for task in tasks for variant in task.entry.product.variants]
        self.feed = feed
        self.levels: dict[str, Level] = store.lock_levels(conn, skus) if lock else store.levels(conn, skus)
        self.owners = shelf.owners(conn, skus)
        ids = list(dict.fromkeys(task.entry.product.id for task in tasks))
        self.products: dict[str, Item] = {item.id: item for item in shelf.items(conn, ids, hidden=True)}
        self.kept = set(skus) if feed is None else items_store.kept(conn, feed, skus)

    def variant(self, product_id: str, sku: str) -> Listed:
        return next(one for one in self.products[product_id].variants if one.sku == sku)

    def says_nothing_new(self, task: Task, stock_means: str) -> bool:
        """Whether the store has all of it."""
        product = task.entry.product
        before = self.products.get(product.id)
        if before is None or before.currency != product.currency:
            return False
        if task.whole and not same_product(before, product):
            return False
        for variant in product.variants:
            if self.owners.get(variant.sku) != product.id or variant.sku not in self.kept:
                return False
            listed = self.variant(product.id, variant.sku)
            if listed.hidden or not same_variant(listed, variant):
                return False
            if variant.stock is not UNSET and units(self.levels[variant.sku], stock_means) != variant.stock:
                return False
        return True


def units(level: Level | None, stock_means: str) -> int:
    """What a feed's stock is compared with."""
    if level is None:
        return 0
    return level.available if stock_means == "available" else level.on_hand


def same_product(before: Item, entry: ProductEntry) -> bool:
    """Whether a product's own members are what an entry says."""
    return all(getattr(before, name) == getattr(entry, name) for name in _PRODUCT)


def same_variant(before: Listed, entry: VariantEntry) -> bool:
    """Whether a variant's own members are what an entry says; its stock is another matter."""
    if any(getattr(before, name) != getattr(entry, name) for name in _VARIANT):
        return False
    return entry.facts is UNSET or before.facts == entry.facts


class Change:
    """Brings entries in, with their levels locked, and tells of it; `announce` at last.

    `made`: product → currency, of those that the run has made; new ones are added. `refused`: what it refused.
    """

    def __init__(
        self,
        moves: Moves,
        tasks: Sequence[Task],
        feed: str | None,
        stock_means: str,
        report: ImportReport,
        made: dict[str, str],
    ) -> None:
        shelf.lock_catalogue(moves.tx.conn)
        self._moves = moves
        self._conn = moves.tx.conn
        self._stored = Stored(self._conn, tasks, feed, lock=True)
        self._stock_means = stock_means
        self.refused: list[LineError] = []
        self._report = report
        self._made = made
        self._tasks = tasks
        self._products: list[dict[str, Any]] = []  # new ones
        self._variants: list[tuple[str, str, dict[str, Any]]] = []  # new ones: product, SKU, members
        self._named: set[str] = set()  # by what was not refused
        self._changed: dict[str, None] = {}  # products that screens may show, in the order of the feed

    def apply(self) -> None:
        """Bring the entries in, or report why not."""
        done = [(task.entry, saved) for task in self._tasks if (saved := self._save(task)) is not None]
        self._named = {variant.sku for entry, _ in done for variant in entry.product.variants}
        shelf.add_products(self._conn, self._products)
        shelf.add_variants(self._conn, self._variants)
        for entry, saved in done:
            stocked = [self._save_stock(entry, variant) for variant in entry.product.variants]
            if saved == "created":
                self._report.created += 1
            elif saved == "changed" or any(stocked):
                self._report.changed += 1
            else:
                self._report.unchanged += 1

    def _save(self, task: Task) -> Literal["created", "changed", "unchanged"] | None:
        """Write an entry's members down, its stock excepted; what came of it (None: it was refused)."""
        product = task.entry.product
        if (error := self._refusal(task.entry)) is not None:
            self._report.refuse(error)
            self.refused.append(error)
            return None
        new = product.id not in self._stored.products
        changed = (task.whole or new) and self._save_product(product, new=new)
        for variant in product.variants:
            changed |= self._save_variant(product, variant)
        if changed:
            self._changed[product.id] = None
        if new and product.id not in self._made:
            self._made[product.id] = product.currency
            return "created"
        return "changed" if changed else "unchanged"

    def announce(self, told: Changed) -> None:
        """Keep what the feed has named, and tell the screens of what they may be showing."""
        if self._stored.feed is not None:
            items_store.keep(self._conn, self._stored.feed, sorted(self._named - self._stored.kept))
        if self._changed:
            told(self._moves.tx, self._conn, list(self._changed))
        self._moves.finish()

    def _refusal(self, entry: Entry) -> LineError | None:
        """Why the store cannot take an entry that is right in itself."""
        product = entry.product
        skus = tuple(variant.sku for variant in product.variants)
        before = self._stored.products.get(product.id)
        currency = before.currency if before is not None else self._made.get(product.id, product.currency)
        if currency != product.currency:
            detail = f"{product.id} is sold in {currency}; a currency cannot change"
            return LineError(line=entry.line, detail=detail, field="currency", skus=skus)
        for sku in skus:
            owner = self._stored.owners.get(sku, product.id)
            if owner != product.id:
                return LineError(line=entry.line, detail=f"the SKU {sku} belongs to {owner}", field="sku", skus=skus)
        there = {variant.sku for variant in before.variants} if before is not None else set()
        if len(there.union(skus)) > VARIANTS_MAX:
            detail = f"{product.id} would have more than {VARIANTS_MAX} variants"
            return LineError(line=entry.line, detail=detail, field="product_id", skus=skus)
        return None

    def _save_product(self, entry: ProductEntry, *, new: bool) -> bool:
        before = self._stored.products.get(entry.id)
        if before is not None and same_product(before, entry):
            return False
        values: dict[str, Any] = {name: getattr(entry, name) for name in _PRODUCT}
        variants = [] if before is None else before.variants
        self._stored.products[entry.id] = Item(id=entry.id, variants=variants, **values)
        values["updated_at_ms"] = self._moves.tx.now_ms
        if new:
            self._products.append(values | {"id": entry.id})
        elif (made := next((one for one in self._products if one["id"] == entry.id), None)) is not None:
            made |= values
        else:
            shelf.save_product(self._conn, entry.id, values)
        return True

    def _save_variant(self, entry: ProductEntry, variant: VariantEntry) -> bool:
        item = self._stored.products[entry.id]
        values: dict[str, Any] = {name: getattr(variant, name) for name in _VARIANT}
        if variant.sku not in self._stored.owners:
            values["facts"] = None if variant.facts is UNSET else variant.facts
            self._variants.append((entry.id, variant.sku, values))
            self._stored.owners[variant.sku] = entry.id
            item.variants.append(Listed(sku=variant.sku, available=0, hidden=False, **values))
            return True
        before = self._stored.variant(entry.id, variant.sku)
        if same_variant(before, variant) and not before.hidden:
            return False
        if variant.facts is not UNSET:
            values["facts"] = variant.facts
        shelf.save_variant(self._conn, variant.sku, values | {"hidden": False})
        return True

    def _save_stock(self, entry: Entry, variant: VariantEntry) -> bool:
        if variant.stock is UNSET:
            return False
        level = self._stored.levels.get(variant.sku)
        stock = variant.stock
        promised = 0 if level is None else level.allocated + level.held
        if self._stock_means == "on_hand" and stock < promised:
            detail = f"{stock} is less than the {promised} units in carts and orders; nothing is left to sell"
            self._report.warn(LineError(line=entry.line, detail=detail, field="stock", skus=(variant.sku,)))
            stock = promised
        more = stock - units(level, self._stock_means)
        if more == 0:
            return False
        moved = self._moves.move(entry.product.id, variant.sku, Movement.counted, [Part(quantity=more)])
        assert moved is not None, "what is promised stays"
        return True


def withdraw(moves: Moves, skus: Sequence[str], missing: str, report: ImportReport, told: Changed) -> None:
    """What the feed named before and not now is hidden, or sold no longer."""
    shelf.lock_catalogue(moves.tx.conn)
    levels = store.lock_levels(moves.tx.conn, skus)
    owners = shelf.owners(moves.tx.conn, skus)
    if missing == "hidden":
        hidden = shelf.hide(moves.tx.conn, sorted(owners))
        report.hidden += len(hidden)
        changed = list(dict.fromkeys(owners[sku] for sku in hidden))
        if changed:
            told(moves.tx, moves.tx.conn, changed)
    else:
        for sku, level in sorted(levels.items()):
            if level.available > 0:
                moves.move(owners[sku], sku, Movement.counted, [Part(quantity=-level.available)])
                report.zeroed += 1
    moves.finish()
