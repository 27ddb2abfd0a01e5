"""Offers in, answers out: SDP for WHIP (RFC 9725) and WHEP. No I/O.

An offer is reduced to what a relay needs (`Offer`); the answer is written by hand, because aiortc's lacks
`rtcp-mux-only` and because ours differs from an ordinary one in kind: ICE-lite, one address for everything, codecs
forwarded and never decoded, no header extensions.

Of a bundle (RFC 9143) only the tagged section is sure to carry transport attributes; bundle-only sections may have
port 0 and nothing else, so ICE and DTLS are read once for all. Header extensions, RTX, RED and FEC are not taken up:
retransmissions come in the stream itself. Simulcast is left out of the answer, which means one stream (RFC 8853).
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from aiortc.rtcrtpparameters import RTCRtpCodecParameters
from aiortc.sdp import H264Profile, MediaDescription, SessionDescription, grouplines, parse_h264_profile_level_id

from live.core.errors import Kind, Problem
from live.core.limits import SDP_CODECS_MAX, SDP_LINES_MAX, SDP_SECTIONS_MAX

# What aiortc is to parse; everything else is dropped before, so that no exotic line can make an offer fail. Feedback
# we read ourselves: aiortc compares each such line with each codec, which a hostile offer could make expensive.
_PARSED = {
    "group", "fingerprint", "setup", "ice-ufrag", "ice-pwd", "ice-lite", "mid", "rtcp-mux", "rtpmap", "fmtp",
    "sendrecv", "sendonly", "recvonly", "inactive",
}  # fmt: skip
_PARSE_ERRORS = (ValueError, AssertionError, KeyError, TypeError, AttributeError, IndexError, StopIteration)
_TOKEN = re.compile(r"[!-~]{1,64}")
_ICE = re.compile(r"[A-Za-z0-9+/_=-]{4,256}")  # RFC 8839 has no "_", "=" and "-", but clients do
_FMTP_VALUE = re.compile(r"[0-9a-fA-F]{1,8}")
_FMTP_KEPT = {
    "h264": ("level-asymmetry-allowed", "packetization-mode", "profile-level-id"),
    "opus": ("minptime", "useinbandfec", "stereo"),
    "vp8": ("max-fr", "max-fs"),
}
_FEEDBACK = {"video": ("nack", "nack pli", "ccm fir", "goog-remb"), "audio": ()}
_HASHES = ("sha-256", "sha-384", "sha-512")
# Decoders of the later profile also take streams of the earlier one (H.264, annex A.2).
_PROFILE_ORDER = (
    H264Profile.PROFILE_CONSTRAINED_BASELINE,
    H264Profile.PROFILE_BASELINE,
    H264Profile.PROFILE_MAIN,
    H264Profile.PROFILE_CONSTRAINED_HIGH,
    H264Profile.PROFILE_HIGH,
)


@dataclass(frozen=True, slots=True)
class Codec:
    """A codec that we relay. `name` is h264, vp8 or opus; `profile` is H.264's profile-level-id, else ""."""

    name: str
    payload_type: int
    clock_rate: int
    channels: int | None
    fmtp: str
    profile: str = ""
    feedback: frozenset[str] = frozenset()

    @property
    def _profile(self) -> H264Profile | None:
        try:
            return parse_h264_profile_level_id(self.profile)[0]
        except ValueError:
            return None

    def distance(self, sent: "Codec") -> int | None:
        """How far this decoder is from what is `sent`: 0 the same, None another codec.

        H.264: same profile, then one that includes it, then any: browsers decode every profile, and the
        alternative is a black screen.
        """
        if self.name != sent.name:
            return None
        if self.profile == sent.profile:
            return 0
        mine, theirs = self._profile, sent._profile
        if mine is theirs:
            return 1
        if mine in _PROFILE_ORDER and theirs in _PROFILE_ORDER:
            ahead = _PROFILE_ORDER.index(mine) - _PROFILE_ORDER.index(theirs)
            return 1 + ahead if ahead > 0 else 10 - ahead
        return 20


@dataclass(frozen=True, slots=True)
class Section:
    """One m-section. `codecs` are those we relay, in the offer's order; a section that is not `enabled` is refused."""

    kind: str
    mid: str
    profile: str
    format: str
    enabled: bool
    direction: str
    codecs: tuple[Codec, ...]
    reduced_size: bool


