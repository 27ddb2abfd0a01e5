"""All that orders need, put together."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Literal

import msgspec

from cart.ordering.checkout import Again, Checkout, Placed, Pricer, Release
from cart.ordering.clerk import Clerk
from cart.ordering.facts import Facts
from cart.ordering.mail import Folder, Mail, port
from cart.ordering.payments import Payment, PayOnPickup
from cart.ordering.provider import Rehearsal
from cart.ordering.service import Orders
from cart.ordering.stocktake import Stocktake
from cart.ordering.till import Till
from cart.ordering.withdrawals import Withdrawals
from cart.stockroom import Stockroom
from live.core.clock import Clock
from live.core.database import Database
from live.core.ids import secret_token
from live.core.tasks import running


class Trade(msgspec.Struct, frozen=True):
    """How a shop takes money and writes to its buyers.

    `payment` None: on pick-up. `at_once`: money is taken when an order is placed, and not when it is shipped. `mail`
    None: into the folder `var/mail`; `sender` is the address that letters come from.
    """

    payment: Payment | None = None
    at_once: bool = False
    mail: Mail | None = None
    sender: str = "shop@localhost"


def trade(
    payment: Literal["on_pickup", "rehearsal"],
    capture: Literal["on_shipping", "at_once"],
    mail_url: str,
    mail_from: str,
    data_dir: Path,
) -> Trade:
    """What the settings say."""
    provider = Rehearsal() if payment == "rehearsal" else PayOnPickup()
    return Trade(provider, capture == "at_once", port(mail_url, data_dir), mail_from)


class Office:
    """See the module. `secret` signs what buyers bring back ("": of this process alone)."""

    def __init__(
        self,
        database: Database,
        stockroom: Stockroom,
        clock: Clock,
        how: Trade,
        *,
        secret: str = "",
        price: Pricer | None = None,
        consume: Placed | None = None,
        release: Release | None = None,
        again: Again | None = None,
    ) -> None:
        """`price` and what follows are the cart's (None: what holds say, without taxes and coupons)."""
        self.till = Till(database, stockroom, how.payment or PayOnPickup())
        self.checkout = Checkout(
            stockroom, self.till, at_once=how.at_once, price=price, consume=consume, release=release, again=again
        )
        self.orders = Orders(database, stockroom, self.till, self.checkout)
        self.facts = Facts(database, stockroom)
        self.stocktake = Stocktake(stockroom)
        self.withdrawals = Withdrawals(database, stockroom, clock, self.orders, secret or secret_token(32))
        mail = how.mail or Folder(Path("var/mail"))
        self.clerk = Clerk(database, stockroom, self.checkout, mail, how.sender)

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        """Payments and letters are seen to while the block lasts."""
        async with AsyncExitStack() as stack:
            stack.push_async_callback(self.till.close)
            await stack.enter_async_context(running(self.clerk.run()))
            yield
