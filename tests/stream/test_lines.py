"""The relay's own streams: numbers of packets, VP8 counters, what a translation changes."""

from stream.downstream.cache import Entry
from stream.downstream.layers import Mark, Translation
from stream.downstream.lines import Line, Outgoing, translated
from stream.feed import AUDIO, Arrival
from stream.wire.payloads import vp8_numbers
from stream.wire.rtp import parse
from tests.stream.relaying import H264, OPUS, VP8


def arrival(layer: int, sequence: int, timestamp: int, body: bytes = b"payload", *, key: bool = False) -> Arrival:
    return Arrival(layer, sequence, timestamp, b"\x80\xe6" + bytes(10) + body, key)


def vp8(picture_id: int, tl0: int) -> bytes:
    return b"\x90\xe0" + (0x8000 | picture_id).to_bytes(2) + bytes((tl0, 0)) + b"frame"


def test_packets_get_the_relays_numbers_and_keep_the_rest() -> None:
    video = Outgoing("video")
    video.begin(H264)
    first, second = video.take(arrival(1, 70_000, 5, key=True), 0.0), video.take(arrival(1, 70_001, 3005), 0.1)
    assert first is not None
    assert second is not None
    headers = [parse(first.packet), parse(second.packet)]
    assert {header.ssrc for header in headers} == {video.ssrc}
    assert [header.sequence for header in headers] == [entry.mark.sequence & 0xFFFF for entry in (first, second)]
    assert second.mark.sequence == first.mark.sequence + 1
    assert (second.mark.timestamp - first.mark.timestamp) & 0xFFFFFFFF == 3000
    assert first.packet[12:] == b"payload"
    assert headers[0].marker
    assert first.opens_keyframe
    assert video.take(arrival(1, 69_999, 0), 0.1) is None


def test_a_new_publisher_goes_on_in_numbers_and_in_vp8_counters() -> None:
    video = Outgoing("video")
    video.begin(VP8)
    before = video.take(arrival(0, 1, 0, vp8(500, 9)), 0.0)
    video.begin(VP8)
    after = video.take(arrival(0, 40_000, 77, vp8(20_000, 200)), 1.0)
    assert before is not None
    assert after is not None
    assert after.mark.sequence == before.mark.sequence + 1
    assert before.packet[12:] == vp8(500, 9), "the first one's stay as they are"
    assert after.packet[12:] == vp8(501, 10)
    # Packets without counters stay without.
    plain = video.take(arrival(0, 40_001, 77, b"\x10\x00\x00\x00"), 1.0)
    assert plain is not None
    assert plain.mark.vp8 is None


def test_what_went_out_is_counted_and_the_newest_is_known() -> None:
    line = Line(0)
    assert line.awaiting_keyframe
    assert not Line(AUDIO).awaiting_keyframe
    for number, key in ((10, True), (12, False), (11, False)):
        assert line.put(Entry(0, Mark(number, number), bytes(112), key), 0.0) is key
    assert line.newest == Mark(12, 12)
    assert (line.packets, line.octets) == (3, 300)
    line.awaiting_keyframe = False
    line.restart()
    assert line.awaiting_keyframe
    assert line.cache.gop(0.0) is None
    assert line.newest == Mark(12, 12), "numbers go on"


def test_a_restarted_layer_waits_for_a_keyframe_and_sound_does_not() -> None:
    video, sound = Outgoing("video"), Outgoing("audio")
    video.begin(H264)
    sound.begin(OPUS)
    video.lines[2].awaiting_keyframe = False
    video.restarted(2)
    sound.restarted(AUDIO)
    assert video.lines[2].awaiting_keyframe
    assert not sound.lines[AUDIO].awaiting_keyframe
    one, two = sound.take(arrival(AUDIO, 9, 0), 0.0), sound.take(arrival(AUDIO, 10, 960), 0.02)
    assert one is not None
    assert two is not None
    assert two.mark.sequence == one.mark.sequence + 1
    sound.end()
    assert sound.codec is None


def test_a_sender_report_is_kept_in_the_relays_time() -> None:
    video = Outgoing("video")
    video.begin(H264)
    assert not video.sender_report(0, 5 << 32, 100, 0.0)
    entry = video.take(arrival(0, 1, 100), 0.0)
    assert entry is not None
    assert video.sender_report(0, 6 << 32, 190, 0.0)
    assert video.report == (6 << 32, (entry.mark.timestamp + 90) & 0xFFFFFFFF)
    assert not video.sender_report(1, 6 << 32, 190, 0.0), "another layer speaks for the line"


class TestTranslated:
    mark = Mark(70_000, 1000)
    packet = b"\x80" + bytes((0x80 | 102,)) + (70_000 & 0xFFFF).to_bytes(2) + (1000).to_bytes(4) + b"ssrc" + b"body"

    def test_nothing_to_do_is_no_copy(self) -> None:
        entry = Entry(0, self.mark, self.packet, False)
        assert translated(entry, Translation(0), 102) is self.packet
        assert translated(entry, Translation(0, first=5), 102) is self.packet

    def test_the_payload_type_alone(self) -> None:
        changed = translated(Entry(0, self.mark, self.packet, False), Translation(0), 45)
        assert changed == self.packet[:1] + bytes((0x80 | 45,)) + self.packet[2:]

    def test_numbers_wrap(self) -> None:
        entry = Entry(0, self.mark, self.packet, False)
        changed = translated(entry, Translation(0, 60_000, (1 << 32) - 1001, 7, 7), 45)
        header = parse(changed)
        assert header.sequence == 130_000 & 0xFFFF
        assert header.timestamp == 0xFFFFFFFF
        assert header.payload_type == 45
        assert header.marker
        assert changed[8:] == self.packet[8:]
        assert changed == translated(entry, Translation(0, 60_000, (1 << 32) - 1001, 7, 7), 45)

    def test_vp8_counters(self) -> None:
        packet = self.packet[:12] + vp8(0x7FFF, 255)
        entry = Entry(0, self.mark._replace(vp8=vp8_numbers(packet, 12, len(packet))), packet, False)
        changed = translated(entry, Translation(0, 1, 0, 2, 3), 102)
        assert changed[12:] == vp8(1, 2)
        assert translated(entry, Translation(0, 1), 102)[12:] == packet[12:]
