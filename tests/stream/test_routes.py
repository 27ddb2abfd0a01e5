"""Which stream a packet belongs to, by RID, FID, payload type."""

import struct

import pytest

from live.core.limits import SSRCS_RETIRED_KEPT
from stream.feed import AUDIO
from stream.upstream.routes import Route, Router
from stream.wire.rtp import parse
from stream.wire.sdp import Codec

RID_ID, REPAIRED_ID = 4, 5
VIDEO = Codec("vp8", 96, 90_000, None, "", rtx=97)
OPUS = Codec("opus", 111, 48_000, 2, "")
CODECS = {"video": VIDEO, "audio": OPUS}


def packet(payload_type: int, ssrc: int, extensions: dict[int, bytes] | None = None) -> bytes:
    """A packet with these header extensions in the form of one byte."""
    body = b"".join(bytes((number << 4 | len(value) - 1,)) + value for number, value in (extensions or {}).items())
    body += bytes(-len(body) % 4)
    head = struct.pack("!BBHII", 0x90 if body else 0x80, payload_type, 1, 0, ssrc)
    return head + (struct.pack("!HH", 0xBEDE, len(body) // 4) + body if body else b"") + b"payload"


def simulcast(repairs: dict[int, int] | None = None) -> Router:
    return Router(CODECS, ("lo", "mid", "hi"), rid_id=RID_ID, repaired_id=REPAIRED_ID, repairs=repairs)


def learn(router: Router, *what: object) -> Route | str:
    sent = packet(*what)  # type: ignore[arg-type]
    return router.learn(sent, parse(sent))


def find(router: Router, payload_type: int, ssrc: int) -> Route | None:
    return router.find(parse(packet(payload_type, ssrc)))


class TestWithoutSimulcast:
    def test_the_payload_type_is_enough(self) -> None:
        router = Router(CODECS, ("",))
        assert find(router, 96, 1) is None
        assert learn(router, 111, 1) == Route(AUDIO)
        assert learn(router, 96, 2) == Route(0)
        assert learn(router, 97, 3) == Route(0, repair=True)
        assert (find(router, 111, 1), find(router, 96, 2)) == (Route(AUDIO), Route(0))
        assert find(router, 97, 3) == Route(0, repair=True)

    def test_another_payload_type_is_refused_under_the_same_ssrc_too(self) -> None:
        router = Router(CODECS, ("",))
        learn(router, 96, 2)
        assert learn(router, 98, 2) == "rtp_unknown_payload_type"
        assert find(router, 98, 2) is None

    def test_probes_in_a_repair_stream_come_before_what_it_repairs(self) -> None:
        router = Router(CODECS, ("",))
        assert learn(router, 97, 3) == Route(0, repair=True)
        learn(router, 96, 2)
        assert find(router, 97, 3) == Route(0, repair=True)

    def test_a_new_ssrc_replaces_the_old_one_for_good(self) -> None:
        router = Router(CODECS, ("",))
        learn(router, 96, 2)
        learn(router, 97, 3)
        assert learn(router, 96, 4) == Route(0)
        assert find(router, 96, 2) is find(router, 97, 3) is None
        assert learn(router, 96, 2) == "rtp_retired_ssrc"
        assert learn(router, 97, 3) == learn(router, 97, 5) == Route(0, repair=True)
        assert learn(router, 97, 3) == "rtp_retired_ssrc"

    def test_the_retired_are_forgotten_in_the_end(self) -> None:
        router = Router(CODECS, ("",))
        for ssrc in range(SSRCS_RETIRED_KEPT + 2):
            learn(router, 96, ssrc)
        assert learn(router, 96, 0) == Route(0)
        assert learn(router, 96, 5) == "rtp_retired_ssrc"


class TestSimulcast:
    def test_layers_and_their_repairs_are_told_by_rid_once(self) -> None:
        router = simulcast()
        for layer, rid in enumerate((b"lo", b"mid", b"hi")):
            assert learn(router, 96, 10 + layer, {RID_ID: rid}) == Route(layer)
            assert learn(router, 97, 20 + layer, {REPAIRED_ID: rid}) == Route(layer, repair=True)
        assert [find(router, 96, 10 + layer) for layer in range(3)] == [Route(0), Route(1), Route(2)]
        assert [find(router, 97, 20 + layer) for layer in range(3)] == [Route(layer, repair=True) for layer in range(3)]

    def test_repairs_marked_with_the_plain_rid_are_taken(self) -> None:
        assert learn(simulcast(), 97, 20, {RID_ID: b"mid"}) == Route(1, repair=True)

    @pytest.mark.parametrize("extensions", [None, {RID_ID: b"other"}, {1: b"lo"}])
    def test_a_layer_without_a_known_rid_is_refused(self, extensions: dict[int, bytes] | None) -> None:
        assert learn(simulcast(), 96, 10, extensions) == "rtp_unknown_ssrc"

    def test_repairs_without_rid_are_told_by_the_offer(self) -> None:
        router = simulcast({20: 10, 21: 11})
        assert learn(router, 97, 20) == "rtp_unknown_ssrc"  # what they repair has not come yet
        learn(router, 96, 10, {RID_ID: b"mid"})
        assert learn(router, 97, 20) == Route(1, repair=True)
        assert learn(router, 97, 21) == "rtp_unknown_ssrc"

    def test_sound_is_never_repaired_by_video(self) -> None:
        router = simulcast({20: 10})
        learn(router, 111, 10)
        assert learn(router, 97, 20) == "rtp_unknown_ssrc"

    def test_a_new_ssrc_of_one_layer_leaves_the_others(self) -> None:
        router = simulcast()
        learn(router, 96, 10, {RID_ID: b"lo"})
        learn(router, 96, 11, {RID_ID: b"hi"})
        assert learn(router, 96, 12, {RID_ID: b"lo"}) == Route(0)
        assert find(router, 96, 11) == Route(2)
        assert learn(router, 96, 10, {RID_ID: b"lo"}) == "rtp_retired_ssrc"

    def test_the_table_never_grows(self) -> None:
        router = simulcast()
        for ssrc in range(500):
            learn(router, 96 + ssrc % 2, ssrc, {RID_ID: (b"lo", b"mid", b"hi")[ssrc % 3]})
        assert len(router._routes) == len(router._ssrcs) <= 6

    def test_without_negotiated_extensions_only_the_offer_helps(self) -> None:
        router = Router(CODECS, ("lo", "hi"))
        assert learn(router, 96, 10, {RID_ID: b"lo"}) == "rtp_unknown_ssrc"
