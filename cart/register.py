"""What carts come to, in one transaction: the rules that apply are asked for once, and what carts need is read at once.

What a hold costs was decided when it was made. What is decided here, by the rules of now, are a cart's discounts, and
what an order uses up of coupons and budgets.
"""

from collections.abc import Iterable, Mapping, Sequence

import msgspec
from sqlalchemy import Connection

from cart import baskets
from cart.baskets import Cart, CouponState
from cart.pricing import store
from cart.pricing.basket import Basket, BasketLine, Context
from cart.pricing.evaluation import coupon_why, evaluate
from cart.pricing.history import EVERYWHERE, reference
from cart.pricing.plain import undiscounted
from cart.pricing.priced import APPLIED, Priced, Unit
from cart.pricing.quotes import Quote
from cart.pricing.reductions import unit_price_of
from cart.pricing.rules import Rule
from cart.pricing.service import GUEST, Beside, Known, Pricing, View, screen
from cart.pricing.store import Shopper
from cart.shelf import Offer
from cart.stock import Hold
from live import store as shows_store
from live.core.codec import encode
from live.core.errors import Kind, Problem
from live.core.limits import RULESETS_PAGE
from live.timeline import Pin, selling


class _Kept(msgspec.Struct, frozen=True):
    """What a cart wants to know of a hold's quote."""

    list_minor: int
    tax_bp: int


_kept = msgspec.json.Decoder(_Kept)