@dataclass(frozen=True, slots=True)
class Offer:
    """What a client offers. `setup` is its DTLS role; `fingerprints` are pairs of hash name and value."""

    sections: tuple[Section, ...]
    setup: str
    fingerprints: tuple[tuple[str, str], ...]
    ufrag: str
    password: str

    def section(self, kind: str) -> Section | None:
        """The enabled section of "audio" or "video"; None when there is none."""
        return next((section for section in self.sections if section.enabled and section.kind == kind), None)


@dataclass(frozen=True, slots=True)
class Local:
    """Our end of a transport. `addresses` are pairs of IP address and UDP port, best first."""

    ufrag: str
    password: str
    fingerprint: str
    addresses: tuple[tuple[str, int], ...]


@dataclass(frozen=True, slots=True)
class Track:
    """What an answered section carries: the codecs taken up, best first; our SSRC (None: we receive)."""

    codecs: tuple[Codec, ...]
    ssrc: int | None = None


@dataclass(frozen=True, slots=True)
class Fragment:
    """The body of a trickle PATCH (RFC 8840); None where an attribute is absent."""

    ufrag: str | None
    password: str | None


def _malformed(detail: str) -> Problem:
    return Problem(Kind.sdp_malformed, detail, field="sdp")


def parse_offer(text: str) -> Offer:
    """The offer in `text`. Raises `Problem` sdp_malformed, not_bundled or duplicate_track."""
    lines = text.splitlines()
    if len(lines) > SDP_LINES_MAX or sum(line.startswith("m=") for line in lines) > SDP_SECTIONS_MAX:
        raise _malformed("The offer has too many lines or sections.")
    if not lines or lines[0].strip() != "v=0":
        raise _malformed("An offer begins with v=0.")
    lines = [line.strip() for line in lines]  # spaces at the ends of lines are common and harmless
    raw = [set(group) for group in grouplines("\n".join(lines))[1]]
    try:
        session = SessionDescription.parse("\r\n".join(filter(_is_parsed, lines)))
        sections = tuple(_section(media, attributes) for media, attributes in zip(session.media, raw, strict=True))
    except _PARSE_ERRORS as error:
        raise _malformed(f"The offer cannot be parsed: {type(error).__name__}.") from error
    used = [index for index, section in enumerate(sections) if section.enabled]
    if not used:
        raise _malformed("The offer has no audio or video section.")
    kinds = [sections[index].kind for index in used]
    if len(set(kinds)) < len(kinds):
        raise Problem(Kind.duplicate_track, field="sdp")
    transport = _check_bundle(session, sections, used)
    return _with_transport(sections, transport)


def _is_parsed(line: str) -> bool:
    if line.startswith("a="):
        return line[2:].partition(":")[0] in _PARSED
    return line[:2] in ("v=", "m=")


def _section(media: MediaDescription, attributes: set[str]) -> Section:
    """The typed form of a parsed section; `attributes` are its raw lines."""
    if not _TOKEN.fullmatch(media.rtp.muxId or "0"):
        raise ValueError("mid")
    if len(media.rtp.codecs) > SDP_CODECS_MAX:
        raise ValueError("rtpmap")
    feedback: dict[str, set[str]] = {"*": set()}
    for line in attributes:
        if line.startswith("a=rtcp-fb:"):
            number, _, what = line[10:].partition(" ")
            feedback.setdefault(number, set()).add(what)
    codecs = []
    for parameters in media.rtp.codecs:
        offered = feedback["*"] | feedback.get(str(parameters.payloadType), set())
        if codec := _codec(parameters, frozenset(offered)):
            codecs.append(codec)
    return Section(
        kind=media.kind,
        mid=media.rtp.muxId,
        profile=media.profile,
        format=str(media.fmt[0]),
        enabled=media.kind in ("audio", "video") and (media.port > 0 or "a=bundle-only" in attributes),
        direction=media.direction or "sendrecv",
        codecs=tuple(codecs),
        reduced_size="a=rtcp-rsize" in attributes,
    )


