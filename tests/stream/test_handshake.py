"""The DTLS handshake over a link with scripted loss, in virtual time; OpenSSL's own timers need real seconds."""

import heapq
import random
from collections.abc import Callable

import pytest
from cryptography import x509
from hypothesis import given
from hypothesis import strategies as st
from OpenSSL import SSL

from live.core.limits import (
    DTLS_DATAGRAM_BYTES_MAX,
    DTLS_REPEATS_MAX,
    HANDSHAKE_DATAGRAMS_MAX,
    HANDSHAKE_RESEND_S_MAX,
    HANDSHAKE_RESEND_S_MIN,
    HANDSHAKE_TIMEOUT_S,
)
from stream.transport.handshake import Handshake, HandshakeError, context, datagrams, fingerprint, generate
from stream.transport.srtp import PROFILES, keying_bytes

KEYING = {name: keying_bytes(name) for name in PROFILES}
DELAY_S = 0.03
Lost = Callable[[bool, bytes], bool]


class End(tuple[SSL.Context, x509.Certificate]):
    """A context and the certificate in it."""

    @classmethod
    def make(cls, *profiles: str) -> "End":
        key, certificate = generate()
        return cls((context(key, certificate, profiles or list(PROFILES)), certificate))


SERVER, CLIENT = End.make(), End.make()


def shake(expected: x509.Certificate, mine: End) -> Handshake:
    return Handshake(mine[0], (("sha-256", fingerprint(expected)),), KEYING)


class Pair:
    """Two ends and a link; `lost` is asked with (from the client, datagram)."""

    def __init__(self, lost: Lost = lambda up, datagram: False, server: End = SERVER, client: End = CLIENT) -> None:
        self.server, self.client = shake(client[1], server), shake(server[1], client)
        self.sent: list[tuple[bool, bytes]] = []
        self.now = 0.0
        self._lost = lost
        self._flying: list[tuple[float, int, bool, bytes]] = []

    def run(self, until_s: float = HANDSHAKE_TIMEOUT_S) -> bool:
        """Whether both ends have their keys by then; `now` is when."""
        self.server.begin(self.now, active=False)
        self.client.begin(self.now, active=True)
        while not (self.server.keying and self.client.keying):
            self.collect()
            ends = [end for end in (self.server, self.client) if end.due is not None]
            times = [end.due for end in ends if end.due is not None] + [item[0] for item in self._flying[:1]]
            if not times or min(times) > until_s:
                return False
            self.now = min(times)
            for end in ends:
                if end.due is not None and end.due <= self.now:
                    end.expired(self.now)
            self.deliver()
        self.collect()
        return True

    def collect(self) -> None:
        for up, end in ((False, self.server), (True, self.client)):
            for datagram in end.take():
                self.sent.append((up, datagram))
                if not self._lost(up, datagram):
                    heapq.heappush(self._flying, (self.now + DELAY_S, len(self.sent), up, datagram))

    def deliver(self) -> None:
        while self._flying and self._flying[0][0] <= self.now:
            _, _, up, datagram = heapq.heappop(self._flying)
            (self.server if up else self.client).received(datagram, self.now)


def test_both_ends_agree_in_two_round_trips_and_four_datagrams() -> None:
    pair = Pair()
    assert pair.run()
    assert pair.server.keying == pair.client.keying
    assert pair.server.keying is not None
    assert pair.server.keying.profile == "SRTP_AEAD_AES_128_GCM"
    assert len(pair.server.keying.material) == 56
    assert [up for up, _ in pair.sent] == [True, False, True, False]
    assert all(len(datagram) <= DTLS_DATAGRAM_BYTES_MAX for _, datagram in pair.sent)
    assert pair.now == pytest.approx(4 * DELAY_S)
    assert pair.server.due is pair.client.due is None


