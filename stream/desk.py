"""Asking at any worker for what lives on one: PATCH, DELETE, GET, a viewer's limit, the figures of a show."""

import logging
import re
from typing import Any, Protocol

from live.core.bus import BusError
from live.core.errors import Kind, Problem
from stream.cluster.calls import Calls
from stream.cluster.cluster import NAME_CHARS, Cluster, stage_name
from stream.transport.sessions import Role, Session
from stream.trickle import Restarted

logger = logging.getLogger(__name__)

_ID = re.compile(rf"([A-Za-z0-9_-]{{{NAME_CHARS}}})\.[A-Za-z0-9_-]{{32}}")


class Sessions(Protocol):
    """Those of this worker; what is of a session raises `Problem` unknown_session. See `stream.service.Media`."""

    name: str

    def session(self, show: str, role: Role, session_id: str) -> Session: ...
    def patch(
        self, show: str, role: Role, session_id: str, if_match: str | None, fragment_text: str
    ) -> Restarted | None: ...
    def delete(self, show: str, role: Role, session_id: str) -> None: ...
    def limit(self, show: str, session_id: str, max_height: int | None, *, video: bool) -> None: ...
    def end_show(self, show: str) -> None: ...
    def video(self, show: str) -> dict[str, Any] | None: ...


class Desk:
    """Does what is asked of a session here, or has it done where the session is.

    All of that raises `Problem` unknown_session, unavailable when the worker of the session does not answer, and what
    the method of the same name raises there.
    """

    def __init__(self, sessions: Sessions, cluster: Cluster | None) -> None:
        self._sessions = sessions
        self._cluster = cluster
        self._calls = Calls(cluster.bus, cluster.name, self._answer) if cluster is not None else None

    async def start(self) -> None:
        """Begin to answer other workers; raises `BusError`."""
        if self._calls is not None:
            await self._calls.start()

    async def stop(self) -> None:
        """Answer nobody any more."""
        if self._calls is not None:
            await self._calls.stop()

    async def etag(self, show: str, role: Role, session_id: str) -> str:
        """The entity tag of a session, as it is now."""
        found = await self._do("etag", session_id, show=show, role=role.value)
        return str(found)

    async def patch(
        self, show: str, role: Role, session_id: str, if_match: str | None, fragment_text: str
    ) -> Restarted | None:
        """As `Media.patch`."""
        found = await self._do(
            "patch", session_id, show=show, role=role.value, if_match=if_match, fragment_text=fragment_text
        )
        return None if found is None else Restarted(*found)

    async def delete(self, show: str, role: Role, session_id: str) -> None:
        """As `Media.delete`."""
        await self._do("delete", session_id, show=show, role=role.value)

    async def limit(self, show: str, session_id: str, max_height: int | None, *, video: bool) -> None:
        """As `Media.limit`."""
        await self._do("limit", session_id, show=show, max_height=max_height, video=video)

    async def end_show(self, show: str) -> None:
        """Hang up on everybody of a show, on all workers that can be reached."""
        self._sessions.end_show(show)
        if self._calls is not None:
            try:
                await self._calls.tell_all("end_show", show=show)
            except BusError as error:
                logger.warning("could not tell other workers that %s is over: %s", show, error)

    async def video(self, show: str) -> dict[str, Any] | None:
        """As `Media.video`, of the worker whose publisher is on air; None: there is none. Raises `BusError` too."""
        found = self._sessions.video(show)
        if found is not None or self._cluster is None or self._calls is None:
            return found
        lease = await self._cluster.leases.read(stage_name(show))
        if lease is None or lease.owner == self._sessions.name:
            return None
        try:
            told: dict[str, Any] | None = await self._calls.ask(lease.owner, "video", show=show)
        except Problem as problem:
            if problem.kind is Kind.unknown_session:
                return None  # the worker is gone; its lease runs out
            raise
        return told

    async def _do(self, name: str, session_id: str, **arguments: Any) -> Any:
        found = _ID.fullmatch(session_id)
        if found is None:
            raise Problem(Kind.unknown_session)
        arguments["session_id"] = session_id
        if self._calls is None or found[1] == self._sessions.name:
            return await self._answer(name, arguments)
        return await self._calls.ask(found[1], name, **arguments)

    async def _answer(self, name: str, arguments: dict[str, Any]) -> Any:
        role = Role(arguments.pop("role")) if "role" in arguments else None
        match name:
            case "etag":
                assert role is not None
                return self._sessions.session(role=role, **arguments).etag
            case "patch":
                assert role is not None
                return self._sessions.patch(role=role, **arguments)
            case "delete":
                assert role is not None
                self._sessions.delete(role=role, **arguments)
            case "limit":
                self._sessions.limit(**arguments)
            case "end_show":
                self._sessions.end_show(**arguments)
            case "video":
                return self._sessions.video(**arguments)
            case _:
                raise Problem(Kind.unknown_command)
        return None