def _codec(parameters: RTCRtpCodecParameters, feedback: frozenset[str]) -> Codec | None:
    """The codec if we relay it; H.264 only with packetization-mode 1, the one that every sender can use."""
    name = parameters.name.lower()
    rate, channels = parameters.clockRate, parameters.channels
    if name not in _FMTP_KEPT or (rate, channels) != ((48000, 2) if name == "opus" else (90000, None)):
        return None
    number = parameters.payloadType
    if number is None or not 0 <= number <= 127:
        raise ValueError("payload type")
    given = {key.strip().lower(): str(value).strip() for key, value in parameters.parameters.items()}
    if name == "h264" and given.get("packetization-mode") != "1":
        return None
    kept = {key: given[key] for key in _FMTP_KEPT[name] if _FMTP_VALUE.fullmatch(given.get(key, ""))}
    # RFC 6184, section 8.1: without profile-level-id it is constrained-less Baseline, level 1.
    profile = kept.get("profile-level-id", "42000a").lower() if name == "h264" else ""
    fmtp = ";".join(f"{key}={value}" for key, value in kept.items())
    return Codec(name, number, rate, channels, fmtp, profile, feedback)


def _check_bundle(session: SessionDescription, sections: Sequence[Section], used: Sequence[int]) -> MediaDescription:
    """The section whose transport is everybody's. Raises `Problem` not_bundled, sdp_malformed."""
    bundle = next((group.items for group in session.group if group.semantic == "BUNDLE"), [])
    if len(used) > 1 and any(sections[index].mid not in bundle for index in used):
        raise Problem(Kind.not_bundled, "All sections must be in one BUNDLE group.", field="sdp")
    mids = [sections[index].mid for index in used]
    if len(set(mids)) < len(mids):
        raise _malformed("Two sections have the same mid.")
    # In the order of the group: its first member is the tagged one, and may be a section that we refuse.
    order = [index for mid in bundle for index, section in enumerate(sections) if section.mid == mid] or list(used)
    for index in order:
        media = session.media[index]
        assert media.ice is not None, "aiortc gives each section one"
        if media.ice.usernameFragment and media.ice.password and media.dtls:
            if sections[index].enabled and not media.rtcp_mux:
                raise Problem(Kind.not_bundled, "RTP and RTCP must share the transport (a=rtcp-mux).", field="sdp")
            if media.ice.iceLite:
                raise _malformed("Two ICE-lite ends cannot find each other.")
            return media
    raise _malformed("No section has ICE credentials, a fingerprint and a setup role.")


def _with_transport(sections: tuple[Section, ...], media: MediaDescription) -> Offer:
    assert media.ice is not None and media.dtls is not None
    ufrag, password = media.ice.usernameFragment or "", media.ice.password or ""
    if not (_ICE.fullmatch(ufrag) and _ICE.fullmatch(password)):
        raise _malformed("The ICE credentials have an invalid form.")
    fingerprints = tuple((item.algorithm.lower(), item.value.upper()) for item in media.dtls.fingerprints)
    if not any(algorithm in _HASHES for algorithm, _ in fingerprints):
        raise _malformed("The offer needs a certificate fingerprint of SHA-256, SHA-384 or SHA-512.")
    setup = {"auto": "actpass", "client": "active", "server": "passive"}[media.dtls.role]
    return Offer(sections, setup, fingerprints, ufrag, password)


def published(offer: Offer) -> dict[str, Codec]:
    """Which codec of each kind we take from a publisher.

    H.264 first, because every viewer, HLS and the recording can use it; of its profiles the constrained baseline.
    Raises `Problem` wrong_direction or no_common_codec.
    """
    chosen: dict[str, Codec] = {}
    for section in _directed(offer, ("sendonly", "sendrecv"), "A publisher offers sendonly."):
        chosen[section.kind] = min(section.codecs, key=_ingest_rank)
    return chosen


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
        accepted[section.kind] = tuple(sorted(section.codecs, key=lambda codec: _distance(codec, now)))
    return accepted


def payload_type_for(codecs: Iterable[Codec], sent: Codec) -> int | None:
    """The viewer's payload type for what is `sent`; None when it has none."""
    found = [(distance, codec.payload_type) for codec in codecs if (distance := codec.distance(sent)) is not None]
    return min(found)[1] if found else None


def _directed(offer: Offer, directions: tuple[str, ...], detail: str) -> list[Section]:
    sections = [section for section in offer.sections if section.enabled]
    for section in sections:
        if section.direction not in directions:
            detail += f" The {section.kind} section is {section.direction}."
            raise Problem(Kind.wrong_direction, detail, field="sdp")
        if not section.codecs:
            raise Problem(Kind.no_common_codec, f"The {section.kind} section offers none of them.", field="sdp")
    return sections


