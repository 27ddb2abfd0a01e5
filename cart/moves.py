"""Moves stock within one transaction, writes it down, and tells the screens what is left afterwards."""

from collections.abc import Callable, Sequence
from typing import Protocol, TypeVar

from cart import audit, store
from cart.board import Board, tell_stock
from cart.pricing.service import Pricing
from cart.register import Register
from cart.shelf import Offer
from cart.stock import EFFECTS, MAIN, Hold, HoldState, Level, Movement
from cart.store import Moved, Part
from cart.webhooks import outbox
from live import store as shows_store
from live.core.codec import plain
from live.core.errors import Problem
from live.core.ids import uuid7
from live.core.limits import SWEEP_BATCH
from live.service import Batch
from live.shows import Show
from live.timeline import Pin, show_clock

T = TypeVar("T")


class Buyer(Protocol):
    """An order, as far as drops look at it."""

    @property
    def show(self) -> str:
        """Where it was bought."""

    @property
    def viewer_id(self) -> str:
        """By whom."""


class Promises(Protocol):
    """Whom units are promised to: those who wait for them, and drops, which sell so many of them."""

    def moved(self, moves: "Moves", level: Level, kind: Movement, parts: Sequence[Part]) -> None:
        """Units of a SKU that has drops were moved; raises `Problem` when a drop does not allow it."""

    def serve(self, moves: "Moves", sku: str) -> bool:
        """Give free units of a SKU, whose level is locked, to those who wait for them.

        Whether what is left is for anybody.
        """

    def room(self, moves: "Moves", level: Level, show: str, viewer_id: str, quantity: int) -> bool:
        """Whether the limits of a drop, open or not, have room for more units of a viewer."""

    def note(self, sku: str) -> None:
        """The queue of a SKU has moved on; those who wait are told of it later."""

    def given_up(self, moves: "Moves", sku: str, carts: Sequence[str]) -> None:
        """Units of a SKU, whose level is locked, were let go from these carts: they do not wait for more of it."""

    def tell(self, tx: Batch, sku: str, available: int) -> None:
        """Tell the screens what is left of the SKU's drops."""


