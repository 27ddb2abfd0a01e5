"""Offers in, answers out, and in between what a relay takes up of an offer. No I/O.

`wire.offers` reads, `wire.answers` writes, `wire.codecs` compares; this is their one door.
"""

from live.core.errors import Kind, Problem
from live.core.limits import SIMULCAST_LAYERS_MAX
from stream.wire.answers import Local, Track, write_answer, write_fragment
from stream.wire.codecs import Codec, ingest_rank, nearest, payload_type_for, viewer_rank
from stream.wire.offers import (
    ABS_SEND_TIME,
    MID,
    REPAIRED_RTP_STREAM_ID,
    RTP_STREAM_ID,
    Fragment,
    Offer,
    Section,
    malformed,
    parse_fragment,
    parse_offer,
)

__all__ = [
    "ABS_SEND_TIME", "MID", "REPAIRED_RTP_STREAM_ID", "RTP_STREAM_ID",
    "Codec", "Fragment", "Local", "Offer", "Section", "Track",
    "layers", "nearest", "parse_fragment", "parse_offer", "payload_type_for", "published", "subscribed",
    "write_answer", "write_fragment",
]  # fmt: skip

# VP9 and AV1 send their layers inside one stream, which is passed on as it is.
_SIMULCAST = ("h264", "vp8")


def published(offer: Offer) -> dict[str, Codec]:
    """Which codec of each kind we take from a publisher: H.264, VP8, VP9, AV1, in this order, and Opus.

    Raises `Problem` wrong_direction, no_common_codec or sdp_malformed.
    """
    chosen: dict[str, Codec] = {}
    for section in _directed(offer, ("sendonly", "sendrecv"), "A publisher offers sendonly."):
        chosen[section.kind] = min(section.codecs, key=ingest_rank)
    # Packets are told apart by these alone until their SSRC is known (RFC 9143, section 9.2).
    numbers = [number for codec in chosen.values() for number in (codec.payload_type, codec.rtx) if number is not None]
    if len(set(numbers)) < len(numbers):
        raise malformed("Two sections use the same payload type.")
    return chosen


def layers(offer: Offer) -> tuple[str, ...]:
    """The RIDs of the simulcast streams we take from a publisher, as ordered in the offer; ("",) for a single stream.

    Of more than three the first three: they are named in order of preference (RFC 8853, section 5.2). Raises as
    `published`.
    """
    codec, section = published(offer).get("video"), offer.section("video")
    if codec is None or section is None or codec.name not in _SIMULCAST or RTP_STREAM_ID not in section.extensions:
        return ("",)
    usable = [rid for rid in section.rids if codec.payload_type in section.rid_formats.get(rid, {codec.payload_type})]
    return tuple(usable[:SIMULCAST_LAYERS_MAX]) or ("",)


def subscribed(offer: Offer, sent: dict[str, Codec]) -> dict[str, tuple[Codec, ...]]:
    """Which codecs of each kind a viewer may get, best first for what is `sent` now.

    All that we relay are taken up, so that a later publisher with another codec needs no new offer.
    Raises `Problem` wrong_direction, or no_common_codec when the viewer cannot decode what is sent.
    """
    accepted: dict[str, tuple[Codec, ...]] = {}
    for section in _directed(offer, ("recvonly", "sendrecv"), "A viewer offers recvonly."):
        now = sent.get(section.kind)
        if now is not None and payload_type_for(section.codecs, now) is None:
            raise Problem(Kind.no_common_codec, f"The show's {section.kind} is {now.name.upper()}.", field="sdp")
        accepted[section.kind] = tuple(sorted(section.codecs, key=lambda codec: viewer_rank(codec, now)))
    return accepted


def _directed(offer: Offer, directions: tuple[str, ...], detail: str) -> list[Section]:
    sections = [section for section in offer.sections if section.enabled]
    for section in sections:
        if section.direction not in directions:
            detail += f" The {section.kind} section is {section.direction}."
            raise Problem(Kind.wrong_direction, detail, field="sdp")
        if not section.codecs:
            raise Problem(Kind.no_common_codec, f"The {section.kind} section offers none of them.", field="sdp")
    return sections
