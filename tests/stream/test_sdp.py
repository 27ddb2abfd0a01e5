"""Offers and answers: what is accepted, what is refused with which number, and the answer line by line."""

import re
from collections.abc import Callable

import pytest
from aiortc.sdp import SessionDescription
from hypothesis import given
from hypothesis import strategies as st

from live.core.errors import Kind, Problem
from stream.wire import sdp
from stream.wire.sdp import (
    Codec,
    Local,
    Offer,
    Track,
    parse_fragment,
    parse_offer,
    published,
    subscribed,
    write_answer,
    write_fragment,
)
from tests.stream.offers import BROWSER, BUNDLE_ONLY, FINGERPRINT, LOCAL, OFFERS, SIMULCAST, answered, h264


def refusal(work: Callable[[], object]) -> Kind:
    with pytest.raises(Problem) as caught:
        work()
    return caught.value.kind


def viewer(text: str = BROWSER) -> Offer:
    return parse_offer(text.replace("a=sendonly", "a=recvonly"))


def test_a_browsers_offer_is_reduced_to_what_we_need() -> None:
    offer = parse_offer(BROWSER)
    assert (offer.ufrag, offer.password, offer.setup) == ("abcd", "0123456789012345678901", "actpass")
    assert offer.fingerprints == (("sha-256", FINGERPRINT.partition(" ")[2]),)
    video, audio = offer.sections
    assert [(codec.name, codec.payload_type) for codec in video.codecs] == [
        ("vp8", 96), ("h264", 102), ("h264", 104), ("h264", 106), ("av1", 108),
    ]  # fmt: skip
    assert video.codecs[0].feedback == {"goog-remb", "transport-cc", "nack", "nack pli"}
    assert [codec.name for codec in audio.codecs] == ["opus"]
    assert (video.reduced_size, audio.reduced_size) == (True, False)
    assert offer.section("video") is video
    assert viewer().section("data") is None


def test_of_a_publisher_we_take_the_constrained_baseline() -> None:
    chosen = published(parse_offer(BROWSER))
    assert {kind: codec.payload_type for kind, codec in chosen.items()} == {"video": 104, "audio": 111}


def test_without_constrained_baseline_any_h264_and_without_it_vp8() -> None:
    other = BROWSER.replace("profile-level-id=42e01f", "profile-level-id=4d001f")
    assert published(parse_offer(other))["video"].payload_type == 102
    none = re.sub(r"a=rtpmap:\d+ H264.*\n", "", re.sub(r"a=fmtp:10\d .*\n", "", BROWSER))
    assert published(parse_offer(none))["video"].name == "vp8"


def test_bundle_only_sections_get_their_transport_from_the_tagged_one() -> None:
    offer = parse_offer(BUNDLE_ONLY)
    assert [section.enabled for section in offer.sections] == [True, True]
    assert offer.setup == "passive"
    assert published(offer).keys() == {"audio", "video"}


def test_the_answer_to_a_publisher() -> None:
    offer = parse_offer(BROWSER)
    tracks = {kind: Track((codec,)) for kind, codec in published(offer).items()}
    answer = write_answer(offer, LOCAL, tracks, stream="demo", version=1)
    lines = answer.split("\r\n")
    assert lines.index("a=ice-lite") < lines.index("a=group:BUNDLE 0 1")
    assert answer.count("a=recvonly") == answer.count("a=rtcp-mux\r\n") == answer.count("a=rtcp-mux-only") == 2
    assert answer.count("a=setup:passive") == answer.count("a=end-of-candidates") == 2
    assert "m=video 5000 UDP/TLS/RTP/SAVPF 104" in lines
    assert "a=fmtp:104 level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42e01f" in lines
    assert [line for line in lines if "rtcp-fb" in line] == [
        "a=rtcp-fb:104 nack", "a=rtcp-fb:104 nack pli", "a=rtcp-fb:104 ccm fir",
    ]  # fmt: skip
    assert "a=candidate:1 1 udp 2130706431 127.0.0.1 5000 typ host" in lines
    assert "a=candidate:2 1 udp 2130706175 ::1 5000 typ host" in lines
    assert "a=ssrc" not in answer
    assert "a=extmap:" not in answer  # of those offered we use none
    assert "a=rid" not in answer
    assert "a=simulcast" not in answer
    assert answer.count("a=rtcp-rsize") == 1
    parsed = SessionDescription.parse(answer)
    assert [media.rtp.muxId for media in parsed.media] == ["0", "1"]
    assert [media.direction for media in parsed.media] == ["recvonly", "recvonly"]


def test_the_answer_to_a_viewer_names_what_will_be_sent() -> None:
    offer = viewer()
    accepted = subscribed(offer, {"video": h264("42e01f"), "audio": Codec("opus", 1, 48000, 2, "")})
    tracks = {kind: Track(codecs, 77) for kind, codecs in accepted.items()}
    lines = write_answer(offer, LOCAL, tracks, stream="demo", version=1).split("\r\n")
    assert "m=video 5000 UDP/TLS/RTP/SAVPF 104 102 106 96 108" in lines
    assert "a=sendonly" in lines
    assert not [line for line in lines if "rtx" in line or "extmap" in line or "ssrc-group" in line]
    assert {"a=ssrc:77 cname:demo", "a=msid:demo demo-video", "a=msid:demo demo-audio"} <= set(lines)


