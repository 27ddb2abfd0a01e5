"""Streams within an offer: simulcast, header extensions, SSRCs and payload types, and what is answered."""

import re

import pytest
from aiortc.sdp import SessionDescription

from live.core.errors import Kind, Problem
from stream.wire.sdp import (
    ABS_SEND_TIME,
    MID,
    REPAIRED_RTP_STREAM_ID,
    RTP_STREAM_ID,
    Codec,
    Track,
    layers,
    parse_offer,
    published,
    subscribed,
    write_answer,
)
from tests.stream.offers import BROWSER, LOCAL, OBS, SIMULCAST, VIEWER, answered, video_lines


class TestSimulcast:
    def test_chromiums_offer(self) -> None:
        offer = parse_offer(SIMULCAST)
        audio, video = offer.sections
        assert video.rids == layers(offer) == ("q", "h", "f")
        assert video.extensions == {ABS_SEND_TIME: 2, MID: 4, RTP_STREAM_ID: 10, REPAIRED_RTP_STREAM_ID: 11}
        assert audio.extensions == {ABS_SEND_TIME: 2, MID: 4}
        assert (video.ssrc, video.rtx_ssrc) == (None, None)
        assert (audio.ssrc, audio.rids) == (1311626993, ())
        assert {codec.payload_type: codec.rtx for codec in video.codecs} == {
            96: 97, 102: 103, 108: 109, 116: 117, 45: 46, 98: 99, 100: 101,
        }  # fmt: skip
        assert [(codec.name, codec.profile) for codec in video.codecs][4:] == [("av1", "0"), ("vp9", "0"), ("vp9", "2")]

    def test_the_answer_takes_all_up(self) -> None:
        answer = answered(parse_offer(SIMULCAST))
        assert answer.index("a=extmap-allow-mixed") < answer.index("m=audio")
        lines = video_lines(answer)
        assert lines[0] == " 5000 UDP/TLS/RTP/SAVPF 108 109"
        assert [line for line in lines if re.match("a=(extmap|rid|simulcast|rtpmap|fmtp|ssrc|rtcp-fb)", line)] == [
            f"a=extmap:4 {MID}",
            f"a=extmap:10 {RTP_STREAM_ID}",
            f"a=extmap:11 {REPAIRED_RTP_STREAM_ID}",
            f"a=extmap:2 {ABS_SEND_TIME}",
            "a=rtpmap:108 H264/90000",
            "a=fmtp:108 level-asymmetry-allowed=1;packetization-mode=1;profile-level-id=42e01f",
            "a=rtcp-fb:108 nack",
            "a=rtcp-fb:108 nack pli",
            "a=rtcp-fb:108 ccm fir",
            "a=rtcp-fb:108 goog-remb",
            "a=rtpmap:109 rtx/90000",
            "a=fmtp:109 apt=108",
            "a=rid:q recv",
            "a=rid:h recv",
            "a=rid:f recv",
            "a=simulcast:recv q;h;f",
        ]
        assert answer.count("a=rid") == 3
        assert SessionDescription.parse(answer).media[1].rtp.codecs[1].parameters == {"apt": 108}

    def test_obs(self) -> None:
        offer = parse_offer(OBS)
        assert layers(offer) == ("2", "1", "0")
        lines = video_lines(answered(offer))
        assert lines[0] == " 5000 UDP/TLS/RTP/SAVPF 96"
        assert {"a=simulcast:recv 2;1;0", f"a=extmap:2 {RTP_STREAM_ID}"} <= set(lines)
        assert published(offer)["audio"].fmtp == "minptime=10;useinbandfec=1;stereo=1"

    @pytest.mark.parametrize(
        ("lines", "expected"),
        [
            ("a=simulcast:send q;h;f", ("q", "h", "f")),
            ("a=simulcast:send f", ("f",)),
            ("a=simulcast:recv x send q;h", ("q", "h")),
            ("a=simulcast: send q;h recv x", ("q", "h")),
            ("a=simulcast:send q,h;~f", ("q", "f")),  # the first of alternatives; one that begins paused
            ("a=simulcast:send q;unknown;q;f", ("q", "f")),
            ("a=simulcast:send q;h;f;e", ("q", "h", "f")),  # the first three
            ("a=simulcast:send e;q;h;f", ("e", "q", "h")),
            ("a=simulcast:recv q", ("",)),
            ("a=simulcast:send", ("",)),
            ("a=simulcast:send ;;", ("",)),
            ("a=simulcast:send q\na=simulcast:send h", ("q",)),
            ("a=rid:q send\na=simulcast:send q;h", ("h",)),  # declared twice
            ("a=rid:q! send\na=simulcast:send q!;h", ("h",)),
            (f"a=rid:{'x' * 17} send\na=simulcast:send {'x' * 17};h", ("h",)),
            ("a=rid:up recv\na=simulcast:send up;h", ("h",)),
            ("a=rid:s send max-width=320;pt=108,96\na=simulcast:send s;h", ("s", "h")),
            ("a=rid:s send pt=96,x\na=simulcast:send s;h", ("h",)),  # not of the codec that we take
            ("a=rid:s send pt=\na=simulcast:send s;h", ("h",)),
            ("", ("",)),
        ],
    )
    def test_which_streams(self, lines: str, expected: tuple[str, ...]) -> None:
        text = SIMULCAST.replace("a=simulcast:send q;h;f", f"a=rid:e send\n{lines}")
        offer = parse_offer(text)
        assert layers(offer) == expected
        rids = [line for line in video_lines(answered(offer)) if re.match("a=(rid|simulcast)", line)]
        assert rids == (
            [f"a=rid:{rid} recv" for rid in expected] + [f"a=simulcast:recv {';'.join(expected)}"]
            if expected[0]
            else []
        )

    @pytest.mark.parametrize("codec", ["VP9", "AV1"])
    def test_codecs_with_layers_of_their_own_send_one_stream(self, codec: str) -> None:
        text = SIMULCAST
        for other in {"VP8", "H264", "VP9", "AV1"} - {codec}:
            text = text.replace(f" {other}/90000", " other/90000")
        offer = parse_offer(text)
        assert published(offer)["video"].name == codec.lower()
        assert layers(offer) == ("",)

    def test_without_the_header_extension_streams_cannot_be_told_apart(self) -> None:
        assert layers(parse_offer(SIMULCAST.replace("sdes:rtp-stream-id", "sdes:other"))) == ("",)

    def test_audio_alone(self) -> None:
        text = SIMULCAST.partition("m=video")[0].replace("BUNDLE 0 1", "BUNDLE 0")
        assert layers(parse_offer(text)) == ("",)


