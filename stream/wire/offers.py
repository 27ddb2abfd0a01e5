"""What clients send as SDP, reduced to what a relay needs: offers (RFC 8866, 9429) and trickle fragments (RFC 8840).

Of a bundle (RFC 9143) only the tagged section is sure to carry transport attributes; bundle-only sections may have
port 0 and nothing else, so ICE and DTLS are read once for all. RED and FEC are not taken up.

aiortc parses the transport and the codecs. Feedback, header extensions, simulcast and SSRCs we read ourselves: it does
not know them all, and what it compares line by line a hostile offer could make expensive.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from aiortc.rtcrtpparameters import RTCRtpCodecParameters
from aiortc.sdp import MediaDescription, SessionDescription, grouplines

from live.core.errors import Kind, Problem
from live.core.limits import RID_CHARS_MAX, SDP_CODECS_MAX, SDP_LINES_MAX, SDP_SECTIONS_MAX
from stream.wire.codecs import FMTP_KEPT, Codec, profile_of

# Header extensions that a relay reads: RFC 9143, section 15; RFC 8852, section 4; send time for REMB.
MID = "urn:ietf:params:rtp-hdrext:sdes:mid"
RTP_STREAM_ID = "urn:ietf:params:rtp-hdrext:sdes:rtp-stream-id"
REPAIRED_RTP_STREAM_ID = "urn:ietf:params:rtp-hdrext:sdes:repaired-rtp-stream-id"
ABS_SEND_TIME = "http://www.webrtc.org/experiments/rtp-hdrext/abs-send-time"
EXTENSIONS = (MID, RTP_STREAM_ID, REPAIRED_RTP_STREAM_ID, ABS_SEND_TIME)

# What aiortc is to parse; everything else is dropped before, so that no exotic line can make an offer fail.
_PARSED = {
    "group", "fingerprint", "setup", "ice-ufrag", "ice-pwd", "ice-lite", "mid", "rtcp-mux", "rtpmap", "fmtp",
    "sendrecv", "sendonly", "recvonly", "inactive",
}  # fmt: skip
_PARSE_ERRORS = (ValueError, AssertionError, KeyError, TypeError, AttributeError, IndexError, StopIteration)
_TOKEN = re.compile(r"[!-~]{1,64}")
_ICE = re.compile(r"[A-Za-z0-9+/_=-]{4,256}")  # RFC 8839 has no "_", "=" and "-", but clients do
_FMTP_VALUE = re.compile(r"[0-9a-fA-F]{1,8}")
_EXTMAP = re.compile(r"a=extmap:([0-9]{1,3})(?:/(sendonly|sendrecv))? +(\S{1,256})")
_RID = re.compile(rf"a=rid:([A-Za-z0-9_-]{{1,{RID_CHARS_MAX}}}) +send(?: +(\S.*))?")
_SSRC = re.compile(r"a=ssrc:([0-9]{1,10}) .*")
_FID = re.compile(r"a=ssrc-group:FID ([0-9]{1,10}) ([0-9]{1,10})")
_HASHES = ("sha-256", "sha-384", "sha-512")
_RTCP_TYPES = range(64, 96)  # with the marker these look like RTCP on the same port (RFC 5761, section 4)


@dataclass(frozen=True, slots=True)
class Section:
    """One m-section. `codecs` are those we relay, in the offer's order; a section that is not `enabled` is refused.

    `rids` are the simulcast streams that it offers to send, () for none; `rid_formats` has the payload types of those
    that are restricted to some. `extensions` maps the URIs that we use to their ids; those in `one_way` are offered
    for sending only. `ssrc` and `rtx_ssrc` are what it names as its first stream and that one's retransmissions.
    """

    kind: str
    mid: str
    profile: str
    format: str
    enabled: bool
    direction: str
    codecs: tuple[Codec, ...]
    reduced_size: bool
    rids: tuple[str, ...] = ()
    rid_formats: dict[str, frozenset[int]] = field(default_factory=dict)
    extensions: dict[str, int] = field(default_factory=dict)
    one_way: frozenset[str] = frozenset()
    ssrc: int | None = None
    rtx_ssrc: int | None = None


@dataclass(frozen=True, slots=True)
class Offer:
    """What a client offers. `setup` is its DTLS role; `fingerprints` are pairs of hash name and value.

    `mixed_extensions`: one- and two-byte header extensions may alternate (RFC 8285, section 6).
    """

    sections: tuple[Section, ...]
    setup: str
    fingerprints: tuple[tuple[str, str], ...]
    ufrag: str
    password: str
    mixed_extensions: bool = False

    def section(self, kind: str) -> Section | None:
        """The enabled section of "audio" or "video"; None when there is none."""
        return next((section for section in self.sections if section.enabled and section.kind == kind), None)


@dataclass(frozen=True, slots=True)
class Fragment:
    """The body of a trickle PATCH (RFC 8840); None where an attribute is absent."""

    ufrag: str | None
    password: str | None


def malformed(detail: str) -> Problem:
    return Problem(Kind.sdp_malformed, detail, field="sdp")


def parse_offer(text: str) -> Offer:
    """The offer in `text`. Raises `Problem` sdp_malformed, not_bundled or duplicate_track."""
    lines = text.splitlines()
    if len(lines) > SDP_LINES_MAX or sum(line.startswith("m=") for line in lines) > SDP_SECTIONS_MAX:
        raise malformed("The offer has too many lines or sections.")
    if not lines or lines[0].strip() != "v=0":
        raise malformed("An offer begins with v=0.")
    lines = [line.strip() for line in lines]  # spaces at the ends of lines are common and harmless
    common, raw = grouplines("\n".join(lines))
    try:
        session = SessionDescription.parse("\r\n".join(filter(_is_parsed, lines)))
        sections = tuple(_section(media, own, common) for media, own in zip(session.media, raw, strict=True))
    except _PARSE_ERRORS as error:
        raise malformed("The offer cannot be parsed.") from error
    used = [index for index, section in enumerate(sections) if section.enabled]
    if not used:
        raise malformed("The offer has no audio or video section.")
    kinds = [sections[index].kind for index in used]
    if len(set(kinds)) < len(kinds):
        raise Problem(Kind.duplicate_track, field="sdp")
    transport = _check_bundle(session, sections, used)
    return _with_transport(sections, transport, "a=extmap-allow-mixed" in common)


def _is_parsed(line: str) -> bool:
    if line.startswith("a="):
        return line[2:].partition(":")[0] in _PARSED
    return line[:2] in ("v=", "m=")


def _section(media: MediaDescription, own: Sequence[str], common: Sequence[str]) -> Section:
    """The typed form of a parsed section; `own` are its raw lines, `common` those of the session."""
    if not all(_TOKEN.fullmatch(word) for word in (media.kind, str(media.fmt[0]), media.rtp.muxId or "0")):
        raise ValueError("a word that would be answered")
    attributes = set(own)
    rids, rid_formats = _simulcast(own)
    extensions, one_way = _extensions([*own, *common])
    ssrc, rtx_ssrc = _ssrcs(own)
    return Section(
        kind=media.kind,
        mid=media.rtp.muxId,
        profile=media.profile,
        format=str(media.fmt[0]),
        enabled=media.kind in ("audio", "video") and (media.port > 0 or "a=bundle-only" in attributes),
        direction=media.direction or "sendrecv",
        codecs=_codecs(media.rtp.codecs, attributes),
        reduced_size="a=rtcp-rsize" in attributes,
        rids=rids,
        rid_formats=rid_formats,
        extensions=extensions,
        one_way=one_way,
        ssrc=ssrc,
        rtx_ssrc=rtx_ssrc,
    )


# --- codecs -----------------------------------------------------------------------------------------------------


def _codecs(offered: Sequence[RTCRtpCodecParameters], attributes: Iterable[str]) -> tuple[Codec, ...]:
    """Those we relay, in the offer's order, with their retransmissions; of a payload type the first line counts."""
    if len(offered) > SDP_CODECS_MAX:
        raise ValueError("rtpmap")
    feedback: dict[str, set[str]] = {"*": set()}
    for line in attributes:
        if line.startswith("a=rtcp-fb:"):
            target, _, what = line[10:].partition(" ")
            feedback.setdefault(target, set()).add(what)
    by_type: dict[int, RTCRtpCodecParameters] = {}
    for parameters in offered:
        if parameters.payloadType is None or not 0 <= parameters.payloadType <= 127:
            raise ValueError("payload type")
        if parameters.payloadType not in _RTCP_TYPES:
            by_type.setdefault(parameters.payloadType, parameters)
    rtx: dict[object, int] = {}  # by the payload type that is repeated
    for number, parameters in by_type.items():
        if (parameters.name.lower(), parameters.clockRate) == ("rtx", 90000):
            rtx.setdefault(parameters.parameters.get("apt"), number)
    codecs = []
    for number, parameters in by_type.items():
        offers = feedback["*"] | feedback.get(str(number), set())
        if codec := _codec(number, parameters, frozenset(offers), rtx.get(number)):
            codecs.append(codec)
    return tuple(codecs)


