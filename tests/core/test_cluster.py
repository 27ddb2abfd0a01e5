"""Commands and views over scripted servers of a cluster: redirections, half-moved slots, servers of the past, TLS."""

import asyncio
import datetime
import ipaddress
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from live.core import cluster as cluster_module
from live.core.bus import Bus, BusError, Wire
from live.core.cluster import Cluster
from live.core.limits import CLUSTER_LOOK_S_MIN
from live.core.servers import FAILURES, NotNow, NotReached
from live.core.slots import SLOTS, Address, View, slot_of
from tests.core.nodes import Answers, Node, Refusal

pytestmark = pytest.mark.timeout(30)

KEY = "showcart:{demo}:x"
SLOT = slot_of(KEY.encode())
MakeNode = Callable[..., Awaitable[Node]]
Open = Callable[..., Awaitable[Cluster]]


def own(node: Node, *owners: Node) -> None:
    """`node` says that the first of `owners` has all slots, and the others are its replicas."""
    node.slots = [[0, SLOTS - 1, *([b"127.0.0.1", owner.port, b"id", []] for owner in owners)]]


@pytest.fixture
async def stack() -> AsyncIterator[AsyncExitStack]:
    async with AsyncExitStack() as opened:
        yield opened


@pytest.fixture
def make(stack: AsyncExitStack) -> MakeNode:
    async def node(answers: Answers = lambda node, connection, command: b"OK", *, epoch: int = 1) -> Node:
        made = await Node(answers, epoch=epoch).start()
        own(made, made)
        stack.push_async_callback(made.stop)
        return made

    return node


@pytest.fixture
def opened(stack: AsyncExitStack) -> Open:
    async def cluster(*nodes: Node) -> Cluster:
        made = Cluster("redis+cluster://" + ",".join(f"127.0.0.1:{node.port}" for node in nodes))
        stack.push_async_callback(made.close)
        await made.open()
        return made

    return cluster


async def test_moved_slot_is_followed_and_remembered(make: MakeNode, opened: Open) -> None:
    new = await make()
    old = await make(lambda node, connection, command: Refusal(f"MOVED {SLOT} 127.0.0.1:{new.port}"))
    cluster = await opened(old)
    assert await cluster.execute(KEY, "GET", KEY) == b"OK"
    assert cluster.doubted.is_set()
    assert await cluster.execute(KEY, "GET", KEY) == b"OK"
    assert (len(old.commands(b"GET")), len(new.commands(b"GET"))) == (1, 2)
    assert cluster.owner(KEY.encode()) == Address("127.0.0.1", new.port)


async def test_asking_is_said_on_the_connection_of_the_command(make: MakeNode, opened: Open) -> None:
    """A pool of connections must not take one for the word and another one for the command."""
    asking: set[int] = set()

    def imports(node: Node, connection: int, command: list[bytes]) -> object:
        if command == [b"ASKING"]:
            asking.add(connection)
            return b"OK"
        if command[0] == b"GET" and connection not in asking:
            return Refusal(f"MOVED {SLOT} 127.0.0.1:{old.port}")
        asking.discard(connection)
        return b"OK"

    new = await make(imports)
    old = await make(lambda node, connection, command: Refusal(f"ASK {SLOT} 127.0.0.1:{new.port}"))
    cluster = await opened(old)
    for _ in range(3):  # the later ones have several connections to choose from
        answers = await asyncio.gather(*[cluster.execute(KEY, "GET", KEY) for _ in range(8)])
        assert answers == [b"OK"] * 8
    assert len(new.commands(b"GET")) == 24, "none was sent twice"
    assert cluster.owner(KEY.encode()) == Address("127.0.0.1", old.port), "the slot has not moved yet"


@pytest.mark.parametrize("refusal", ["TRYAGAIN Multiple keys", "CLUSTERDOWN Hash slot not served"])
async def test_what_cannot_be_served_just_now_is_asked_again(make: MakeNode, opened: Open, refusal: str) -> None:
    left = 3

    def busy(node: Node, connection: int, command: list[bytes]) -> object:
        nonlocal left
        left -= 1
        return b"OK" if left < 0 else Refusal(refusal)

    cluster = await opened(await make(busy))
    assert await cluster.execute(KEY, "GET", KEY) == b"OK"
    left = 1_000_000
    with pytest.raises(NotNow):
        await cluster.execute(KEY, "GET", KEY, patience_s=0.1)
    assert 1_000_000 - left < 10


async def test_servers_that_point_at_each_other_are_given_up(make: MakeNode, opened: Open) -> None:
    nodes: list[Node] = []

    def elsewhere(node: Node, connection: int, command: list[bytes]) -> object:
        other = nodes[0] if node is nodes[1] else nodes[1]
        return Refusal(f"MOVED {SLOT} 127.0.0.1:{other.port}")

    nodes += [await make(elsewhere), await make(elsewhere)]
    cluster = await opened(nodes[0])
    with pytest.raises(NotNow):
        await cluster.execute(KEY, "GET", KEY, patience_s=0.1)
    assert sum(len(node.commands(b"GET")) for node in nodes) < 60


async def test_nobody_knows_where(make: MakeNode, opened: Open) -> None:
    node = await make(lambda node, connection, command: Refusal(f"MOVED {SLOT} ?:1"))
    cluster = await opened(node)
    with pytest.raises(NotNow):
        await cluster.execute(KEY, "GET", KEY, patience_s=0.05)
    node.slots = [[0, SLOT - 1, [b"127.0.0.1", node.port, b"id"]]]
    await cluster.refresh()
    assert cluster.owner(KEY.encode()) is None
    with pytest.raises(NotNow):
        await cluster.execute(KEY, "GET", KEY, patience_s=0.05)


