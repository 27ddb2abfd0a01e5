"""The bus's ear over scripted connections: what a server on this machine cannot be made to do."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from live.core.listeners import Listeners
from live.core.slots import Address


class Scripted:
    """A connection that confirms subscriptions and says what is put into `answers`."""

    def __init__(self, hangs: str = "") -> None:
        self.hangs = hangs  # the command that is never done being written
        self.sent: list[tuple[Any, ...]] = []
        self.answers: asyncio.Queue[Any] = asyncio.Queue()

    async def connect(self) -> None:
        pass

    async def disconnect(self, nowait: bool = False) -> None:
        pass

    async def send_command(self, *args: Any, **options: Any) -> None:
        self.sent.append(args)
        if args[0] == self.hangs:
            await asyncio.Event().wait()
        if args[0] == "SSUBSCRIBE":
            self.answers.put_nowait([b"ssubscribe", args[1], 1])

    async def read_response(self, **options: Any) -> Any:
        answer = await self.answers.get()
        if isinstance(answer, Exception):
            raise answer
        return answer


class Alone:
    """One server; each new connection to it is the next of those given."""

    home: Address | None = Address("", 0)

    def __init__(self, *connections: Scripted) -> None:
        self.waiting = list(connections)
        self.doubted = asyncio.Event()

    def owner(self, name: bytes) -> Address | None:
        return self.home

    def connection(self, address: Address) -> Any:
        return self.waiting.pop(0)

    def refused(self, name: bytes, error: Exception) -> None:
        self.doubted.set()

    async def refresh(self) -> None:
        pass


async def _until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(10):
        while not condition():
            await asyncio.sleep(0.003)


async def test_who_gives_up_while_the_server_takes_no_command_is_forgotten() -> None:
    connection = Scripted(hangs="SSUBSCRIBE")
    listener = Listeners(Alone(connection), (OSError,))
    await listener.start()
    try:
        for _ in range(2):
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.02):
                    await listener.add(b"a", lambda message: None)
            assert not listener._subscriptions
            assert not listener._at
        assert [command for command, *_ in connection.sent] == ["SSUBSCRIBE", "SUNSUBSCRIBE"] * 2
    finally:
        await listener.stop()


async def test_the_ear_outlives_what_nobody_expected(caplog: pytest.LogCaptureFixture) -> None:
    first, second = Scripted(), Scripted()
    listener = Listeners(Alone(first, second), (OSError,))
    await listener.start()
    try:
        heard: list[str] = []
        await listener.add(b"a", lambda message: heard.append(message.kind))
        first.answers.put_nowait(KeyError("a bug of ours"))
        await _until(lambda: heard == ["gone"])
        second.answers.put_nowait([b"smessage", b"a", b"sx"])
        await _until(lambda: heard == ["gone", "state"])
        assert "a bug of ours" in caplog.text
    finally:
        await listener.stop()


class Cluster:
    """Servers named by their ports, each with one connection after the other; `at` says who owns every channel."""

    home: Address | None = None

    def __init__(self, **connections: list[Scripted]) -> None:
        self.connections = connections
        self.at = "a"
        self.refusals: list[str] = []
        self.failing = 0
        self.looks = 0
        self.doubted = asyncio.Event()

    def owner(self, name: bytes) -> Address | None:
        return Address(self.at, 1) if self.at else None

    def connection(self, address: Address) -> Any:
        return self.connections[address.host].pop(0)

    def refused(self, name: bytes, error: Exception) -> None:
        self.refusals.append(str(error))
        self.doubted.set()

    async def refresh(self) -> None:
        self.looks += 1
        if self.failing:
            self.failing -= 1
            raise OSError("nobody answers")


class Refused(OSError):
    pass


@pytest.fixture
async def cluster(monkeypatch: pytest.MonkeyPatch) -> Cluster:
    monkeypatch.setattr("live.core.listeners.CLUSTER_LOOK_S_MIN", 0.001)
    return Cluster(a=[Scripted(), Scripted()], b=[Scripted()])


@pytest.fixture
async def listeners(cluster: Cluster) -> AsyncIterator[Listeners]:
    made = Listeners(cluster, (OSError,), (Refused,))
    await made.start()
    yield made
    await made.stop()


def event(epoch: str, offset: int) -> list[bytes]:
    return [b"smessage", b"a", b"e%s:%d\nx" % (epoch.encode(), offset)]


async def test_channel_that_a_server_gives_up_is_heard_at_its_owner(cluster: Cluster, listeners: Listeners) -> None:
    (a, _), (b,) = cluster.connections["a"], cluster.connections["b"]
    heard: list[str] = []
    await listeners.add(b"a", lambda message: heard.append(message.kind))
    cluster.at = "b"
    a.answers.put_nowait([b"sunsubscribe", b"a", 0])
    await _until(lambda: heard == ["gone"])
    assert b.sent == [("SSUBSCRIBE", b"a")]
    a.answers.put_nowait(event("old", 1))
    b.answers.put_nowait(event("new", 1))
    await _until(lambda: len(heard) == 2)
    assert heard == ["gone", "event"], "what the old place still says is not heard"
    assert list(listeners._listeners) == [Address("b", 1)], "no connection without a use"


async def test_subscription_that_is_refused_goes_elsewhere_without_a_word(
    cluster: Cluster, listeners: Listeners, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing was missed: whoever subscribes has not heard anything yet."""
    (a, _) = cluster.connections["a"]

    async def refuse(*args: Any, **options: Any) -> None:
        a.answers.put_nowait(Refused("MOVED"))
        cluster.at = "b"

    monkeypatch.setattr(a, "send_command", refuse)
    heard: list[str] = []
    await listeners.add(b"a", lambda message: heard.append(message.kind))
    assert (cluster.refusals, heard) == (["MOVED"], [])
    await listeners.remove(b"a", listeners._subscriptions[b"a"].handlers[0])
    assert not listeners._subscriptions