class Moves:
    """The stock movements of one transaction; `finish` them once, when all is moved.

    `board` says of which SKUs the screens hear by this transaction (None: of all). `register` prices its carts.
    `actor` is who the trail says has counted stock. `promises` None: what becomes free stays free until others look.
    """

    def __init__(
        self,
        tx: Batch,
        board: Board | None = None,
        pricing: Pricing | None = None,
        promises: Promises | None = None,
    ) -> None:
        self.tx = tx
        self.promises = promises
        self._pricing = pricing or Pricing()
        self.forget_prices()
        self._board = board
        self.actor = audit.SERVER
        self._moved: list[Moved] = []
        self._counted: list[tuple[audit.Actor, audit.Change]] = []
        self._before: dict[str, int] = {}  # SKU → what was available when the transaction began
        self._after: dict[str, tuple[str, Level]] = {}  # SKU → product, the level now
        self._freed: set[str] = set()  # SKUs of which units became free that somebody waits for
        self.reserved: set[str] = set()  # SKUs whose free units are for those who wait, and for nobody else
        self._sellers: dict[str, set[str]] = {}  # SKU → shows whose holds moved

    def attempt(self, work: "Callable[[Moves], T]") -> T | Problem:
        """Do `work`; when it refuses, nothing of it has happened, and the refusal is given back."""
        said, moved, counted = self.tx.said(), len(self._moved), len(self._counted)
        before, after = dict(self._before), dict(self._after)
        sellers = {sku: set(shows) for sku, shows in self._sellers.items()}
        self.actor = audit.SERVER
        self.reserved.clear()
        savepoint = self.tx.conn.begin_nested()
        try:
            result = work(self)
            self.hand_over()  # what it freed is not for the next one in this transaction
        except Problem as problem:
            savepoint.rollback()
            self.tx.unsay(said)
            self._freed.clear()
            self.reserved.clear()
            del self._moved[moved:], self._counted[counted:]
            self._before, self._after, self._sellers = before, after, sellers
            self.forget_prices()
            return problem
        savepoint.commit()
        return result

    def forget_prices(self) -> None:
        """Ask again by which rules carts are priced, and who they belong to."""
        self.register = Register(self._pricing, self.tx.conn, self.tx.now_ms)

    def move(
        self, product_id: str, sku: str, kind: Movement, parts: Sequence[Part], *, written: bool = False
    ) -> Level | None:
        """The level after the movement; None: there are not enough units, and nothing was moved.

        `written`: the caller writes the movement down, and into the trail.
        """
        quantity = sum(part.quantity for part in parts)
        level = store.change_level(self.tx.conn, sku, kind, quantity)
        if level is None:
            return None
        if not written:
            self._moved += [Moved(sku, kind, part) for part in parts]
        if kind is Movement.counted and not written:
            before, after = {"on_hand": level.on_hand - quantity}, {"on_hand": level.on_hand}
            self._counted.append((self.actor, audit.Change("stock.counted", f"sku:{sku}", before, after)))
        on_hand, allocated, held = EFFECTS[kind]
        moved = (on_hand - allocated - held) * quantity
        self._before.setdefault(sku, level.available - moved)
        self._after[sku] = product_id, level
        self._sellers.setdefault(sku, set()).update(part.show for part in parts if part.show is not None)
        if self.promises is not None:
            if level.drops:
                self.promises.moved(self, level, kind, parts)
            if level.waiting and moved > 0:
                self._freed.add(sku)
        return level

    def line_up(self, level: Level) -> None:
        """Before anybody takes units of a locked level: whoever waits for them comes first (see `reserved`)."""
        if self.promises is None or level.waiting == 0 or level.available == 0:
            return
        if not self.promises.serve(self, level.sku):
            self.reserved.add(level.sku)

    def make_room(self, skus: Sequence[str]) -> None:
        """Before an order takes units of locked levels that no cart holds for it: what has run out is free again, and
        whoever waits for it comes first. Ask `free` what is left."""
        self.tell_owners(self.expire(skus, SWEEP_BATCH), "hold_expired")
        for _, level in sorted(store.levels(self.tx.conn, skus).items()):
            self.line_up(level)

    def free(self, level: Level) -> int:
        """How many units of a locked level are for anybody."""
        return 0 if level.sku in self.reserved else level.available

    def has_room(self, level: Level, buyer: Buyer, quantity: int) -> bool:
        """Whether a buyer who has paid may have so many units more of a locked level, as far as drops say."""
        if self.promises is None or level.drops == 0 or quantity == 0:
            return True
        return self.promises.room(self, level, buyer.show, buyer.viewer_id, quantity)

    def queue_moved(self, sku: str) -> None:
        """Somebody has left the queue of a SKU by another way than a turn."""
        if self.promises is not None:
            self.promises.note(sku)

    def let_go(self, hold: Hold) -> None:
        """The buyer takes a living hold, whose level is locked, out of the cart."""
        self.end_holds([hold], HoldState.released, Movement.released)
        self.give_up(hold.sku, [hold.cart])

    def give_up(self, sku: str, carts: Sequence[str]) -> None:
        """Units just moved out of these carts are for the next who waits, and do not come back to who let them go."""
        if self.promises is not None and self._after[sku][1].waiting:
            self.promises.given_up(self, sku, carts)

    def hand_over(self) -> None:
        """Give what became free to those who wait for it, before anybody else can have it."""
        while self._freed:
            sku = min(self._freed)
            self._freed.discard(sku)
            assert self.promises is not None, "they are why it was noted"
            self.promises.serve(self, sku)

    def end_holds(self, holds: Sequence[Hold], to: HoldState, kind: Movement, *, order_id: str | None = None) -> None:
        """Take holds, all in one state and with their levels locked, to a state without held units."""
        store.set_state(self.tx.conn, holds, to, order_id=order_id)
        if to is HoldState.expired:
            outbox.put_holds(self.tx.conn, self.tx.now_ms, "hold.expired", holds)
        by_sku: dict[str, list[Hold]] = {}
        for hold in holds:
            by_sku.setdefault(hold.sku, []).append(hold)
        for sku in sorted(by_sku):
            parts = [
                Part(hold.quantity, hold_id=hold.id, order_id=order_id, show=hold.show, viewer_id=hold.viewer_id)
                for hold in by_sku[sku]
            ]
            level = self.move(by_sku[sku][0].product_id, sku, kind, parts)
            assert level is not None, "a level holds the units of its holds"
            if kind is Movement.expired:
                self.give_up(sku, [hold.cart for hold in by_sku[sku]])

    def expire(self, skus: Sequence[str], limit: int) -> list[Hold]:
        """Give back the units of up to `limit` expired holds of `skus`; the holds, as they were."""
        store.lock_levels(self.tx.conn, skus)
        overdue = store.overdue_holds(self.tx.conn, skus, self.tx.now_ms, limit)
        self.end_holds(overdue, HoldState.expired, Movement.expired)
        return overdue

    def tell_owners(self, holds: Sequence[Hold], reason: str) -> None:
        """Show the owners of these holds their carts as they are now."""
        owners = {hold.cart: hold for hold in holds}
        carts = store.cart_holds(self.tx.conn, list(owners))
        self.register.look(owners)
        for cart, hold in owners.items():
            data = {"cart": plain(self.register.cart(cart, hold.show, carts[cart])), "reason": reason}
            self.tx.notice(hold.show, hold.viewer_id, "cart.changed", data)

    def finish(self) -> None:
        """Write the movements down, and tell every show that sells what changed how many are left.

        The turns to and from sold out are events, and are told at once.
        """
        self.hand_over()
        store.insert_movements(self.tx.conn, self._moved, self.tx.now_ms)
        for actor in dict.fromkeys(actor for actor, _ in self._counted):  # changes of several may share a transaction
            audit.write(self.tx.conn, self.tx.now_ms, actor, *(what for who, what in self._counted if who == actor))
        changed = [
            ({"sku": sku, "product_id": product_id, "available": level.available}, None)
            for sku, (product_id, level) in self._after.items()
            if level.available != self._before[sku]
        ]
        outbox.put_all(self.tx.conn, self.tx.now_ms, "stock.changed", changed)
        for sku, (product_id, level) in sorted(self._after.items()):
            before, available = self._before[sku], level.available
            if available == before:
                continue
            turned = available == 0 or before == 0
            if self._board is None or self._board.take(sku, product_id, available, self._sellers[sku], anyway=turned):
                tell_stock(self.tx, sku, product_id, available, self._sellers[sku])
                if level.drops and self.promises is not None:
                    self.promises.tell(self.tx, sku, available)
            if not turned:
                continue
            for show in shows_store.shows_with(self.tx.conn, [product_id]):
                if available == 0:
                    self.tx.event(show, "product.sold_out", {"sku": sku})
                else:
                    self.tx.event(show, "product.restocked", {"sku": sku, "available": available})


def new_hold(
    tx: Batch,
    screen: tuple[Show, Pin | None],
    cart: str,
    viewer_id: str,
    offer: Offer,
    price_minor: int,
    quote: str,
    quantity: int,
    ttl_ms: int,
) -> Hold:
    """A hold from now on, with the stamp of what is on its show's `screen`."""
    show, pin = screen
    return Hold(
        id=uuid7(tx.now_ms),
        cart=cart,
        show=show.id,
        viewer_id=viewer_id,
        sku=offer.sku,
        location=MAIN,
        quantity=quantity,
        price_minor=price_minor,
        currency=offer.currency,
        state=HoldState.active,
        expires_at_ms=tx.now_ms + ttl_ms,
        claim_until_ms=None,
        order_id=None,
        pin_id=pin.id if pin is not None and pin.product_id == offer.product_id else None,
        at_ms=show_clock(show.started_at_ms, show.ended_at_ms, tx.now_ms),
        product_id=offer.product_id,
        title=offer.title,
        variant=offer.variant,
        picture=offer.picture,
        quote=quote,
        categories=offer.categories,
    )
