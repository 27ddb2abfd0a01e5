"""WHIP (RFC 9725) and WHEP (draft-ietf-wish-whep-03) over real HTTP: one test for each line that binds a server.

The numbers are sections of RFC 9725. Foreign clients are in test_foreign.py; what is our own in test_api.py.
"""

import asyncio
import re
from collections.abc import Callable

import httpx
import pytest

from live.core.errors import Kind
from loadtests.benches.client import Client
from stream.api import SDP, SDP_FRAGMENT
from tests.stream.conftest import BEARER, House, fragment, patch, refused, until

ENDPOINTS = ["/whip/demo", "/whep/demo"]
TURN = {"turn_urls": ("stun:stun.example", "turn:turn.example:3478?transport=udp"), "turn_secret": "shared"}
Make = Callable[..., Client]


def sections(sdp: str) -> list[list[str]]:
    """The m-sections, as lines."""
    return [["m=" + part.split("\r\n")[0], *part.split("\r\n")[1:]] for part in sdp.strip().split("\r\nm=")[1:]]


# --- 4.2 setting up -------------------------------------------------------------------------------------------


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
    locations = {
        (await house.post(way, client().offer("sendonly" if way == "whip" else "recvonly"))).headers["location"]
        for _ in range(20)
    }
    assert len(locations) == 20
    for location in locations:
        worker, secret = r"[A-Za-z0-9_-]{8}", r"[A-Za-z0-9_-]{32}"
        assert re.fullmatch(rf"/{way}/demo/{worker}\.{secret}", location), "192 random bits"


@pytest.mark.parametrize("way", ["whip", "whep"])
async def test_4_3_1_the_201_has_a_strong_entity_tag(house: House, client: Make, way: str) -> None:
    await house.enter(client(), "whip")
    answer = await house.post(way, client().offer("sendonly" if way == "whip" else "recvonly"))
    assert re.fullmatch(r'"[^"]+"', answer.headers["etag"])


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
    answer = await house.post(way, client().offer("sendonly" if way == "whip" else "recvonly"))
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


# --- 4.3 ICE --------------------------------------------------------------------------------------------------


async def test_4_3_1_delete_ignores_if_match(house: House, client: Make) -> None:
    address = await house.enter(client(), "whip")
    assert (await house.http.delete(address, headers=BEARER | {"if-match": '"stale"'})).status_code == 200


async def test_4_3_1_a_patch_of_another_type_is_415(house: House, client: Make) -> None:
    publisher = client()
    address = await house.enter(publisher, "whip")
    refused(await patch(house, address, fragment(publisher), "*", SDP), Kind.unsupported_media_type)
    assert house.media.on_air("demo")


async def test_4_3_1_a_malformed_fragment_is_400(house: House, client: Make) -> None:
    publisher = client()
    address = await house.enter(publisher, "whip")
    for body in ("nonsense", "", "a=ice-ufrag:x\r\n", "a=ice-pwd:bad password here ..........\r\n"):
        refused(await patch(house, address, body, "*"), Kind.sdp_malformed)
    assert house.media.on_air("demo")


async def test_4_3_1_a_missing_entity_tag_is_428_and_a_stale_one_412(house: House, client: Make) -> None:
    publisher = client()
    address = await house.enter(publisher, "whip")
    refused(await patch(house, address, fragment(publisher), None), Kind.precondition_required)
    refused(await patch(house, address, fragment(publisher), '"stale"'), Kind.precondition_failed)
    assert house.media.on_air("demo")


async def test_4_3_2_candidates_are_204_without_body_and_tag(house: House, client: Make) -> None:
    publisher, viewer = client(), client()
    for way, each in (("whip", publisher), ("whep", viewer)):
        address = await house.enter(each, way)
        etag = (await house.http.get(address)).headers["etag"]
        for body in (fragment(each), "a=end-of-candidates\r\n"):
            for tag in (etag, "*", f'"other", {etag}'):
                answer = await patch(house, address, body, tag)
                assert (answer.status_code, answer.content) == (204, b"")
                assert "etag" not in answer.headers


