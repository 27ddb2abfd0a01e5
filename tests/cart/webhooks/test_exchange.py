"""One message over a real connection: whom TLS asks for, and what a name that changes its mind gets."""

import asyncio
import datetime
import ipaddress
import socket
import ssl
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from cart.webhooks import exchange as exchanges
from cart.webhooks.exchange import Exchange
from cart.webhooks.targets import Address
from live.core.clock import ManualClock
from live.core.limits import WEBHOOK_RESPONSE_BYTES_KEPT
from tests.cart.webhooks.conftest import LOOPBACK
from tests.cart.webhooks.receiver import Answer, Receiver


def _certificate(folder: Path, name: str) -> Path:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    path = folder / f"{name}.pem"
    plain, pkcs8 = serialization.NoEncryption(), serialization.PrivateFormat.PKCS8
    private = key.private_bytes(serialization.Encoding.PEM, pkcs8, plain)
    path.write_bytes(private + made.public_bytes(serialization.Encoding.PEM))
    return path


@asynccontextmanager
async def _https(certificate: Path) -> AsyncIterator[tuple[int, list[str]]]:
    """A server with this certificate; the names that it was asked for."""
    names: list[str] = []
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    context.sni_callback = lambda _socket, name, _context: names.append(name)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        names.append(next(line[6:] for line in head.decode().split("\r\n") if line.lower().startswith("host: ")))
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    async with server:
        yield server.sockets[0].getsockname()[1], names


@pytest.fixture
def resolves(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Say which addresses names have, one list for each time that one is asked for."""

    def say(*answers: list[str]) -> None:
        left = list(answers)

        def look_up(_host: str, _port: int) -> list[Address]:
            return [ipaddress.ip_address(each) for each in left.pop(0)]

        monkeypatch.setattr(exchanges, "_look_up", look_up)

    return say


async def test_the_connection_is_to_the_address_and_the_certificate_is_the_names(
    tmp_path: Path, exchange: Exchange, resolves: Callable[..., None]
) -> None:
    good, other = _certificate(tmp_path, "shop.example"), _certificate(tmp_path, "other.example")
    exchange._tls = ssl.create_default_context(cadata=good.read_text() + other.read_text())
    resolves(["127.0.0.1"], ["127.0.0.1"])
    async with _https(good) as (port, names):
        sent = await exchange.send("e", f"https://shop.example:{port}/hook", {}, b"{}")
        assert (sent.status, names) == (200, ["shop.example", f"shop.example:{port}"])
    async with _https(other) as (port, names):
        sent = await exchange.send("e", f"https://shop.example:{port}/hook", {}, b"{}")
        assert (sent.status, "certificate" in sent.problem, names) == (None, True, ["shop.example"])


async def test_a_name_that_means_another_address_by_now_gets_nothing(
    clock: ManualClock, receiver: Receiver, resolves: Callable[..., None]
) -> None:
    careful = Exchange(clock)
    resolves(["8.8.8.8"], ["127.0.0.1"], ["8.8.8.8", "127.0.0.1"], [])
    url = receiver.url.replace("http://127.0.0.1", "https://shop.example")
    await careful.check("https://shop.example/")
    for why in ("of this machine", "of this machine", "no address"):
        sent = await careful.send("e", url, {}, b"{}")
        assert (sent.status, why in sent.problem) == (None, True), sent
    assert receiver.messages == []
    await careful.close()


async def test_silence_and_refused_connections_are_problems_that_are_named(
    clock: ManualClock, exchange: Exchange, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unknown(*_: Any, **__: Any) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    silent = asyncio.Event()
    receiver.rest = Answer(after=silent)
    hasty = Exchange(clock, LOOPBACK, timeout_s=0.05)
    sent = await hasty.send("e", receiver.url, {}, b"{}")
    assert (sent.status, sent.problem) == (None, "No answer within 0.05 s.")
    silent.set()
    await hasty.close()
    refused = await exchange.send("e", "http://127.0.0.1:1/", {}, b"{}")
    assert (refused.status, refused.problem.partition(":")[0]) == (None, "ConnectError")
    monkeypatch.setattr(socket, "getaddrinfo", unknown)  # the network's own server may take its time to say so
    gone = await exchange.send("e", "https://name.invalid/", {}, b"{}")
    assert gone.problem == "The name cannot be resolved."


async def test_a_name_server_that_hangs_holds_up_its_own_names_only(
    clock: ManualClock, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    hung, began, asked = threading.Event(), threading.Event(), []

    def look_up(host: str, _port: int) -> list[Address]:
        asked.append(host)
        began.set()
        if host == "hung.example":
            hung.wait(20)
        return [ipaddress.ip_address("127.0.0.1")]

    monkeypatch.setattr(exchanges, "_look_up", look_up)
    hasty = Exchange(clock, LOOPBACK, timeout_s=0.2)
    url = receiver.url.replace("127.0.0.1", "hung.example")
    sent = await asyncio.gather(*(hasty.send("e", url, {}, b"{}") for _ in range(20)))
    assert {each.problem for each in sent} == {"No answer within 0.2 s."}
    assert await asyncio.to_thread(began.wait, 20)  # it may have been given up before the thread had a turn
    assert asked == ["hung.example"], "one thread asks"
    hasty._timeout_s = 20.0  # on a busy machine a good answer takes its time, too
    good = await hasty.send("g", receiver.url.replace("127.0.0.1", "good.example"), {}, b"{}")
    hung.set()
    await hasty.close()
    assert good.status == 200


async def test_no_more_than_the_beginning_of_an_answer_is_kept(exchange: Exchange, receiver: Receiver) -> None:
    receiver.rest = Answer(500, body=b"\x00\xff" + b"z" * 10**6)
    sent = await exchange.send("e", receiver.url, {}, b"{}")
    assert (sent.status, sent.response[:3], len(sent.response)) == (500, "\ufffd\ufffdz", WEBHOOK_RESPONSE_BYTES_KEPT)
    await exchange.keep({"others"})
    receiver.rest = Answer()
    assert (await exchange.send("e", receiver.url, {}, b"{}")).status == 200
