"""WHIP (RFC 9725) and WHEP (draft-ietf-wish-whep) over HTTP.

    /whip/{show}             POST an offer (bearer token) → 201, answer        /whep/{show}             POST → 201
    /whip/{show}/{session}   PATCH candidates → 204,                           /whep/{show}/{session}   the same
                             PATCH a restart of ICE → 200, fragment
                             DELETE → 200
                                                         /whep/{show}/{session}/layer   POST what is wanted → 204

All answer OPTIONS (CORS preflight needs no credentials), and GET and HEAD without content. Errors are problem+json.

A 201 names the STUN and TURN servers of this installation, with credentials, in `Link` headers. For publishers that
must know them before they make their offer, so does OPTIONS, but only to who may publish (RFC 9725, section 4.6).

`layer` is for viewers that save data: the JSON object {"max_height": lines of picture or null, "video": bool} says
all that is wanted of the video from now on; what is left out is not limited. Of an upright picture the shorter side
counts, so that 360 means as many pixels either way. It goes for every publisher and layer to come. A 201 names the
address in a `Link` of its own.
"""

import math
import secrets
from collections.abc import Awaitable, Callable
from typing import Annotated

import msgspec
import orjson
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from live.core import auth
from live.core.addresses import network
from live.core.auth import Rank
from live.core.errors import Kind, Problem
from live.core.gate import Gate
from live.core.limits import PICTURE_LINES_MAX, SDP_BYTES_MAX, TOKEN_BYTES_MAX
from live.core.rest import Operation, read_body
from stream.downstream.tally import VideoFigures
from stream.service import Media
from stream.transport.sessions import Role

SDP = "application/sdp"
SDP_FRAGMENT = "application/trickle-ice-sdpfrag"
LAYER_RELATION = "urn:ietf:params:whep:ext:core:layer"
_CORS = {
    "access-control-allow-origin": "*",
    "access-control-expose-headers": "Location, ETag, Link, Retry-After",
}
_PREFLIGHT = {
    "access-control-allow-headers": "Authorization, Content-Type, If-Match",
    "access-control-max-age": "86400",
}
_Handler = Callable[[Request], Awaitable[Response]]


class Wish(msgspec.Struct, forbid_unknown_fields=True):
    """What a viewer wants of the video at most, by the shorter side. `max_height` None: the best that it can have."""

    max_height: Annotated[int, msgspec.Meta(ge=1, le=PICTURE_LINES_MAX)] | None = None
    video: bool = True


class ShowVideo(msgspec.Struct, frozen=True):
    """`figures` null: nobody is on air."""

    on_air: bool
    figures: VideoFigures | None


def operations(media: Media) -> list[Operation]:
    """The HTTP operations about the video, beside WHIP and WHEP."""

    async def video(request: Request) -> ShowVideo:
        """What the studio shows: the publisher's streams as they arrive, and how all viewers fare, on any worker."""
        show: str = request.path_params["show"]
        await media.show_exists(show)
        figures = await media.desk.video(show)
        return ShowVideo(figures is not None, None if figures is None else msgspec.convert(figures, VideoFigures))

    return [
        Operation(
            "GET", "/api/shows/{show}/video", video, "Read the figures of a show's video", result=ShowVideo,
            role=auth.Role.host, scope="reports:read", errors=(Kind.unknown_show, Kind.unavailable), tag="video",
        ),
    ]  # fmt: skip