def _codec(number: int, parameters: RTCRtpCodecParameters, feedback: frozenset[str], rtx: int | None) -> Codec | None:
    """The codec if we relay it; H.264 only with packetization-mode 1, the one that every sender can use."""
    name = parameters.name.lower()
    rate, channels = parameters.clockRate, parameters.channels
    if name not in FMTP_KEPT or (rate, channels) != ((48000, 2) if name == "opus" else (90000, None)):
        return None
    given = {key.strip().lower(): str(value).strip() for key, value in parameters.parameters.items()}
    if name == "h264" and given.get("packetization-mode") != "1":
        return None
    kept = {key: given[key] for key in FMTP_KEPT[name] if _FMTP_VALUE.fullmatch(given.get(key, ""))}
    fmtp = ";".join(f"{key}={value}" for key, value in kept.items())
    return Codec(name, number, rate, channels, fmtp, profile_of(name, kept), feedback, rtx)


# --- streams ----------------------------------------------------------------------------------------------------


def _simulcast(lines: Iterable[str]) -> tuple[tuple[str, ...], dict[str, frozenset[int]]]:
    """The streams to be sent, most wanted first, and the payload types of those restricted to some (RFC 8853, 8851).

    Of alternatives the first is taken, a stream that begins paused (`~`) too. Streams without a valid a=rid line of
    their own, and streams named twice, are left out.
    """
    declared: dict[str, str | None] = {}
    wanted: list[str] = []
    for line in lines:
        if match := _RID.fullmatch(line):
            declared[match[1]] = None if match[1] in declared else match[2] or ""
        elif line.startswith("a=simulcast:") and not wanted:
            words = line[12:].split()
            wanted = next((streams.split(";") for way, streams in pairwise(words) if way == "send"), [])
    rids = dict.fromkeys(stream.partition(",")[0].removeprefix("~") for stream in wanted)
    formats = {}
    for rid in rids:
        for restriction in (declared.get(rid) or "").split(";"):
            name, _, value = restriction.strip().partition("=")
            if name == "pt":
                formats[rid] = frozenset(int(number) for number in value.split(",") if number in _PAYLOAD_TYPES)
    return tuple(rid for rid in rids if declared.get(rid) is not None), formats


