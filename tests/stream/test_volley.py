"""Packets to many viewers at once: the same bytes as one by one, and nobody suffers for another's trouble."""

import errno
import itertools
import os
import socket
import struct
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from live.core.limits import RELAY_STEP_PACKETS, RTP_PROTECT_BYTES_MAX
from stream.transport import volley
from stream.transport.srtp import PROFILES, Keys, keying_bytes
from stream.transport.volley import Target, Volley, can_segment, packed, runs

GCM, CM = "SRTP_AEAD_AES_128_GCM", "SRTP_AES128_CM_SHA1_80"
pytestmark = pytest.mark.skipif(not Volley.available, reason="needs sendmmsg")


def rtp(number: int, size: int = 600) -> bytes:
    return struct.pack("!BBHII", 0x80, 102, number, 90_000, 7) + bytes([number % 256]) * (size - 12)


class Viewer:
    """Keys, a socket that receives, and a second set of the same keys to compare with."""

    def __init__(self, profile: str = GCM, host: str = "127.0.0.1") -> None:
        material = os.urandom(keying_bytes(profile))
        self.keys, self.twin = (Keys(profile, material, active=False) for _ in range(2))
        self.socket = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.setblocking(False)
        self.socket.bind((host, 0))
        self.target = Target(self.keys, self.socket.getsockname())

    def received(self) -> list[bytes]:
        """What has come; on loopback it is here as soon as it is sent."""
        found = []
        try:
            while True:
                found.append(self.socket.recv(2048))
        except BlockingIOError:
            return found


Make = Callable[..., Viewer]


@pytest.fixture
def viewer() -> Iterator[Make]:
    made: list[Viewer] = []

    def make(*arguments: Any, **options: Any) -> Viewer:
        made.append(Viewer(*arguments, **options))
        return made[-1]

    yield make
    for each in made:
        each.socket.close()


class Kernel:
    """`sendmmsg` with a script: for each call a number of messages to pass on at most, or an error."""

    def __init__(self, *script: int | str) -> None:
        self.script = list(script)
        self.calls: list[int] = []
        self._real = volley._libc

    def sendmmsg(self, descriptor: int, messages: Any, count: int, flags: int) -> int:
        self.calls.append(count)
        step = self.script.pop(0) if self.script else count
        if isinstance(step, str):
            volley._ffi.errno = getattr(errno, step)
            return -1
        return int(self._real.sendmmsg(descriptor, messages, min(step, count), flags))


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize(
    "sizes", [[600], [600, 600], [600, 600, 80], [80, 600], [1100] * 5 + [700, 90, 90], [300] * 16]
)
def test_everybody_gets_the_bytes_that_protect_would_have_made(
    raw: socket.socket, viewer: Make, profile: str, sizes: list[int]
) -> None:
    viewers = [viewer(profile) for _ in range(5)]
    shot = Volley(raw)
    for batch in range(2):
        packets = [rtp(100 + batch * 50 + index, size) for index, size in enumerate(sizes)]
        room = shot.load(packets, len(viewers))
        assert room == min(RELAY_STEP_PACKETS // len(sizes), 5)
        for first in range(0, 5, room):
            assert shot.send([each.target for each in viewers[first : first + room]]) == []
        for each in viewers:
            assert each.received() == [each.twin.protect(packet) for packet in packets]


def test_viewers_with_other_keys_and_paths_share_a_round(raw: socket.socket, viewer: Make) -> None:
    viewers = [viewer(GCM), viewer(GCM), viewer(CM), viewer(GCM), viewer(CM)]
    viewers[3].target.kind = (*viewers[3].target.kind[:2], False)
    packets = [rtp(1), rtp(2), rtp(3, 50)]
    shot = Volley(raw)
    shot.load(packets, 5)
    assert shot.send([each.target for each in viewers]) == []
    for each in viewers:
        assert each.received() == [each.twin.protect(packet) for packet in packets]


def test_the_same_list_is_loaded_once(raw: socket.socket, viewer: Make) -> None:
    viewers = [viewer() for _ in range(3)]
    packets, shot = [rtp(1), rtp(2)], Volley(raw)
    assert shot.load(packets, 2) == 2
    plain = shot._plain
    assert shot.load(packets, 1) == 2
    assert shot._plain is plain
    assert shot.load(packets, 3) == 3
    assert shot.send([each.target for each in viewers]) == []
    assert shot.load([rtp(1, RTP_PROTECT_BYTES_MAX + 1)], 1) == 0
    assert shot.load(packets, 3) == 3
    assert shot.send([each.target for each in viewers]) == []
    assert [len(each.received()) for each in viewers] == [4, 4, 4]


def test_a_viewer_may_get_its_own_packets(raw: socket.socket, viewer: Make) -> None:
    viewers = [viewer(GCM), viewer(CM), viewer(GCM), viewer(GCM)]
    packets, other = [rtp(1), rtp(2)], [rtp(701), rtp(702)]
    shot = Volley(raw)
    shot.load(packets, 4)
    assert shot.send([each.target for each in viewers], [None, other, None, other]) == []
    for each, expected in zip(viewers, (packets, other, packets, other), strict=True):
        assert each.received() == [each.twin.protect(packet) for packet in expected]
    with pytest.raises(BufferError):
        shot.send([viewers[0].target], [[rtp(1, 599), rtp(2)]])


def test_ipv6(viewer: Make) -> None:
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as raw:
        raw.setblocking(False)
        raw.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, False)
        raw.bind(("::", 0))
        six, four = viewer(host="::1"), viewer()
        four.target = Target(four.keys, (f"::ffff:{'127.0.0.1'}", four.socket.getsockname()[1], 0, 0))
        shot = Volley(raw)
        shot.load([rtp(1), rtp(2)], 2)
        assert shot.send([six.target, four.target]) == []
        assert len(six.received()) == len(four.received()) == 2


