"""What an authorisation that was heard of leads to, within the transaction that acts on it."""

from collections.abc import Sequence

from msgspec.structs import replace

from cart import baskets
from cart import store as cart_store
from cart.moves import Moves
from cart.ordering import payments, store
from cart.ordering.orders import Order
from cart.ordering.payments import Receipt, Step, StepKind, StepState
from cart.ordering.till import new_step
from cart.stock import HoldState, Movement
from cart.store import Part


def nothing(order: Order) -> Receipt:
    """What stands for the payment of an order that costs nothing."""
    return Receipt("nothing-to-pay", 0, order.currency)


def asked(steps: Sequence[Step]) -> Step:
    """What was asked at check-out."""
    return next(step for step in steps if step.key == payments.authorise_key(step.order_id))


def write_down(moves: Moves, order: Order, asked: Step, receipt: Receipt) -> None:
    """The first authorisation answers what was asked; a further one is a step of its own."""
    tx = moves.tx
    if not asked.reference:
        done = replace(
            asked, state=StepState.done, reference=receipt.reference, reason="", due_at_ms=None, done_at_ms=tx.now_ms
        )
        store.save_step(tx.conn, done)
        return
    key = payments.heard_key(order.id, receipt.reference)
    step = new_step(tx.now_ms, order, StepKind.authorise, key, receipt.amount_minor, reference=receipt.reference)
    store.insert_step(tx.conn, replace(step, state=StepState.done, due_at_ms=None, done_at_ms=tx.now_ms))


def retake(moves: Moves, order: Order) -> bool:
    """Allocate a lapsed order's units again: those that its cart still holds, the rest from the shelf.

    False: there are not enough, or a drop has no room for them, and nothing was moved.
    """
    tx = moves.tx
    moves.make_room([line.sku for line in order.lines])
    cart = baskets.cart_id(order.show, order.viewer_id)
    own = {hold.sku: hold for hold in cart_store.cart_holds(tx.conn, [cart])[cart] if hold.state is HoldState.active}
    levels = cart_store.levels(tx.conn, [line.sku for line in order.lines])
    kept = {line.sku: min(own[line.sku].quantity, line.quantity) if line.sku in own else 0 for line in order.lines}
    rests = [(levels[line.sku], line.quantity - kept[line.sku]) for line in order.lines]
    if any(moves.free(level) < rest or not moves.has_room(level, order, rest) for level, rest in rests):
        return False
    for line in order.lines:
        if rest := line.quantity - kept[line.sku]:
            part = Part(quantity=rest, order_id=order.id, show=order.show, viewer_id=order.viewer_id)
            assert moves.move(line.product_id, line.sku, Movement.reserved, [part]), "the level is locked"
        if line.sku not in own:
            continue
        hold = own[line.sku]
        if hold.quantity == kept[line.sku]:
            cart_store.set_state(tx.conn, [hold], HoldState.claiming, order_id=order.id)
            claiming = replace(hold, state=HoldState.claiming)
            moves.end_holds([claiming], HoldState.claimed, Movement.claimed, order_id=order.id)
        else:
            part = Part(quantity=kept[line.sku], hold_id=hold.id, order_id=order.id, show=order.show)
            assert moves.move(line.product_id, line.sku, Movement.claimed, [part]), "a level holds its holds' units"
            cart_store.resize_holds(tx.conn, [replace(hold, quantity=hold.quantity - kept[line.sku])])
    moves.tell_owners(list(own.values()), "ordered")
    return True