def _ingest_rank(codec: Codec) -> tuple[bool, bool]:
    return codec.name != "h264", codec._profile is not H264Profile.PROFILE_CONSTRAINED_BASELINE


def _distance(codec: Codec, sent: Codec | None) -> tuple[int, ...]:
    if sent is None:
        return (0, *_ingest_rank(codec))
    distance = codec.distance(sent)
    return (1, *_ingest_rank(codec)) if distance is None else (0, distance)


def write_answer(offer: Offer, local: Local, tracks: dict[str, Track], *, stream: str, version: int) -> str:
    """The answer to `offer`.

    `tracks` has an entry for each enabled section; `stream` names the MediaStream and is the CNAME.
    """
    host = local.addresses[0][0]
    bundle = " ".join(section.mid for section in offer.sections if section.enabled and section.mid)
    lines = ["v=0", f"o=- {version} 1 {_network(host)}", "s=-", "t=0 0", "a=ice-lite"]
    if bundle:
        lines.append(f"a=group:BUNDLE {bundle}")
    lines.append("a=msid-semantic:WMS *")
    for section in offer.sections:
        if section.enabled:
            lines += _answer_section(offer, section, local, tracks[section.kind], stream)
        else:
            lines += [f"m={section.kind} 0 {section.profile} {section.format}", f"c={_network(host)}", "a=inactive"]
            lines += [f"a=mid:{section.mid}"] if section.mid else []
    return "\r\n".join(lines) + "\r\n"


def _answer_section(offer: Offer, section: Section, local: Local, track: Track, stream: str) -> list[str]:
    host, port = local.addresses[0]
    formats = " ".join(str(codec.payload_type) for codec in track.codecs)
    lines = [f"m={section.kind} {port} {section.profile} {formats}", f"c={_network(host)}"]
    lines += [f"a=mid:{section.mid}"] if section.mid else []
    lines += ["a=recvonly" if track.ssrc is None else "a=sendonly", "a=rtcp-mux", "a=rtcp-mux-only"]
    lines += ["a=rtcp-rsize"] if section.reduced_size else []
    lines += [
        f"a=ice-ufrag:{local.ufrag}",
        f"a=ice-pwd:{local.password}",
        f"a=fingerprint:sha-256 {local.fingerprint}",
        "a=setup:active" if offer.setup == "passive" else "a=setup:passive",
    ]
    for codec in track.codecs:
        name = codec.name if codec.name == "opus" else codec.name.upper()
        channels = f"/{codec.channels}" if codec.channels else ""
        lines.append(f"a=rtpmap:{codec.payload_type} {name}/{codec.clock_rate}{channels}")
        lines += [f"a=fmtp:{codec.payload_type} {codec.fmtp}"] if codec.fmtp else []
        # Only what was offered may be answered (RFC 4585, section 4.2).
        kept = [item for item in _FEEDBACK[section.kind] if item in codec.feedback]
        lines += [f"a=rtcp-fb:{codec.payload_type} {item}" for item in kept]
    if track.ssrc is not None:
        label = f"{stream} {stream}-{section.kind}"
        lines += [f"a=msid:{label}", f"a=ssrc:{track.ssrc} cname:{stream}", f"a=ssrc:{track.ssrc} msid:{label}"]
    for index, (address, number) in enumerate(local.addresses):
        priority = 126 << 24 | (65535 - index) << 8 | 255  # RFC 8445, section 5.1.2.1
        lines.append(f"a=candidate:{index + 1} 1 udp {priority} {address} {number} typ host")
    return [*lines, "a=end-of-candidates"]


def _network(address: str) -> str:
    return f"IN IP{6 if ':' in address else 4} {address}"


def parse_fragment(text: str) -> Fragment:
    """The body of a PATCH (RFC 8840, section 9). Candidates are not read: an ICE-lite end never calls out.

    Raises `Problem` sdp_malformed.
    """
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if not lines or len(lines) > SDP_LINES_MAX or any(not re.match(r"[a-z]=", line) for line in lines):
        raise _malformed("The fragment cannot be parsed.")
    found: dict[str, str] = {}
    for line in lines:
        name, _, value = line.removeprefix("a=").partition(":")
        if name in ("ice-ufrag", "ice-pwd"):
            if not _ICE.fullmatch(value):
                raise _malformed(f"The fragment's {name} has an invalid form.")
            found.setdefault(name, value)
    return Fragment(found.get("ice-ufrag"), found.get("ice-pwd"))
