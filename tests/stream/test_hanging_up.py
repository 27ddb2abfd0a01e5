"""The end of a large show: everybody is hung up on, in turns of the loop that stay short."""

import asyncio
import types
from collections.abc import Callable

import pytest

from loadtests.media.client import Client
from stream.connections import Subscription
from stream.feed import Feed
from stream.service import _ENDS_IN_A_TURN
from stream.stage import Stage
from stream.transport.sessions import Reason
from stream.wire.codecs import Codec
from tests.stream.conftest import House
from tests.stream.relaying import VP8

MANY = 3 * _ENDS_IN_A_TURN + 7
H264 = Codec("h264", 102, 90_000, None, "profile-level-id=42e01f;packetization-mode=1", "42e01f")


class Origin:
    """A source of which nothing comes."""

    def __init__(self, codec: Codec) -> None:
        self.feed = Feed({"video": codec})

    def want_keyframe(self, layer: int) -> None: ...

    def demand(self, layers: frozenset[int]) -> None: ...


@pytest.fixture
def stage(house: House) -> Stage:
    stage = house.media._stage("demo")
    stage.relay.begin(Origin(H264))
    return stage


@pytest.fixture
def enter(house: House, stage: Stage, client: Callable[[], Client]) -> Callable[[], Subscription]:
    """Makes viewers, who are connected as far as the server knows."""
    offer = client().offer("recvonly")

    def make() -> Subscription:
        made = house.media.subscribe("demo", offer)
        connection = house.media.sessions[made.session_id]
        assert isinstance(connection, Subscription)
        connection.session.consented(house.media.now())
        connection.session.secured(house.media.now())
        connection.connected()
        return connection

    return make


async def turns(house: House) -> list[int]:
    """How many sessions ended in each turn of the loop, until a turn ends none."""
    seen = []
    while True:
        before = len(house.media.sessions)
        await asyncio.sleep(0)
        seen.append(before - len(house.media.sessions))
        if len(seen) > 2 and not seen[-1]:
            return seen


async def many(enter: Callable[[], Subscription]) -> list[Subscription]:
    """MANY viewers, one in a turn of the loop."""
    viewers = []
    for _ in range(MANY):
        viewers.append(enter())
        await asyncio.sleep(0)
    return viewers


async def test_a_show_ends_in_slices(house: House, stage: Stage, enter: Callable[[], Subscription]) -> None:
    viewers = await many(enter)
    house.media.end_show("demo")
    assert len(house.media.sessions) == MANY - _ENDS_IN_A_TURN
    house.media.end(viewers[-1], Reason.deleted)  # one leaves by itself
    late = enter()  # and one comes, whom nobody has hung up on
    assert max(await turns(house)) <= _ENDS_IN_A_TURN
    assert list(house.media.sessions.values()) == list(stage.connections.values()) == [late]
    assert stage.relay.subscribers == [late.subscriber]
    ended = house.media.ended
    assert (ended["subscriber", "show_over"], ended["subscriber", "deleted"]) == (MANY - 1, 1)
    assert house.media.stages["demo"] is stage
    house.media.end_show("demo")
    assert not house.media.stages


async def test_those_who_cannot_play_the_new_codec_leave_in_slices(
    house: House, stage: Stage, enter: Callable[[], Subscription]
) -> None:
    viewers = await many(enter)
    able = viewers[5]
    assert able.subscriber is not None
    able.subscriber.codecs = {"video": (H264, VP8)}
    stage._strand(stage.relay.begin(Origin(VP8)))
    assert stage.relay.subscribers == [able.subscriber], "nothing that they cannot play is sent to anybody"
    house.media.end(viewers[-1], Reason.deleted)
    assert max(await turns(house)) <= _ENDS_IN_A_TURN
    assert list(house.media.sessions.values()) == [able]
    assert house.media.ended["subscriber", "codec_changed"] == MANY - 2


async def test_a_stop_in_between_ends_everybody_once(
    house: House, stage: Stage, enter: Callable[[], Subscription]
) -> None:
    for _ in range(MANY):
        enter()
        await asyncio.sleep(0)  # they do not all come in one turn of the loop
    house.media.end_show("demo")
    await house.media.stop()
    assert not house.media.sessions
    assert house.media.ended.total() == MANY


async def test_another_worker_is_told_how_many_viewers_there_are(
    house: House, stage: Stage, enter: Callable[[], Subscription], monkeypatch: pytest.MonkeyPatch
) -> None:
    told = types.SimpleNamespace(audience=0, announced=None)
    monkeypatch.setattr(stage, "_cluster", object())
    stage.pull = told  # type: ignore[assignment]
    one, two = enter(), enter()
    assert told.audience == 2
    stage.left(one)
    stage.left(one)
    assert told.audience == 1
    stage.pull = None
    monkeypatch.setattr(stage, "_cluster", None)
    stage.enter(one)
    house.media.end(one, Reason.deleted)
    house.media.end(two, Reason.deleted)
