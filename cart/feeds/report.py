"""What came of a feed."""

from typing import Annotated, Literal

import msgspec

from cart.feeds.entries import LineError
from live.core.limits import IMPORT_ERRORS_SHOWN, STOCK_MAX

StockCount = Annotated[int, msgspec.Meta(ge=0, le=STOCK_MAX)]
StockMeans = Literal["on_hand", "available"]
Missing = Literal["kept", "hidden", "zero"]


class ImportReport(msgspec.Struct):
    """What came of a feed. An entry is a product of a JSON file, a row of a table, or an item of Google's format.

    `created` and `changed` count entries that made a product or altered one; `unchanged` ones said nothing new.
    `errors` holds the first IMPORT_ERRORS_SHOWN of `refused`. With `dry_run` nothing was kept. `short`: entries that
    would leave less than carts and orders were promised: nothing is left to sell then, and what is promised stays;
    `warnings` holds the first of them. `missing`: SKUs that the feed named before and not now; `hidden` and `zeroed` of
    them are no longer shown, or sold. `note`: why nothing was done about them ("": it was). `complete`: the feed was
    read to its end. `transactions` that changed something, the longest of which took `transaction_ms_max`.
    """

    dry_run: bool
    created: int = 0
    changed: int = 0
    unchanged: int = 0
    refused: int = 0
    errors: list[LineError] = []
    short: int = 0
    warnings: list[LineError] = []
    missing: int = 0
    hidden: int = 0
    zeroed: int = 0
    note: str = ""
    complete: bool = True
    transactions: int = 0
    transaction_ms_max: float = 0.0

    @property
    def accepted(self) -> int:
        return self.created + self.changed + self.unchanged

    def refuse(self, error: LineError) -> None:
        self.refused += 1
        self.complete = self.complete and not error.ends
        if len(self.errors) < IMPORT_ERRORS_SHOWN:
            self.errors.append(error)

    def warn(self, warning: LineError) -> None:
        self.short += 1
        if len(self.warnings) < IMPORT_ERRORS_SHOWN:
            self.warnings.append(warning)

    def took(self, transaction_ms: float) -> None:
        self.transactions += 1
        self.transaction_ms_max = max(self.transaction_ms_max, round(transaction_ms, 1))