class Register:
    """See the module; `now_ms` is the database's clock. Ask one for each transaction, and for each try of one."""

    def __init__(self, pricing: Pricing, conn: Connection, now_ms: int) -> None:
        self._pricing = pricing
        self._conn = conn
        self._now_ms = now_ms
        self._known: Known | None = None
        self._met: dict[str, Shopper] = {}
        self._shoppers: dict[str, Shopper] = {}
        self._uses: Mapping[tuple[str, str], tuple[int, int]] = {}
        self._pins: dict[str, Pin | None] = {}

    @property
    def standard_bp(self) -> int:
        """The tax that gross prices hold when neither product nor variant say another."""
        return self._pricing.standard_bp

    @property
    def known(self) -> Known:
        """The rules of this transaction: those of its first question."""
        if self._known is None:
            self._known = self._pricing.rules(self._conn)
        return self._known

    # --- whose carts they are

    def look(self, carts: Iterable[str]) -> None:
        """Read what pricing these carts takes, as far as the rules ask for it."""
        known = self.known
        new = [cart for cart in dict.fromkeys(carts) if cart not in self._shoppers]
        if not new or not (known.asks_shoppers or known.counted):
            return
        found = store.shoppers(self._conn, new)
        for cart in new:
            stored, met = found.get(cart, GUEST), self._met.get(cart)
            self._shoppers[cart] = stored if met is None else msgspec.structs.replace(met, coupons=stored.coupons)
        if known.counted:
            customers = {one.customer for one in self._shoppers.values() if one.customer is not None}
            self._uses = store.uses(self._conn, known.counted, sorted(customers))

    def meet(self, shoppers: Mapping[str, Shopper]) -> None:
        """Take it from those who ask who their carts belong to; coupons are those that are stored."""
        self._met |= {cart: one for cart, one in shoppers.items() if one != GUEST}
        self.look(shoppers)

    def remember(self) -> None:
        """Write down who was met, for whoever prices their carts without them."""
        store.save_customers(self._conn, self._met, self._now_ms)

    def shopper(self, cart: str) -> Shopper:
        """Who a cart belongs to, as far as the rules ask."""
        self.look([cart])
        return self._shoppers.get(cart) or self._met.get(cart, GUEST)

    def give_coupons(self, cart: str, coupons: Sequence[str]) -> None:
        """From now on the cart has these coupons; it is locked."""
        store.save_coupons(self._conn, cart, coupons, self._now_ms)
        self._shoppers.pop(cart, None)

    def drop_coupons(self, cart: str) -> None:
        """What the cart held is ordered, and its coupons have done what they could; it is locked."""
        if self.shopper(cart).coupons:
            self.give_coupons(cart, ())

    # --- what they come to

    def cart(self, cart: str, show: str, holds: Sequence[Hold]) -> Cart:
        """A cart as its viewer sees it; raises `Problem` mixed_currency, cart_full."""
        codes = self.shopper(cart).coupons
        priced = self.price(cart, show, holds, hinted=True)
        whys = [coupon_why(code, priced, self.known.ruleset) for code in codes]
        coupons = [
            CouponState(code, None if why is None else "applied" if why in APPLIED else why.value)
            for code, why in zip(codes, whys, strict=True)
        ]
        return baskets.cart_of(holds, priced, coupons)

    def price(self, cart: str, show: str | None, holds: Sequence[Hold], *, hinted: bool = False) -> Priced:
        """What the living holds of a cart come to, traced if it has coupons: somebody may ask what became of them.

        Raises `Problem` mixed_currency, cart_full.
        """
        baskets.check(holds)
        known = self.known
        currency = holds[0].currency if holds else ""
        lines = tuple(self._line(hold) for hold in holds)
        if not known.in_carts:
            return undiscounted(known.version, currency, lines)
        shopper = self.shopper(cart)
        context = screen(show, self._pin(show) if known.asks_pins else None, self._now_ms, shopper)
        if known.counted:
            uses = {rule: store.use_of(self._uses, rule, shopper.customer) for rule in known.counted}
            context = msgspec.structs.replace(context, uses=uses)
        basket = Basket(currency=currency, lines=lines)
        return evaluate(basket, context, known.ruleset, hinted=hinted, traced=bool(shopper.coupons))

    def quote(self, offer: Offer, context: Context) -> tuple[Unit, Quote, str]:
        """What one unit costs in these circumstances, with its quote, as such and as holds keep it."""
        view = View(self.known, context)
        unit = view.unit(offer)
        # What stands beside a price changes with it, or slowly: a drop at a reduced price need not read it each time.
        of = self.known.stamp, offer, context.show, unit.unit_minor
        found = self._pricing.remembered(of, self._now_ms)
        if found is None:
            found = beside(self._conn, [(offer, unit)], context)[offer.sku]
            self._pricing.remember(of, found, self._now_ms)
        quote = self._pricing.quote(offer, unit, 1, view, found)
        return unit, quote, encode(quote, "json").decode()

    # --- what an order uses up

    def consume(self, cart: str, priced: Priced, order_id: str, shipping_off: Mapping[str, int] | None = None) -> None:
        """Use up what an order uses of coupons and budgets; the last thing that its transaction locks.

        `shipping_off`: what rules took off the fee of the option that was chosen, by rule. Raises `Problem`
        price_changed when somebody else was faster; the transaction must not be committed then.
        """
        customer = self.shopper(cart).customer
        taken: dict[str, int] = {one.rule: one.amount_minor for one in priced.discounts}
        for gift in priced.gifts:
            taken.setdefault(gift.rule, 0)
        for rule_id, off_minor in (shipping_off or {}).items():
            taken[rule_id] = taken.get(rule_id, 0) + off_minor
        for rule_id in sorted(taken.keys() & set(self.known.counted)):
            rule = self.known.rules[rule_id]
            if not self._use(rule, customer, taken[rule_id], order_id):
                raise Problem(Kind.price_changed, f"{rule.label} is used up by now; look at the cart again.")

    def consume_again(self, cart: str, order_id: str, taken: Mapping[str, int]) -> bool:
        """Use up anew what an order has used and given back: minor units by rule. Levels are locked before.

        Limits are those of now; of a rule that has ended, those it had at last. False: somebody else has used it
        since, or nobody knows the rule, and nothing was done.
        """
        customer = store.shoppers(self._conn, [cart]).get(cart, GUEST).customer
        savepoint = self._conn.begin_nested()
        for rule_id in sorted(taken):
            rule = self.known.rules.get(rule_id) or self._ended(rule_id)
            if rule is not None and rule.coupon is None and rule.budget_minor is None:
                continue
            if rule is None or not self._use(rule, customer, taken[rule_id], order_id):
                savepoint.rollback()
                self._forget_uses()
                return False
        savepoint.commit()
        return True

    def release(self, order_id: str) -> None:
        """Give back what an order that came to nothing has used; once, however often it is called."""
        if store.give_back(self._conn, order_id):
            self._forget_uses()

    def _forget_uses(self) -> None:
        """Others of this transaction read anew what is left of coupons and budgets."""
        self._shoppers.clear()

    def _ended(self, rule_id: str) -> Rule | None:
        """A rule that does not apply any more, as it was in the newest of the last RULESETS_PAGE sets that has it."""
        sets = store.rulesets(self._conn, None, RULESETS_PAGE)
        published = (rule for one in sets if one.published_at_ms is not None for rule in one.rules)
        return next((rule for rule in published if rule.id == rule_id), None)

    def _use(self, rule: Rule, customer: str | None, amount_minor: int, order_id: str) -> bool:
        if not self._take(rule, customer, amount_minor):
            return False
        store.note_use(self._conn, order_id, rule.id, customer or store.ALL, amount_minor)
        self._forget_uses()
        return True

    def _take(self, rule: Rule, customer: str | None, amount_minor: int) -> bool:
        coupon = rule.coupon
        limit = None if coupon is None else coupon.limit
        own = None if coupon is None else coupon.per_customer
        budget_minor = rule.budget_minor
        if not store.take(self._conn, rule.id, store.ALL, amount_minor, uses_max=limit, amount_max=budget_minor):
            return False
        if customer is None:
            return own is None
        return store.take(self._conn, rule.id, customer, amount_minor, uses_max=own, amount_max=None)

    # --- parts

    def _line(self, hold: Hold) -> BasketLine:
        kept = _Kept(hold.price_minor, self.standard_bp) if hold.quote is None else _kept.decode(hold.quote)
        return BasketLine(
            key=hold.id,
            sku=hold.sku,
            product_id=hold.product_id,
            currency=hold.currency,
            list_minor=kept.list_minor,
            tax_bp=kept.tax_bp,
            categories=hold.categories,
            quantity=hold.quantity,
            fixed_unit_minor=hold.price_minor,
        )

    def _pin(self, show: str | None) -> Pin | None:
        if show is None:
            return None
        if show not in self._pins:
            found = shows_store.on_screen(self._conn, [show]).get(show)
            self._pins[show] = None if found is None else selling(*found)
        return self._pins[show]


def struck_minor(offer: Offer, unit: Unit) -> int | None:
    """The price that is struck beside the one of now; None: nothing is reduced."""
    was_minor = max(offer.struck_minor or 0, unit.list_minor)
    return was_minor if was_minor > unit.unit_minor else None


def beside(conn: Connection, priced: Iterable[tuple[Offer, Unit]], context: Context) -> dict[str, Beside]:
    """What must stand beside these prices, by SKU."""
    pairs = list(priced)
    struck = [offer.sku for offer, unit in pairs if struck_minor(offer, unit) is not None]
    history = store.history(conn, struck) if struck else {}
    place = context.show or EVERYWHERE
    return {
        offer.sku: Beside(
            reference(history[offer.sku], place, unit.unit_minor, context.now_ms) if offer.sku in history else None,
            unit_price_of(unit.unit_minor, offer.content),
        )
        for offer, unit in pairs
    }
