"""How sessions of a show follow each other and end: takeover, loss, silence, the stop of everything."""

import asyncio
import struct

import pytest

from live.core.errors import Kind, Problem
from live.core.limits import HANDSHAKE_TIMEOUT_S, PEER_DEAD_S, PEER_SWEEP_INTERVAL_S
from loadtests.media.source import Source
from stream.wire.rtp import parse
from tests.stream.conftest import House, Make, until, viewer
from tests.stream.watching import AUDIO, VIDEO, Watcher, consecutive


async def test_a_second_publisher_takes_over_and_viewers_play_on(
    house: House, client: Make, publisher: Watcher
) -> None:
    one = await viewer(house, client)
    publisher.send(*Source().frame())
    await until(lambda: len(one.of(VIDEO)) == 6)
    second = Watcher(client)
    answer = await house.post("whip", second.client.offer("sendonly"))
    await asyncio.sleep(0.05)
    assert not publisher.client.closed.is_set(), "asking alone takes nothing away"
    await second.client.connect(answer.text)
    await asyncio.wait_for(publisher.client.closed.wait(), 5)
    other = Source(7000)
    other.keyframe = False
    second.send(*other.frame())  # video that refers to pictures that nobody has
    other.keyframe = True
    second.send(*other.frame())
    await until(lambda: len(one.of(VIDEO)) == 12)
    assert consecutive(one.numbers(VIDEO))
    assert consecutive(one.numbers(AUDIO))
    before, after = parse(one.of(VIDEO)[5]).timestamp, parse(one.of(VIDEO)[6]).timestamp
    assert 0 < (after - before) & 0xFFFFFFFF < 90_000 * 5
    assert house.media.ended["publisher", "taken_over"] == 1
    assert house.told == [("demo", True)]


async def test_a_third_who_asks_replaces_the_second_who_has_not_come(house: House, client: Make) -> None:
    await house.post("whip", client().offer("sendonly"))
    second = client()
    await house.enter(second, "whip")
    assert house.media.ended["publisher", "taken_over"] == 1
    assert house.media.on_air("demo")


async def test_a_publisher_with_another_codec_keeps_the_viewers_who_know_it(
    house: House, client: Make, publisher: Watcher
) -> None:
    both = await viewer(house, client, ("h264", "vp8", "opus"))
    only = await viewer(house, client)
    publisher.send(*Source().frame())
    await until(lambda: len(both.of(VIDEO)) == 6)
    second = Watcher(client)
    await house.enter(second.client, "whip", ("vp8", "opus"))
    await asyncio.wait_for(only.client.closed.wait(), 5)
    assert house.media.ended["subscriber", "codec_changed"] == 1
    frame = [bytes((0x80, 0x80 | 96)) + struct.pack("!HII", 5, 9, 3333) + b"\x10\x00" + bytes(50)]
    second.send(*frame)
    await until(lambda: len(both.of(96)) == 1)
    assert consecutive(both.numbers(VIDEO) + both.numbers(96))


async def test_a_viewer_whose_codec_went_away_while_it_connected_is_closed(
    house: House, client: Make, publisher: Watcher
) -> None:
    slow = client()
    answer = await house.post("whep", slow.offer("recvonly"))
    await house.enter(client(), "whip", ("vp8", "opus"))
    await slow.connect(answer.text)
    await until(lambda: house.media.ended["subscriber", "codec_changed"] == 1)


async def test_viewers_stay_when_the_publisher_is_lost_and_play_on_with_the_next(
    house: House, client: Make, publisher: Watcher
) -> None:
    one = await viewer(house, client)
    publisher.send(*Source().frame())
    await until(lambda: len(one.of(VIDEO)) == 6)
    await publisher.client.close()
    await until(lambda: ("demo", False) in house.told)
    assert house.media.ended["publisher", "closed_by_peer"] == 1
    assert not one.client.closed.is_set()
    again = Watcher(client)
    await house.enter(again.client, "whip")
    again.send(*Source(3000).frame())
    await until(lambda: len(one.of(VIDEO)) == 12)
    assert consecutive(one.numbers())
    assert house.told == [("demo", True), ("demo", False), ("demo", True)]


async def test_dead_peers_are_found_within_ten_seconds(house: House, client: Make, publisher: Watcher) -> None:
    await viewer(house, client)
    house.clock.stop()
    house.clock.shift_s += PEER_DEAD_S - 2
    answered = publisher.client.counts["stun"]
    publisher.client.keep_alive()
    await until(lambda: publisher.client.counts["stun"] > answered)
    await asyncio.sleep(PEER_SWEEP_INTERVAL_S + 0.1)
    assert len(house.media.sessions) == 2
    house.clock.shift_s += 2.1
    await until(lambda: house.media.ended["subscriber", "silent"] == 1)
    assert house.media.on_air("demo")
    house.clock.shift_s += PEER_DEAD_S - 1
    await until(lambda: house.media.ended["publisher", "silent"] == 1)
    await until(lambda: house.told[-1] == ("demo", False))


async def test_a_bug_in_one_show_does_not_stop_the_search_for_dead_peers(
    house: House, client: Make, publisher: Watcher, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    publication = house.media.stages["demo"].publication
    assert publication is not None

    def broken(now: float) -> None:
        monkeypatch.undo()
        raise RuntimeError("our own bug")

    monkeypatch.setattr(publication.ingest, "poll", broken)
    await until(lambda: house.media.counts["crashed"] == 1)
    house.clock.shift_s += PEER_DEAD_S
    await until(lambda: house.media.ended["publisher", "silent"] == 1)


async def test_a_session_that_nobody_comes_to_is_dropped(house: House, client: Make) -> None:
    await house.post("whip", client().offer("sendonly"))
    house.clock.shift_s += HANDSHAKE_TIMEOUT_S
    await until(lambda: house.media.ended["publisher", "handshake_timeout"] == 1)
    assert not house.media.stages


async def test_a_session_that_ends_in_the_turn_its_handshake_is_done_stays_ended(house: House, client: Make) -> None:
    await house.post("whip", client().offer("sendonly"))
    (connection,) = house.media.sessions.values()
    house.media.delete("demo", connection.role, connection.session.id)
    connection.peer_bound()
    connection.peer_secured()
    connection.peer_closed(failed=True)
    assert not house.media.on_air("demo")
    assert dict(house.media.ended) == {("publisher", "deleted"): 1}


async def test_telling_is_repeated_until_it_works(house: House, client: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stream.notices._RETRY_S", 0.01)
    house.failures = 2
    await house.enter(client(), "whip")
    await until(lambda: house.told == [("demo", True)])


async def test_stopping_ends_everything_and_tells_everybody(house: House, client: Make, publisher: Watcher) -> None:
    one = await viewer(house, client)
    await house.media.check()
    await house.media.stop()
    await house.media.stop()
    assert house.told == [("demo", True), ("demo", False)]
    await asyncio.wait_for(one.client.closed.wait(), 5)
    await asyncio.wait_for(publisher.client.closed.wait(), 5)
    with pytest.raises(Problem) as caught:
        await house.media.check()
    assert caught.value.kind is Kind.unavailable