async def test_owner_that_changed_is_noticed_by_looking(cluster: Cluster, listeners: Listeners) -> None:
    cluster.failing = 2
    heard: list[str] = []
    (a, _) = cluster.connections["a"]
    await listeners.add(b"a", lambda message: heard.append(message.kind))
    cluster.at = ""
    cluster.doubted.set()
    await _until(lambda: cluster.looks == 3 and not cluster.failing)
    assert heard == [], "nobody owns it: it is left where it is"
    cluster.at = "b"
    cluster.doubted.set()
    await _until(lambda: heard == ["gone"])
    assert a.sent[-1] == ("SUNSUBSCRIBE", b"a")


async def test_channel_without_an_owner_waits_for_one(cluster: Cluster, listeners: Listeners) -> None:
    cluster.at = ""
    adding = asyncio.create_task(listeners.add(b"a", lambda message: None))
    await _until(lambda: cluster.looks > 1)
    assert not adding.done()
    cluster.at = "a"
    await asyncio.wait_for(adding, 5)


async def test_error_that_answers_nothing_is_about_the_connection(cluster: Cluster, listeners: Listeners) -> None:
    a, again = cluster.connections["a"]
    heard: list[str] = []
    await listeners.add(b"a", lambda message: heard.append(message.kind))
    a.answers.put_nowait(Refused("NOAUTH"))
    await _until(lambda: heard == ["gone"])
    assert again.sent == [("SSUBSCRIBE", b"a")]


async def test_two_epochs_never_meet_without_a_word(cluster: Cluster, listeners: Listeners) -> None:
    """A primary that stood still says a last thing under its old epoch."""
    (a, _) = cluster.connections["a"]
    heard: list[str] = []
    await listeners.add(b"a", lambda message: heard.append(message.position.epoch if message.position else "gone"))
    for epoch, offset in (("new", 1), ("new", 2), ("old", 9), ("new", 3), ("new", 4)):
        a.answers.put_nowait(event(epoch, offset))
    await _until(lambda: len(heard) == 5)
    assert heard == ["new", "new", "gone", "new", "new"]