class TestExtensions:
    @pytest.mark.parametrize(
        ("line", "expected", "answer"),
        [
            (f"a=extmap:5 {MID}", {MID: 5}, f"a=extmap:5 {MID}"),
            (f"a=extmap:5/sendrecv {MID} x y", {MID: 5}, f"a=extmap:5 {MID}"),
            (f"a=extmap:5/sendonly {MID}", {MID: 5}, f"a=extmap:5/recvonly {MID}"),
            (f"a=extmap:255 {MID}", {MID: 255}, f"a=extmap:255 {MID}"),
            (f"a=extmap:5/recvonly {MID}", {}, ""),
            (f"a=extmap:5/inactive {MID}", {}, ""),
            (f"a=extmap:0 {MID}", {}, ""),
            (f"a=extmap:256 {MID}", {}, ""),
            (f"a=extmap:4096 {MID}", {}, ""),
            (f"a=extmap:-1 {MID}", {}, ""),
            (f"a=extmap:1 {MID}", {}, ""),  # the id is another's
            (f"a=extmap:5 {MID}\na=extmap:6 {MID}", {MID: 5}, f"a=extmap:5 {MID}"),
            (f"a=extmap:5 {MID}\na=extmap:5 {ABS_SEND_TIME}", {MID: 5}, f"a=extmap:5 {MID}"),
        ],
    )
    def test_what_is_taken_up(self, line: str, expected: dict[str, int], answer: str) -> None:
        offer = parse_offer(BROWSER.replace("a=mid:0", f"a=extmap:1 urn:other\na=mid:0\n{line}"))
        assert offer.sections[0].extensions == expected
        assert [found for found in video_lines(answered(offer)) if found.startswith("a=extmap")] == answer.split()[
            :0
        ] + ([answer] if answer else [])

    def test_of_the_session(self) -> None:
        offer = parse_offer(BROWSER.replace("s=-\n", f"s=-\na=extmap:7 {MID}\n"))
        assert [section.extensions for section in offer.sections] == [{MID: 7}, {MID: 7}]

    def test_viewers_get_none(self) -> None:
        offer = parse_offer(VIEWER)
        tracks = {kind: Track(codecs, 7) for kind, codecs in subscribed(offer, {}).items()}
        assert "extmap" not in write_answer(offer, LOCAL, tracks, stream="x", version=1)


