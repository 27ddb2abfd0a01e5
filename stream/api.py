"""WHIP (RFC 9725) and WHEP (draft-ietf-wish-whep) over HTTP.

    /whip/{show}             POST an offer (bearer token) → 201, answer        /whep/{show}             POST → 201
    /whip/{show}/{session}   PATCH candidates → 204, DELETE → 200              /whep/{show}/{session}   the same

Both answer OPTIONS (CORS preflight needs no credentials) and GET and HEAD without content. Errors are problem+json.
"""

from collections.abc import Awaitable, Callable

import orjson
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from live.core.errors import Kind, Problem
from live.core.limits import SDP_BYTES_MAX, TOKEN_BYTES_MAX
from stream.service import Created, Media
from stream.sessions import Role

SDP = "application/sdp"
SDP_FRAGMENT = "application/trickle-ice-sdpfrag"
_CORS = {
    "access-control-allow-origin": "*",
    "access-control-expose-headers": "Location, ETag, Link, Retry-After",
}
_PREFLIGHT = {
    "access-control-allow-headers": "Authorization, Content-Type, If-Match",
    "access-control-max-age": "86400",
}
_Handler = Callable[[Request], Awaitable[Response]]


def routes(media: Media) -> list[Route]:
    """The four addresses, to be mounted at the root."""
    found = []
    for prefix, role in (("whip", Role.publisher), ("whep", Role.subscriber)):
        resource = _Resource(media, role)
        for path, methods in (
            (f"/{prefix}/{{show}}", resource.endpoint),
            (f"/{prefix}/{{show}}/{{session}}", resource.session),
        ):
            found.append(Route(path, _Methods(methods)))
    return found


class _Methods:
    """One address as an ASGI application: method → handler, with CORS on every answer, refusals included."""

    def __init__(self, handlers: dict[str, _Handler]) -> None:
        self._handlers = handlers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        try:
            handler = self._handlers.get(request.method)
            if handler is None:
                raise Problem(Kind.method_not_allowed)
            response = await handler(request)
        except Problem as problem:
            response = self._refusal(problem)
        except ClientDisconnect:
            return
        response.headers.update(_CORS)
        await response(scope, receive, send)

    def _refusal(self, problem: Problem) -> Response:
        response = Response(orjson.dumps(problem.body()), problem.kind.status, media_type="application/problem+json")
        if problem.retry_after_s is not None:
            response.headers["retry-after"] = str(problem.retry_after_s)
        if problem.kind.status == 401:
            response.headers["www-authenticate"] = "Bearer"
        if problem.kind is Kind.method_not_allowed:
            response.headers["allow"] = ", ".join(self._handlers)
        return response


class _Resource:
    """WHIP or WHEP; they differ in the token, and in what `Media` does with the offer."""

    def __init__(self, media: Media, role: Role) -> None:
        self._media = media
        self._role = role
        self.endpoint: dict[str, _Handler] = {
            "POST": self._post,
            "OPTIONS": self._endpoint_options,
            "GET": self._endpoint_get,
            "HEAD": self._endpoint_get,
        }
        self.session: dict[str, _Handler] = {
            "PATCH": self._patch,
            "DELETE": self._delete,
            "OPTIONS": self._session_options,
            "GET": self._session_get,
            "HEAD": self._session_get,
        }

    async def _admit(self, request: Request) -> str:
        """The show. Raises `Problem` when the bearer may not publish to it, or when there is no such show."""
        show: str = request.path_params["show"]
        if self._role is Role.publisher:
            await self._media.authorise_publisher(show, _bearer(request))
        else:
            await self._media.show_exists(show)
        return show

    async def _post(self, request: Request) -> Response:
        show = await self._admit(request)
        if self._role is Role.publisher:  # a session of a show that has ended can still be given back
            await self._media.show_open(show)
        _require_type(request, SDP)
        offer = await _text(request)
        create: Callable[[str, str], Created]
        create = self._media.publish if self._role is Role.publisher else self._media.subscribe
        created = create(show, offer)
        location = f"{request.url.path.rstrip('/')}/{created.session_id}"
        return Response(created.answer, 201, {"location": location, "etag": created.etag}, SDP)

    async def _patch(self, request: Request) -> Response:
        show = await self._admit(request)
        session_id = request.path_params["session"]
        self._media.session(show, self._role, session_id)
        _require_type(request, SDP_FRAGMENT)
        if_match = request.headers.get("if-match")
        self._media.patch(show, self._role, session_id, if_match, await _text(request))
        return Response(status_code=204)

    async def _delete(self, request: Request) -> Response:
        show = await self._admit(request)
        self._media.delete(show, self._role, request.path_params["session"])
        return Response(status_code=200)

    async def _endpoint_get(self, request: Request) -> Response:
        await self._media.show_exists(request.path_params["show"])
        return Response(status_code=204)

    async def _session_get(self, request: Request) -> Response:
        session = self._media.session(request.path_params["show"], self._role, request.path_params["session"])
        return Response(status_code=204, headers={"etag": session.etag})

    async def _endpoint_options(self, request: Request) -> Response:
        allow = ", ".join(self.endpoint)
        headers = {"accept-post": SDP, "allow": allow, "access-control-allow-methods": allow}
        return Response(status_code=200, headers=headers | _PREFLIGHT)

    async def _session_options(self, request: Request) -> Response:
        allow = ", ".join(self.session)
        headers = {"accept-patch": SDP_FRAGMENT, "allow": allow, "access-control-allow-methods": allow}
        return Response(status_code=200, headers=headers | _PREFLIGHT)


def _bearer(request: Request) -> str:
    """The bearer token of RFC 6750. Raises `Problem` token_missing or token_invalid."""
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    token = token.strip()
    if scheme.lower() != "bearer" or not token:
        raise Problem(Kind.token_missing, field="Authorization")
    if len(token) > TOKEN_BYTES_MAX:
        raise Problem(Kind.token_invalid, field="Authorization")
    return token


def _require_type(request: Request, media_type: str) -> None:
    given = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if given != media_type:
        raise Problem(Kind.unsupported_media_type, f"Send {media_type}.", field="Content-Type")


async def _text(request: Request) -> str:
    """The body, read no further than SDP_BYTES_MAX. Raises `Problem` too_large or sdp_malformed."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > SDP_BYTES_MAX:
            raise Problem(Kind.too_large, f"At most {SDP_BYTES_MAX} bytes of SDP are read.")
    try:
        return body.decode()
    except UnicodeDecodeError:
        raise Problem(Kind.sdp_malformed, "SDP is UTF-8.", field="sdp") from None
