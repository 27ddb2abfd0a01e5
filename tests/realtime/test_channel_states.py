"""What a channel tells besides events: states, notices, positions, and the count of people."""

import asyncio

import pytest

from live.core.auth import Role
from live.core.errors import TOO_SLOW
from live.core.limits import STATE_INTERVAL_S, STATES_MAX
from live.realtime.channel import Channel
from live.realtime.protocol import Here, Notice, State
from live.realtime.turns import Pace
from tests.realtime.scripted import add, flush, publish, wait


def stock(available: int, key: str = "a") -> State:
    return State("stock", {"available": available}, key)


async def test_states_are_conflated(channel: Channel) -> None:
    _, socket = add(channel)
    channel.state(stock(9), staff=False)
    await flush()
    for available in range(8, 2, -1):
        channel.state(stock(available), staff=False)
        await flush()
    channel.state(stock(7, "b"), staff=False)
    await wait(STATE_INTERVAL_S + 0.05)
    seen = [(m["key"], m["data"]["available"]) for m in socket.messages()]
    assert seen[0] == ("a", 9)
    assert sorted(seen[1:]) == [("a", 3), ("b", 7)]


async def test_states_travel_with_events(channel: Channel) -> None:
    _, socket = add(channel)
    channel.state(stock(9), staff=False)
    publish(channel)
    await flush()
    assert [m["type"] for m in socket.messages()] == ["event", "state"]
    assert len(socket.frames) == 1


async def test_a_state_begins_no_round_before_the_next_is_due(
    channel: Channel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Pace, "after", lambda pace, spent_s, lasted_s: 0.1)
    _, socket = add(channel)
    publish(channel)
    await flush()
    channel.state(stock(9), staff=False)  # the first of all: due at once, were it not for the audience's size
    publish(channel)
    await wait(0.05)
    assert len(socket.frames) == 1
    await wait(0.08)
    assert [m["type"] for m in socket.messages()] == ["event", "event", "state"]
    assert len(socket.frames) == 2, "both go in one round"


async def test_staff_states_are_for_staff(channel: Channel) -> None:
    _, viewer = add(channel)
    _, host = add(channel, role=Role.host, subject="h")
    channel.state(State("figures", {}), staff=True)
    await flush()
    assert viewer.frames == []
    assert [m["name"] for m in host.messages()] == ["figures"]
    assert [m.name for m in channel.states_since(0, True)] == ["figures"]
    assert channel.states_since(0, False) == []


async def test_states_since_a_snapshot_are_known_and_bounded(channel: Channel) -> None:
    channel.state(stock(1), staff=False)
    now_s = asyncio.get_running_loop().time()
    await wait(0.01)
    channel.state(stock(2), staff=False)
    assert [m.data["available"] for m in channel.states_since(now_s, False)] == [2]
    for i in range(STATES_MAX + 5):
        channel.state(stock(i, f"k{i}"), staff=False)
    assert len(channel.states_since(0, False)) == STATES_MAX
    await wait(0.01)


async def test_notices_reach_all_sockets_of_one_viewer(channel: Channel) -> None:
    _, one = add(channel)
    stalled, two = add(channel)
    _, other = add(channel, subject="w")
    _, third = add(channel, encoding="msgpack")
    stalled.stalled()
    channel.notice("v", Notice("cart.changed", {"n": 1}))
    channel.notice("nobody", Notice("cart.changed", {"n": 1}))
    assert [len(socket.frames) for socket in (one, two, other, third)] == [1, 0, 0, 1]
    assert third.messages() == one.messages() == [{"type": "notice", "name": "cart.changed", "data": {"n": 1}}]


async def test_people_are_counted_once_and_staff_not_at_all(channel: Channel) -> None:
    one, _ = add(channel)
    two, _ = add(channel)
    add(channel, role=Role.host, subject="h")
    add(channel, subject="w")
    assert channel.people.present == 2
    one.lost()
    one.lost()
    assert channel.people.present == 2
    two.shut(TOO_SLOW)
    assert channel.people.present == 1


async def test_tell_writes_to_those_in_step_only(channel: Channel) -> None:
    stalled, slow = add(channel)
    stalled.stalled()
    _, quick = add(channel)
    channel.tell(Here(channel.position))
    await flush()
    assert quick.messages() == [{"type": "position", "position": {"epoch": "e", "offset": 10}}]
    assert slow.frames == []


async def test_closed_channel_writes_nothing_more(channel: Channel) -> None:
    _, socket = add(channel)
    publish(channel)
    channel.close()
    channel.close()
    await flush()
    assert socket.frames == []
