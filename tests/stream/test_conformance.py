"""WHIP (RFC 9725) and WHEP (draft-ietf-wish-whep-03) over real HTTP: one test for each line that binds a server.

Here: setting up and ending a session (4.2), load, servers and rights (4.5 to 4.7), and what WHEP adds. ICE and entity
tags (4.3) are in test_conformance_ice.py, the answer's SDP (4.4 and 4.8) in test_conformance_sdp.py.
The numbers are sections of RFC 9725. Foreign clients are in test_foreign.py; what is our own in test_api.py.
"""

import asyncio
import re

import httpx
import pytest

from live.core.errors import Kind
from stream.api import SDP, SDP_FRAGMENT
from tests.stream.conftest import BEARER, DIRECTION, House, Make, fragment, patch, refused, sections, until

ENDPOINTS = ["/whip/demo", "/whep/demo"]
TURN = {"turn_urls": ("stun:stun.example", "turn:turn.example:3478?transport=udp"), "turn_secret": "shared"}


# --- 4.2 setting up and ending --------------------------------------------------------------------------------


@pytest.mark.parametrize(("way", "direction"), [("whip", "sendonly"), ("whep", "recvonly")])
async def test_4_2_a_post_is_answered_201_with_sdp(house: House, client: Make, way: str, direction: str) -> None:
    await house.enter(client(), "whip")
    answer = await house.post(way, client().offer(direction))
    assert answer.status_code == 201
    assert answer.headers["content-type"].partition(";")[0] == SDP
    assert answer.text.startswith("v=0\r\n")


@pytest.mark.parametrize("way", ["whip", "whep"])
async def test_4_2_the_location_is_the_session_and_cannot_be_guessed(house: House, client: Make, way: str) -> None:
    await house.enter(client(), "whip")
    locations = {(await house.post(way, client().offer(DIRECTION[way]))).headers["location"] for _ in range(20)}
    assert len(locations) == 20
    for location in locations:
        worker, secret = r"[A-Za-z0-9_-]{8}", r"[A-Za-z0-9_-]{32}"
        assert re.fullmatch(rf"/{way}/demo/{worker}\.{secret}", location), "192 random bits"


@pytest.mark.parametrize("endpoint", ENDPOINTS)
async def test_4_2_another_content_type_is_415(house: House, endpoint: str) -> None:
    headers = {"content-type": "text/plain"} | BEARER
    refused(await house.http.post(endpoint, content="x", headers=headers), Kind.unsupported_media_type)
    refused(await house.http.post(endpoint, headers=BEARER), Kind.unsupported_media_type)


@pytest.mark.parametrize("way", ["whip", "whep"])
async def test_4_2_malformed_sdp_is_400(house: House, way: str) -> None:
    refused(await house.post(way, "hello"), Kind.sdp_malformed)
    body = await house.http.post(f"/{way}/demo", content=b"\xff\xfe", headers={"content-type": SDP} | BEARER)
    refused(body, Kind.sdp_malformed)


async def test_4_2_a_publisher_is_answered_recvonly_and_a_viewer_sendonly(house: House, client: Make) -> None:
    publisher = client()
    answer = await house.post("whip", publisher.offer("sendonly"))
    assert all("a=recvonly" in lines for lines in sections(answer.text))
    await publisher.connect(answer.text)
    for direction in ("recvonly", "sendrecv"):
        answer = await house.post("whep", client().offer(direction))
        assert all("a=sendonly" in lines for lines in sections(answer.text))


async def test_4_2_inactive_and_the_wrong_way_round_are_refused(house: House, client: Make) -> None:
    refused(await house.post("whip", client().offer("recvonly")), Kind.wrong_direction)
    refused(await house.post("whip", client().offer("inactive")), Kind.wrong_direction)
    await house.enter(client(), "whip")
    refused(await house.post("whep", client().offer("sendonly")), Kind.wrong_direction)
    refused(await house.post("whep", client().offer("inactive")), Kind.wrong_direction)


async def test_4_2_sendrecv_is_accepted(house: House, client: Make) -> None:
    assert (await house.post("whip", client().offer("sendrecv"))).status_code == 201


@pytest.mark.parametrize("endpoint", ENDPOINTS)
async def test_4_2_get_and_head_succeed_without_content(house: House, client: Make, endpoint: str) -> None:
    await house.enter(client(), "whip")
    address = await house.enter(client(), endpoint[1:5])
    for path in (endpoint, address):
        for answer in (await house.http.get(path), await house.http.head(path)):
            assert answer.is_success
            assert answer.content == b""