@pytest.mark.parametrize("candidate", ["unusable.local", "2001:db8::1", "999.999.999.999", "fe80::1%eth0"])
async def test_4_3_2_candidates_that_cannot_be_used_are_dropped(house: House, client: Make, candidate: str) -> None:
    publisher = client()
    address = await house.enter(publisher, "whip")
    assert (await patch(house, address, fragment(publisher, candidate=candidate), "*")).status_code == 204
    tcp = fragment(publisher).replace(" udp ", " tcp ").replace("typ host", "typ host tcptype active")
    assert (await patch(house, address, tcp, "*")).status_code == 204


@pytest.mark.parametrize("way", ["whip", "whep"])
async def test_4_3_2_the_answer_has_every_candidate(house: House, client: Make, way: str) -> None:
    await house.enter(client(), "whip")
    answer = await house.post(way, client().offer("sendonly" if way == "whip" else "recvonly"))
    for lines in sections(answer.text):
        assert any(line.startswith("a=candidate:") for line in lines)
        assert "a=end-of-candidates" in lines


@pytest.mark.parametrize("way", ["whip", "whep"])
async def test_4_3_3_a_restart_is_200_with_credentials_and_a_new_tag(house: House, client: Make, way: str) -> None:
    await house.enter(client(), "whip")
    each = client()
    address = await house.enter(each, way)
    before = (await house.http.get(address)).headers["etag"]
    answer = await patch(house, address, each.restart(), "*")
    assert answer.status_code == 200
    assert answer.headers["content-type"].partition(";")[0] == SDP_FRAGMENT
    assert answer.headers["etag"] != before
    assert re.fullmatch(r'"[^"]+"', answer.headers["etag"])
    assert (await house.http.get(address)).headers["etag"] == answer.headers["etag"]
    for wanted in ("a=ice-lite", "a=ice-ufrag:", "a=ice-pwd:", "a=candidate:", "m=", "a=mid:"):
        assert wanted in answer.text
    refused(await patch(house, address, fragment(each), before), Kind.precondition_failed)
    assert (await patch(house, address, fragment(each), answer.headers["etag"])).status_code == 204


async def test_4_3_3_a_restart_that_cannot_be_done_is_422_and_ends_nothing(house: House, client: Make) -> None:
    publisher = client()
    address = await house.enter(publisher, "whip")
    etag = (await house.http.get(address)).headers["etag"]
    only_one = fragment(publisher, ufrag="another")
    refused(await patch(house, address, only_one, '"*"'), Kind.ice_restart_unsupported)
    refused(await patch(house, address, "a=ice-ufrag:another\r\n", "*"), Kind.ice_restart_unsupported)
    refused(await patch(house, address, "a=ice-pwd:" + "p" * 24 + "\r\n", "*"), Kind.ice_restart_unsupported)
    assert (await house.http.get(address)).headers["etag"] == etag
    assert house.media.on_air("demo")


async def test_4_3_3_a_stale_restart_changes_nothing(house: House, client: Make) -> None:
    publisher = client()
    address = await house.enter(publisher, "whip")
    etag = (await house.http.get(address)).headers["etag"]
    refused(await patch(house, address, publisher.restart(), '"stale"'), Kind.precondition_failed)
    assert (await house.http.get(address)).headers["etag"] == etag


# --- 4.4 WebRTC constraints -----------------------------------------------------------------------------------


@pytest.mark.parametrize("way", ["whip", "whep"])
async def test_4_4_1_every_section_is_bundled_and_multiplexed(house: House, client: Make, way: str) -> None:
    await house.enter(client(), "whip")
    answer = await house.post(way, client().offer("sendonly" if way == "whip" else "recvonly"))
    assert "a=group:BUNDLE video audio\r\n" in answer.text
    found = sections(answer.text)
    assert len(found) == 2
    for lines in found:
        assert {"a=rtcp-mux", "a=rtcp-mux-only"} <= set(lines)