_PAYLOAD_TYPES = frozenset(map(str, range(128)))


def _extensions(lines: Iterable[str]) -> tuple[dict[str, int], frozenset[str]]:
    """URIs that we use to their ids, and which of them are for sending only; of an id or URI the first line counts."""
    found: dict[str, int] = {}
    one_way = set()
    taken = set()
    for line in lines:
        match = _EXTMAP.match(line)
        if match is None or match[3] in found or not 1 <= int(match[1]) <= 255 or int(match[1]) in taken:
            continue
        taken.add(int(match[1]))
        if match[3] in EXTENSIONS:
            found[match[3]] = int(match[1])
            if match[2] == "sendonly":
                one_way.add(match[3])
    return found, frozenset(one_way)


def _ssrcs(lines: Iterable[str]) -> tuple[int | None, int | None]:
    """The first stream and its retransmissions (RFC 5576; RFC 4588, section 8.8)."""
    first = None
    for line in lines:
        if (match := _FID.fullmatch(line)) and match[1] != match[2] and max(int(match[1]), int(match[2])) < 1 << 32:
            return int(match[1]), int(match[2])
        if first is None and (match := _SSRC.fullmatch(line)) and int(match[1]) < 1 << 32:
            first = int(match[1])
    return first, None


# --- transport --------------------------------------------------------------------------------------------------


