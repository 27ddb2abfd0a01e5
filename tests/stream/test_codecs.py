"""Codecs: which decoder takes which stream, and what is taken of a publisher first."""

import pytest

from stream.wire import sdp
from stream.wire.sdp import Codec, nearest, parse_offer, published, subscribed
from tests.stream.offers import BROWSER, SIMULCAST, VIEWER, h264


@pytest.mark.parametrize(
    ("mine", "sent", "distance"),
    [
        ("42e01f", "42e01f", 0),
        ("42e01f", "42e034", 1),  # another level
        ("42001f", "42e01f", 2),
        ("64001f", "42e01f", 5),
        ("42e01f", "64001f", 14),
        ("f4001f", "42e01f", 20),
        ("zz", "42e01f", 20),
        ("zz", "yy", 1),
        ("4d001f", "4d801f", 3),  # the latter is a constrained baseline
        ("58c01f", "42e01f", 1),
        ("58801f", "42001f", 1),
        ("640c1f", "64001f", 11),
        ("64001f", "640c1f", 2),
        ("6", "42e01f", 20),
        ("", "42e01f", 20),
    ],
)
def test_h264_profiles_are_matched_the_safe_way_first(mine: str, sent: str, distance: int) -> None:
    assert h264(mine).distance(h264(sent)) == distance


@pytest.mark.parametrize(
    ("name", "mine", "sent", "distance"),
    [
        ("vp8", "", "", 0),
        ("vp9", "0", "0", 0),
        ("vp9", "2", "0", None),
        ("vp9", "0", "2", None),
        ("av1", "0", "0", 0),
        ("av1", "1", "0", 1),
        ("av1", "2", "0", 2),
        ("av1", "0", "1", None),
    ],
)
def test_profiles_of_vp9_and_av1(name: str, mine: str, sent: str, distance: int | None) -> None:
    decoder = Codec(name, 1, 90000, None, "", mine)
    assert decoder.distance(Codec(name, 2, 90000, None, "", sent)) == distance
    assert decoder.distance(h264("42e01f")) is None


def test_the_nearest_codec_brings_its_retransmissions() -> None:
    codecs = subscribed(parse_offer(VIEWER), {})["video"]
    found = nearest(codecs, Codec("av1", 7, 90000, None, "", "0"))
    assert found is not None
    assert (found.payload_type, found.rtx, found.fmtp) == (45, 46, "profile=0;level-idx=5;tier=0")
    assert nearest(codecs, Codec("h265", 7, 90000, None, "")) is None


def test_of_what_a_publisher_offers_the_order_is_ours() -> None:
    text = SIMULCAST
    for name, number in (("H264", 108), ("VP8", 96), ("VP9", 98), ("AV1", 45)):
        assert published(parse_offer(text))["video"].payload_type == number
        text = text.replace(f" {name}/90000", " other/90000")
    only = SIMULCAST.replace("profile-id=0", "profile-id=1")
    for name in ("H264", "VP8", "AV1"):
        only = only.replace(f" {name}/90000", " other/90000")
    assert published(parse_offer(only))["video"].payload_type == 98


def test_the_nearest_payload_type_is_sent() -> None:
    codecs = (h264("64001f", 1), h264("42001f", 2), Codec("vp8", 3, 90000, None, ""))
    assert sdp.payload_type_for(codecs, h264("42e01f")) == 2
    assert sdp.payload_type_for(codecs, Codec("vp8", 9, 90000, None, "")) == 3
    assert sdp.payload_type_for(codecs[:2], Codec("vp8", 9, 90000, None, "")) is None


def test_h264_without_a_profile_is_baseline() -> None:
    text = BROWSER.replace("packetization-mode=1;profile-level-id=42e01f", "packetization-mode=1")
    assert parse_offer(text).sections[0].codecs[2].profile == "42000a"
