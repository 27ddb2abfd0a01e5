"""The codecs that a relay forwards, and which decoder can take which stream.

Parameters: H.264 RFC 6184, section 8.1; VP8 RFC 7741, section 6.1; VP9 RFC 9628, section 6.1; AV1 RTP Payload Format
For AV1, section 7.2; Opus RFC 7587. Levels are not compared: what is sent cannot be made smaller anyway.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

FMTP_KEPT: Mapping[str, tuple[str, ...]] = {
    "h264": ("level-asymmetry-allowed", "packetization-mode", "profile-level-id"),
    "opus": ("minptime", "useinbandfec", "stereo"),
    "vp8": ("max-fr", "max-fs"),
    "vp9": ("profile-id",),
    "av1": ("profile", "level-idx", "tier"),
}
"""Our codecs, and what of their parameters is answered."""

_PROFILE_PARAMETER = {"h264": "profile-level-id", "vp9": "profile-id", "av1": "profile"}
# Without profile-level-id it is constrained-less Baseline, level 1 (RFC 6184); the other two begin at 0.
_PROFILE_DEFAULT = {"h264": "42000a", "vp9": "0", "av1": "0"}
# profile_idc, the bits of profile_iop that tell, their value, rank. Decoders of a higher rank also take streams of a
# lower one (H.264, annex A.2): constrained baseline, baseline, main, constrained high, high.
_CONSTRAINED_BASELINE = 0
_H264_PROFILES = (
    (0x42, 0x4F, 0x40, _CONSTRAINED_BASELINE), (0x4D, 0x8F, 0x80, _CONSTRAINED_BASELINE),
    (0x58, 0xCF, 0xC0, _CONSTRAINED_BASELINE), (0x42, 0x4F, 0x00, 1), (0x58, 0xCF, 0x80, 1),
    (0x4D, 0xAF, 0x00, 2), (0x64, 0xFF, 0x0C, 3), (0x64, 0xFF, 0x00, 4),
)  # fmt: skip
_INGEST_ORDER = ("h264", "vp8", "vp9", "av1", "opus")


@dataclass(frozen=True, slots=True)
class Codec:
    """A codec that we relay. `name` is h264, vp8, vp9, av1 or opus; `rtx` the payload type of its retransmissions.

    `profile` is H.264's profile-level-id, VP9's profile-id or AV1's profile; "" for the others.
    """

    name: str
    payload_type: int
    clock_rate: int
    channels: int | None
    fmtp: str
    profile: str = ""
    feedback: frozenset[str] = frozenset()
    rtx: int | None = None

    def distance(self, sent: "Codec") -> int | None:
        """How far this decoder is from what is `sent`: 0 the same, None one that cannot take it.

        H.264: same profile, then one that includes it, then any: browsers decode every profile, and the
        alternative is a black screen. AV1: a higher profile includes the lower ones. VP9: the same profile only.
        """
        if self.name != sent.name:
            return None
        if self.profile == sent.profile:
            return 0
        if self.name != "h264":
            ahead = int(self.profile or "0", 16) - int(sent.profile or "0", 16)
            return ahead if self.name == "av1" and ahead > 0 else None
        mine, theirs = _h264_rank(self.profile), _h264_rank(sent.profile)
        if mine == theirs:
            return 1
        if mine is not None and theirs is not None:
            return 1 + mine - theirs if mine > theirs else 10 + theirs - mine
        return 20


def _h264_rank(profile: str) -> int | None:
    try:
        number, constraints = bytes.fromhex(profile)[:2]
    except ValueError:
        return None
    found = (rank for idc, mask, value, rank in _H264_PROFILES if idc == number and constraints & mask == value)
    return next(found, None)


def profile_of(name: str, given: Mapping[str, str]) -> str:
    """The `Codec.profile` that these parameters mean; absent ones have the codec's default."""
    if name not in _PROFILE_PARAMETER:
        return ""
    return given.get(_PROFILE_PARAMETER[name], _PROFILE_DEFAULT[name]).lower()


def payload_type_for(codecs: Iterable[Codec], sent: Codec) -> int | None:
    """The viewer's payload type for what is `sent`; None when it has none."""
    codec = nearest(codecs, sent)
    return None if codec is None else codec.payload_type


def nearest(codecs: Iterable[Codec], sent: Codec) -> Codec | None:
    """The viewer's codec for what is `sent`; None when it has none."""
    found = [(distance, codec) for codec in codecs if (distance := codec.distance(sent)) is not None]
    return min(found, key=lambda pair: (pair[0], pair[1].payload_type))[1] if found else None


def ingest_rank(codec: Codec) -> tuple[int, int]:
    """Smaller is better to receive: H.264 first, which every viewer, HLS and the recording can use, then by profile."""
    order = _INGEST_ORDER.index(codec.name)
    if codec.name == "h264":
        return order, int(_h264_rank(codec.profile) != _CONSTRAINED_BASELINE)
    return order, int(codec.profile not in ("", "0"))


def viewer_rank(codec: Codec, sent: Codec | None) -> tuple[int, ...]:
    """Smaller is better for a viewer of what is `sent` (None: nothing yet)."""
    if sent is None:
        return (0, *ingest_rank(codec))
    distance = codec.distance(sent)
    return (1, *ingest_rank(codec)) if distance is None else (0, distance)