def routes(media: Media) -> list[Route]:
    """The five addresses, to be mounted at the root."""
    found = []
    for prefix, role in (("whip", Role.publisher), ("whep", Role.subscriber)):
        resource = _Resource(media, role)
        for path, methods in (
            (f"/{prefix}/{{show}}", resource.endpoint),
            (f"/{prefix}/{{show}}/{{session}}", resource.session),
        ):
            found.append(Route(path, _Methods(methods)))
    found.append(Route("/whep/{show}/{session}/layer", _Methods(resource.layer)))
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

        self.layer: dict[str, _Handler] = {"POST": self._limit, "OPTIONS": self._layer_options}

    async def _admit(self, request: Request) -> tuple[str, Rank]:
        """The show, and the publisher's rank. Raises `Problem` when the bearer may not publish to it.

        Viewers need no token: to know a session's address is to have been given it.
        """
        show: str = request.path_params["show"]
        if self._role is Role.publisher:
            return show, await self._media.authorise_publisher(show, _bearer(request))
        return show, Rank.primary

    async def _invite(self, request: Request) -> tuple[str, Rank]:
        """What `_admit` says, for a new session. Raises `Problem` unknown_show, or that the show is over, too."""
        show, rank = await self._admit(request)
        if self._role is Role.publisher:  # a session of a show that has ended can still be given back
            await self._media.show_open(show)
        else:
            await self._media.show_exists(show)
        return show, rank

    async def _own(self, request: Request) -> str:
        """The show, for who means a session of it. Raises `Problem` unknown_session before any token is looked up."""
        self._slow_down(request, self._media.session_gate)
        show: str = request.path_params["show"]
        if self._role is Role.publisher:
            _bearer(request)
        await self._media.desk.etag(show, self._role, request.path_params["session"])
        await self._admit(request)
        return show

    def _slow_down(self, request: Request, gate: Gate) -> None:
        """Raise `Problem` rate_limited, before anything has been done, when this address asks too often."""
        wait_s = gate.take(network(request.client.host) if request.client else "", self._media.now())
        if wait_s:
            self._media.counts["refused_rate"] += 1
            raise Problem(Kind.rate_limited, retry_after_s=math.ceil(wait_s))

    async def _post(self, request: Request) -> Response:
        self._media.admit()
        self._slow_down(request, self._media.gate)
        show, _ = await self._invite(request)
        _require_type(request, SDP)
        offer = await _text(request)
        await self._media.certificate.turns.mine()
        if self._role is Role.publisher:
            # A body may take its time; meanwhile the show may have ended, or the key have been revoked.
            show, rank = await self._invite(request)
            created = self._media.publish(show, offer, rank)
        else:
            async with self._media.reached(show):
                created = self._media.subscribe(show, offer)
        location = f"{request.url.path.rstrip('/')}/{created.session_id}"
        response = Response(created.answer, 201, {"location": location, "etag": created.etag}, SDP)
        self._tell_ice_servers(response)
        if self._role is Role.subscriber:
            response.headers.append("link", f'<{location}/layer>; rel="{LAYER_RELATION}"')
        return response

    def _tell_ice_servers(self, response: Response) -> None:
        # Not the session's id: that is a secret, and this gets around.
        for link in self._media.ice_servers.links(secrets.token_hex(6), self._media.now_s()):
            response.headers.append("link", link)

    async def _patch(self, request: Request) -> Response:
        show = await self._own(request)
        session_id = request.path_params["session"]
        _require_type(request, SDP_FRAGMENT)
        if_match = request.headers.get("if-match")
        restarted = await self._media.desk.patch(show, self._role, session_id, if_match, await _text(request))
        if restarted is None:
            return Response(status_code=204)
        return Response(restarted.fragment, 200, {"etag": restarted.etag}, SDP_FRAGMENT)

    async def _delete(self, request: Request) -> Response:
        show = await self._own(request)
        await self._media.desk.delete(show, self._role, request.path_params["session"])
        return Response(status_code=200)

    async def _limit(self, request: Request) -> Response:
        self._slow_down(request, self._media.session_gate)
        show, session_id = request.path_params["show"], request.path_params["session"]
        await self._media.desk.etag(show, self._role, session_id)
        wish = await read_body(request, Wish)
        await self._media.desk.limit(show, session_id, wish.max_height, video=wish.video)
        return Response(status_code=204)

    async def _endpoint_get(self, request: Request) -> Response:
        """A player finds out what is here by HEAD, from the type (draft-ietf-wish-whep-03, section 4.2)."""
        await self._media.show_exists(request.path_params["show"])
        if self._role is Role.subscriber:
            return Response(status_code=200, headers={"content-type": SDP})
        return Response(status_code=204)

    async def _session_get(self, request: Request) -> Response:
        self._slow_down(request, self._media.session_gate)
        etag = await self._media.desk.etag(request.path_params["show"], self._role, request.path_params["session"])
        return Response(status_code=204, headers={"etag": etag})

    async def _endpoint_options(self, request: Request) -> Response:
        allow = ", ".join(self.endpoint)
        headers = {"accept-post": SDP, "allow": allow, "access-control-allow-methods": allow}
        response = Response(status_code=200, headers=headers | _PREFLIGHT)
        if self._role is Role.publisher and "authorization" in request.headers:  # so it is no preflight
            self._slow_down(request, self._media.gate)
            await self._admit(request)
            self._tell_ice_servers(response)
        return response

    async def _layer_options(self, request: Request) -> Response:
        allow = ", ".join(self.layer)
        headers = {"accept-post": "application/json", "allow": allow, "access-control-allow-methods": allow}
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
