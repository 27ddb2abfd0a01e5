"""Books what the merchant has sold of a hand-off, within the transaction that has its cart and levels locked."""

from collections.abc import Mapping

from msgspec.structs import replace

from cart import audit
from cart import store as cart_store
from cart.handoff import store
from cart.moves import Moves
from cart.ordering import payments, settling
from cart.ordering import store as order_store
from cart.ordering.checkout import Checkout
from cart.ordering.orders import Order, OrderState
from cart.ordering.payments import StepKind, StepState
from cart.ordering.till import new_step, want_capture
from cart.stock import Hold, HoldState, Movement
from cart.store import Part
from cart.webhooks import outbox
from live.core.auth import Principal
from live.core.codec import plain
from live.core.errors import Kind, Problem


def sell(moves: Moves, checkout: Checkout, order: Order, sold: Order, principal: Principal, *, paid: bool) -> Order:
    """The placed order, whose units are allocated; `sold` is `order` as it was sold.

    Raises `Problem` sold_out, with what is `missing`; the transaction must not be committed then.
    """
    tx = moves.tx
    skus = [line.sku for line in sold.lines]
    moves.make_room(skus)
    if order.state is OrderState.pending:
        holds = {hold.sku: hold for hold in cart_store.claimed_holds(tx.conn, order.id)}
        _check(moves, sold, {sku: hold.quantity for sku, hold in holds.items()})
        _fit(moves, sold, holds)
    else:
        cart = cart_store.cart_holds(tx.conn, [f"{order.show}:{order.viewer_id}"])
        own = [hold for holds in cart.values() for hold in holds if hold.state is HoldState.active]
        _check(moves, sold, {hold.sku: hold.quantity for hold in own})
        checkout.uses_again(moves, order)  # the merchant has granted the discount, whether they are used up or not
        assert settling.retake(moves, sold), "it was looked whether there is enough"
    store.save_sold(tx.conn, sold)
    placed = checkout.place(moves, sold)
    _write_down(moves, placed)
    if paid:
        want_capture(moves, placed)
    before, after = ({"total_minor": one.total_minor, "number": one.external_number} for one in (order, placed))
    change = audit.Change("handoff.reported", f"order:{order.id}", before, after, order.show)
    audit.write(tx.conn, tx.now_ms, audit.actor(principal), change)
    outbox.put(tx.conn, tx.now_ms, "handoff.changed", plain(placed), placed.show)
    return placed


def _check(moves: Moves, sold: Order, kept: Mapping[str, int]) -> None:
    """Raises `Problem` sold_out when the shelf, or a drop, has less than what `kept` does not cover."""
    levels = cart_store.levels(moves.tx.conn, [line.sku for line in sold.lines])
    missing = []
    for line in sorted(sold.lines, key=lambda line: line.sku):
        level, rest = levels[line.sku], max(0, line.quantity - kept.get(line.sku, 0))
        short = max(0, rest - moves.free(level)) if moves.has_room(level, sold, rest) else rest
        if short:
            missing.append({"sku": line.sku, "missing": short})
    if missing:
        detail = "The units were given to others; some of what was sold is not there any more."
        raise Problem(Kind.sold_out, detail, field="lines", extra={"missing": missing})


def _fit(moves: Moves, sold: Order, holds: Mapping[str, Hold]) -> None:
    """Make the claiming holds hold what was sold: more comes from the shelf, what is left over goes back to it."""
    tx = moves.tx
    lines = {line.sku: line for line in sold.lines}
    dropped = [hold for sku, hold in holds.items() if sku not in lines]
    cart_store.set_state(tx.conn, dropped, HoldState.active)
    moves.end_holds([replace(hold, state=HoldState.active) for hold in dropped], HoldState.released, Movement.released)
    for sku in sorted(lines):
        hold, more = holds[sku], lines[sku].quantity - holds[sku].quantity
        if more > 0:
            part = Part(more, order_id=sold.id, show=sold.show, viewer_id=sold.viewer_id)
            assert moves.move(hold.product_id, sku, Movement.reserved, [part]), "it was looked whether there is enough"
        elif more < 0:
            part = Part(quantity=-more, hold_id=hold.id, show=sold.show)
            assert moves.move(hold.product_id, sku, Movement.released, [part]), "a level holds its holds' units"
            cart_store.resize_holds(tx.conn, [replace(hold, quantity=hold.quantity + more)])


def _write_down(moves: Moves, order: Order) -> None:
    """The merchant's number is the reference of its payment."""
    now_ms, key = moves.tx.now_ms, payments.authorise_key(order.id)
    step = new_step(
        now_ms, order, StepKind.authorise, key, order.total_minor, reference=order.external_number or order.id
    )
    order_store.insert_step(moves.tx.conn, replace(step, state=StepState.done, due_at_ms=None, done_at_ms=now_ms))