def _check_bundle(session: SessionDescription, sections: Sequence[Section], used: Sequence[int]) -> MediaDescription:
    """The section whose transport is everybody's. Raises `Problem` not_bundled, sdp_malformed."""
    bundle = next((group.items for group in session.group if group.semantic == "BUNDLE"), [])
    if len(used) > 1 and any(sections[index].mid not in bundle for index in used):
        raise Problem(Kind.not_bundled, "All sections must be in one BUNDLE group.", field="sdp")
    mids = [sections[index].mid for index in used]
    if len(set(mids)) < len(mids):
        raise malformed("Two sections have the same mid.")
    # In the order of the group: its first member is the tagged one, and may be a section that we refuse.
    order = [index for mid in bundle for index, section in enumerate(sections) if section.mid == mid] or list(used)
    for index in order:
        media = session.media[index]
        assert media.ice is not None, "aiortc gives each section one"
        if media.ice.usernameFragment and media.ice.password and media.dtls:
            if sections[index].enabled and not media.rtcp_mux:
                raise Problem(Kind.not_bundled, "RTP and RTCP must share the transport (a=rtcp-mux).", field="sdp")
            if media.ice.iceLite:
                raise malformed("Two ICE-lite ends cannot find each other.")
            return media
    raise malformed("No section has ICE credentials, a fingerprint and a setup role.")


def _with_transport(sections: tuple[Section, ...], media: MediaDescription, mixed: bool) -> Offer:
    assert media.ice is not None and media.dtls is not None
    ufrag, password = media.ice.usernameFragment or "", media.ice.password or ""
    if not (_ICE.fullmatch(ufrag) and _ICE.fullmatch(password)):
        raise malformed("The ICE credentials have an invalid form.")
    fingerprints = tuple((item.algorithm.lower(), item.value.upper()) for item in media.dtls.fingerprints)
    if not any(algorithm in _HASHES for algorithm, _ in fingerprints):
        raise malformed("The offer needs a certificate fingerprint of SHA-256, SHA-384 or SHA-512.")
    setup = {"auto": "actpass", "client": "active", "server": "passive"}[media.dtls.role]
    return Offer(sections, setup, fingerprints, ufrag, password, mixed)


def parse_fragment(text: str) -> Fragment:
    """The body of a PATCH (RFC 8840, section 9). Candidates are not read: an ICE-lite end never calls out.

    Raises `Problem` sdp_malformed.
    """
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if not lines or len(lines) > SDP_LINES_MAX or any(not re.match(r"[a-z]=", line) for line in lines):
        raise malformed("The fragment cannot be parsed.")
    found: dict[str, str] = {}
    for line in lines:
        name, _, value = line.removeprefix("a=").partition(":")
        if name in ("ice-ufrag", "ice-pwd"):
            if not _ICE.fullmatch(value):
                raise malformed(f"The fragment's {name} has an invalid form.")
            found.setdefault(name, value)
    return Fragment(found.get("ice-ufrag"), found.get("ice-pwd"))
