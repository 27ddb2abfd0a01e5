"""When a SKU can be bought in a show, how much of it, and how much by one customer.

A drop is *planned* until `opens_at_ms`, *open* from that moment on, and *over* from `closes_at_ms` on. What has been
taken of it is what carts of its show hold, and what was ordered from them since it was made.
"""

from typing import Any

import msgspec

from live.core.errors import Kind, Problem
from live.core.limits import QUANTITY_MAX, STOCK_MAX, TIME_MS_MAX


class Drop(msgspec.Struct, frozen=True):
    """One SKU's drop in one show; times are Unix milliseconds of the database's clock.

    None: `closes_at_ms`, it is open until it is cancelled; `total_limit`, it sells what there is;
    `per_customer_limit`, anybody takes as much as a cart holds.
    """

    id: str
    show: str
    sku: str
    product_id: str
    opens_at_ms: int
    closes_at_ms: int | None
    total_limit: int | None
    per_customer_limit: int | None
    taken: int
    created_at_ms: int

    def over(self, now_ms: int) -> bool:
        """Whether it has closed."""
        return self.closes_at_ms is not None and self.closes_at_ms <= now_ms

    def open(self, now_ms: int) -> bool:
        """Whether it sells; the opening moment belongs to it, the closing moment does not."""
        return self.opens_at_ms <= now_ms and not self.over(now_ms)

    def left(self, available: int) -> int:
        """How many of so many units can still be bought of it."""
        return available if self.total_limit is None else max(0, min(available, self.total_limit - self.taken))

    def left_for(self, own: int) -> int | None:
        """How many units a customer who has `own` may still take; None: no limit of the drop's."""
        return None if self.per_customer_limit is None else max(0, self.per_customer_limit - own)

    def check_window(self, now_ms: int) -> None:
        """Raises `Problem` drop_not_open, drop_over."""
        if now_ms < self.opens_at_ms:
            extra = {"sku": self.sku, "opens_at_ms": self.opens_at_ms, "now_ms": now_ms}
            raise Problem(Kind.drop_not_open, field="sku", extra=extra)
        if self.over(now_ms):
            raise Problem(Kind.drop_over, field="sku", extra={"sku": self.sku, "closes_at_ms": self.closes_at_ms})

    def check(self, now_ms: int, quantity: int, own: int) -> None:
        """Whether a customer who has `own` units may take more; raises `Problem` as `check_window`, and
        drop_customer_limit, drop_limit_reached with what is left for a smaller wish."""
        self.check_window(now_ms)
        spare = self.left_for(own)
        if spare is not None and quantity > spare:
            detail = f"You can take {spare} more." if spare else ""
            extra = {"sku": self.sku, "left": spare, "per_customer_limit": self.per_customer_limit}
            raise Problem(Kind.drop_customer_limit, detail, field="quantity", extra=extra)
        left = self.left(quantity)
        if left < quantity:
            detail = f"Only {left} left." if left else ""
            raise Problem(Kind.drop_limit_reached, detail, field="sku", extra={"sku": self.sku, "left": left})


class DropView(msgspec.Struct, frozen=True):
    """A drop as screens see it. `left` of it can still be bought."""

    id: str
    sku: str
    product_id: str
    opens_at_ms: int
    closes_at_ms: int | None
    total_limit: int | None
    per_customer_limit: int | None
    left: int


class StaffDropView(DropView, frozen=True):
    """A drop as its hosts see it. `taken`: units in carts and orders."""

    taken: int


def view(drop: Drop, available: int) -> DropView:
    """What screens see while so many units are available."""
    return DropView(**_plan(drop), left=drop.left(available))


def staff_view(drop: Drop, available: int) -> StaffDropView:
    """What hosts see."""
    return StaffDropView(**_plan(drop), left=drop.left(available), taken=drop.taken)


def _plan(drop: Drop) -> dict[str, Any]:
    return {name: getattr(drop, name) for name in DropView.__struct_fields__ if name != "left"}


def check_plan(drop: Drop, now_ms: int) -> None:
    """Raises `Problem` invalid_field, with the member, for a drop that nobody should plan."""
    if not 0 <= drop.opens_at_ms <= TIME_MS_MAX:
        raise Problem(Kind.invalid_field, "Unix milliseconds, up to the year 9999.", field="opens_at_ms")
    if drop.closes_at_ms is not None:
        if not drop.opens_at_ms < drop.closes_at_ms <= TIME_MS_MAX:
            raise Problem(Kind.invalid_field, "Later than opens_at_ms, up to the year 9999.", field="closes_at_ms")
        if drop.over(now_ms):
            raise Problem(Kind.invalid_field, "This moment has passed.", field="closes_at_ms")
    if drop.total_limit is not None and not 1 <= drop.total_limit <= STOCK_MAX:
        raise Problem(Kind.invalid_field, f"Between 1 and {STOCK_MAX}, or null.", field="total_limit")
    own = drop.per_customer_limit
    if own is not None and not 1 <= own <= min(QUANTITY_MAX, drop.total_limit or QUANTITY_MAX):
        detail = f"Between 1 and {QUANTITY_MAX}, no more than total_limit, or null."
        raise Problem(Kind.invalid_field, detail, field="per_customer_limit")