def test_an_active_far_end_makes_us_passive_and_the_other_way_round() -> None:
    for setup, ours in (("active", "passive"), ("passive", "active")):
        offer = parse_offer(BROWSER.replace("setup:actpass", f"setup:{setup}"))
        tracks = {kind: Track((codec,)) for kind, codec in published(offer).items()}
        assert f"a=setup:{ours}" in write_answer(offer, LOCAL, tracks, stream="x", version=1)


def test_sections_that_we_do_not_relay_are_refused_and_the_rest_works() -> None:
    text = BROWSER + "m=application 9 UDP/DTLS/SCTP webrtc-datachannel\na=mid:2\nm=video 0 UDP/TLS/RTP/SAVPF 96\n"
    offer = parse_offer(text.replace("BUNDLE 0 1", "BUNDLE 2 0 1"))
    tracks = {kind: Track((codec,)) for kind, codec in published(offer).items()}
    answer = write_answer(offer, LOCAL, tracks, stream="x", version=1)
    assert "a=group:BUNDLE 0 1\r\n" in answer
    assert "m=application 0 UDP/DTLS/SCTP webrtc-datachannel\r\nc=IN IP4 127.0.0.1\r\na=inactive\r\na=mid:2" in answer
    assert answer.endswith("m=video 0 UDP/TLS/RTP/SAVPF 96\r\nc=IN IP4 127.0.0.1\r\na=inactive\r\n")


def test_one_section_needs_neither_bundle_nor_mid() -> None:
    text = BROWSER.partition("m=audio")[0].replace("a=group:BUNDLE 0 1\n", "").replace("a=mid:0\n", "")
    offer = parse_offer(text)
    answer = write_answer(offer, LOCAL, {"video": Track(offer.sections[0].codecs)}, stream="x", version=1)
    assert "a=mid" not in answer
    assert "BUNDLE" not in answer
    assert "o=- 1 1 IN IP4" in answer


def test_an_address_of_version_6_is_written_as_such() -> None:
    offer = parse_offer(BROWSER)
    local = Local("u", "p", "f", (("2001:db8::1", 9),))
    tracks = {section.kind: Track(section.codecs) for section in offer.sections}
    assert "c=IN IP6 2001:db8::1" in write_answer(offer, local, tracks, stream="x", version=1)


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("", Kind.sdp_malformed),
        ("hello", Kind.sdp_malformed),
        ("v=0\r\n", Kind.sdp_malformed),
        ("v=0\n" * 1001, Kind.sdp_malformed),
        ("v=0\n" + "m=audio 9 UDP/TLS/RTP/SAVPF 0\n" * 9, Kind.sdp_malformed),
        (BROWSER.replace("m=video 9", "m=video x"), Kind.sdp_malformed),
        (BROWSER.replace("a=rtpmap:96 VP8/90000", "a=rtpmap:96 VP8"), Kind.sdp_malformed),
        (BROWSER.replace("a=rtpmap:96 VP8", "a=rtpmap:200 VP8"), Kind.sdp_malformed),
        (BROWSER.replace("a=fmtp:97 apt=96", "a=fmtp:55 x=1"), Kind.sdp_malformed),
        (BROWSER + "a=rtpmap:1 X/1\n" * 130, Kind.sdp_malformed),
        (BROWSER.replace("a=setup:actpass", "a=setup:holdconn"), Kind.sdp_malformed),
        (BROWSER.replace("a=setup:actpass\n", ""), Kind.sdp_malformed),
        (BROWSER.replace("a=ice-ufrag:abcd\n", ""), Kind.sdp_malformed),
        (BROWSER.replace("a=ice-ufrag:abcd", "a=ice-ufrag:a b"), Kind.sdp_malformed),
        (BROWSER.replace("a=fingerprint:sha-256", "a=fingerprint:md5"), Kind.sdp_malformed),
        (BROWSER.replace("a=mid:1", "a=mid:\u00e4\u00e4"), Kind.sdp_malformed),
        (BROWSER.replace("a=mid:1", "a=mid:0"), Kind.sdp_malformed),
        (BROWSER.replace("s=-\n", "s=-\na=ice-lite\n"), Kind.sdp_malformed),
        (BROWSER.replace("BUNDLE 0 1", "BUNDLE 0"), Kind.not_bundled),
        (BROWSER.replace("a=group:BUNDLE 0 1\n", ""), Kind.not_bundled),
        (BROWSER.replace("a=rtcp-mux\n", ""), Kind.not_bundled),
        (BROWSER.replace("m=audio 9", "m=video 9"), Kind.duplicate_track),
    ],
)
def test_malformed_offers_are_refused_with_their_number(text: str, kind: Kind) -> None:
    assert refusal(lambda: parse_offer(text)) is kind


@pytest.mark.parametrize("direction", ["recvonly", "inactive"])
def test_a_publisher_must_send(direction: str) -> None:
    offer = parse_offer(BROWSER.replace("a=sendonly", f"a={direction}"))
    assert refusal(lambda: published(offer)) is Kind.wrong_direction


