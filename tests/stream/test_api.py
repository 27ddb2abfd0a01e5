"""What is our own about /whip and /whep: bounds, floods, rights, the end of a show, a viewer's limit.

The lines of the standards are in test_conformance.py.
"""

import asyncio
from collections.abc import AsyncIterator, Callable

import pytest

from live.core.auth import Rank
from live.core.errors import Kind
from live.core.gate import Gate
from live.core.limits import HANDSHAKE_GRACE_S, SDP_BYTES_MAX, TOKEN_BYTES_MAX
from loadtests.media.client import Client
from stream.api import SDP
from stream.connections import Publication, Subscription
from stream.transport.sessions import Role
from tests.stream.conftest import BACKUP_KEY, BEARER, House, refused, until

Make = Callable[..., Client]


async def test_a_content_type_may_have_parameters_and_capitals(house: House, client: Make) -> None:
    offer = client().offer("sendonly")
    assert (await house.post("whip", offer, **{"content-type": "Application/SDP; charset=utf-8"})).status_code == 201


async def test_an_oversized_offer_is_413(house: House) -> None:
    refused(await house.post("whip", "v=0\r\n" + " " * SDP_BYTES_MAX), Kind.too_large)


async def test_an_unknown_show_is_404(house: House, client: Make) -> None:
    refused(await house.post("whip", client().offer("sendonly"), show="nowhere"), Kind.unknown_show)
    refused(await house.post("whep", client().offer("recvonly"), show="nowhere"), Kind.unknown_show)
    refused(await house.http.get("/whep/nowhere"), Kind.unknown_show)


async def test_a_wrong_or_absurd_token_is_401(house: House) -> None:
    for token in ("wrong", "x" * (TOKEN_BYTES_MAX + 1)):
        refused(await house.post("whip", "x", authorization=f"Bearer {token}"), Kind.token_invalid)


async def test_a_show_that_is_over_hangs_up_and_takes_no_publisher(house: House, client: Make) -> None:
    publisher, viewer, elsewhere = client(), client(), client()
    await house.enter(publisher, "whip")
    await house.enter(viewer, "whep")
    kept = (await house.post("whip", elsewhere.offer("sendonly", ("h264",)), "other")).headers["location"]
    house.over.add("demo")
    house.media.end_show("demo")
    house.media.end_show("demo")
    await asyncio.wait_for(publisher.closed.wait(), 5)
    await asyncio.wait_for(viewer.closed.wait(), 5)
    refused(await house.post("whip", publisher.offer("sendonly", ("h264",))), Kind.illegal_transition)
    assert [f"/whip/other/{session_id}" for session_id in house.media.sessions] == [kept]
    house.over.add("other")
    assert (await house.http.delete(kept, headers=BEARER)).status_code == 200, "its session can be given back"


async def test_an_offer_that_outlives_its_show_is_refused(house: House, client: Make) -> None:
    async def slowly() -> AsyncIterator[bytes]:
        text = client().offer("sendonly").encode()
        yield text[:100]
        while not house.asked:  # the server has let the request in, and waits for its body
            await asyncio.sleep(0.005)
        house.over.add("demo")
        yield text[100:]

    answer = await house.http.post("/whip/demo", content=slowly(), headers={"content-type": SDP} | BEARER)
    refused(answer, Kind.illegal_transition)
    assert not house.media.sessions


@pytest.mark.parametrize(
    ("path", "method"), [("/whip/demo", "PUT"), ("/whep/demo", "DELETE"), ("/whip/demo/x", "POST")]
)
async def test_other_methods_are_405(house: House, path: str, method: str) -> None:
    answer = refused(await house.http.request(method, path), Kind.method_not_allowed)
    assert "OPTIONS" in answer.headers["allow"]


