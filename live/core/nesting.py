"""How deep lists and objects are nested, found without the recursion that a decoder does.

Decoders go as deep as their interpreter lets them: Python 3.11 stops them after hundreds of levels and 3.13 after
thousands, so that the same bytes would parse on one and not on the other. Here the depth is counted in the bytes, and
only in those that could be so deep at all. Of what does not parse the count may be anything: a decoder stops at the
first mistake, and up to there the count is right.
"""

import re
from itertools import accumulate

from live.core.codec import Encoding

# The end of a string is optional, so that one without an end is not looked at again from each of its characters.
_STRING = re.compile(rb'"(?:[^"\\]++|\\.)*+"?', re.DOTALL)
_STEP = {ord("["): 1, ord("{"): 1, ord("]"): -1, ord("}"): -1}
_NO_BRACKETS = bytes(byte for byte in range(256) if byte not in _STEP)

# MessagePack by its first byte (the specification's table of formats): how many bytes of a length follow it ...
_LENGTHS = {0xC4: 1, 0xC5: 2, 0xC6: 4, 0xC7: 1, 0xC8: 2, 0xC9: 4, 0xD9: 1, 0xDA: 2, 0xDB: 4}
_TYPED = (0xC7, 0xC8, 0xC9)  # ... and one more byte for the type of an extension
_SIZES = {
    0xCA: 4, 0xCB: 8, 0xCC: 1, 0xCD: 2, 0xCE: 4, 0xCF: 8, 0xD0: 1, 0xD1: 2, 0xD2: 4, 0xD3: 8,
    0xD4: 2, 0xD5: 3, 0xD6: 5, 0xD7: 9, 0xD8: 17,
}  # fmt: skip
_COUNTS = {0xDC: (2, 1), 0xDD: (4, 1), 0xDE: (2, 2), 0xDF: (4, 2)}  # bytes of the count, values for each
_NOT_CONTAINERS = bytes(byte for byte in range(256) if not (0x80 <= byte < 0xA0 or byte in _COUNTS))


def is_deeper(data: bytes, encoding: Encoding, levels: int) -> bool:
    """Whether a list or object of `data` is within `levels` others."""
    if encoding == "json":
        return len(data.translate(None, _NO_BRACKETS)) > levels and _json_depth(data) > levels
    return len(data.translate(None, _NOT_CONTAINERS)) > levels and _is_deeper_msgpack(data, levels)


def _json_depth(data: bytes) -> int:
    brackets = _STRING.sub(b"", data).translate(None, _NO_BRACKETS)
    return max(accumulate(map(_STEP.__getitem__, brackets)), default=0)


def _is_deeper_msgpack(data: bytes, levels: int) -> bool:
    within: list[int] = []  # how many values each container that is open still lacks, the innermost last
    at = 0
    while at < len(data):
        at, values = _after_head(data, at)
        if values is not None:
            if len(within) == levels:
                return True
            within.append(values + 1)  # itself, which is whole when the others are
        while within and within[-1] == 1:
            within.pop()
        if not within:
            break  # the message is complete
        within[-1] -= 1
    return False


def _after_head(data: bytes, at: int) -> tuple[int, int | None]:
    """Where the next value begins, and how many belong to the list or object at `at` (None: it is neither)."""
    head = data[at]
    at += 1
    if head < 0x80 or head >= 0xE0:
        return at, None
    if head < 0xA0:
        return at, (head & 0x0F) * (2 if head < 0x90 else 1)
    if head < 0xC0:
        return at + (head & 0x1F), None
    if head in _COUNTS:
        width, each = _COUNTS[head]
        return at + width, int.from_bytes(data[at : at + width]) * each
    if head in _LENGTHS:
        width = _LENGTHS[head]
        return at + width + int.from_bytes(data[at : at + width]) + (head in _TYPED), None
    return at + _SIZES.get(head, 0), None