async def test_whep_4_2_a_player_knows_the_endpoint_by_head(house: House) -> None:
    answer = await house.http.head("/whep/demo")
    assert (answer.status_code, answer.headers["content-type"]) == (200, SDP)


@pytest.mark.parametrize("endpoint", ENDPOINTS)
async def test_4_2_options_says_what_may_be_posted(house: House, endpoint: str) -> None:
    answer = await house.http.options(endpoint)
    assert (answer.status_code, answer.headers["accept-post"]) == (200, SDP)


@pytest.mark.parametrize("endpoint", [*ENDPOINTS, "/whip/demo/any", "/whep/demo/any", "/whep/demo/any/layer"])
async def test_4_2_a_preflight_needs_no_credentials(house: House, endpoint: str) -> None:
    headers = {"origin": "https://elsewhere.example", "access-control-request-method": "POST"}
    answer = await house.http.options(endpoint, headers=headers)
    assert answer.status_code == 200
    assert answer.headers["access-control-allow-origin"] == "*"
    assert {"Authorization", "Content-Type", "If-Match"} == set(
        answer.headers["access-control-allow-headers"].split(", ")
    )
    assert set(answer.headers["allow"].split(", ")) == set(answer.headers["access-control-allow-methods"].split(", "))


@pytest.mark.parametrize("way", ["whip", "whep"])
async def test_4_2_a_page_elsewhere_sees_the_headers_it_needs(house: House, client: Make, way: str) -> None:
    await house.enter(client(), "whip")
    answer = await house.post(way, client().offer(DIRECTION[way]))
    exposed = set(answer.headers["access-control-expose-headers"].split(", "))
    assert {"Location", "ETag", "Link", "Retry-After"} <= exposed


async def test_4_2_delete_ends_the_session_and_frees_it(house: House, client: Make) -> None:
    publisher, viewer = client(), client()
    published, watched = await house.enter(publisher, "whip"), await house.enter(viewer, "whep")
    for address in (watched, published):
        assert (await house.http.delete(address, headers=BEARER)).status_code == 200
    await asyncio.wait_for(publisher.closed.wait(), 5)
    await asyncio.wait_for(viewer.closed.wait(), 5)
    assert not house.media.sessions
    assert not house.media.stages
    await until(lambda: house.told == [("demo", True), ("demo", False)])


async def test_4_2_a_second_delete_is_404(house: House, client: Make) -> None:
    publisher, viewer = client(), client()
    published, watched = await house.enter(publisher, "whip"), await house.enter(viewer, "whep")
    for address in (watched, published):
        assert (await house.http.delete(address, headers=BEARER)).status_code == 200
        refused(await house.http.delete(address, headers=BEARER), Kind.unknown_session)
        refused(await house.http.get(address), Kind.unknown_session)
        refused(await patch(house, address, "x", "*"), Kind.unknown_session)


async def test_4_2_a_session_is_only_at_its_own_address(house: House, client: Make) -> None:
    await house.enter(client(), "whip")
    watched = await house.enter(client(), "whep")
    refused(await house.http.delete(watched.replace("whep", "whip"), headers=BEARER), Kind.unknown_session)
    refused(await house.http.delete(watched.replace("demo", "other")), Kind.unknown_session)
    assert (await house.http.get(watched)).is_success


# --- 4.5 load, 4.6 servers, 4.7 rights ------------------------------------------------------------------------


async def test_4_5_a_redirection_is_307(house: House, client: Make) -> None:
    for way in ("whip", "whep"):
        answer = await house.http.post(f"/{way}/demo/", content=client().offer("sendonly"), headers=BEARER)
        assert answer.status_code == 307
        assert httpx.URL(answer.headers["location"]).path == f"/{way}/demo"