async def test_redirection_without_a_host_is_to_another_port_of_the_same(make: MakeNode, opened: Open) -> None:
    new = await make()
    old = await make(lambda node, connection, command: Refusal(f"MOVED {SLOT} :{new.port}"))
    cluster = await opened(old)
    assert await cluster.execute(KEY, "GET", KEY) == b"OK"


async def test_dead_server_is_left_at_once_when_another_one_has_the_slot(make: MakeNode, opened: Open) -> None:
    first, second, third = await make(), await make(), await make()
    for node in (first, third):
        own(node, first, second)
    cluster = await opened(first, third)
    await first.stop()
    with pytest.raises(FAILURES):
        await cluster.execute(KEY, "GET", KEY)  # a connection that there was may find its end only now
    with pytest.raises(NotReached):
        await cluster.execute(KEY, "GET", KEY)
    own(third, second)
    await asyncio.sleep(CLUSTER_LOOK_S_MIN)
    assert await cluster.execute(KEY, "GET", KEY) == b"OK"


async def test_nobody_waits_for_a_silent_server_that_was_replaced(make: MakeNode, opened: Open) -> None:
    silent = await make(lambda node, connection, command: None)
    other = await make()
    own(other, silent, other)
    cluster = await opened(silent, other)
    waiting = asyncio.create_task(cluster.execute(KEY, "GET", KEY))
    while not silent.commands(b"GET"):
        await asyncio.sleep(0.005)
    for node in (silent, other):
        own(node, other, silent)
    await cluster.refresh()
    assert cluster.doubted.is_set(), "and it is looked at again soon"
    assert not waiting.done(), "it may answer yet"
    await cluster.refresh()
    with pytest.raises(FAILURES):
        await asyncio.wait_for(waiting, 10)


async def test_server_of_the_past_is_not_believed_for_a_while(
    make: MakeNode, opened: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    now, past = await make(epoch=7), await make(epoch=6)
    own(past, past)
    cluster = await opened(now)
    cluster._seeds = [Address("127.0.0.1", past.port)]
    await now.stop()
    with pytest.raises(FAILURES):
        await cluster.refresh()
    assert cluster.primaries == {Address("127.0.0.1", now.port)}
    monkeypatch.setattr(cluster_module, "CLUSTER_VIEW_S_MAX", 0.0)
    await cluster.refresh()
    assert cluster.primaries == {Address("127.0.0.1", past.port)}


async def test_silent_server_does_not_hold_up_the_view(
    make: MakeNode, opened: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    silent, other = await make(), await make()
    own(other, other)
    monkeypatch.setattr(silent, "_answer", lambda connection, command: None)
    monkeypatch.setattr("live.core.cluster.random.shuffle", lambda addresses: None)  # the silent one is asked first ...
    monkeypatch.setattr(cluster_module, "CLUSTER_ASK_TIMEOUT_S", 0.05)
    ask = Cluster._ask

    async def asked(cluster: Cluster, address: Address) -> View:
        monkeypatch.setattr(cluster_module, "CLUSTER_ASK_TIMEOUT_S", 10.0)  # ... and whoever answers may take its time
        return await ask(cluster, address)

    monkeypatch.setattr(Cluster, "_ask", asked)
    cluster = await opened(silent, other)
    assert cluster.primaries == {Address("127.0.0.1", other.port)}


async def test_server_that_is_no_cluster_is_refused_in_words(make: MakeNode, stack: AsyncExitStack) -> None:
    node = await make()
    node.slots = Refusal("ERR This instance has cluster support disabled")  # type: ignore[assignment]
    for kind in (Bus, Wire):
        with pytest.raises(BusError, match="cluster support disabled"):
            await kind.open(f"redis+cluster://127.0.0.1:{node.port}")


# --- names, passwords, TLS ------------------------------------------------------------------------------------


def _certificate(folder: Path) -> ssl.SSLContext:
    """A server's context with a certificate for localhost that signs itself; `ca.pem` is what clients trust."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "a server of the tests")])
    now = datetime.datetime.now(datetime.UTC)
    names: list[x509.GeneralName] = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = certificate.public_bytes(serialization.Encoding.PEM)
    (folder / "ca.pem").write_bytes(pem)
    (folder / "key.pem").write_bytes(
        pem
        + key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "key.pem")
    return context


async def test_every_server_is_reached_over_tls_with_the_password_and_by_its_name(tmp_path: Path) -> None:
    tls = _certificate(tmp_path)
    first, second = await Node().start(tls), await Node().start(tls)
    for node in (first, second):
        node.slots = [[0, SLOTS - 1, [b"localhost", second.port, b"id", [b"ip", b"127.0.0.1"]]]]
    ca = f"ssl_ca_certs={tmp_path / 'ca.pem'}"
    cluster = Cluster(f"rediss+cluster://app:p%40ss@127.0.0.1:{first.port}?{ca}")
    try:
        await cluster.open()
        assert cluster.owner(KEY.encode()) == Address("localhost", second.port)
        assert await cluster.execute(KEY, "GET", KEY) == b"OK"
        for node in (first, second):
            assert node.commands(b"AUTH") == [[b"AUTH", b"app", b"p@ss"]]
        stranger = Cluster(f"rediss+cluster://127.0.0.1:{first.port}")
        with pytest.raises(NotReached, match="CERTIFICATE_VERIFY_FAILED"):
            await stranger.open()
        await stranger.close()
    finally:
        await cluster.close()
        await first.stop()
        await second.stop()
