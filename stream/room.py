"""Whether one more media session fits, and who makes room for it: somebody who has asked and never come."""

from collections.abc import Collection

from live.core.errors import Kind, Problem
from live.core.limits import HANDSHAKE_GRACE_S, HANDSHAKES_MAX
from stream.connections import Connection
from stream.transport.sessions import Role, State

_FULL_RETRY_S = 5


class Full(Problem):
    """The worker is overloaded; `count` names the counter of it."""

    def __init__(self, count: str, detail: str) -> None:
        super().__init__(Kind.overloaded, detail, retry_after_s=_FULL_RETRY_S)
        self.count = count


def evictable(sessions: Collection[Connection], role: Role, limit: int, now: float) -> Connection | None:
    """Whose place one more session of `role` takes; None: there is room.

    Only so many handshakes are unfinished at a time: a flood of offers must neither fill the worker nor push out those
    who have asked just now. Raises `Full`.
    """
    same = [connection for connection in sessions if connection.role is role]
    if len(same) >= limit:
        idle = next((connection for connection in same if connection.session.state is State.waiting), None)
        if idle is None:
            raise Full("refused_full", "This server carries no more media sessions.")
        return idle
    unfinished = [each for each in sessions if each.session.state is not State.connected]
    if len(unfinished) < HANDSHAKES_MAX:
        return None
    if unfinished[0].session.age_s(now) < HANDSHAKE_GRACE_S:
        raise Full("refused_handshakes", "Too many are joining at once.")
    return unfinished[0]