@pytest.mark.parametrize("direction", ["sendonly", "inactive"])
def test_a_viewer_must_receive(direction: str) -> None:
    offer = parse_offer(BROWSER.replace("a=sendonly", f"a={direction}"))
    assert refusal(lambda: subscribed(offer, {})) is Kind.wrong_direction


def test_both_ways_is_one_way_too_and_the_default() -> None:
    offer = parse_offer(BROWSER.replace("a=sendonly\n", ""))
    assert published(offer)
    assert subscribed(offer, {})["video"][0].payload_type == 104


def test_an_offer_without_our_codecs_is_refused() -> None:
    offer = parse_offer(BROWSER.replace("opus/48000/2", "speex/8000"))
    assert refusal(lambda: published(offer)) is Kind.no_common_codec
    assert (
        refusal(lambda: subscribed(viewer(BROWSER.replace("opus/48000/2", "opus/48000/1")), {})) is Kind.no_common_codec
    )


def test_a_viewer_who_cannot_decode_the_show_is_refused() -> None:
    only_vp8 = re.sub(r"a=rtpmap:\d+ H264.*\n", "", re.sub(r"a=fmtp:10\d .*\n", "", BROWSER))
    assert refusal(lambda: subscribed(viewer(only_vp8), {"video": h264("42e01f")})) is Kind.no_common_codec
    assert subscribed(viewer(only_vp8), {"video": Codec("vp8", 1, 90000, None, "")})["video"][0].payload_type == 96


@given(st.data())
def test_damaged_offers_raise_nothing_but_problems(data: st.DataObject) -> None:
    lines = data.draw(st.sampled_from([*OFFERS.values()])).splitlines()
    for _ in range(data.draw(st.integers(0, 3))):
        at = data.draw(st.integers(0, len(lines) - 1))
        lines[at] = data.draw(st.sampled_from(["", lines[at][: len(lines[at]) // 2], *lines, "a=", "m=", "\x00"]))
    try:
        offer = parse_offer("\n".join(lines))
        answer = answered(offer)
    except Problem:
        return
    assert all(re.fullmatch(r"[a-z]=\S.*", line) for line in answer.split("\r\n")[:-1])


@given(st.text(max_size=300))
def test_garbage_raises_nothing_but_problems(text: str) -> None:
    for candidate in (text, "v=0\n" + text, "v=0\nm=video 9 X 1\na=" + text):
        for read in (parse_offer, parse_fragment):
            try:
                read(candidate)
            except Problem:
                pass


def test_a_hostile_offer_is_read_in_no_time() -> None:
    lines = [f"a=rtpmap:{96 + index % 30} H264/90000" for index in range(120)] + ["a=rtcp-fb:* nack"] * 400
    text = BROWSER.replace("m=audio", "\n".join(lines) + "\nm=audio")
    assert parse_offer(text).sections[0].codecs


class TestFragment:
    def test_ours_after_a_restart(self) -> None:
        text = write_fragment(parse_offer(SIMULCAST), LOCAL)
        assert text.split("\r\n") == [
            "a=ice-lite",
            "a=group:BUNDLE 0 1",
            "m=audio 9 UDP/TLS/RTP/SAVPF 111",
            "a=mid:0",
            "a=ice-ufrag:ours",
            "a=ice-pwd:secretsecretsecretsecret",
            "a=candidate:1 1 udp 2130706431 127.0.0.1 5000 typ host",
            "a=candidate:2 1 udp 2130706175 ::1 5000 typ host",
            "a=end-of-candidates",
            "",
        ]
        assert parse_fragment(text) == sdp.Fragment(LOCAL.ufrag, LOCAL.password)

    def test_ours_for_one_section_without_a_name(self) -> None:
        alone = BROWSER.partition("m=audio")[0].replace("a=group:BUNDLE 0 1\n", "").replace("a=mid:0\n", "")
        assert write_fragment(parse_offer(alone), LOCAL).startswith("a=ice-lite\r\nm=video 9 UDP/TLS/RTP/SAVPF 96\r\n")

    def test_credentials_and_candidates(self) -> None:
        text = "a=ice-ufrag:abcd\r\na=ice-pwd:0123456789\r\nm=audio 9 RTP/AVP 0\r\na=mid:0\r\na=candidate:nonsense\r\n"
        fragment = parse_fragment(text)
        assert (fragment.ufrag, fragment.password) == ("abcd", "0123456789")

    def test_the_first_credentials_count(self) -> None:
        assert parse_fragment("a=ice-ufrag:abcd\na=ice-ufrag:efgh\n").ufrag == "abcd"

    def test_without_credentials(self) -> None:
        assert parse_fragment("a=end-of-candidates\n") == sdp.Fragment(None, None)

    @pytest.mark.parametrize("text", ["", "\n \n", "candidate", "a=ice-ufrag:a b\n", "a=x\n" * 1001])
    def test_malformed(self, text: str) -> None:
        assert refusal(lambda: parse_fragment(text)) is Kind.sdp_malformed