def test_what_does_not_fit_is_not_taken(raw: socket.socket) -> None:
    shot = Volley(raw)
    assert shot.load([], 1) == 0
    assert shot.load([rtp(1)] * (RELAY_STEP_PACKETS + 1), 1) == 0
    assert shot.load([rtp(1), rtp(2, RTP_PROTECT_BYTES_MAX + 1)], 1) == 0
    assert shot.load([rtp(2, RTP_PROTECT_BYTES_MAX)], 1) == 1


def test_what_libsrtp_refuses_never_leaves_and_the_others_get_theirs(raw: socket.socket, viewer: Make) -> None:
    viewers = [viewer() for _ in range(4)]
    viewers[1].keys.protect(rtp(20_000))  # far ahead: what comes now is too old for it
    shot = Volley(raw)
    packets = [rtp(1), rtp(2)]
    shot.load(packets, 4)
    assert shot.send([each.target for each in viewers]) == [(1, 0)]
    assert [len(each.received()) for each in viewers] == [2, 0, 2, 2]


def test_a_full_buffer_tells_who_missed_what(raw: socket.socket, viewer: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    viewers = [viewer() for _ in range(4)]
    packets = [rtp(1), rtp(2), rtp(3, 900)]  # two messages for each viewer
    kernel = Kernel(3, "EAGAIN", "EAGAIN", 1)
    monkeypatch.setattr(volley, "_libc", kernel)
    shot = Volley(raw)
    shot.load(packets, 4)
    assert shot.send([each.target for each in viewers]) == [(1, 2), (2, 0)]
    assert kernel.calls == [8, 5, 4, 2, 1]
    assert [len(each.received()) for each in viewers] == [3, 2, 0, 3]
    assert all(each.target.kind[2] for each in viewers)


@pytest.mark.parametrize("error", ["EINVAL", "EIO", "EMSGSIZE"])
def test_a_path_that_does_not_cut_messages_gets_datagrams_from_then_on(
    raw: socket.socket, viewer: Make, monkeypatch: pytest.MonkeyPatch, error: str
) -> None:
    viewers = [viewer() for _ in range(2)]
    packets = [rtp(1), rtp(2), rtp(3)]
    monkeypatch.setattr(volley, "_libc", Kernel(error))
    shot = Volley(raw)
    shot.load(packets, 2)
    targets = [each.target for each in viewers]
    assert shot.send(targets) == [(0, 0)]
    assert [len(each.received()) for each in viewers] == [0, 3]
    assert shot.send(targets) == []
    assert [len(each.received()) for each in viewers] == [3, 3]
    assert [target.kind[2] for target in targets] == [False, True]


def test_an_error_of_a_single_datagram_says_nothing_about_cutting(
    raw: socket.socket, viewer: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    only = viewer()
    monkeypatch.setattr(volley, "_libc", Kernel("EINVAL"))
    shot = Volley(raw)
    shot.load([rtp(1)], 1)
    assert shot.send([only.target]) == [(0, 0)]
    assert only.target.kind[2]


def test_a_kernel_that_cannot_cut_is_not_asked_to(raw: socket.socket, viewer: Make) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as other:
        assert not can_segment(other)
    assert can_segment(raw), "Linux has been able to since 4.18"
    viewers = [viewer() for _ in range(2)]
    shot = Volley(raw)
    shot._segmenting = False
    shot.load([rtp(1), rtp(2)], 2)
    assert shot.send([each.target for each in viewers]) == []
    assert [len(each.received()) for each in viewers] == [2, 2]
    assert shot._runs == ((0, 1), (1, 1))


def test_the_kept_structures_are_bounded(raw: socket.socket, viewer: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(volley, "_STRUCTURES_KEPT", 3)
    only, shot = viewer(), Volley(raw)
    for size in range(1, 9):
        shot.load([rtp(size * 10 + index) for index in range(size)], 1)
        assert shot.send([only.target]) == []
        assert len(only.received()) == size
        assert len(shot._structures) <= 3


def test_a_target_outlives_its_session(raw: socket.socket, viewer: Make) -> None:
    only, shot = viewer(), Volley(raw)
    target, expected = only.target, only.twin.protect(rtp(1))
    del only.keys  # the peer was closed while a batch was being sent
    shot.load([rtp(1)], 1)
    assert shot.send([target]) == []
    assert only.received() == [expected]


@given(st.lists(st.sampled_from([50, 80, 600, 700, 1356]), min_size=1, max_size=RELAY_STEP_PACKETS))
def test_runs_are_what_the_kernel_can_cut(sizes: list[int]) -> None:
    found = runs(sizes)
    assert [index for first, count in found for index in range(first, first + count)] == list(range(len(sizes)))
    for first, count in found:
        *equal, last = sizes[first : first + count]
        assert set(equal) <= {sizes[first]}
        assert last <= sizes[first]
        assert sum(sizes[first : first + count]) + 16 * count <= 65_000
    for (first, _), (following, _) in itertools.pairwise(found):
        # It could not have been longer: the next packet is larger, a shorter one has ended it, or it was full.
        full = (following - first + 1) * (sizes[first] + 16) > 65_000
        assert sizes[following] > sizes[first] or sizes[following - 1] < sizes[first] or full


@pytest.mark.parametrize("address", [("192.0.2.7", 4711), ("2001:db8::7", 4711, 0, 0), ("fe80::1%lo", 9, 5, 1)])
def test_addresses_are_packed_as_the_kernel_has_them(address: tuple[Any, ...]) -> None:
    name = packed(address)
    assert int.from_bytes(name[2:4]) == address[1]
    if len(address) == 2:
        assert len(name) == 16
        assert socket.inet_ntoa(name[4:8]) == address[0]
    else:
        assert len(name) == 28
        assert int.from_bytes(name[4:8]) == address[2]
        assert socket.inet_ntop(socket.AF_INET6, name[8:24]) == address[0].partition("%")[0]
        assert struct.unpack("=I", name[24:]) == (address[3],)
