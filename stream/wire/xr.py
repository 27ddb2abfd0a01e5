"""The round trip as a receiver measures it: extended reports (RFC 3611, sections 4.4 and 4.5).

    we: RRTR "our clock says T" ──▶ publisher ── DLRR "T came d ago" ──▶ we: round trip = now - T - d

A publisher's own reports never name us, because we send it nothing; without these the round trip would be known only
when something was lost and sent again. libwebrtc answers, whatever was negotiated; others pass over them.
"""

import struct

_XR, _RECEIVER_TIME, _DELAY = 207, 4, 5
_RECEIVER_TIME_PACKET = struct.Struct("!BBHIBBHQ")
_SUB_BLOCK = struct.Struct("!III")


def receiver_time(ssrc: int, now: float) -> bytes:
    """One RTCP packet that tells our clock, `now` monotonic seconds; it may end a compound."""
    words = _RECEIVER_TIME_PACKET.size // 4 - 1
    return _RECEIVER_TIME_PACKET.pack(0x80, _XR, words, ssrc, _RECEIVER_TIME, 0, 2, _fixed(now))


def round_trip(compound: bytes, ssrc: int, now: float) -> float | None:
    """Seconds to the publisher and back by its answer to our `receiver_time`; None when there is no answer to `ssrc`.

    What it says is its own affair: the result may be anything from -32768 to 32768, also for a compound that is
    malformed.
    """
    at, size, found = 0, len(compound), None
    while at + 8 <= size:
        end = min(at + 4 + 4 * int.from_bytes(compound[at + 2 : at + 4]), size)
        if compound[at + 1] == _XR:
            found = _answer(compound[at + 8 : end], ssrc, now) or found
        at = end
    return found


def _answer(blocks: bytes, ssrc: int, now: float) -> float | None:
    at, size = 0, len(blocks)
    while at + 4 <= size:
        end = min(at + 4 + 4 * int.from_bytes(blocks[at + 2 : at + 4]), size)
        if blocks[at] == _DELAY:
            for start in range(at + 4, end - _SUB_BLOCK.size + 1, _SUB_BLOCK.size):
                receiver, last, delay = _SUB_BLOCK.unpack_from(blocks, start)
                if receiver == ssrc and last:
                    elapsed: int = ((_fixed(now) >> 16) - last - delay) & 0xFFFFFFFF
                    return (elapsed - (elapsed >> 31 << 32)) / 65536
        at = end
    return None


def _fixed(now: float) -> int:
    """Seconds in 32.32; which clock it is matters to nobody but us."""
    return round(now * (1 << 32)) & 0xFFFFFFFFFFFFFFFF
