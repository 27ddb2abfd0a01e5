"""Money that the merchant's own check-out takes: nobody is asked, and what is done there is written down here."""

from cart.ordering.payments import Charge, Receipt


class Elsewhere:
    """The provider of orders whose source is external.

    The merchant gives back the money of what is cancelled or refunded here: webhooks say so.
    """

    name = "external"
    by_hand = True

    async def authorise(self, charge: Charge) -> Receipt:
        """It was, or the order would not have been reported."""
        return Receipt(charge.reference, charge.amount_minor, charge.currency)

    async def look(self, charge: Charge) -> Receipt | None:
        """Nothing is known until the merchant reports it."""
        return None

    async def capture(self, charge: Charge) -> Receipt:
        """The merchant has it."""
        return await self.authorise(charge)

    async def void(self, charge: Charge) -> None:
        """The merchant's own affair."""

    async def refund(self, charge: Charge) -> Receipt:
        """The merchant gives it back."""
        return await self.authorise(charge)
