"""A whole show as its viewers see it, built once for many."""

from typing import Any

import msgspec

from live.core.codec import Encoding
from live.core.position import Position
from live.realtime.frames import raw


class Snapshot(msgspec.Struct):
    """The whole show as of `position`, begun to be built at `since_s` (loop seconds), and its encodings."""

    position: Position
    since_s: float
    value: dict[str, Any]
    encoded: dict[Encoding, msgspec.Raw] = {}

    def raw(self, encoding: Encoding) -> msgspec.Raw:
        """The encoded value, made on first use."""
        if encoding not in self.encoded:
            self.encoded[encoding] = raw(self.value, encoding)
        return self.encoded[encoding]
