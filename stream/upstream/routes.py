"""Which of a publisher's streams a packet belongs to.

A publisher sends one audio stream, up to SIMULCAST_LAYERS_MAX layers of video, and for each layer a repair stream of
retransmissions (RFC 4588). SSRCs are its own choice and may change at any time. A stream is recognised

- by its payload type where that is enough: audio, video without simulcast, and the repairs of that;
- a layer by its RID, in a header extension of its first packets (RFC 8852);
- a repair stream by its repaired RID, else by the offer's FID group (RFC 5576), else by apt (RFC 4588, section 8.1).

From then on its SSRC is enough. Each stream has one SSRC: a newer one replaces it, and packets of the old one, which
may still be on their way, are refused; else two SSRCs with one RID would replace each other for ever.
"""

from collections import deque
from collections.abc import Mapping
from typing import NamedTuple

from live.core.limits import SSRCS_RETIRED_KEPT
from stream.feed import AUDIO
from stream.wire.rtp import Header, extension
from stream.wire.sdp import Codec


class Route(NamedTuple):
    """A stream: `layer` is AUDIO or the number of a video layer; `repair` its retransmissions."""

    layer: int
    repair: bool = False


class Router:
    """The table of a publisher's SSRCs, at most one for each stream."""

    def __init__(
        self,
        codecs: Mapping[str, Codec],
        rids: tuple[str, ...],
        *,
        rid_id: int | None = None,
        repaired_id: int | None = None,
        repairs: Mapping[int, int] | None = None,
    ) -> None:
        """`rid_id` and `repaired_id` are the header extensions' numbers, None when not negotiated.

        `repairs` maps the SSRCs of repair streams to what they repair, as far as the offer names them.
        """
        self._types = {codec.payload_type: (kind, False) for kind, codec in codecs.items()}
        self._types |= {codec.rtx: (kind, True) for kind, codec in codecs.items() if codec.rtx is not None}
        self._layers = {rid.encode(): layer for layer, rid in enumerate(rids)}
        self._rid_id = rid_id
        self._repaired_id = repaired_id
        self._repairs = dict(repairs or {})
        self._routes: dict[int, Route] = {}  # by SSRC and payload type
        self._ssrcs: dict[Route, int] = {}
        self._retired: deque[int] = deque(maxlen=SSRCS_RETIRED_KEPT)

    def find(self, header: Header) -> Route | None:
        """Where packets of this SSRC and payload type belong; None when that must be learnt."""
        return self._routes.get(header.ssrc << 7 | header.payload_type)

    def learn(self, packet: bytes, header: Header) -> Route | str:
        """Where a packet that `find` does not know belongs, or under which name its refusal is counted."""
        if header.payload_type not in self._types:
            return "rtp_unknown_payload_type"
        if header.ssrc in self._retired:
            return "rtp_retired_ssrc"
        kind, repair = self._types[header.payload_type]
        layer = self._layer(packet, header, repair=repair) if kind == "video" else AUDIO
        if layer is None:
            return "rtp_unknown_ssrc"
        route = Route(layer, repair)
        if self._forget(route) and not repair:
            # What it repaired is no more. But it is not refused: probes of a new stream's path come before the stream.
            self._forget(Route(layer, repair=True), retire=False)
        self._ssrcs[route] = header.ssrc
        self._routes[header.ssrc << 7 | header.payload_type] = route
        return route

    def _layer(self, packet: bytes, header: Header, *, repair: bool) -> int | None:
        if len(self._layers) == 1:
            return 0
        for identifier in (self._repaired_id if repair else None, self._rid_id):
            # Chromium marks repairs with the repaired RID, others with the plain one.
            name = extension(packet, header, identifier) if identifier is not None else None
            if name is not None and (layer := self._layers.get(name)) is not None:
                return layer
        repaired = self._repairs.get(header.ssrc) if repair else None
        known = (route.layer for route, ssrc in self._ssrcs.items() if ssrc == repaired and not route.repair)
        return next((layer for layer in known if layer != AUDIO), None)

    def _forget(self, route: Route, *, retire: bool = True) -> bool:
        """Drop the stream's SSRC, for good if so asked; returns whether it had one."""
        ssrc = self._ssrcs.pop(route, None)
        if ssrc is None:
            return False
        if retire:
            self._retired.append(ssrc)
        self._routes = {key: kept for key, kept in self._routes.items() if kept != route}
        return True
