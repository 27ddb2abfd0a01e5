"""Offers and answers: what is accepted, what is refused with which number, and the answer line by line."""

import re
from collections.abc import Callable

import pytest
from aiortc.sdp import SessionDescription
from hypothesis import given
from hypothesis import strategies as st

from live.core.errors import Kind, Problem
from stream import sdp
from stream.sdp import Codec, Local, Offer, Track, parse_fragment, parse_offer, published, subscribed, write_answer

FINGERPRINT = "sha-256 " + ":".join(["AB"] * 32)
LOCAL = Local("ours", "secret" * 4, ":".join(["CD"] * 32), (("127.0.0.1", 5000), ("::1", 5000)))

# Shortened from Chromium 140: simulcast left out, several H.264 profiles, RTX, extensions, mDNS candidate.
BROWSER = f"""v=0
o=- 4611 2 IN IP4 127.0.0.1
s=-
t=0 0
a=group:BUNDLE 0 1
a=extmap-allow-mixed
a=msid-semantic: WMS stream
m=video 9 UDP/TLS/RTP/SAVPF 96 97 102 103 104 106 108 39
c=IN IP4 0.0.0.0
a=rtcp:9 IN IP4 0.0.0.0
a=candidate:1 1 udp 2113937151 0f0e.local 60000 typ host generation 0
a=ice-ufrag:abcd
a=ice-pwd:0123456789012345678901
a=ice-options:trickle
a=fingerprint:{FINGERPRINT}
a=setup:actpass
a=mid:0
a=extmap:1 urn:ietf:params:rtp-hdrext:toffset
a=sendonly
a=msid:stream track
a=rtcp-mux
a=rtcp-rsize
a=rtpmap:96 VP8/90000
a=rtcp-fb:96 goog-remb
a=rtcp-fb:96 transport-cc
a=rtcp-fb:96 nack
a=rtcp-fb:96 nack pli
a=rtpmap:97 rtx/90000
a=fmtp:97 apt=96
a=rtpmap:102 H264/90000
a=rtcp-fb:102 nack
a=fmtp:102 level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42001f
a=rtpmap:103 H264/90000
a=fmtp:103 level-asymmetry-allowed=1;packetization-mode=0;profile-level-id=42001f
a=rtpmap:104 H264/90000
a=rtcp-fb:104 nack
a=rtcp-fb:104 nack pli
a=rtcp-fb:104 ccm fir
a=fmtp:104 level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42e01f
a=rtpmap:106 H264/90000
a=fmtp:106 level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=64001f
a=rtpmap:108 AV1/90000
a=rtpmap:39 flexfec-03/90000
a=ssrc-group:FID 1 2
a=ssrc:1 cname:x
a=ssrc:1 odd
m=audio 9 UDP/TLS/RTP/SAVPF 111 63 9
c=IN IP4 0.0.0.0
a=ice-ufrag:abcd
a=ice-pwd:0123456789012345678901
a=fingerprint:{FINGERPRINT}
a=setup:actpass
a=mid:1
a=sendonly
a=rtcp-mux
a=rtpmap:111 opus/48000/2
a=rtcp-fb:111 transport-cc
a=fmtp:111 minptime=10;useinbandfec=1
a=rtpmap:63 red/48000/2
a=fmtp:63 111/111
a=rtpmap:9 G722/8000
"""

# In the manner of RFC 8843's example: the second section is bundle-only and carries no transport of its own.
BUNDLE_ONLY = f"""v=0
o=- 1 1 IN IP4 0.0.0.0
s=-
t=0 0
a=group:BUNDLE a v
m=audio 9 UDP/TLS/RTP/SAVPF 111
c=IN IP4 0.0.0.0
a=ice-ufrag:abcd
a=ice-pwd:0123456789012345678901
a=fingerprint:{FINGERPRINT}
a=setup:passive
a=mid:a
a=rtcp-mux
a=rtcp-mux-only
a=sendonly
a=rtpmap:111 opus/48000/2
m=video 0 UDP/TLS/RTP/SAVPF 96
c=IN IP4 0.0.0.0
a=bundle-only
a=mid:v
a=sendonly
a=rtpmap:96 VP8/90000
"""


def refusal(work: Callable[[], object]) -> Kind:
    with pytest.raises(Problem) as caught:
        work()
    return caught.value.kind


def viewer(text: str = BROWSER) -> Offer:
    return parse_offer(text.replace("a=sendonly", "a=recvonly"))


def h264(profile: str, number: int = 1) -> Codec:
    return Codec("h264", number, 90000, None, "", profile)


def test_a_browsers_offer_is_reduced_to_what_we_need() -> None:
    offer = parse_offer(BROWSER)
    assert (offer.ufrag, offer.password, offer.setup) == ("abcd", "0123456789012345678901", "actpass")
    assert offer.fingerprints == (("sha-256", FINGERPRINT.partition(" ")[2]),)
    video, audio = offer.sections
    assert [(codec.name, codec.payload_type) for codec in video.codecs] == [
        ("vp8", 96), ("h264", 102), ("h264", 104), ("h264", 106),
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
    assert "a=extmap" not in answer
    assert answer.count("a=rtcp-rsize") == 1
    parsed = SessionDescription.parse(answer)
    assert [media.rtp.muxId for media in parsed.media] == ["0", "1"]
    assert [media.direction for media in parsed.media] == ["recvonly", "recvonly"]


def test_the_answer_to_a_viewer_names_what_will_be_sent() -> None:
    offer = viewer()
    accepted = subscribed(offer, {"video": h264("42e01f"), "audio": Codec("opus", 1, 48000, 2, "")})
    tracks = {kind: Track(codecs, 77) for kind, codecs in accepted.items()}
    lines = write_answer(offer, LOCAL, tracks, stream="demo", version=1).split("\r\n")
    assert "m=video 5000 UDP/TLS/RTP/SAVPF 104 102 106 96" in lines
    assert "a=sendonly" in lines
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
    ],
)
def test_h264_profiles_are_matched_the_safe_way_first(mine: str, sent: str, distance: int) -> None:
    assert h264(mine).distance(h264(sent)) == distance


def test_the_nearest_payload_type_is_sent() -> None:
    codecs = (h264("64001f", 1), h264("42001f", 2), Codec("vp8", 3, 90000, None, ""))
    assert sdp.payload_type_for(codecs, h264("42e01f")) == 2
    assert sdp.payload_type_for(codecs, Codec("vp8", 9, 90000, None, "")) == 3
    assert sdp.payload_type_for(codecs[:2], Codec("vp8", 9, 90000, None, "")) is None


def test_h264_without_a_profile_is_baseline() -> None:
    text = BROWSER.replace("packetization-mode=1;profile-level-id=42e01f", "packetization-mode=1")
    assert parse_offer(text).sections[0].codecs[2].profile == "42000a"


@given(st.data())
def test_damaged_offers_raise_nothing_but_problems(data: st.DataObject) -> None:
    lines = data.draw(st.sampled_from([BROWSER, BUNDLE_ONLY])).splitlines()
    for _ in range(data.draw(st.integers(0, 3))):
        at = data.draw(st.integers(0, len(lines) - 1))
        lines[at] = data.draw(st.sampled_from(["", lines[at][: len(lines[at]) // 2], *lines, "a=", "m=", "\x00"]))
    try:
        offer = parse_offer("\n".join(lines))
        tracks = {kind: Track((codec,)) for kind, codec in published(offer).items()}
        answer = write_answer(offer, LOCAL, tracks, stream="x", version=1)
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
