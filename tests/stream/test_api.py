"""The WHIP and WHEP checklist (RFC 9725 and its sibling), line by line, over real HTTP."""

import asyncio
from collections.abc import Callable

import httpx
import pytest

from live.core.errors import Kind
from live.core.limits import SDP_BYTES_MAX, TOKEN_BYTES_MAX
from loadtests.benches.client import Client
from stream.api import SDP, SDP_FRAGMENT
from tests.stream.conftest import BEARER, House, until

CANDIDATES = (
    "a=ice-ufrag:{}\r\na=ice-pwd:{}\r\n"
    "m=video 9 UDP/TLS/RTP/SAVPF 0\r\na=mid:video\r\na=candidate:1 1 udp 1 {} 9 typ host\r\n"
)
ENDPOINTS = ["/whip/demo", "/whep/demo"]
Make = Callable[..., Client]


def refused(answer: httpx.Response, kind: Kind) -> httpx.Response:
    assert answer.headers["content-type"] == "application/problem+json"
    body = answer.json()
    assert (answer.status_code, body["name"], body["code"]) == (kind.status, kind.name, kind.number)
    assert answer.headers["access-control-allow-origin"] == "*"
    return answer


def fragment(client: Client, ufrag: str | None = None, candidate: str = "192.0.2.1") -> str:
    return CANDIDATES.format(ufrag or client.credentials[0], client.credentials[1], candidate)


async def patch(house: House, address: str, body: str, etag: str | None, kind: str = SDP_FRAGMENT) -> httpx.Response:
    headers = {"content-type": kind} | BEARER | ({} if etag is None else {"if-match": etag})
    return await house.http.patch(address, content=body, headers=headers)


async def test_post_answers_201_with_location_and_a_strong_etag(house: House, client: Make) -> None:
    publisher = client()
    answer = await house.post("whip", publisher.offer("sendonly"))
    assert answer.status_code == 201
    assert answer.headers["content-type"].startswith(SDP)
    assert answer.headers["location"].startswith("/whip/demo/")
    assert len(answer.headers["location"].rpartition("/")[2]) >= 32
    assert answer.headers["etag"].startswith('"')
    assert {"Location", "ETag", "Link"} <= set(answer.headers["access-control-expose-headers"].split(", "))
    assert answer.text.count("a=recvonly") == 2
    assert answer.text.count("a=rtcp-mux-only") == 2
    await publisher.connect(answer.text)
    viewer = client()
    answer = await house.post("whep", viewer.offer("recvonly"))
    assert answer.status_code == 201
    assert answer.headers["location"].startswith("/whep/demo/")
    assert answer.text.count("a=sendonly") == 2


async def test_a_content_type_may_have_parameters_and_capitals(house: House, client: Make) -> None:
    offer = client().offer("sendonly")
    assert (await house.post("whip", offer, **{"content-type": "Application/SDP; charset=utf-8"})).status_code == 201


@pytest.mark.parametrize("endpoint", ENDPOINTS)
async def test_another_content_type_is_415(house: House, endpoint: str) -> None:
    headers = {"content-type": "text/plain"} | BEARER
    refused(await house.http.post(endpoint, content="x", headers=headers), Kind.unsupported_media_type)
    refused(await house.http.post(endpoint, headers=BEARER), Kind.unsupported_media_type)


@pytest.mark.parametrize("way", ["whip", "whep"])
async def test_malformed_sdp_is_400(house: House, way: str) -> None:
    refused(await house.post(way, "hello"), Kind.sdp_malformed)
    body = await house.http.post(f"/{way}/demo", content=b"\xff\xfe", headers={"content-type": SDP} | BEARER)
    refused(body, Kind.sdp_malformed)


async def test_an_oversized_offer_is_413(house: House) -> None:
    refused(await house.post("whip", "v=0\r\n" + " " * SDP_BYTES_MAX), Kind.too_large)


async def test_the_wrong_way_round_is_422(house: House, client: Make) -> None:
    refused(await house.post("whip", client().offer("recvonly")), Kind.wrong_direction)
    refused(await house.post("whip", client().offer("inactive")), Kind.wrong_direction)
    await house.enter(client(), "whip")
    refused(await house.post("whep", client().offer("sendonly")), Kind.wrong_direction)


async def test_an_offer_without_our_codecs_is_422(house: House, client: Make) -> None:
    refused(await house.post("whip", client().offer("sendonly").replace("H264", "H265")), Kind.no_common_codec)
    await house.enter(client(), "whip", ("h264", "opus"))
    refused(await house.post("whep", client().offer("recvonly", ("vp8", "opus"))), Kind.no_common_codec)


async def test_two_tracks_of_one_kind_are_422(house: House, client: Make) -> None:
    offer = client().offer("sendonly")
    twice = offer + offer[offer.index("m=video") : offer.index("m=audio")].replace("mid:video", "mid:more")
    refused(await house.post("whip", twice), Kind.duplicate_track)


async def test_an_unknown_show_is_404(house: House, client: Make) -> None:
    refused(await house.post("whip", client().offer("sendonly"), show="nowhere"), Kind.unknown_show)
    refused(await house.post("whep", client().offer("recvonly"), show="nowhere"), Kind.unknown_show)
    refused(await house.http.get("/whep/nowhere"), Kind.unknown_show)