async def test_4_5_overload_is_503_with_a_time(house: House, client: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stream.service.SUBSCRIBERS_MAX", 1)
    monkeypatch.setattr("stream.service.PUBLISHERS_MAX", 1)
    await house.enter(client(), "whip")
    await house.enter(client(), "whep")
    answer = refused(await house.post("whep", client().offer("recvonly")), Kind.overloaded)
    assert int(answer.headers["retry-after"]) > 0
    refused(await house.post("whip", client().offer("sendonly"), show="other"), Kind.overloaded)


@pytest.mark.parametrize("house", [TURN], indirect=True)
@pytest.mark.parametrize("way", ["whip", "whep"])
async def test_4_6_a_201_tells_of_the_ice_servers(house: House, client: Make, way: str) -> None:
    await house.enter(client(), "whip")
    answer = await house.post(way, client().offer(DIRECTION[way]))
    stun, turn = [link for link in answer.headers.get_list("link") if 'rel="ice-server"' in link]
    assert stun == '<stun:stun.example>; rel="ice-server"'
    assert re.fullmatch(
        r'<turn:turn\.example:3478\?transport=udp>; rel="ice-server"; username="\d+:[0-9a-f]{12}"; '
        r'credential="[A-Za-z0-9+/]{27}="; credential-type="password"',
        turn,
    )
    assert answer.headers["location"].rpartition("/")[2] not in turn


@pytest.mark.parametrize("house", [TURN], indirect=True)
async def test_4_6_options_tells_of_the_ice_servers_only_to_who_may_publish(house: House, client: Make) -> None:
    links = (await house.http.options("/whip/demo", headers=BEARER)).headers.get_list("link")
    assert [link.partition(">")[0] for link in links] == ["<stun:stun.example", "<turn:turn.example:3478?transport=udp"]
    for endpoint in ENDPOINTS:
        headers = {"access-control-request-method": "POST", "access-control-request-headers": "authorization"}
        assert "link" not in (await house.http.options(endpoint, headers=headers)).headers
        assert "link" not in (await house.http.options(endpoint)).headers
        assert "link" not in (await house.http.get(endpoint)).headers
    wrong = refused(await house.http.options("/whip/demo", headers={"authorization": "Bearer no"}), Kind.token_invalid)
    assert "link" not in wrong.headers
    unauthorised = await house.http.post(
        "/whip/demo", content=client().offer("sendonly"), headers={"content-type": SDP}
    )
    assert "link" not in refused(unauthorised, Kind.token_missing).headers


@pytest.mark.parametrize("authorization", ["", "Basic a2V5", "Bearer", "Digest key", "Bearer wrong"])
async def test_4_7_a_publisher_without_a_good_token_is_401(house: House, client: Make, authorization: str) -> None:
    address = await house.enter(client(), "whip")
    headers = {"content-type": SDP, "authorization": authorization}
    for answer in (
        await house.http.post("/whip/demo", content="x", headers=headers),
        await house.http.patch(address, content="x", headers=headers),
        await house.http.delete(address, headers=headers),
    ):
        kind = Kind.token_invalid if authorization == "Bearer wrong" else Kind.token_missing
        assert refused(answer, kind).headers["www-authenticate"] == "Bearer"
    assert house.media.on_air("demo")


# --- WHEP -----------------------------------------------------------------------------------------------------


async def test_whep_4_4_what_nobody_publishes_is_409_with_a_time(house: House, client: Make) -> None:
    answer = refused(await house.post("whep", client().offer("recvonly")), Kind.not_live)
    assert int(answer.headers["retry-after"]) > 0
    # A publisher who has only asked is not on air yet.
    await house.post("whip", client().offer("sendonly"))
    refused(await house.post("whep", client().offer("recvonly")), Kind.not_live)


async def test_whep_a_viewer_needs_no_token(house: House, client: Make) -> None:
    await house.enter(client(), "whip")
    viewer = client()
    answer = await house.http.post("/whep/demo", content=viewer.offer("recvonly"), headers={"content-type": SDP})
    assert answer.status_code == 201
    address = answer.headers["location"]
    headers = {"content-type": SDP_FRAGMENT, "if-match": "*"}
    assert (await house.http.patch(address, content=fragment(viewer), headers=headers)).status_code == 204
    assert (await house.http.delete(address)).status_code == 200


async def test_whep_4_6_extensions_are_told_by_links(house: House, client: Make) -> None:
    await house.enter(client(), "whip")
    answer = await house.post("whep", client().offer("recvonly"))
    layer = f'<{answer.headers["location"]}/layer>; rel="urn:ietf:params:whep:ext:core:layer"'
    assert answer.headers.get_list("link") == [layer]


async def test_who_publishes_with_the_same_key_takes_over(house: House, client: Make) -> None:
    first, second = client(), client()
    before = await house.enter(first, "whip")
    await house.enter(second, "whip")
    await asyncio.wait_for(first.closed.wait(), 5)
    refused(await house.http.get(before), Kind.unknown_session)
    assert house.media.ended["publisher", "taken_over"] == 1
    assert house.media.on_air("demo")
