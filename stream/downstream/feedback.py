"""What viewers' RTCP leads to: retransmissions, wishes for keyframes, what is known of each path.

NACKs of many viewers for one loss come in the same moment (the loss was before us, or in a switch that they share), so
they are not answered where they are read: they wait in one queue, and the relay's work takes a few of them between two
batches of the live stream. What we have not received ourselves is not answered; it reaches everybody when it comes.
"""

from collections import Counter, deque
from collections.abc import Callable, Iterable

from live.core.limits import (
    RELAY_STEP_PACKETS,
    RETRANSMISSIONS_WAITING_MAX,
    RTP_PROTECT_BYTES_MAX,
    SENDER_REPORTS_KEPT,
    SRTP_REPLAY_WINDOW,
)
from stream.downstream.audience import Audience
from stream.downstream.cache import Entry
from stream.downstream.lines import Outgoing, translated
from stream.downstream.subscribers import Lack, Subscriber
from stream.feed import AUDIO
from stream.wire import rtcp
from stream.wire.rtp import with_payload_type, wrap_rtx

_RTX_OVERHEAD_BYTES = 2
_VIDEO_CLOCK_RATE = 90_000


class Feedback:
    """The feedback of one show's viewers. `now` gives monotonic seconds, `wake` has `answer` called soon."""

    def __init__(
        self,
        audience: Audience,
        video: Outgoing,
        sound: Outgoing,
        rtx_ssrc: int,
        counts: Counter[str],
        now: Callable[[], float],
        *,
        ask: Callable[[int], None],
        wake: Callable[[], None],
    ) -> None:
        """`ask` is called with a layer of which a viewer needs a keyframe."""
        self.totals: Counter[str] = Counter()
        self._audience = audience
        self._video = video
        self._sound = sound
        self._rtx_ssrc = rtx_ssrc
        self._counts = counts
        self._now = now
        self._ask = ask
        self._wake = wake
        self._reports: dict[int, float] = {}  # when each sender report left, by how viewers quote it
        self._waiting: deque[tuple[Subscriber, bool, int]] = deque()  # viewer, whether video, number

    def report_sent(self, ntp: int) -> None:
        """A sender report with this NTP time goes to the viewers, who will quote it."""
        self._reports[rtcp.middle(ntp)] = self._now()
        while len(self._reports) > SENDER_REPORTS_KEPT:
            del self._reports[next(iter(self._reports))]

    def received(self, viewer: Subscriber, packets: Iterable[rtcp.Packet]) -> None:
        """Act on one compound of a viewer; packets for others, and of kinds that mean nothing here, are ignored."""
        for packet in packets:
            match packet:
                case rtcp.Nack(media=ssrc, sequences=numbers):
                    if ssrc in (self._video.ssrc, self._sound.ssrc):
                        self._nack(viewer, ssrc == self._video.ssrc, numbers)
                case rtcp.Pli() | rtcp.Fir():
                    self._count("viewer_pli")
                    # Who walks through the cache is on the way to its picture.
                    if viewer.wanted is not None and viewer.cursor is None:
                        viewer.dark(Lack.KEYFRAME, self._now())
                        self._ask(viewer.wanted)
                case rtcp.Remb(bitrate=bitrate):
                    now = self._now()
                    if viewer.reports.remb(bitrate, now):
                        viewer.selector.report(remb=bitrate, now=now)
                case rtcp.ReceiverReport(blocks=blocks) | rtcp.SenderReport(blocks=blocks):
                    self._report(viewer, blocks)
                case _:
                    pass

    def _report(self, viewer: Subscriber, blocks: Iterable[rtcp.ReportBlock]) -> None:
        now, reports = self._now(), viewer.reports
        losses: dict[int, float | None] = {}
        round_trip_s: float | None = None
        for block in blocks:
            sent_at = self._reports.get(block.last_report)
            # A report out of turn came to this viewer later than to everybody else.
            if sent_at is not None and sent_at >= viewer.told_at and reports.round_trip(sent_at, now):
                viewer.rtt_s = round_trip_s = max(0.0, now - sent_at - block.delay / 65536)
            if block.ssrc == self._video.ssrc:
                viewer.jitter_s = block.jitter / _VIDEO_CLOCK_RATE
                losses[block.ssrc] = reports.video(block.highest, block.lost, now, viewer.rtt_s)
                if (stalled_since := reports.stalled_since(now, viewer.rtt_s)) is None:
                    viewer.lit(Lack.PACKETS, now)
                else:
                    viewer.dark(Lack.PACKETS, stalled_since)
            elif block.ssrc == self._sound.ssrc:
                losses[block.ssrc] = reports.sound(block.highest, block.lost, now)
        # Without a picture the sound has to tell how the path is.
        loss = losses.get((self._sound if viewer.wanted is None else self._video).ssrc)
        if loss is not None:
            viewer.loss = loss
        if loss is not None or round_trip_s is not None:
            viewer.selector.report(loss=loss, rtt_s=round_trip_s, now=now)

    def watch(self, viewer: Subscriber, now: float) -> None:
        """Note how far the viewer's video has been sent, to know whether it arrives; for a few times a second."""
        viewer.reports.sent(None if viewer.wanted is None else self._audience.reached(viewer), now)

    # --- retransmission -----------------------------------------------------------------------------------------

    def _nack(self, viewer: Subscriber, video: bool, numbers: tuple[int, ...]) -> None:
        self._count("viewer_nack")
        room = min(len(numbers), RETRANSMISSIONS_WAITING_MAX - len(self._waiting))
        granted = viewer.allowance.take(room, self._now())
        self._counts["nack_refused"] += len(numbers) - granted
        self._waiting.extend((viewer, video, number) for number in numbers[:granted])
        if granted:
            self._wake()

    @property
    def waiting(self) -> bool:
        """Whether there is something to answer."""
        return bool(self._waiting)

    def answer(self) -> None:
        """Send a few of the packets that were asked for."""
        now = self._now()
        for _ in range(min(RELAY_STEP_PACKETS, len(self._waiting))):
            viewer, video, number = self._waiting.popleft()
            if viewer.group is None:
                continue  # it has left
            if video:
                self._answer_video(viewer, number, now)
            else:
                self._answer_sound(viewer, number, now)

    def _answer_video(self, viewer: Subscriber, number: int, now: float) -> None:
        found = viewer.numbering.find(number, self._audience.head(viewer))
        entry: Entry | None = None
        if found is not None:
            translation, sequence = found
            assert translation.layer is not None, "numbers belong to layers"
            entry = self._video.lines[translation.layer].cache.get(sequence)
        payload_type = viewer.payload_types[0]
        if found is None or entry is None or payload_type is None:
            self._counts["nack_missed"] += 1
        elif found[1] + found[0].sequence < viewer.outdated:
            # Of a layer that was too much: it would take the room that the lower one needs.
            self._counts["nack_outdated"] += 1
        elif self._may(viewer, entry, now):
            packet, number_seen = translated(entry, found[0], payload_type), found[1] + found[0].sequence
            if viewer.rtx is not None and len(packet) + _RTX_OVERHEAD_BYTES <= RTP_PROTECT_BYTES_MAX:
                viewer.rtx_sequence += 1
                again = wrap_rtx(packet, payload_type=viewer.rtx, sequence=viewer.rtx_sequence, ssrc=self._rtx_ssrc)
                self._send(viewer, again)
            elif (self._audience.reached(viewer) or 0) - number_seen >= SRTP_REPLAY_WINDOW:
                self._counts["nack_missed"] += 1  # SRTP encrypts none of the stream itself that is so old
            else:
                self._send(viewer, packet)

    def _answer_sound(self, viewer: Subscriber, number: int, now: float) -> None:
        """Once: what does not arrive then is too late to be heard."""
        entry, payload_type = self._sound.lines[AUDIO].cache.find(number), viewer.payload_types[1]
        if entry is None or payload_type is None or entry.mark.sequence < viewer.first_sound:
            self._counts["nack_missed"] += 1
        elif self._may(viewer, entry, now, times=1):
            self._send(viewer, with_payload_type(entry.packet, payload_type))

    def _may(self, viewer: Subscriber, entry: Entry, now: float, **times: int) -> bool:
        if viewer.allowance.again(entry.layer, entry.mark.sequence, now, viewer.rtt_s, **times):
            return True
        self._counts["nack_repeated"] += 1
        return False

    def _send(self, viewer: Subscriber, packet: bytes) -> None:
        if viewer.peer.send_rtp(packet):
            self._count("retransmitted")

    def _count(self, what: str) -> None:
        """For this show, and for the worker."""
        self.totals[what] += 1
        self._counts[what] += 1
