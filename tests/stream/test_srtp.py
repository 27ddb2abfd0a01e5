"""Keys of both ends, and the contract with pylibsrtp's private names."""

import os

import pylibsrtp
import pytest

from stream.transport.srtp import PROFILES, TAG_BYTES_MAX, Keys, ProtectError, keying_bytes, protect_in_place

PACKET = bytes.fromhex("80660001000000000000000a") + b"x" * 500


def pair(profile: str) -> tuple[Keys, Keys]:
    """The server's and the client's keys of one session."""
    material = os.urandom(keying_bytes(profile))
    return Keys(profile, material, active=False), Keys(profile, material, active=True)


class TestContract:
    """What `stream/transport/srtp.py` relies on. When this fails, read pylibsrtp's diff before touching the pin."""

    def test_the_version_is_the_pinned_one(self) -> None:
        assert pylibsrtp.__version__ == "1.0.0"

    @pytest.mark.parametrize("profile", PROFILES)
    def test_libsrtp_is_called_as_pylibsrtp_calls_it(self, profile: str) -> None:
        ours, theirs = pair(profile)
        assert pylibsrtp._binding.ffi.typeof(protect_in_place) == pylibsrtp._binding.ffi.typeof(
            "srtp_err_status_t(*)(srtp_t, void *, int *)"
        )
        slot = bytearray(PACKET.ljust(1500, b"\0"))
        length = pylibsrtp._binding.ffi.new("int *", len(PACKET))
        assert protect_in_place(ours.handle, pylibsrtp._binding.ffi.from_buffer(slot), length) == 0
        assert length[0] == len(PACKET) + ours.tag, "a tag has one length, so that lengths need not be read back"
        protected = bytes(slot[: length[0]])
        assert protected == ours.protect(PACKET), "a packet that is protected a second time comes out the same"
        assert theirs.unprotect(protected) == PACKET


@pytest.mark.parametrize("profile", PROFILES)
def test_each_end_reads_the_other_and_nobody_reads_itself(profile: str) -> None:
    server, client = pair(profile)
    assert client.unprotect(server.protect(PACKET)) == PACKET
    assert server.unprotect(client.protect(PACKET)) == PACKET
    with pytest.raises(ProtectError):
        server.unprotect(server.protect(PACKET))
    report = bytes.fromhex("80c8000600000001") + bytes(20)
    assert client.unprotect_rtcp(server.protect_rtcp(report)) == report
    assert server.unprotect_rtcp(client.protect_rtcp(report)) == report
    assert server.profile == profile


def test_the_fastest_profile_comes_first_and_the_usual_one_is_there() -> None:
    assert next(iter(PROFILES)) == "SRTP_AEAD_AES_128_GCM"
    assert "SRTP_AES128_CM_SHA1_80" in PROFILES
    assert TAG_BYTES_MAX == 16
