"""Offers of browsers and encoders, and what the tests of SDP do with them.

The two of Chromium are recorded from version 156; that of OBS has the form that its version 32 (libdatachannel) gives
it. `browser` is a shortened Chromium 140 without simulcast, `bundle_only` follows the example of RFC 9143.
"""

from pathlib import Path

from stream.wire.sdp import Codec, Local, Offer, Track, layers, published, write_answer

OFFERS = {path.stem: path.read_text() for path in sorted(Path(__file__).parent.glob("*.sdp"))}
BROWSER = OFFERS["browser"]
BUNDLE_ONLY = OFFERS["bundle_only"]
SIMULCAST = OFFERS["chromium_simulcast"]
OBS = OFFERS["obs_simulcast"]
VIEWER = OFFERS["chromium_viewer"]
FINGERPRINT = "sha-256 " + ":".join(["AB"] * 32)
LOCAL = Local("ours", "secret" * 4, ":".join(["CD"] * 32), (("127.0.0.1", 5000), ("::1", 5000)))


def h264(profile: str, number: int = 1) -> Codec:
    return Codec("h264", number, 90000, None, "", profile)


def video_lines(answer: str) -> list[str]:
    return answer.partition("m=video")[2].partition("m=audio")[0].split("\r\n")


def answered(offer: Offer) -> str:
    """What a publisher gets."""
    tracks = {kind: Track((codec,), rids=layers(offer)) for kind, codec in published(offer).items()}
    return write_answer(offer, LOCAL, tracks, stream="demo", version=1)