async def test_a_full_server_is_503_with_a_time(house: House, client: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stream.service.SUBSCRIBERS_MAX", 1)
    monkeypatch.setattr("stream.service.PUBLISHERS_MAX", 1)
    await house.enter(client(), "whip")
    assert (await house.post("whep", client().offer("recvonly"))).status_code == 201
    # Who has asked and never come gives way to who comes.
    await house.enter(client(), "whep")
    assert house.media.ended["subscriber", "evicted"] == 1
    answer = refused(await house.post("whep", client().offer("recvonly")), Kind.overloaded)
    assert int(answer.headers["retry-after"]) > 0
    refused(await house.post("whip", client().offer("sendonly"), show="other"), Kind.overloaded)


async def test_a_client_that_goes_away_in_the_middle_harms_nobody(house: House) -> None:
    url = house.http.base_url
    _, writer = await asyncio.open_connection(url.host, url.port)
    head = f"POST /whip/demo HTTP/1.1\r\nhost: x\r\nauthorization: Bearer key\r\ncontent-type: {SDP}\r\n"
    writer.write((head + "content-length: 100\r\n\r\nv=0").encode())
    await writer.drain()
    writer.close()
    await writer.wait_closed()
    assert (await house.http.get("/whip/demo")).status_code == 204


# --- floods ---------------------------------------------------------------------------------------------------


async def test_an_address_that_asks_too_often_is_429_and_those_who_are_on_notice_nothing(
    house: House, client: Make
) -> None:
    publisher, viewer = client(), client()
    await house.enter(publisher, "whip")
    address = await house.enter(viewer, "whep")
    sessions = dict(house.media.sessions)
    house.media.gate = Gate(rate_per_s=0.1, burst=3, size=10)
    for _ in range(3):
        refused(await house.post("whep", "v=0"), Kind.sdp_malformed)
    for way in ("whip", "whep"):
        answer = refused(await house.post(way, "v=0"), Kind.rate_limited)
        assert int(answer.headers["retry-after"]) > 0
    refused(await house.http.options("/whip/demo", headers=BEARER), Kind.rate_limited)
    assert house.media.counts["refused_rate"] == 3
    assert (await house.http.options("/whip/demo")).status_code == 200
    assert (await house.http.get("/whep/demo")).is_success
    assert (await house.http.get(address)).is_success
    assert house.media.sessions == sessions


async def test_questions_about_sessions_are_bounded_too(house: House, client: Make) -> None:
    viewer, publisher = client(), client()
    await house.enter(publisher, "whip")
    address = await house.enter(viewer, "whep")
    house.media.session_gate = Gate(rate_per_s=0.1, burst=3, size=10)
    foreign = "/whep/demo/AAAAAAAA." + "A" * 32  # of another worker, by its name
    for path in (address, foreign, foreign):
        await house.http.get(path)
    calls = (
        house.http.get(address),
        house.http.patch(foreign, content="", headers={"if-match": "*"}),
        house.http.delete(address),
        house.http.post(f"{address}/layer", content="{}"),
        house.http.delete(foreign.replace("whep", "whip"), headers=BEARER),
    )
    for call in calls:
        assert int(refused(await call, Kind.rate_limited).headers["retry-after"]) > 0
    assert len(house.media.sessions) == 2, "nothing was done"
    assert (await house.post("whep", client().offer("recvonly"))).status_code == 201, "newcomers are another matter"


async def test_unfinished_handshakes_are_bounded_and_the_newest_keep_their_place(
    house: House, client: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stream.room.HANDSHAKES_MAX", 2)
    publisher = client()
    await house.enter(publisher, "whip")
    house.clock.stop()
    waiting = [await house.post("whep", client().offer("recvonly")) for _ in range(2)]
    answer = refused(await house.post("whep", client().offer("recvonly")), Kind.overloaded)
    assert int(answer.headers["retry-after"]) > 0
    assert house.media.counts["refused_handshakes"] == 1
    assert all([(await house.http.get(each.headers["location"])).is_success for each in waiting])
    house.clock.shift_s += 1.1 * HANDSHAKE_GRACE_S
    late = client()
    await house.enter(late, "whep")
    refused(await house.http.get(waiting[0].headers["location"]), Kind.unknown_session)
    assert (await house.http.get(waiting[1].headers["location"])).is_success
    assert house.media.ended["subscriber", "evicted"] == 1
    assert house.media.on_air("demo")


# --- what a viewer wants --------------------------------------------------------------------------------------


async def test_a_viewer_says_how_much_picture_it_wants(house: House, client: Make) -> None:
    await house.enter(client(), "whip")
    address = await house.enter(client(), "whep")
    connection = house.media.sessions[address.rpartition("/")[2]]
    assert isinstance(connection, Subscription)
    subscriber = connection.subscriber
    assert subscriber is not None
    for wish, height, video in (
        ({"max_height": 360}, 360, True),
        ({"video": False}, None, False),
        ({"max_height": 720, "video": True}, 720, True),
        ({}, None, True),
    ):
        answer = await house.http.post(f"{address}/layer", json=wish)
        assert (answer.status_code, answer.content) == (204, b"")
        assert (subscriber.max_height, subscriber.selector.video) == (height, video)


async def test_a_wish_before_the_handshake_holds_from_the_first_picture(house: House, client: Make) -> None:
    await house.enter(client(), "whip")
    viewer = client()
    answer = await house.post("whep", viewer.offer("recvonly"))
    address = answer.headers["location"]
    assert (await house.http.post(f"{address}/layer", json={"max_height": 180})).status_code == 204
    await viewer.connect(answer.text)
    connection = house.media.sessions[address.rpartition("/")[2]]
    assert isinstance(connection, Subscription)
    await until(lambda: connection.subscriber is not None)
    assert connection.subscriber is not None
    assert connection.subscriber.max_height == 180


async def test_a_wish_that_makes_no_sense_changes_nothing(house: House, client: Make) -> None:
    await house.enter(client(), "whip")
    address = await house.enter(client(), "whep")
    for wish, field in (
        ({"max_height": 0}, "max_height"),
        ({"max_height": 1e9}, "max_height"),
        ({"max_height": "low"}, "max_height"),
        ({"video": None}, "video"),
        ({"layer": "h"}, "layer"),
    ):
        answer = refused(await house.http.post(f"{address}/layer", json=wish), Kind.invalid_field)
        assert answer.json()["field"] == field
    refused(await house.http.post(f"{address}/layer", content="{"), Kind.unsupported_media_type)
    json = {"content-type": "application/json"}
    refused(await house.http.post(f"{address}/layer", content="{", headers=json), Kind.malformed)
    refused(await house.http.post("/whep/demo/unknown/layer", json={}), Kind.unknown_session)
    refused(await house.http.post(f"{address.replace('demo', 'other')}/layer", json={}), Kind.unknown_session)
    refused(await house.http.put(f"{address}/layer", json={}), Kind.method_not_allowed)
    publisher = next(each for each in house.media.sessions.values() if each.role is Role.publisher)
    refused(await house.http.post(f"/whep/demo/{publisher.session.id}/layer", json={}), Kind.unknown_session)


async def test_the_rank_of_a_key_comes_with_its_publisher(house: House, client: Make) -> None:
    backup = await house.post("whip", client().offer("sendonly"), authorization=f"Bearer {BACKUP_KEY}")
    primary = await house.post("whip", client().offer("sendonly"), "other")
    ranks = []
    for answer in (backup, primary):
        connection = house.media.sessions[answer.headers["location"].rpartition("/")[2]]
        assert isinstance(connection, Publication)
        ranks.append(connection.rank)
    assert ranks == [Rank.backup, Rank.primary]