async def test_watching_what_nobody_publishes_is_409_with_a_time(house: House, client: Make) -> None:
    answer = refused(await house.post("whep", client().offer("recvonly")), Kind.not_live)
    assert int(answer.headers["retry-after"]) > 0
    # A publisher who has only asked is not on air yet.
    await house.post("whip", client().offer("sendonly"))
    refused(await house.post("whep", client().offer("recvonly")), Kind.not_live)


@pytest.mark.parametrize("authorization", ["", "Basic a2V5", "Bearer", "Digest key"])
async def test_a_publisher_without_a_bearer_token_is_401(house: House, client: Make, authorization: str) -> None:
    address = await house.enter(client(), "whip")
    headers = {"content-type": SDP, "authorization": authorization}
    for answer in (
        await house.http.post("/whip/demo", content="x", headers=headers),
        await house.http.patch(address, content="x", headers=headers),
        await house.http.delete(address, headers=headers),
    ):
        assert refused(answer, Kind.token_missing).headers["www-authenticate"] == "Bearer"
    assert house.media.on_air("demo")


async def test_a_wrong_or_absurd_token_is_401(house: House) -> None:
    for token in ("wrong", "x" * (TOKEN_BYTES_MAX + 1)):
        refused(await house.post("whip", "x", authorization=f"Bearer {token}"), Kind.token_invalid)


async def test_a_viewer_needs_no_token(house: House, client: Make) -> None:
    await house.enter(client(), "whip")
    viewer = client()
    answer = await house.http.post("/whep/demo", content=viewer.offer("recvonly"), headers={"content-type": SDP})
    assert answer.status_code == 201
    assert (await house.http.delete(answer.headers["location"])).status_code == 200


async def test_candidates_are_accepted_without_content(house: House, client: Make) -> None:
    publisher, viewer = client(), client()
    for way, each in (("whip", publisher), ("whep", viewer)):
        address = await house.enter(each, way)
        etag = (await house.http.get(address)).headers["etag"]
        for body in (fragment(each), fragment(each, candidate="unusable.local"), "a=end-of-candidates\r\n"):
            for tag in (etag, "*", f'"other", {etag}'):
                answer = await patch(house, address, body, tag)
                assert (answer.status_code, answer.content) == (204, b"")
                assert "etag" not in answer.headers


async def test_patch_refuses_what_it_must_and_the_session_goes_on(house: House, client: Make) -> None:
    publisher = client()
    address = await house.enter(publisher, "whip")
    body = fragment(publisher)
    refused(await patch(house, address, body, "*", SDP), Kind.unsupported_media_type)
    refused(await patch(house, address, body, None), Kind.precondition_required)
    refused(await patch(house, address, body, '"stale"'), Kind.precondition_failed)
    refused(await patch(house, address, "nonsense", "*"), Kind.sdp_malformed)
    refused(await patch(house, address, fragment(publisher, ufrag="another"), '"*"'), Kind.ice_restart_unsupported)
    refused(await patch(house, "/whip/demo/unknown", body, "*"), Kind.unknown_session)
    assert house.media.on_air("demo")


async def test_delete_frees_ignores_if_match_and_is_404_the_second_time(house: House, client: Make) -> None:
    publisher, viewer = client(), client()
    published, watched = await house.enter(publisher, "whip"), await house.enter(viewer, "whep")
    refused(await house.http.delete(watched.replace("whep", "whip"), headers=BEARER), Kind.unknown_session)
    refused(await house.http.delete(watched.replace("demo", "other")), Kind.unknown_session)
    for address in (watched, published):
        headers = BEARER | {"if-match": '"stale"'}
        assert (await house.http.delete(address, headers=headers)).status_code == 200
        refused(await house.http.delete(address, headers=headers), Kind.unknown_session)
        refused(await patch(house, address, "x", "*"), Kind.unknown_session)
        refused(await house.http.get(address), Kind.unknown_session)
    await asyncio.wait_for(publisher.closed.wait(), 5)
    await asyncio.wait_for(viewer.closed.wait(), 5)
    assert not house.media.sessions
    assert not house.media.stages
    await until(lambda: house.told == [("demo", True), ("demo", False)])


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


@pytest.mark.parametrize("endpoint", ENDPOINTS)
async def test_get_and_head_have_no_content(house: House, client: Make, endpoint: str) -> None:
    await house.enter(client(), "whip")
    address = await house.enter(client(), endpoint[1:5])
    for path in (endpoint, address):
        for answer in (await house.http.get(path), await house.http.head(path)):
            assert (answer.status_code, answer.content) == (204, b"")


@pytest.mark.parametrize("endpoint", ENDPOINTS)
async def test_preflight_needs_no_credentials(house: House, endpoint: str) -> None:
    headers = {"origin": "https://elsewhere.example", "access-control-request-method": "POST"}
    answer = await house.http.options(endpoint, headers=headers)
    assert answer.status_code == 200
    assert answer.headers["accept-post"] == SDP
    assert answer.headers["access-control-allow-origin"] == "*"
    assert "POST" in answer.headers["access-control-allow-methods"]
    assert {"Authorization", "Content-Type", "If-Match"} == set(
        answer.headers["access-control-allow-headers"].split(", ")
    )
    session = await house.http.options(endpoint + "/any", headers=headers)
    assert session.headers["accept-patch"] == SDP_FRAGMENT
    assert {"PATCH", "DELETE"} <= set(session.headers["access-control-allow-methods"].split(", "))


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
