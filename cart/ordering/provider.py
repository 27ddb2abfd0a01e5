"""A provider of payments inside this process, for rehearsals and tests: it breaks the way real ones do, on demand.

It keeps the promises of `Payment` (a key does its work once) and a ledger, so that a test can ask where every cent is.
`script` says what goes wrong with the next calls of each kind; without a script all goes well. Nothing here is kept:
money that it took is forgotten with the process.
"""

from collections import deque
from collections.abc import Awaitable, Callable
from enum import Enum

import msgspec

from cart.ordering.payments import Charge, PaymentRefused, Receipt, StepKind


class Fault(Enum):
    """What goes wrong with a call."""

    none = "none"
    refuse = "refuse"  # a no that is final
    unheard = "unheard"  # it is done, and the answer is lost
    lost = "lost"  # it never arrives
    wrong = "wrong"  # it is done with another amount
    double = "double"  # it is done twice; the second time is told by a notice


class Account(msgspec.Struct):
    """What became of one payment, in minor units."""

    order_id: str
    currency: str
    authorised: int
    voided: int = 0
    captured: int = 0
    refunded: int = 0

    @property
    def kept(self) -> int:
        """What the buyer does not have: set aside or taken, and not let go or given back."""
        return self.authorised - self.voided - self.refunded


class Rehearsal:
    """See the module. `meanwhile` runs while a buyer's authorisation is under way."""

    name = "rehearsal"
    by_hand = False

    def __init__(self) -> None:
        self.script: dict[StepKind, deque[Fault]] = {kind: deque() for kind in StepKind}
        self.accounts: dict[str, Account] = {}  # by reference
        self.asked: list[tuple[StepKind, str]] = []
        self.notices: list[tuple[str, Receipt]] = []  # what it would tell by itself
        self.blind = False
        self.meanwhile: Callable[[Charge], Awaitable[None]] | None = None
        self._answers: dict[str, Receipt] = {}  # by key
        self._refused: set[str] = set()
        self._closed: set[str] = set()  # authorisations that were let go before they were made

    def kept(self, order_id: str) -> int:
        """What the buyer of an order does not have any more."""
        return sum(account.kept for account in self.accounts.values() if account.order_id == order_id)

    async def authorise(self, charge: Charge) -> Receipt:
        """Set money aside; raises `PaymentRefused`, `TimeoutError`."""
        fault = self._next(StepKind.authorise, charge)
        if self.meanwhile is not None:
            await self.meanwhile(charge)
        if fault is Fault.lost:
            raise TimeoutError
        if charge.key in self._answers:
            return self._answers[charge.key]
        if fault is Fault.refuse or charge.key in self._refused or charge.key in self._closed:
            self._refused.add(charge.key)
            raise PaymentRefused("The card was refused.")
        amount_minor = charge.amount_minor + 1 if fault is Fault.wrong else charge.amount_minor
        receipt = self._answers[charge.key] = self._open(charge, amount_minor)
        if fault is Fault.double:
            self.notices.append((charge.order_id, self._open(charge, amount_minor)))
        if fault is Fault.unheard:
            self.notices.append((charge.order_id, receipt))
            raise TimeoutError
        return receipt

    async def look(self, charge: Charge) -> Receipt | None:
        """What came of an authorisation; raises `TimeoutError` while it is `blind`."""
        if self.blind:
            raise TimeoutError
        return self._answers.get(charge.authorisation)

    async def capture(self, charge: Charge) -> Receipt:
        """Take what was set aside; raises `PaymentRefused`, `TimeoutError`."""
        return self._move(StepKind.capture, charge)

    async def refund(self, charge: Charge) -> Receipt:
        """Give back what was taken; raises as `capture`."""
        return self._move(StepKind.refund, charge)

    async def void(self, charge: Charge) -> None:
        """Let go what was set aside, and keep it from being set aside later; raises as `capture`."""
        fault = self._next(StepKind.void, charge)
        if fault is Fault.lost:
            raise TimeoutError
        if fault is Fault.refuse:
            raise PaymentRefused("It cannot be let go.")
        first = self._answers.get(charge.authorisation)
        reference = charge.reference or (first.reference if first is not None else "")
        if account := self.accounts.get(reference):
            account.voided = account.authorised - account.captured
        else:
            self._closed.add(charge.authorisation)
        if fault is not Fault.none:
            raise TimeoutError

    def _next(self, kind: StepKind, charge: Charge) -> Fault:
        self.asked.append((kind, charge.key))
        return self.script[kind].popleft() if self.script[kind] else Fault.none

    def _open(self, charge: Charge, amount_minor: int) -> Receipt:
        reference = f"pay-{len(self.accounts) + 1}"
        self.accounts[reference] = Account(charge.order_id, charge.currency, amount_minor)
        return Receipt(reference, amount_minor, charge.currency)

    def _move(self, kind: StepKind, charge: Charge) -> Receipt:
        fault = self._next(kind, charge)
        if fault is Fault.lost:
            raise TimeoutError
        if charge.key in self._answers:
            return self._answers[charge.key]
        account = self.accounts.get(charge.reference)
        refused = fault is Fault.refuse or charge.key in self._refused
        if refused or account is None or charge.amount_minor > _left(account, kind):
            self._refused.add(charge.key)
            raise PaymentRefused("The bank said no.")
        if kind is StepKind.capture:
            account.captured += charge.amount_minor
        else:
            account.refunded += charge.amount_minor
        receipt = self._answers[charge.key] = Receipt(charge.reference, charge.amount_minor, charge.currency)
        if fault is not Fault.none:
            raise TimeoutError
        return receipt


def _left(account: Account, kind: StepKind) -> int:
    """How much can be taken, or given back."""
    if kind is StepKind.refund:
        return account.captured - account.refunded
    return account.authorised - account.voided - account.captured
