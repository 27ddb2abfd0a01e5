"""Server-sent events down, POST up: carries connections through networks that break WebSockets.

`POST /api/shows/{show}/stream` takes what is a socket's first message, and answers with all that a socket would be
sent. Commands go by `POST /api/shows/{show}/commands`, to whichever worker it reaches: who asks is known by the
token, and what was done before by the key. Whoever sees a gap opens the stream again from there, which is what
`recover` does on a socket. docs/decisions/event-stream.md says why it is so.
"""

import asyncio
from typing import Annotated

from msgspec import Meta, Struct
from starlette.requests import Request
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from live.core.addresses import network
from live.core.auth import Principal, Role, Tokens, bearer
from live.core.clock import Clock
from live.core.errors import NOT_CONNECTED, Kind, Problem
from live.core.gate import Gate
from live.core.limits import (
    ADDRESSES_REMEMBERED_MAX,
    COMMANDS_BURST,
    COMMANDS_PER_S,
    MESSAGE_ID_CHARS_MAX,
    POSTED_COMMANDS_MAX,
    POSTS_BURST,
    POSTS_PER_S,
    STREAM_HEARTBEAT_S,
    STREAM_RETRY_MS,
    WS_MESSAGE_BYTES_MAX,
)
from live.core.rest import Operation, principal_of, problem_response, read_bytes
from live.core.settings import Settings
from live.realtime.commands import Context
from live.realtime.connections import Connections
from live.realtime.protocol import Command, Refused, Reply, wire_viewer
from live.realtime.streams import EXTENSION, Chunks, OrdinaryStream, Stream

_HEADERS = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-store, no-transform"),  # a proxy that compresses waits for more to compress
    (b"x-accel-buffering", b"no"),
    (b"x-content-type-options", b"nosniff"),
    (b"connection", b"close"),  # nothing comes after a stream
]


class Posted(Struct, frozen=True):
    """Commands, done one after the other. Each is what it is on a socket."""

    commands: Annotated[list[Command], Meta(min_length=1, max_length=POSTED_COMMANDS_MAX)]


class Answered(Struct, frozen=True):
    """An answer for each command, in their order."""

    messages: list[Reply | Refused]


class Fallback:
    """See the module."""

    def __init__(self, connections: Connections, tokens: Tokens, clock: Clock, settings: Settings) -> None:
        self._connections = connections
        self._tokens = tokens
        self._clock = clock
        self._chunks = Chunks()
        self._viewers = Gate(COMMANDS_PER_S, COMMANDS_BURST, ADDRESSES_REMEMBERED_MAX)
        bounded = settings.sockets_per_address
        self._addresses = Gate(POSTS_PER_S, POSTS_BURST, ADDRESSES_REMEMBERED_MAX) if bounded else None
        self.route = Route("/api/shows/{show}/stream", self, methods=["POST"], name="stream")
        self.operations = [
            Operation(
                "POST", "/api/shows/{show}/commands", self._post, "Do what commands on a socket do",
                body=Posted, result=Answered, role=Role.viewer, tag="realtime",
                errors=(Kind.rate_limited, Kind.unknown_show),
            ),
        ]  # fmt: skip

    # --- down

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """A stream, or the problem why there is to be none, as ASGI."""
        address = scope["client"][0] if scope.get("client") else ""
        problem = self._connections.refuse(scope["headers"], address)
        if problem is None:
            try:
                payload = await _read(Request(scope, receive))
                await self._serve(scope, receive, send, address, payload)
            except Problem as found:
                problem = found
            finally:
                self._connections.released(address)
        if problem is not None:
            await problem_response(problem)(scope, receive, send)

    async def _serve(self, scope: Scope, receive: Receive, send: Send, address: str, payload: str) -> None:
        """Raises `Problem` before anything is sent."""
        extension = (scope.get("extensions") or {}).get(EXTENSION)
        if extension and extension["followed"]():
            raise Problem(Kind.malformed, "Nothing may follow a stream on its connection.")
        await send({"type": "http.response.start", "status": 200, "headers": _HEADERS})
        await send({"type": "http.response.body", "body": b"retry: %d\n\n" % STREAM_RETRY_MS, "more_body": True})
        stream: Stream = extension["lend"](self._chunks) if extension else OrdinaryStream(receive, send)
        self._connections.streams += 1
        connection = self._connections.open(stream, "json", scope["path_params"]["show"], address)
        try:
            await self._connections.receive(connection, payload)
            if connection.viewer is None and stream.open:  # nothing more can be said here to mend it
                self._connections.shut(connection, NOT_CONNECTED)
            await _stay(stream)
        finally:
            self._connections.streams -= 1
            self._connections.closed(connection)
            if isinstance(stream, OrdinaryStream):
                await stream.aclose()

    # --- up

    async def _post(self, request: Request, body: Posted) -> Answered:
        """Any worker does; a command that is sent again with its key is done once."""
        now_s = self._clock.monotonic()
        address = request.client.host if request.client else ""
        if self._addresses is not None and (wait_s := self._addresses.take(network(address), now_s)):
            self._connections.throttled += len(body.commands)
            raise Problem(Kind.rate_limited, retry_after_s=max(1, round(wait_s)))
        if any(len(command.id) > MESSAGE_ID_CHARS_MAX for command in body.commands):
            raise Problem(Kind.invalid_field, f"An id has at most {MESSAGE_ID_CHARS_MAX} characters.", field="commands")
        token = self._tokens.verified(bearer(request.headers.get("authorization")))
        expires_s = None if token.expires_s is None else now_s + token.expires_s - self._clock.now_ms() / 1000
        principal = principal_of(request) or token.principal

        def become(renamed: Principal) -> None:
            nonlocal principal
            principal = renamed

        show = request.path_params["show"]
        await self._connections.check_show(show)  # a command need not: on a socket its viewer has joined
        answers: list[Reply | Refused] = []
        for command in body.commands:
            if wait_s := self._viewers.take(principal.subject, self._clock.monotonic()):
                self._connections.throttled += 1
                problem = Problem(Kind.rate_limited, retry_after_s=max(1, round(wait_s)))
                answers.append(Refused(command.id, problem.body()))
                continue
            shown = wire_viewer(principal)
            context = Context(show, principal, command.key, shown, become, expires_s)
            answers.append(await self._connections.commands.run(context, command))
        return Answered(answers)


async def _read(request: Request) -> str:
    """The first message; raises `Problem` unsupported_media_type, too_large or malformed."""
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        raise Problem(Kind.unsupported_media_type, "Send application/json.", field="Content-Type")
    try:
        return (await read_bytes(request, WS_MESSAGE_BYTES_MAX)).decode()
    except UnicodeDecodeError:
        raise Problem(Kind.malformed, "The body is not UTF-8.") from None


async def _stay(stream: Stream) -> None:
    """Wait until the stream is over; show now and then that somebody is there."""
    while True:
        try:
            async with asyncio.timeout(STREAM_HEARTBEAT_S):
                await stream.ended()
            return
        except TimeoutError:
            stream.beat()
