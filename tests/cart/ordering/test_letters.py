"""What buyers are written, and that it reaches them without an order waiting for it."""

import asyncio
import re
import socket
from email import message_from_bytes, policy
from email.message import EmailMessage
from pathlib import Path

import pytest
from msgspec.structs import replace

from cart.ordering import mail, post, writing
from cart.ordering.clerk import Clerk
from cart.ordering.mail import Folder, Smtp
from cart.ordering.office import Office
from cart.ordering.orders import Order
from cart.ordering.post import Letter, LetterKind, LetterState
from cart.ordering.seller import Seller, Texts
from cart.ordering.shipping import Chosen
from cart.pricing.priced import Discount
from cart.service import Shop
from live.core.clock import ManualClock
from live.core.database import Database
from live.core.errors import Problem
from live.core.limits import LETTER_DELAYS_S
from tests.cart.ordering.conftest import OPS, Box, buy
from tests.cart.ordering.samples import ADDRESS, COUNTER, PICKUP, POST, SELLER, line, order

LETTER = Letter(
    id="l1", kind=LetterKind.confirmation, order_id="0" * 32, recipient="ada@example.com", language="de", facts={},
    state=LetterState.wanted, attempts=0, due_at_ms=0, created_at_ms=0, sent_at_ms=None, subject=None, body=None,
)  # fmt: skip


def _order() -> Order:
    made = order(line("CUP", 2, 1999, 100), shipping_minor=490)
    chosen = Chosen(POST.id, POST.kind, POST.title, 490, 2, 4)
    line_ = replace(made.lines[0], title="Tasse <b>&", variant="Blau")
    return replace(
        made, lines=[line_], shipping=chosen, address=ADDRESS, discounts=[Discount("r", 1, "LIVE10", 100)],
        placed_at_ms=1_800_000_000_000, note="Bitte klingeln.",
    )  # fmt: skip


def _plain(text: str) -> str:
    return re.sub(r"[\u00a0\u202f]", " ", text)


def test_a_confirmation_holds_what_the_law_wants_in_german() -> None:
    written = writing.write(LETTER, _order(), SELLER)
    text = _plain(written.text)
    for expected in (
        "Ihre Bestellung", "2 x Tasse <b>& (Blau)   39,98 € (je 19,99 €)", "Rabatt LIVE10: -1,00 €",
        "Versand (Paket): 4,90 €", "Gesamtbetrag: 43,88 €", "darin USt. 19 %: 6,22 € (netto 32,76 €)",
        "Lieferung: Paket, 2 bis 4 Tage", "An: Ada, Uferweg 1, 10115 Berlin, DE", "Bitte klingeln.", "Widerrufsrecht",
        "https://becher.example/withdraw", "Becher GmbH\nUferweg 1", "USt-IdNr. DE123456789", "keine Rechnung",
        "15. Januar 2027, 09:00:00 MEZ",
    ):  # fmt: skip
        assert expected in text, (expected, text)
    assert "Tasse &lt;b&gt;&amp; (Blau)" in written.html and "<b>&" not in written.html


def test_a_confirmation_in_english_for_the_counter() -> None:
    chosen = Chosen(PICKUP.id, PICKUP.kind, PICKUP.title, 0, 0, 0, COUNTER)
    seller = replace(SELLER, withdrawal=Texts(en="Ours."), terms=Texts(en="More."), timezone="Nowhere/Nope", site="")
    written = writing.write(replace(LETTER, language="en"), replace(_order(), shipping=chosen, address=None), seller)
    text = _plain(written.text)
    assert "Pick-up: Pick-up, Mitte, Uferweg 1, 10115 Berlin" in text
    assert "Ours." in text and "More." in text and "fourteen days" not in text and "UTC" in text
    yen = replace(_order(), currency="JPY")
    assert "¥3,998" in _plain(writing.write(replace(LETTER, language="en"), yen, Seller()).text)