class TestStreams:
    @pytest.mark.parametrize(
        ("lines", "expected"),
        [
            ("a=ssrc-group:FID 1 2\na=ssrc:1 cname:x", (1, 2)),
            ("a=ssrc:1 cname:x\na=ssrc:2 cname:x\na=ssrc-group:FID 3 4\na=ssrc-group:FID 5 6", (3, 4)),
            ("a=ssrc:1 cname:x\na=ssrc:2 cname:x", (1, None)),
            ("a=ssrc-group:SIM 1 2 3\na=ssrc:1 cname:x", (1, None)),
            ("a=ssrc-group:FID 1 1", (None, None)),
            ("a=ssrc-group:FID 1 4294967296\na=ssrc:4294967296 cname:x", (None, None)),
            ("a=ssrc-group:FID 4294967295 1", (4294967295, 1)),
            ("a=ssrc-group:FID 1\na=ssrc:x cname:x\na=ssrc:-1 cname:x", (None, None)),
        ],
    )
    def test_first_stream_and_its_retransmissions(self, lines: str, expected: tuple[int | None, int | None]) -> None:
        text = re.sub("a=ssrc.*\n", "", BROWSER).replace("a=mid:0", f"a=mid:0\n{lines}")
        section = parse_offer(text).sections[0]
        assert (section.ssrc, section.rtx_ssrc) == expected

    def test_a_viewer_is_told_of_both(self) -> None:
        offer = parse_offer(VIEWER)
        accepted = subscribed(offer, {"video": Codec("vp9", 1, 90000, None, "", "0")})
        tracks = {"video": Track(accepted["video"], 77, 78), "audio": Track(accepted["audio"], 79)}
        lines = write_answer(offer, LOCAL, tracks, stream="demo", version=1).split("\r\n")
        formats = next(line for line in lines if line.startswith("m=video")).split()[3:]
        assert formats[:2] == ["98", "99"]
        assert len(formats) == len(set(formats)) == 2 * len(accepted["video"]) == 22
        assert {"a=ssrc-group:FID 77 78", "a=ssrc:77 cname:demo", "a=ssrc:78 cname:demo"} <= set(lines)
        assert {"a=ssrc:78 msid:demo demo-video", "a=fmtp:99 apt=98", "a=rtpmap:99 rtx/90000"} <= set(lines)


class TestPayloadTypes:
    def test_those_that_look_like_rtcp_are_passed_over(self) -> None:
        text = BROWSER.replace("a=rtpmap:96 ", "a=rtpmap:95 ").replace(":96 ", ":95 ").replace("apt=96", "apt=95")
        assert "vp8" not in [codec.name for codec in parse_offer(text).sections[0].codecs]

    def test_the_first_of_two_lines_counts(self) -> None:
        offer = parse_offer(BROWSER.replace("a=rtpmap:97 rtx/90000", "a=rtpmap:96 VP9/90000\na=rtpmap:97 rtx/90000"))
        assert [(codec.name, codec.rtx) for codec in offer.sections[0].codecs if codec.payload_type == 96] == [
            ("vp8", 97)
        ]

    @pytest.mark.parametrize("line", ["a=rtpmap:97 rtx/48000", "a=rtpmap:97 other/90000"])
    def test_retransmissions_of_another_kind(self, line: str) -> None:
        offer = parse_offer(BROWSER.replace("a=rtpmap:97 rtx/90000", line))
        assert offer.sections[0].codecs[0].rtx is None

    def test_two_sections_must_not_share_one(self) -> None:
        text = BROWSER.replace(":111 ", ":104 ")
        with pytest.raises(Problem) as caught:
            published(parse_offer(text))
        assert caught.value.kind is Kind.sdp_malformed
        repaired = BROWSER.replace("a=rtpmap:63 red/48000/2\na=fmtp:63 111/111\n", "").replace(":111 ", ":63 ")
        offer = parse_offer(
            repaired.replace("a=rtpmap:39 flexfec-03/90000", "a=rtpmap:63 rtx/90000\na=fmtp:63 apt=104")
        )
        assert offer.sections[0].codecs[2].rtx == 63
        with pytest.raises(Problem) as caught:
            published(offer)
        assert caught.value.kind is Kind.sdp_malformed