def test_one_fifth_of_the_datagrams_may_be_lost() -> None:
    waits = []
    for seed in range(150):
        random_ = random.Random(seed)
        pair = Pair(lambda up, datagram, random_=random_: random_.random() < 0.2)  # type: ignore[misc]
        assert pair.run(), f"seed {seed}"
        assert pair.server.keying == pair.client.keying
        waits.append(pair.now)
    waits.sort()
    assert waits[len(waits) // 2] < 4 * DELAY_S + 2 * HANDSHAKE_RESEND_S_MIN
    assert waits[-5] < 2.0, waits


@pytest.mark.parametrize("number", range(4))
@pytest.mark.parametrize("times", [1, 3])
def test_any_flight_may_be_lost_repeatedly(number: int, times: int) -> None:
    flights: dict[bytes, int] = {}
    missing: list[bytes] = []

    def lost(up: bool, datagram: bytes) -> bool:
        flights.setdefault(datagram, len(flights))
        if flights[datagram] == number:
            missing.append(datagram)
            return len(missing) <= times
        return False

    pair = Pair(lost)
    assert pair.run()
    assert pair.now <= 4 * DELAY_S + HANDSHAKE_RESEND_S_MIN * (2**times - 1) + DELAY_S * times


def test_the_pauses_grow_up_to_a_bound() -> None:
    client = shake(SERVER[1], CLIENT)
    client.begin(0.0, active=True)
    first = client.take()
    pauses, now = [], 0.0
    for _ in range(7):
        assert client.due is not None
        pauses.append(client.due - now)
        now = client.due
        client.expired(now)
        assert client.take() == first
    assert pauses[:2] == pytest.approx([HANDSHAKE_RESEND_S_MIN, 2 * HANDSHAKE_RESEND_S_MIN])
    assert pauses[-1] == pytest.approx(HANDSHAKE_RESEND_S_MAX)


def test_what_openssl_gives_up_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    class Broken:
        def DTLSv1_handle_timeout(self) -> bool:
            raise SSL.Error([("", "", "too many")])

    client = shake(SERVER[1], CLIENT)
    client.begin(0.0, active=True)
    monkeypatch.setattr(client, "_ssl", Broken())
    with pytest.raises(HandshakeError, match="gave up"):
        client.expired(1.0)


def test_fresh_records_of_openssl_replace_the_flight(monkeypatch: pytest.MonkeyPatch) -> None:
    client = shake(SERVER[1], CLIENT)
    client.begin(0.0, active=True)
    fresh = bytes((22, 254, 253)) + bytes(8) + bytes((0, 4)) + b"anew"
    pieces = [fresh]

    class Timer:
        def DTLSv1_handle_timeout(self) -> bool:
            return True

        def bio_read(self, size: int) -> bytes:
            if pieces:
                return pieces.pop()
            raise SSL.WantReadError

    client.take()
    monkeypatch.setattr(client, "_ssl", Timer())
    client.expired(1.0)
    assert client.take() == [fresh]
    client.expired(3.0)
    assert client.take() == [fresh]


def test_the_last_flight_goes_out_again_when_the_far_end_repeats_its_own() -> None:
    pair = Pair()
    assert pair.run()
    ours = [datagram for up, datagram in pair.sent if not up][-1]
    theirs = [datagram for up, datagram in pair.sent if up][-1]
    for _ in range(DTLS_REPEATS_MAX):
        pair.server.received(theirs, 1.0)
        assert pair.server.take() == [ours]
    pair.server.received(theirs, 1.0)
    assert pair.server.take() == []
    pair.server.expired(2.0)
    assert pair.server.take() == []


def test_a_goodbye_is_heard_and_said_once() -> None:
    pair = Pair()
    assert pair.run()
    pair.client.close()
    (goodbye,) = pair.client.take()
    pair.client.close()
    assert pair.client.take() == []
    pair.server.received(goodbye, 1.0)
    assert pair.server.over
    pair.server.take()
    pair.server.close()
    assert pair.server.take() == []


def test_without_keys_there_is_nobody_to_say_goodbye_to() -> None:
    client = shake(SERVER[1], CLIENT)
    client.begin(0.0, active=True)
    client.take()
    client.close()
    assert client.take() == []
    assert not client.over


def test_application_data_and_garbage_after_the_handshake_are_nothing() -> None:
    pair = Pair()
    assert pair.run()
    pair.client._ssl.send(b"a data channel")
    pair.client._flush()
    (record,) = pair.client.take()
    for datagram in (record, b"\x17garbage", b"\x16", record[:-1] + b"x"):
        pair.server.received(datagram, 1.0)
    assert not pair.server.over


@pytest.mark.parametrize(
    "fingerprints",
    [
        (),
        (("sha-1", "AB:CD"),),
        (("sha-256", fingerprint(SERVER[1])),),
        (("sha-256", fingerprint(CLIENT[1])), ("sha-512", "00")),
    ],
)
def test_another_certificate_than_the_announced_one_is_refused(fingerprints: tuple[tuple[str, str], ...]) -> None:
    pair = Pair()
    pair.server = Handshake(SERVER[0], fingerprints, KEYING)
    with pytest.raises(HandshakeError, match="certificate"):
        pair.run()
    assert pair.server.keying is None


def test_every_announced_fingerprint_that_is_known_must_fit() -> None:
    pair = Pair()
    known = [(name.upper(), fingerprint(CLIENT[1], name).lower()) for name in ("sha-256", "sha-384", "sha-512")]
    pair.server = Handshake(SERVER[0], [*known, ("md5", "00")], KEYING)
    assert pair.run()


@pytest.mark.parametrize("profile", PROFILES)
def test_each_profile_can_be_agreed_on(profile: str) -> None:
    pair = Pair(client=End.make(profile))
    assert pair.run()
    assert pair.server.keying is not None
    assert pair.server.keying.profile == profile
    assert len(pair.server.keying.material) == KEYING[profile]


def test_a_far_end_without_srtp_is_refused() -> None:
    key, certificate = generate()
    bare = SSL.Context(SSL.DTLS_METHOD)
    bare.use_certificate(certificate)
    bare.use_privatekey(key)
    bare.set_verify(SSL.VERIFY_PEER, lambda *_: True)
    pair = Pair(client=End((bare, certificate)))
    with pytest.raises(HandshakeError, match="profile"):
        pair.run()


def test_malformed_records_cost_nothing_but_their_reading() -> None:
    server = shake(CLIENT[1], SERVER)
    server.begin(0.0, active=False)
    for datagram in (b"\x16", b"\x16garbage", bytes((22, 254, 253)) + bytes(60), b"\x14" * 1400):
        server.received(datagram, 0.0)
    assert server.take() == []
    assert server.due is None


def test_a_hostile_hello_fails_with_an_alert() -> None:
    server = shake(CLIENT[1], SERVER)
    server.begin(0.0, active=False)
    hello = bytes((1, 0, 0, 4, 0, 0, 0, 0, 0, 0, 0, 4)) + b"\xfe\xfd\x00\x00"
    record = bytes((22, 254, 253, 0, 0, 0, 0, 0, 0, 0, 0)) + len(hello).to_bytes(2) + hello
    with pytest.raises(HandshakeError):
        server.received(record, 0.0)
    (alert,) = server.take()
    assert alert[0] == 21


_HEAD = bytes((22, 254, 253)) + bytes(8)
_RECORDS = st.builds(lambda body: _HEAD + len(body).to_bytes(2) + body, st.binary(max_size=200))


@given(st.lists(st.one_of(st.binary(min_size=1, max_size=300), _RECORDS), max_size=8), st.booleans())
def test_whatever_comes_fails_in_one_way(arriving: list[bytes], active: bool) -> None:
    end = shake(CLIENT[1], SERVER)
    end.begin(0.0, active=active)
    try:
        for datagram in arriving:
            end.received(datagram, 0.0)
    except HandshakeError:
        pass
    assert end.keying is None
    assert all(len(datagram) <= DTLS_DATAGRAM_BYTES_MAX for datagram in end.take())


@pytest.mark.parametrize("seed", range(60))
def test_a_flight_that_was_tampered_with_fails_in_one_way(seed: int) -> None:
    random_ = random.Random(seed)

    def tampered(up: bool, datagram: bytes) -> bool:
        at = random_.randrange(len(datagram))
        bad = datagram[:at] + bytes((datagram[at] ^ random_.randrange(1, 256),)) + datagram[at + 1 :]
        (pair.server if up else pair.client).received(bad, pair.now)
        return False

    pair = Pair(tampered)
    try:
        pair.run(3.0)
    except HandshakeError:
        return
    # Records that make no sense are dropped: then the true ones that follow succeed.
    assert pair.server.keying is None or pair.client.keying is None or pair.server.keying == pair.client.keying


def test_endless_datagrams_end_it() -> None:
    server = shake(CLIENT[1], SERVER)
    server.begin(0.0, active=False)
    for _ in range(HANDSHAKE_DATAGRAMS_MAX):
        server.received(b"\x16garbage", 0.0)
    with pytest.raises(HandshakeError, match="too many"):
        server.received(b"\x16garbage", 0.0)


@given(st.lists(st.integers(0, 1300), max_size=12), st.binary(max_size=12))
def test_records_stay_whole_and_datagrams_small(lengths: list[int], rest: bytes) -> None:
    records = [bytes((22, 254, 253)) + bytes(8) + length.to_bytes(2) + b"r" * length for length in lengths]
    found = datagrams(b"".join(records) + rest)
    if not rest:
        assert b"".join(found) == b"".join(records)
    remaining = list(records)
    for datagram in found:
        count = 0
        while datagram:
            assert datagram.startswith(remaining[0])
            datagram = datagram[len(remaining.pop(0)) :]
            count += 1
        assert count
    for one in found:
        assert len(one) <= DTLS_DATAGRAM_BYTES_MAX or one in records
