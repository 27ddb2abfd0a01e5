"""Who watches a show on this worker: people, each with one socket or several, and the staff, who is not counted.

Who has a page of the staff's and one of a viewer's open is staff as long as the former is, and is told what is for the
staff there alone.

Somebody who leaves is counted PARTED_S longer, so that a reconnect is silent. Nothing here walks over everybody:
who leaves is put at the end of those who have left, and counting takes away those whose time is over.
"""

from typing import Generic, TypeVar

from live.core.limits import PARTED_S

S = TypeVar("S")


class Audience(Generic[S]):
    """See the module. `S` is a socket, anything that can be told from others."""

    __slots__ = ("_parted", "_people", "_staff")

    def __init__(self) -> None:
        self._people: dict[str, tuple[S, ...]] = {}
        self._staff: dict[str, tuple[S, ...]] = {}  # of these, the sockets with which somebody is staff
        self._parted: dict[str, float] = {}  # person → counted until, soonest first

    def enter(self, person: str, socket: S, *, staff: bool) -> None:
        """Count `socket` in."""
        self._people[person] = (*self._people.get(person, ()), socket)
        self._parted.pop(person, None)
        if staff:
            self._staff[person] = (*self._staff.get(person, ()), socket)

    def leave(self, person: str, socket: S, now_s: float) -> None:
        """Count `socket` out, which has entered."""
        was_staff = person in self._staff
        _without(self._staff, person, socket)
        _without(self._people, person, socket)
        if person not in self._people and not was_staff:
            self._parted[person] = now_s + PARTED_S

    def sockets(self, person: str) -> tuple[S, ...]:
        """All sockets of `person`."""
        return self._people.get(person, ())

    def staff_sockets(self) -> list[S]:
        """All sockets of all staff."""
        return [socket for sockets in self._staff.values() for socket in sockets]

    @property
    def present(self) -> int:
        """How many people watch now."""
        return len(self._people) - len(self._staff)

    def count(self, now_s: float) -> int:
        """How many people watch, those who have just left included. `now_s` never goes back."""
        while self._parted:
            person, until_s = next(iter(self._parted.items()))
            if until_s > now_s:
                break
            del self._parted[person]
        return self.present + len(self._parted)


def _without(sockets: dict[str, tuple[S, ...]], person: str, socket: S) -> None:
    others = tuple(other for other in sockets.get(person, ()) if other is not socket)
    if others:
        sockets[person] = others
    else:
        sockets.pop(person, None)
