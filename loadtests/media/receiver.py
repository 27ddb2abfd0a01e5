"""One viewer's video: packets in, pictures out, and what is missing in between. No clock, no socket.

Numbers that were skipped are asked for again (NACK), as browsers do. A picture is shown when all its packets have come
and all pictures before it; after a loss that is not made good, only from the next keyframe on. Each packet ends with
the time at which it was due to be sent, in microseconds on the machine's monotonic clock.
"""

from bisect import insort
from collections.abc import Callable

from stream.wire import rtcp
from stream.wire.payloads import opens_h264_keyframe
from stream.wire.rtp import parse, unwrap_rtx

STAMP_BYTES = 8
ASK_INTERVAL_US = 100_000  # Chromium asks again after a round trip, 100 ms before it knows one
ASKED_TIMES_MAX = 10
MISSING_MAX = 600  # older numbers than that are given up at once
COUNTED = ("packets", "received_bytes", "lost", "asked", "recovered", "duplicates")
_HALF, _PERIOD = 1 << 15, 1 << 16


def stamped(packet: bytes, due_us: int) -> bytes:
    """The packet with its time at the end, where no relay changes anything."""
    return packet[:-STAMP_BYTES] + due_us.to_bytes(STAMP_BYTES)


class Receiver:
    """The video of one session. `shown` is called with each picture's time of sending and of its completion."""

    def __init__(self, video: int, rtx: int, shown: Callable[[int, int], None]) -> None:
        """`video` and `rtx` are payload types."""
        self.packets = self.received_bytes = 0
        self.lost = self.asked = self.recovered = self.duplicates = 0
        self.wants_keyframe = self.wants_packets = False  # the server is to be told
        self.ssrc: int | None = None
        self._video, self._rtx = video, rtx
        self._shown = shown
        self._first = self._next = -1  # extended numbers: the first one, and the one that is due now
        self._missing: dict[int, tuple[int, int]] = {}  # number → when to ask for it again, and how often that was done
        self._pictures: list[tuple[int, int]] = []  # last number and time of those that cannot be shown yet
        self.waiting = True  # for a keyframe
        self._keyframe = -1  # where the last one begins that came while something was missing
        self._told = (0, 0)  # expected and lost at the last report
        self._taken = dict.fromkeys(COUNTED, 0)

    def rtp(self, packet: bytes, at_us: int) -> None:
        """An authentic packet of any stream of the session."""
        kind = packet[1] & 0x7F
        self.packets += 1
        self.received_bytes += len(packet)
        if kind == self._video:
            self._take(packet, at_us)
        elif kind == self._rtx and self.ssrc is not None:
            original = unwrap_rtx(packet, parse(packet), payload_type=self._video, ssrc=self.ssrc)
            if original is not None:
                self._take(original, at_us)

    def ask(self, at_us: int) -> tuple[int, ...]:
        """The numbers to ask for now, of 16 bits; what was asked for too often is lost."""
        self.wants_packets = False
        due = [number for number, (ask_us, _) in self._missing.items() if at_us >= ask_us]
        given_up = [number for number in due if self._missing[number][1] >= ASKED_TIMES_MAX]
        if given_up:
            self._give_up(max(given_up), at_us)
        asked = sorted(number for number in due if number in self._missing)
        for number in asked:
            self._missing[number] = at_us + ASK_INTERVAL_US, self._missing[number][1] + 1
        self.asked += len(asked)
        return tuple(number % _PERIOD for number in asked)

    def news(self) -> dict[str, int]:
        """What was counted since the last call, by `COUNTED`."""
        now = {name: getattr(self, name) for name in COUNTED}
        then, self._taken = self._taken, now
        return {name: now[name] - then[name] for name in COUNTED}

    def report(self) -> rtcp.ReportBlock | None:
        """How the stream arrives (RFC 3550, section 6.4.1), since the last call; None when nothing came yet."""
        if self.ssrc is None:
            return None
        expected, lost = self._next - self._first, self.lost + len(self._missing)
        then, self._told = self._told, (expected, lost)
        news = expected - then[0]
        fraction = min(255, max(0, lost - then[1]) * 256 // news) if news else 0
        return rtcp.ReportBlock(self.ssrc, fraction, lost, (self._next - 1) & 0xFFFFFFFF, 0)

    def end(self) -> None:
        """The session is over: what is still missing is lost."""
        self.lost += len(self._missing)
        self._missing.clear()

    # --- one packet

    def _take(self, packet: bytes, at_us: int) -> None:
        number = packet[2] << 8 | packet[3]
        if self.ssrc is None:
            self.ssrc = int.from_bytes(packet[8:12])
            self._first = self._next = _PERIOD + number
        number = self._extended(number)
        if number > self._next:
            self._skip(number, at_us)
        elif number < self._next:
            if self._missing.pop(number, None) is None:
                self.duplicates += 1
                return
            self.recovered += 1
        if number >= self._next:
            self._next = number + 1
        if self.waiting or self._missing:
            self._seek(number, packet)
        if packet[1] & 0x80 and not self.waiting:
            insort(self._pictures, (number, int.from_bytes(packet[-STAMP_BYTES:])))
        if self._pictures:
            self._show(at_us)

    def _extended(self, number: int) -> int:
        distance = (number - self._next) % _PERIOD
        return self._next + distance - (_PERIOD if distance >= _HALF else 0)

    def _skip(self, number: int, at_us: int) -> None:
        """Numbers are missing before `number`."""
        oldest = max(self._next, number - MISSING_MAX)
        if oldest > self._next:
            self.lost += oldest - self._next
            self._break()
        for one in range(oldest, number):
            self._missing[one] = at_us, 0
        self.wants_packets = True

    def _seek(self, number: int, packet: bytes) -> None:
        """See whether a keyframe begins here, from which one can go on."""
        header = parse(packet)
        if not opens_h264_keyframe(packet, header.payload, header.end):
            return
        self._keyframe = max(self._keyframe, number)
        if self.waiting:
            self.waiting = False
            self._forget(self._keyframe)

    def _show(self, at_us: int) -> None:
        whole = min(self._missing, default=self._next)
        count = 0
        for last, due_us in self._pictures:
            if last >= whole:
                break
            count += 1
            self._shown(due_us, at_us)
        del self._pictures[:count]

    # --- losses

    def _give_up(self, number: int, at_us: int) -> None:
        """`number` will not come; pictures go on from a keyframe that has come since, or from the next one."""
        if self._keyframe > number:
            self._forget(self._keyframe)
            self._show(at_us)
        else:
            self._forget(number + 1)
            self._break()

    def _break(self) -> None:
        self.waiting = self.wants_keyframe = True
        self._pictures.clear()

    def _forget(self, before: int) -> None:
        """Nothing before that number will be shown."""
        gone = [number for number in self._missing if number < before]
        for number in gone:
            del self._missing[number]
        self.lost += len(gone)
        self._pictures = [one for one in self._pictures if one[0] >= before]
