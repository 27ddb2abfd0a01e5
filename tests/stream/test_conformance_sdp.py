"""What sections 4.4 and 4.8 of WHIP (RFC 9725) ask of offers and answers, for WHEP too: bundles, tracks, simulcast."""

import re

import pytest

from live.core.errors import Kind
from tests.stream.conftest import DIRECTION, House, Make, refused, sections


@pytest.mark.parametrize("way", ["whip", "whep"])
async def test_4_4_1_every_section_is_bundled_and_multiplexed(house: House, client: Make, way: str) -> None:
    await house.enter(client(), "whip")
    answer = await house.post(way, client().offer(DIRECTION[way]))
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
