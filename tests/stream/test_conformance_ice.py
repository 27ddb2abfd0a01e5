"""What section 4.3 of WHIP (RFC 9725) binds a server to, for WHEP too: entity tags, trickled candidates, restarts."""

import re

import pytest

from live.core.errors import Kind
from stream.api import SDP, SDP_FRAGMENT
from tests.stream.conftest import BEARER, DIRECTION, House, Make, fragment, patch, refused, sections


@pytest.mark.parametrize("way", ["whip", "whep"])
async def test_4_3_1_the_201_has_a_strong_entity_tag(house: House, client: Make, way: str) -> None:
    await house.enter(client(), "whip")
    answer = await house.post(way, client().offer(DIRECTION[way]))
    assert re.fullmatch(r'"[^"]+"', answer.headers["etag"])


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
    answer = await house.post(way, client().offer(DIRECTION[way]))
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
