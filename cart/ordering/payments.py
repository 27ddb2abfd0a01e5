"""Who takes the money: the port that a provider of payments fills, and what is made of its answers.

A provider may answer late, twice, with another amount, or not at all. Three rules keep every cent accounted for:

1. Whatever is asked of it carries a key that is stored before it is asked; asked again under the same key, a provider
   answers alike and moves money once. So asking again is always safe, and a step is asked until it is answered.
2. What it says is written down in the transaction that acts on it. The same authorisation heard twice is one.
3. Money that was set aside for an order which does not get it is voided under a key of its own: once.
"""

from collections.abc import Collection, Mapping
from enum import Enum
from typing import Any, Protocol

import msgspec

from cart.ordering.orders import Order, OrderState
from live.core.limits import ORDER_NOTE_CHARS_MAX, PAYMENT_KEY_CHARS_MAX, PAYMENT_REFERENCE_CHARS_MAX


class StepKind(Enum):
    authorise = "authorise"
    capture = "capture"
    void = "void"
    refund = "refund"


class StepState(Enum):
    wanted = "wanted"  # to be asked, or asked and not answered yet
    done = "done"
    refused = "refused"  # the provider said no
    dead = "dead"  # asked in vain for a day: somebody must look


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that a provider is asked for, once, under `key`. `reference` is its name of the payment, "" unknown.

    `due_at_ms`: when to ask, or ask again; None: nothing is left to do. `detail` says what a refund is for.
    """

    id: str
    order_id: str
    kind: StepKind
    key: str
    amount_minor: int
    currency: str
    reference: str = ""
    state: StepState = StepState.wanted
    reason: str = ""
    detail: dict[str, Any] | None = None
    attempts: int = 0
    due_at_ms: int | None
    created_at_ms: int
    done_at_ms: int | None = None


class Charge(msgspec.Struct, frozen=True, kw_only=True):
    """What a provider is told. `key` makes it idempotent; `authorisation` is the key that the money was asked under.

    `reference`: which payment is meant, "" for whatever came of `authorisation`.
    """

    key: str
    authorisation: str
    order_id: str
    number: str
    amount_minor: int
    currency: str
    reference: str = ""


class Receipt(msgspec.Struct, frozen=True):
    """What a provider did: its own name of the payment, and how much it set aside, took or gave back."""

    reference: str
    amount_minor: int
    currency: str


class PaymentRefused(Exception):
    """The provider said no; the text is for the buyer."""


class Payment(Protocol):
    """Takes the money of orders. `name` is stored with the order.

    `by_hand`: money changes hands between people, so it is captured when the goods are, whatever the shop's setting.
    Each call may be repeated with the same `Charge.key` and does its work once. `authorise` sets money aside and
    counts only within PAYMENT_TIMEOUT_S; `look` says what came of it (None: nothing, and nothing will). `capture`
    takes what was set aside, `void` lets it go (also when nothing was), `refund` gives back what was taken. They
    raise `PaymentRefused` for a no that is final; anything else that they raise means that they are asked again.
    """

    name: str
    by_hand: bool

    async def authorise(self, charge: Charge) -> Receipt: ...

    async def look(self, charge: Charge) -> Receipt | None: ...

    async def capture(self, charge: Charge) -> Receipt: ...

    async def void(self, charge: Charge) -> None: ...

    async def refund(self, charge: Charge) -> Receipt: ...


class PayOnPickup:
    """The buyer pays at the counter: nothing is asked now, a capture says that it was paid, a refund that it went back.

    Money changes hands between people; the shop's own till is its record.
    """

    name = "pay_on_pickup"
    by_hand = True

    async def authorise(self, charge: Charge) -> Receipt:
        """Always granted."""
        return Receipt(charge.order_id, charge.amount_minor, charge.currency)

    async def look(self, charge: Charge) -> Receipt | None:
        """As it was answered."""
        return await self.authorise(charge)

    async def capture(self, charge: Charge) -> Receipt:
        """Paid at the counter."""
        return await self.authorise(charge)

    async def void(self, charge: Charge) -> None:
        """Nothing was taken."""

    async def refund(self, charge: Charge) -> Receipt:
        """Given back at the counter."""
        return await self.authorise(charge)


class Verdict(Enum):
    """What to do with an authorisation that was heard of."""

    known = "known"  # heard before: nothing
    place = "place"  # in time: the order is placed
    retake = "retake"  # the order has lapsed: placed if there is still stock, else given back
    wrong = "wrong"  # another amount than asked for: given back, and the order is refused
    surplus = "surplus"  # the order does not need it, or not any more: given back


def judge(order: Order, receipt: Receipt, known: Collection[str], *, gone: bool) -> Verdict:
    """What an authorisation means for an order. `known`: references that were heard before.

    `gone`: what was in the cart has been ordered by another check-out meanwhile, or the money is being let go already.
    """
    if receipt.reference in known:
        return Verdict.known
    if order.state not in (OrderState.pending, OrderState.lapsed):
        return Verdict.surplus
    if (receipt.amount_minor, receipt.currency) != (order.total_minor, order.currency):
        return Verdict.wrong
    if order.state is OrderState.pending:
        return Verdict.place
    return Verdict.surplus if gone else Verdict.retake


def authorise_key(order_id: str) -> str:
    """What the money of an order is asked under."""
    return f"{order_id}:authorise"


def heard_key(order_id: str, reference: str) -> str:
    """What a second authorisation of an order is written down under."""
    return f"{order_id}:heard:{reference}"[:PAYMENT_KEY_CHARS_MAX]


def void_key(order_id: str, reference: str) -> str:
    """What an authorisation is voided under; `reference` "": whatever came of the asking."""
    return f"{order_id}:void:{reference}"[:PAYMENT_KEY_CHARS_MAX]


def checked(receipt: Receipt) -> Receipt:
    """`receipt`, whose reference a table can hold; a provider that breaks this is an error of ours to notice."""
    if not 0 < len(receipt.reference) <= PAYMENT_REFERENCE_CHARS_MAX - 64 or not receipt.reference.isprintable():
        raise ValueError(f"the provider's reference {receipt.reference[:40]!r} cannot be stored")
    return receipt


def charge(order: Order, step: Step) -> Charge:
    """What a provider is told for a step."""
    return Charge(
        key=step.key,
        authorisation=authorise_key(order.id),
        order_id=order.id,
        number=order.number,
        amount_minor=step.amount_minor,
        currency=step.currency,
        reference=step.reference,
    )


def reason(error: BaseException) -> str:
    """A failure in words that fit the table."""
    return (str(error) or type(error).__name__)[:ORDER_NOTE_CHARS_MAX]


def retry_at_ms(now_ms: int, attempts: int, delays_s: Collection[float]) -> int | None:
    """When to try again after so many failures; None: not any more."""
    delays = list(delays_s)
    return now_ms + round(delays[attempts - 1] * 1000) if attempts <= len(delays) else None


def views(steps: Collection[Step]) -> list[Mapping[str, Any]]:
    """What the staff sees of an order's steps."""
    return [
        {
            "kind": step.kind.value,
            "state": step.state.value,
            "amount_minor": step.amount_minor,
            "reference": step.reference,
            "reason": step.reason,
            "created_at_ms": step.created_at_ms,
            "done_at_ms": step.done_at_ms,
            "detail": step.detail,
        }
        for step in steps
    ]


def tender(steps: Collection[Step]) -> str:
    """The reference of the authorisation that pays for an order: the one that is not let go. "" for none."""
    voided = {step.reference for step in steps if step.kind is StepKind.void}
    paid = [step.reference for step in steps if step.kind is StepKind.authorise and step.reference not in voided]
    return paid[0] if paid else ""


def letting_go(steps: Collection[Step]) -> bool:
    """Whether whatever comes of the asking is let go: what was decided once may be done at any time."""
    return any(step.kind is StepKind.void and not step.reference for step in steps)


def capturing(steps: Collection[Step]) -> Step | None:
    """The capture that is under way."""
    return next((step for step in steps if step.kind is StepKind.capture and step.state is StepState.wanted), None)


def numbered_key(order_id: str, kind: StepKind, steps: Collection[Step]) -> str:
    """The key of the next step of a kind that an order may have several of."""
    return f"{order_id}:{kind.value}:{sum(step.kind is kind for step in steps) + 1}"
