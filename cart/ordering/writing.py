"""Puts letters to buyers into words, in German and English, as text and as HTML; see `letters/`.

What the law wants a confirmation to hold is in it: the seller, the goods, the total with its taxes, how and when it
comes, and the notice of the right of withdrawal. Invoices are left to the merchant's books.
"""

import json
from collections.abc import Iterable
from datetime import UTC, datetime, tzinfo
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from babel.dates import format_datetime
from babel.numbers import format_currency, format_decimal
from jinja2 import Environment, FileSystemLoader, select_autoescape

from cart.ordering.orders import Order, OrderLine
from cart.ordering.post import Letter, LetterKind
from cart.ordering.seller import Seller
from cart.ordering.shipping import MethodKind
from cart.prices import minor_digits

_FOLDER = Path(__file__).parent / "letters"


class Written(NamedTuple):
    """A letter in words."""

    subject: str
    text: str
    html: str


def write(letter: Letter, order: Order, seller: Seller) -> Written:
    """A letter about an order; reads its words from disk the first time."""
    words = _words(letter.language)
    pen = _Pen(letter, order, seller, words)
    values = pen.values()
    environment = _environment()
    text = environment.get_template("letter.txt").render(values)
    return Written(values["subject"], text.strip() + "\n", environment.get_template("letter.html").render(values))


@cache
def _words(language: str) -> dict[str, str]:
    words: dict[str, str] = json.loads((_FOLDER / f"{language}.json").read_text(encoding="utf-8"))
    return words


@cache
def _environment() -> Environment:
    return Environment(loader=FileSystemLoader(_FOLDER), autoescape=select_autoescape(("html",)))


class _Pen:
    def __init__(self, letter: Letter, order: Order, seller: Seller, words: dict[str, str]) -> None:
        self._letter = letter
        self._order = order
        self._seller = seller
        self._words = words
        self._locale = letter.language

    def values(self) -> dict[str, Any]:
        kind, order, facts = self._letter.kind, self._order, self._letter.facts
        full = kind is LetterKind.confirmation
        reason = facts.get("reason", "")
        return {
            "language": self._locale,
            "w": self._words,
            "subject": self._say(f"subject.{kind.value}"),
            "hello": self._say("hello", name=facts.get("name") or order.name),
            "intro": self._intro(kind),
            "reason": self._say("reason", reason=reason) if reason else "",
            "number": order.number,
            "ordered": self._time(order.placed_at_ms or order.created_at_ms) if full else "",
            "declared": self._say("declared", name=facts["name"]) if kind is LetterKind.withdrawal else "",
            "rows": list(self._rows(kind)),
            "sums": list(self._sums()) if full else [],
            "facts": list(self._facts()) if full else [],
            "sections": list(self._sections(full)),
        }

    def _intro(self, kind: LetterKind) -> str:
        facts, chosen = self._letter.facts, self._order.shipping
        if kind is LetterKind.refunded:
            return self._say("intro.refunded", amount=self._money(facts["refund"]["amount_minor"]))
        if kind is LetterKind.withdrawal:
            return self._say("intro.withdrawal", when=self._time(facts["at_ms"]))
        if kind is LetterKind.shipped and (chosen is None or chosen.kind is MethodKind.pickup):
            return self._say("intro.pickup")
        return self._say(f"intro.{kind.value}")

    def _rows(self, kind: LetterKind) -> Iterable[dict[str, Any]]:
        if kind is LetterKind.withdrawal:
            units = {line["sku"]: line["quantity"] for line in self._letter.facts["lines"]}
            for line in self._order.lines:
                if line.sku in units:
                    yield {"title": _title(line), "quantity": units[line.sku], "amount": "", "unit": ""}
        elif kind is LetterKind.confirmation:
            for line in self._order.lines:
                amount = self._money(line.price_minor * line.quantity)
                unit = self._money(line.price_minor)
                yield {"title": _title(line), "quantity": line.quantity, "amount": amount, "unit": unit}

    def _sums(self) -> Iterable[dict[str, Any]]:
        order = self._order
        for discount in order.discounts:
            yield {
                "label": f"{self._words['discount']} {discount.label}",
                "amount": self._money(-discount.amount_minor),
            }
        if order.shipping is not None:
            label = f"{self._words['shipping']} ({getattr(order.shipping.title, self._locale)})"
            yield {"label": label, "amount": self._money(order.shipping_minor)}
        yield {"label": self._words["total"], "amount": self._money(order.total_minor), "strong": True}
        for tax in order.taxes:
            if tax.tax_bp:
                rate = format_decimal(Decimal(tax.tax_bp) / 100, locale=self._locale)
                amount = f"{self._money(tax.tax_minor)} ({self._words['net']} {self._money(tax.net_minor)})"
                yield {"label": self._say("tax", rate=rate), "amount": amount}

    def _facts(self) -> Iterable[dict[str, str]]:
        order, words = self._order, self._words
        known = f"payment.{order.payment}"
        yield {"label": words["payment"], "text": words[known if known in words else "payment.other"]}
        if chosen := order.shipping:
            text = getattr(chosen.title, self._locale)
            if chosen.days_max:
                text += ", " + self._say("days", min=chosen.days_min, max=chosen.days_max)
            if place := chosen.location:
                text += f", {place.name}, {place.street}, {place.postcode} {place.city}"
            yield {"label": words[f"way.{chosen.kind.value}"], "text": text}
        if address := order.address:
            parts = (address.name, address.extra, address.street, f"{address.postcode} {address.city}", address.region)
            text = ", ".join(part.strip() for part in (*parts, address.country) if part.strip())
            yield {"label": words["address"], "text": text}
        if order.note:
            yield {"label": words["note"], "text": order.note}

    def _sections(self, full: bool) -> Iterable[dict[str, str]]:
        seller, words = self._seller, self._words
        if full:
            link = self._say("withdrawal.link", url=f"{seller.site.rstrip('/')}/withdraw") if seller.site else ""
            text = self._say("withdrawal.text", seller=self._party(", "), link=link)
            yield {"title": words["withdrawal.title"], "text": getattr(seller.withdrawal, self._locale) or text}
            if terms := getattr(seller.terms, self._locale):
                yield {"title": "", "text": terms}
        notice = f"\n{words['no_invoice']}" if full else ""
        yield {"title": words["seller"], "text": self._party("\n") + notice}

    def _party(self, between: str) -> str:
        seller = self._seller
        vat_id = f"{self._words['vat_id']} {seller.vat_id}" if seller.vat_id else ""
        parts = (
            seller.name, seller.street, f"{seller.postcode} {seller.city}", seller.country, seller.email, seller.phone,
            seller.register, vat_id,
        )  # fmt: skip
        return between.join(part.strip() for part in parts if part.strip())

    def _say(self, key: str, **values: Any) -> str:
        return self._words[key].format(**{"number": self._order.number} | values)

    def _money(self, minor: int) -> str:
        amount = Decimal(minor).scaleb(-minor_digits(self._order.currency))
        return format_currency(amount, self._order.currency, locale=self._locale)

    def _time(self, at_ms: int) -> str:
        moment = datetime.fromtimestamp(at_ms / 1000, UTC)
        return format_datetime(moment, "long", tzinfo=_zone(self._seller.timezone), locale=self._locale)


def _title(line: OrderLine) -> str:
    return f"{line.title} ({line.variant})" if line.variant else line.title


def _zone(name: str) -> tzinfo:
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return UTC