@pytest.mark.parametrize(
    ("kind", "facts", "expected"),
    [
        (LetterKind.cancelled, {"reason": "Kaputt"}, "Grund: Kaputt"),
        (LetterKind.refunded, {"refund": {"amount_minor": 250}, "reason": ""}, "wir erstatten Ihnen 2,50 €"),
        (LetterKind.shipped, {}, "hat uns verlassen"),
        (
            LetterKind.withdrawal,
            {"name": "Ada", "at_ms": 1_800_000_000_000, "lines": [{"sku": "CUP", "quantity": 1}]},
            "am 15. Januar 2027, 09:00:00 MEZ bei uns eingegangen",
        ),
    ],
)
def test_the_other_letters(kind: LetterKind, facts: dict[str, object], expected: str) -> None:
    written = writing.write(replace(LETTER, kind=kind, facts=facts), _order(), SELLER)
    assert expected in _plain(written.text)
    assert "Gesamtbetrag" not in written.text


async def test_an_order_does_not_wait_for_its_letter(
    shop: Shop, office: Office, clerk: Clerk, box: Box, clock: ManualClock, database: Database
) -> None:
    box.closed = True
    order_id = await buy(shop, language="de")
    assert await clerk.send() == 0
    assert await clerk.send() == 0, "not before its time"
    for delay_s in LETTER_DELAYS_S[:2]:
        clock.advance(delay_s)
        await clerk.send()
    box.closed = False
    clock.advance(LETTER_DELAYS_S[2])
    assert await clerk.send() == 1
    assert await clerk.send() == 0
    [letter] = await database.read_sync(lambda conn: post.of_order(conn, order_id))
    assert (letter.state, letter.attempts, box.tries) == (LetterState.sent, 4, 4)
    assert letter.body is not None and "Ihre Bestellung" in str(letter.subject)
    assert str(box.letters[letter.id]["Message-ID"]) == f"<{letter.id}@example.com>"


async def test_a_letter_that_nobody_takes_is_given_up(
    shop: Shop, clerk: Clerk, box: Box, clock: ManualClock, database: Database
) -> None:
    box.closed = True
    order_id = await buy(shop)
    for delay_s in (*LETTER_DELAYS_S, 1.0):
        await clerk.send()
        clock.advance(delay_s)
    [letter] = await database.read_sync(lambda conn: post.of_order(conn, order_id))
    assert (letter.state, letter.due_at_ms) == (LetterState.dead, None)


def _message() -> EmailMessage:
    written = writing.write(LETTER, _order(), SELLER)
    return mail.message(written, "l1", "shop@example.com", "ada@example.com", "de")


async def test_letters_land_in_a_folder_once(tmp_path: Path) -> None:
    message = await asyncio.to_thread(_message)
    folder = Folder(tmp_path / "mail")
    await folder.send(message, "l1")
    await folder.send(message, "l1")
    [file] = (tmp_path / "mail").iterdir()
    read = message_from_bytes(file.read_bytes(), policy=policy.default)
    assert (file.name, read["To"], read["Content-Language"]) == ("l1.eml", "ada@example.com", "de")
    assert {part.get_content_type() for part in read.walk()} >= {"text/plain", "text/html"}


async def test_a_mail_server_that_is_not_there_is_an_error_to_try_again() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    message = await asyncio.to_thread(_message)
    with pytest.raises(OSError):
        await Smtp(f"smtp://127.0.0.1:{port}?starttls=no").send(message, "l1")
    assert isinstance(mail.port("smtps://user:pass@mail.example", Path("var")), Smtp)
    assert isinstance(mail.port("", Path("var")), Folder)


async def test_the_seller_stands_in_the_letter(shop: Shop, office: Office, clerk: Clerk, box: Box) -> None:
    assert (await office.facts.seller()).name == ""
    await office.facts.save_seller(SELLER, OPS)
    await buy(shop)
    await clerk.send()
    assert "Becher GmbH" in box.text() and "Becher GmbH" in box.text(kind="html")
    with pytest.raises(Problem, match="time zone"):
        await office.facts.save_seller(replace(SELLER, timezone="../etc/passwd"), OPS)
    [entry] = await office.orders.trail("shop:seller")
    assert (entry.actor, entry.action, entry.before) == ("o", "seller.changed", None)