async def test_4_4_1_bundle_only_sections_are_accepted(house: House, client: Make) -> None:
    publisher = client()
    video, audio = sections(offer := publisher.offer("sendonly"))
    bare = [line for line in audio if not re.match(r"a=(ice|fingerprint|setup|rtcp-mux)", line)]
    bare[0] = bare[0].replace("m=audio 9 ", "m=audio 0 ")
    head = offer[: offer.index("m=")]
    answer = await house.post("whip", head + "\r\n".join([*video, *bare, "a=bundle-only", ""]))
    assert answer.status_code == 201, answer.text
    assert [lines[0].split()[1] == "0" for lines in sections(answer.text)] == [False, False]
    await publisher.connect(answer.text)


@pytest.mark.parametrize("gone", ["a=group:BUNDLE video audio\r\n", "a=rtcp-mux\r\n"])
async def test_4_4_1_an_offer_that_is_not_bundled_or_multiplexed_is_refused(
    house: House, client: Make, gone: str
) -> None:
    refused(await house.post("whip", client().offer("sendonly").replace(gone, "")), Kind.not_bundled)


async def test_4_4_2_two_tracks_of_one_kind_are_422(house: House, client: Make) -> None:
    offer = client().offer("sendonly")
    twice = offer + offer[offer.index("m=video") : offer.index("m=audio")].replace("mid:video", "mid:more")
    refused(await house.post("whip", twice), Kind.duplicate_track)


async def test_4_4_2_all_that_a_viewer_gets_is_one_stream(house: House, client: Make) -> None:
    await house.enter(client(), "whip")
    answer = await house.post("whep", client().offer("recvonly"))
    streams = {line.split()[0] for line in answer.text.split("\r\n") if line.startswith("a=msid:")}
    assert len(streams) == 1


async def test_4_4_3_no_section_is_refused_alone(house: House, client: Make) -> None:
    refused(await house.post("whip", client().offer("sendonly").replace("H264", "H265")), Kind.no_common_codec)
    refused(
        await house.post("whip", client().offer("sendonly").replace("opus/48000/2", "L16/8000")), Kind.no_common_codec
    )
    await house.enter(client(), "whip", ("h264", "opus"))
    refused(await house.post("whep", client().offer("recvonly", ("vp8", "opus"))), Kind.no_common_codec)


@pytest.mark.parametrize(
    ("offered", "answered"), [("actpass", "passive"), ("active", "passive"), ("passive", "active")]
)
async def test_4_4_4_every_dtls_role_is_accepted(house: House, client: Make, offered: str, answered: str) -> None:
    for way, direction in (("whip", "sendonly"), ("whep", "recvonly")):
        each = client()
        answer = await house.post(way, each.offer(direction, setup=offered))
        assert all(f"a=setup:{answered}" in lines for lines in sections(answer.text))
        await each.connect(answer.text)
    assert house.media.on_air("demo")


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
    answer = await house.post(way, client().offer("sendonly" if way == "whip" else "recvonly"))
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


# --- 4.8 simulcast --------------------------------------------------------------------------------------------


async def test_4_8_simulcast_is_answered_by_rfc_8853(house: House, client: Make) -> None:
    answer = await house.post("whip", client().offer("sendonly", ("vp8", "opus"), rids=("q", "h", "f")))
    video, audio = sections(answer.text)
    assert [line for line in video if line.startswith(("a=rid", "a=simulcast"))] == [
        "a=rid:q recv", "a=rid:h recv", "a=rid:f recv", "a=simulcast:recv q;h;f",
    ]  # fmt: skip
    assert any(line.endswith("urn:ietf:params:rtp-hdrext:sdes:rtp-stream-id") for line in video)
    assert not any(line.startswith(("a=rid", "a=simulcast")) for line in audio)


async def test_4_8_without_simulcast_there_is_none_in_the_answer(house: House, client: Make) -> None:
    answer = await house.post("whip", client().offer("sendonly"))
    assert "simulcast" not in answer.text
    assert "a=rid" not in answer.text


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
