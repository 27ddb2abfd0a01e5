"""Where a far end is, and which of its ICE sessions counts: no I/O, and no clock.

An ICE-lite end does not choose a path, it follows the far end (RFC 8445, section 7.3.1.5):

a  the first address that a check proves is sent to, until the far end decides
b  a check that nominates decides
c  who cannot or need not nominate shows by its media where it is: RFC 8445, section 12.1 has it send on the path that
   it uses, so several authenticated packets in a row from another proved address are a move. That is how a new
   mapping of a NAT looks, of which the far end itself knows nothing.

Only checks on the path that is sent to renew consent (RFC 7675): a far end that is somewhere else by now gets no more.

A check shows who sent it, not where: a source address can be forged, and a viewer could have a show sent to somebody
else. So what has begun is sent to another address only when that has answered a check of ours, which takes a password
of the far end's and a number that only arrives there. (An ICE-lite end need not check; a full one always answers.)

The first address is asked too, but the handshake need not wait: until there is an answer, or the handshake is complete,
what is sent to it is at most AMPLIFICATION_MAX times what came from it, as in QUIC (RFC 9000, section 8.1). For a
binding request go out an answer and a check, neither longer than the request; the rest is earned for the handshake.

A restart (RFC 8445, section 9; RFC 9725, section 4.4.3) adds credentials. The old ones stay good until a path is
nominated with the new ones, or media comes by it: a restart that fails ends nothing. There are two sets at most.
"""

from typing import Any, NamedTuple

from live.core.limits import AMPLIFICATION_MAX, MOVED_PACKETS, PEER_ADDRESSES_MAX

Address = tuple[Any, ...]
"""As the socket gives it: (host, port) or, for IPv6, (host, port, flow, scope)."""


class Credentials(NamedTuple):
    """One end's ICE user name fragment and password."""

    ufrag: str
    password: str


class Paths:
    """The far end's address and our credentials. `address` None: none is proved yet."""

    def __init__(self, credentials: Credentials) -> None:
        self.address: Address | None = None
        self._begun = False
        self._reached: list[Address] = []  # what has answered a check of ours, or gone through with the handshake
        self._earned_bytes = 0  # that may be sent to the address, which is not reached yet
        self.current = credentials
        self.pending: Credentials | None = None
        self._pending_at: Address | None = None  # the last address that was proved with the pending credentials
        self._elsewhere: Address | None = None
        self._packets = 0  # in a row, from elsewhere

    @property
    def newest(self) -> Credentials:
        """What the far end was told last."""
        return self.pending or self.current

    def restart(self, credentials: Credentials) -> Credentials | None:
        """From now on `credentials` are good too; the result are those that are void: of a restart that never was."""
        void, self.pending, self._pending_at = self.pending, credentials, None
        return void

    def begin(self) -> None:
        """Something is sent from now on: the address is no longer free to choose."""
        self._begun = True

    def trusts(self, address: Address) -> bool:
        """Whether `address` may be sent to; else it must answer a check first."""
        return not self._begun or address == self.address or self.knows(address)

    def knows(self, address: Address) -> bool:
        """Whether the far end is at `address` for certain."""
        return address in self._reached

    def earned(self, address: Address, size_bytes: int, *, answered: bool) -> None:
        """`address` sent a datagram of that size; `answered`: a binding request, for which it got its due."""
        if address == self.address:
            self._earned_bytes += size_bytes * (AMPLIFICATION_MAX - 2 if answered else AMPLIFICATION_MAX)

    def spend(self, size_bytes: int) -> bool:
        """Whether as much may be sent to the address now, with which it is spent."""
        if self.address is None:
            return False
        if not self.knows(self.address):
            if size_bytes > self._earned_bytes:
                return False
            self._earned_bytes -= size_bytes
        return True

    def reached(self, address: Address) -> None:
        """`address` has shown something that only its owner can have received."""
        if address not in self._reached:
            self._reached = [*self._reached[1 - PEER_ADDRESSES_MAX :], address]

    def checked(self, address: Address, ufrag: str, *, nominated: bool) -> Credentials | None:
        """A check with our `ufrag` came from `address`, which is trusted; the result are credentials void by it.

        `nominated` with credentials that are void already decides nothing.
        """
        if self.pending is not None and ufrag == self.pending.ufrag:
            self._pending_at = address
            if nominated or self.address is None:
                self._go(address)
                return self._restarted()
        elif self.address is None or nominated:
            self._go(address)
        return None

    def heard(self, address: Address) -> Credentials | None:
        """An authenticated packet came from `address`, a proved one; the result are as of `checked`."""
        if address == self.address:
            self._packets = 0
            return None
        if not self.trusts(address):
            return None
        self._packets = self._packets + 1 if address == self._elsewhere else 1
        self._elsewhere = address
        if self._packets < MOVED_PACKETS:
            return None
        self._packets = 0
        self._go(address)
        return self._restarted() if address == self._pending_at else None

    def _go(self, address: Address) -> None:
        if address != self.address:
            self.address, self._earned_bytes = address, 0

    def _restarted(self) -> Credentials:
        assert self.pending is not None, "a restart is under way"
        void, self.current, self.pending, self._pending_at = self.current, self.pending, None, None
        return void
