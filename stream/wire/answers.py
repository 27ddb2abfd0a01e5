"""What we answer: SDP for WHIP (RFC 9725) and WHEP, and the fragment of an ICE restart.

Written by hand, because aiortc's answers lack `rtcp-mux-only`, `rid` and `simulcast`, and because ours differ from
ordinary ones in kind: ICE-lite, one address for everything, codecs forwarded and never decoded. Only what was offered
is answered: feedback (RFC 4585, section 4.2), retransmissions (RFC 4588), streams (RFC 8853), and towards publishers
the header extensions (RFC 8285) that tell us streams and send times; viewers get none.
"""

from dataclasses import dataclass

from stream.wire.codecs import Codec
from stream.wire.offers import EXTENSIONS, Offer, Section

_FEEDBACK = {"video": ("nack", "nack pli", "ccm fir", "goog-remb"), "audio": ()}


@dataclass(frozen=True, slots=True)
class Local:
    """Our end of a transport. `addresses` are pairs of IP address and UDP port, best first."""

    ufrag: str
    password: str
    fingerprint: str
    addresses: tuple[tuple[str, int], ...]


@dataclass(frozen=True, slots=True)
class Track:
    """What an answered section carries: the codecs taken up, best first; our SSRC (None: we receive).

    `rtx_ssrc` is that of our retransmissions (None: they go in the stream itself); `rids` are the simulcast streams
    we receive, () or ("",) for a single one.
    """

    codecs: tuple[Codec, ...]
    ssrc: int | None = None
    rtx_ssrc: int | None = None
    rids: tuple[str, ...] = ()


def write_answer(offer: Offer, local: Local, tracks: dict[str, Track], *, stream: str, version: int) -> str:
    """The answer to `offer`.

    `tracks` has an entry for each enabled section; `stream` names the MediaStream and is the CNAME.
    """
    host = local.addresses[0][0]
    lines = ["v=0", f"o=- {version} 1 {_network(host)}", "s=-", "t=0 0", "a=ice-lite", *_bundle(offer)]
    if offer.mixed_extensions and any(track.ssrc is None for track in tracks.values()):
        lines.append("a=extmap-allow-mixed")
    lines.append("a=msid-semantic:WMS *")
    for section in offer.sections:
        if section.enabled:
            lines += _answer_section(offer, section, local, tracks[section.kind], stream)
        else:
            lines += [f"m={section.kind} 0 {section.profile} {section.format}", f"c={_network(host)}", "a=inactive"]
            lines += [f"a=mid:{section.mid}"] if section.mid else []
    return "\r\n".join(lines) + "\r\n"


def write_fragment(offer: Offer, local: Local) -> str:
    """Our end after an ICE restart (RFC 9725, section 4.3.3; RFC 8840), with the new credentials."""
    section = next(section for section in offer.sections if section.enabled)
    lines = ["a=ice-lite", *_bundle(offer), f"m={section.kind} 9 {section.profile} {section.format}"]
    lines += [f"a=mid:{section.mid}"] if section.mid else []
    lines += [f"a=ice-ufrag:{local.ufrag}", f"a=ice-pwd:{local.password}", *_candidates(local)]
    return "\r\n".join(lines) + "\r\n"


def _bundle(offer: Offer) -> list[str]:
    bundle = " ".join(section.mid for section in offer.sections if section.enabled and section.mid)
    return [f"a=group:BUNDLE {bundle}"] if bundle else []


def _answer_section(offer: Offer, section: Section, local: Local, track: Track, stream: str) -> list[str]:
    host, port = local.addresses[0]
    codec_lines, formats = _answer_codecs(section, track)
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
    if track.ssrc is None:
        for uri in EXTENSIONS:
            if uri in section.extensions:
                way = "/recvonly" if uri in section.one_way else ""
                lines.append(f"a=extmap:{section.extensions[uri]}{way} {uri}")
    lines += codec_lines
    if track.ssrc is None:
        rids = [rid for rid in track.rids if rid in section.rids] if section.kind == "video" else []
        lines += [f"a=rid:{rid} recv" for rid in rids]
        lines += [f"a=simulcast:recv {';'.join(rids)}"] if rids else []
    else:
        label = f"{stream} {stream}-{section.kind}"
        lines.append(f"a=msid:{label}")
        ssrcs = [track.ssrc]
        if track.rtx_ssrc is not None:
            ssrcs.append(track.rtx_ssrc)
            lines.append(f"a=ssrc-group:FID {track.ssrc} {track.rtx_ssrc}")
        for ssrc in ssrcs:
            lines += [f"a=ssrc:{ssrc} cname:{stream}", f"a=ssrc:{ssrc} msid:{label}"]
    return lines + _candidates(local)


def _answer_codecs(section: Section, track: Track) -> tuple[list[str], str]:
    """The lines of the codecs, and their payload types as the m-line names them."""
    lines = []
    formats = []
    for codec in track.codecs:
        number = codec.payload_type
        name = codec.name if codec.name == "opus" else codec.name.upper()
        channels = f"/{codec.channels}" if codec.channels else ""
        formats.append(number)
        lines.append(f"a=rtpmap:{number} {name}/{codec.clock_rate}{channels}")
        lines += [f"a=fmtp:{number} {codec.fmtp}"] if codec.fmtp else []
        kept = [item for item in _FEEDBACK[section.kind] if item in codec.feedback]
        lines += [f"a=rtcp-fb:{number} {item}" for item in kept]
        if codec.rtx is not None and (track.ssrc is None or track.rtx_ssrc is not None):
            formats.append(codec.rtx)
            lines += [f"a=rtpmap:{codec.rtx} rtx/{codec.clock_rate}", f"a=fmtp:{codec.rtx} apt={number}"]
    return lines, " ".join(map(str, formats))


def _candidates(local: Local) -> list[str]:
    lines = []
    for index, (address, number) in enumerate(local.addresses):
        priority = 126 << 24 | (65535 - index) << 8 | 255  # RFC 8445, section 5.1.2.1
        lines.append(f"a=candidate:{index + 1} 1 udp {priority} {address} {number} typ host")
    return [*lines, "a=end-of-candidates"]


def _network(address: str) -> str:
    return f"IN IP{6 if ':' in address else 4} {address}"
