"""Where letters go: a folder of this machine, or a mail server. Both may get a letter twice, with one Message-ID."""

import asyncio
import os
import smtplib
import ssl
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP
from pathlib import Path
from typing import Protocol
from urllib.parse import parse_qs, unquote, urlsplit

from cart.ordering.writing import Written
from live.core.limits import LETTER_TIMEOUT_S


class Mail(Protocol):
    """Takes a message for its recipient; raises when it did not, and then it is asked again."""

    async def send(self, message: EmailMessage, id_: str) -> None: ...


class Folder:
    """Leaves each message as a file `<id>.eml`, for a mail program on this machine, or for people to look at."""

    def __init__(self, path: Path) -> None:
        self._path = path

    async def send(self, message: EmailMessage, id_: str) -> None:
        """Write the file; whole or not at all."""
        await asyncio.to_thread(self._write, message.as_bytes(policy=SMTP), id_)

    def _write(self, content: bytes, id_: str) -> None:
        self._path.mkdir(parents=True, exist_ok=True)
        part = self._path / f".{id_}.{os.getpid()}.part"
        part.write_bytes(content)
        part.replace(self._path / f"{id_}.eml")


class Smtp:
    """Hands messages to a server (RFC 5321), one connection each.

    smtps:// speaks TLS from the start, smtp:// after STARTTLS, unless `?starttls=no`, for a server on this machine.
    """

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        assert parts.scheme in ("smtp", "smtps") and parts.hostname, "settings refuse other addresses"
        self._host = parts.hostname
        self._tls = parts.scheme == "smtps"
        self._port = parts.port or (465 if self._tls else 587)
        self._starttls = not self._tls and parse_qs(parts.query).get("starttls") != ["no"]
        self._user, self._password = unquote(parts.username or ""), unquote(parts.password or "")

    async def send(self, message: EmailMessage, id_: str) -> None:
        """Raises `OSError` or `smtplib.SMTPException` unless the server took it."""
        await asyncio.to_thread(self._send, message)

    def _send(self, message: EmailMessage) -> None:
        context = ssl.create_default_context()
        if self._tls:
            server: smtplib.SMTP = smtplib.SMTP_SSL(self._host, self._port, timeout=LETTER_TIMEOUT_S, context=context)
        else:
            server = smtplib.SMTP(self._host, self._port, timeout=LETTER_TIMEOUT_S)
        with server:
            if self._starttls:
                server.starttls(context=context)
            if self._user:
                server.login(self._user, self._password)
            server.send_message(message)


def port(url: str, data_dir: Path) -> Mail:
    """The way of SHOWCART_MAIL_URL; "": the folder `mail` in the data folder."""
    return Smtp(url) if url else Folder(data_dir / "mail")


def message(written: Written, id_: str, sender: str, recipient: str, language: str) -> EmailMessage:
    """The message of a letter; `id_` makes its Message-ID, which is the same whenever it is sent again."""
    found = EmailMessage(policy=SMTP)
    found["Subject"] = written.subject
    found["From"] = Address(addr_spec=sender)
    found["To"] = Address(addr_spec=recipient)
    found["Message-ID"] = f"<{id_}@{sender.rpartition('@')[2]}>"
    found["Auto-Submitted"] = "auto-generated"
    found.set_content(written.text)
    found.add_alternative(written.html, subtype="html")
    found["Content-Language"] = language  # last: what sets the content clears what is said of it
    return found
