"""Shows over HTTP (`/api/shows…`, `/api/guests`) and over WebSocket (`show.*`)."""

import math
import re
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from live.core.addresses import network
from live.core.auth import ALL_SHOWS, Role, Tokens
from live.core.bus import Take
from live.core.errors import Kind, Problem
from live.core.limits import GUESTS_BURST, GUESTS_PER_S, SHOWS_LISTED_MAX, TIMELINE_EVENTS_LISTED_MAX
from live.core.rest import Operation, idempotency_key, principal_of, respond
from live.realtime.commands import Commands, Context
from live.realtime.doorman import new_guest
from live.realtime.protocol import Viewer, wire_viewer
from live.service import Shows
from live.shows import Show, ShowState
from live.store import StreamKey
from live.timeline import Entry

_NUMBER = re.compile(r"[0-9]{1,15}")


# --- what comes in --------------------------------------------------------------------------------------------


class NewShow(msgspec.Struct, forbid_unknown_fields=True):
    """A show to create. `scheduled_at_ms` is Unix time; None: no date yet."""

    id: str
    title: str
    scheduled_at_ms: int | None = None
    auto_live: bool = False


class ShowPatch(msgspec.Struct, forbid_unknown_fields=True):
    """What to change of a show; members that are left out stay."""

    title: str | msgspec.UnsetType = msgspec.UNSET
    scheduled_at_ms: int | msgspec.UnsetType | None = msgspec.UNSET
    auto_live: bool | msgspec.UnsetType = msgspec.UNSET


class Go(msgspec.Struct, forbid_unknown_fields=True):
    """The state to go to."""

    to: ShowState


class Lineup(msgspec.Struct, forbid_unknown_fields=True):
    """The products of the show, in order."""

    product_ids: list[str]


class PinProduct(msgspec.Struct, forbid_unknown_fields=True):
    """The product of the lineup to put on screen."""

    product_id: str


class NewStreamKey(msgspec.Struct, forbid_unknown_fields=True):
    """A stream key to make. `label` tells its owner which one it is; `backup`: it stands by for another publisher."""

    label: str = ""
    backup: bool = False


class NewGuest(msgspec.Struct, forbid_unknown_fields=True):
    """A guest who wants a token. `name` None: the server finds one."""

    name: str | None = None


class Nothing(msgspec.Struct, forbid_unknown_fields=True):
    """A command without arguments."""


# --- what goes out --------------------------------------------------------------------------------------------


class ShowPage(msgspec.Struct):
    """Shows, the newest first. `next` None: the last page; else the value of `before` for the next."""

    shows: list[Show]
    next: str | None


class PinView(msgspec.Struct):
    """The product on screen."""

    pin_id: str
    product: dict[str, Any]
    pinned_at_ms: int


class ShowDetails(msgspec.Struct):
    """A show with its lineup and pin, as in the snapshot of the socket."""

    show: Show
    lineup: list[dict[str, Any]]
    pin: PinView | None


class LineupView(msgspec.Struct):
    """The products of the show, in order."""

    lineup: list[dict[str, Any]]


class TimelinePage(msgspec.Struct):
    """Events in order. `next` None: the last page; else the value of `after` for the next."""

    events: list[Entry]
    next: int | None


class StreamKeySecret(msgspec.Struct):
    """A new stream key. `key` is told once and not kept; null: it was told before, under this Idempotency-Key."""

    id: str
    label: str
    created_at_ms: int
    backup: bool
    key: str | None


class StreamKeys(msgspec.Struct):
    """The good stream keys of a show, the oldest first."""

    stream_keys: list[StreamKey]


class Guest(msgspec.Struct):
    """A guest and the token to present next time."""

    token: str
    viewer: Viewer


def query_number(request: Request, name: str, default: int) -> int:
    """A query parameter that counts something; raises `Problem` invalid_field."""
    raw = request.query_params.get(name)
    if raw is None:
        return default
    if not _NUMBER.fullmatch(raw):
        raise Problem(Kind.invalid_field, "A number of 0 or more.", field=name)
    return int(raw)


# --- operations -----------------------------------------------------------------------------------------------


class _Operations:
    def __init__(self, shows: Shows, tokens: Tokens, take: Take) -> None:
        self._shows = shows
        self._tokens = tokens
        self._take = take

    async def list_shows(self, request: Request) -> ShowPage:
        """Drafts are listed for a host of all shows only."""
        principal = principal_of(request)
        states = _states(request.query_params.get("state"))
        before = request.query_params.get("before")
        drafts = principal is not None and principal.may(Role.host, ALL_SHOWS)
        shows = await self._shows.list_shows(states=states, before=before, drafts=drafts)
        return ShowPage(shows=shows, next=shows[-1].id if len(shows) == SHOWS_LISTED_MAX else None)

    async def create_show(self, request: Request, body: NewShow) -> Show:
        """The show begins as a draft. The token must be good for all shows."""
        principal = principal_of(request)
        assert principal is not None, "the operation has a role"
        principal.require(Role.host, ALL_SHOWS)
        return await self._shows.create(
            body.id,
            body.title,
            scheduled_at_ms=body.scheduled_at_ms,
            auto_live=body.auto_live,
            key=idempotency_key(request),
            subject=principal.subject,
        )

    async def show(self, request: Request) -> dict[str, Any]:
        """Without a token for more than watching, what is read may be a quarter of a second old."""
        principal, show_id = principal_of(request), _show_id(request)
        watches = principal is None or not principal.may(Role.moderator, show_id)
        return await (self._shows.seen(show_id) if watches else self._shows.snapshot(show_id))

    async def update_show(self, request: Request, body: ShowPatch) -> Show:
        return await self._shows.update(
            _show_id(request), title=body.title, scheduled_at_ms=body.scheduled_at_ms, auto_live=body.auto_live
        )

    async def go(self, request: Request, body: Go) -> Show:
        """Going where the show is already changes nothing."""
        return await self._shows.transition(_show_id(request), body.to)

    async def set_lineup(self, request: Request, body: Lineup) -> LineupView:
        """Replaces the lineup. A pinned product that is no longer in it is unpinned."""
        return LineupView(lineup=await self._shows.set_lineup(_show_id(request), body.product_ids))

    async def pin(self, request: Request, body: PinProduct) -> dict[str, Any]:
        """Replaces the pin; a product that is pinned already stays as it is."""
        return await self._shows.pin(_show_id(request), body.product_id)

    async def unpin(self, request: Request) -> None:
        await self._shows.unpin(_show_id(request))

    async def timeline(self, request: Request) -> TimelinePage:
        """What screens were told, on the show's clock; chat messages are in the chat's history."""
        after = query_number(request, "after", 0)
        events = await self._shows.timeline(_show_id(request), after)
        return TimelinePage(events=events, next=events[-1].seq if len(events) == TIMELINE_EVENTS_LISTED_MAX else None)

    async def create_stream_key(self, request: Request, body: NewStreamKey) -> Response:
        """The bearer token for WHIP, for an encoder such as OBS.

        With an Idempotency-Key that was used, the stream key that it made, without its secret.
        """
        principal = principal_of(request)
        assert principal is not None, "the operation has a role"
        made = await self._shows.stream_keys.create(
            _show_id(request), body.label, backup=body.backup, key=idempotency_key(request), subject=principal.subject
        )
        key = made.key
        replayed = {"idempotency-replayed": "true"} if made.secret is None else None
        return respond(StreamKeySecret(key.id, key.label, key.created_at_ms, key.backup, made.secret), 201, replayed)

    async def stream_keys(self, request: Request) -> StreamKeys:
        return StreamKeys(stream_keys=await self._shows.stream_keys.good(_show_id(request)))

    async def stream_key(self, request: Request) -> StreamKey:
        return await self._shows.stream_keys.get(_show_id(request), request.path_params["id"])

    async def revoke_stream_key(self, request: Request) -> None:
        """Whoever publishes with it now goes on; nobody can start with it again."""
        await self._shows.stream_keys.revoke(_show_id(request), request.path_params["id"])

    async def create_guest(self, request: Request, body: NewGuest) -> Guest:
        """A token to chat and buy with over HTTP; a socket gives its guests one by itself."""
        address = network(request.client.host) if request.client else ""
        if wait_s := await self._take(f"guests:{address}", GUESTS_PER_S, GUESTS_BURST):
            raise Problem(Kind.rate_limited, retry_after_s=math.ceil(wait_s))
        guest, token = new_guest(self._tokens, body.name)
        return Guest(token=token, viewer=wire_viewer(guest))


def operations(shows: Shows, tokens: Tokens, take: Take) -> list[Operation]:
    """The HTTP operations of shows. `take` counts rates over all workers."""
    on = _Operations(shows, tokens, take)
    show, unknown = "/api/shows/{show}", (Kind.unknown_show,)

    def host(method: str, path: str, handler: Any, summary: str, **more: Any) -> Operation:
        errors = (*unknown, *more.pop("errors", ()))
        return Operation(
            method, path, handler, summary, role=Role.host, scope="shows:write", tag="shows", errors=errors, **more
        )

    return [
        Operation(
            "GET", "/api/shows", on.list_shows, "List shows", result=ShowPage, tag="shows", scope="shows:read",
            errors=(Kind.invalid_field, *unknown),
            query={"state": "only these states, separated by commas", "before": "the `next` of the page before"},
        ),
        Operation(
            "POST", "/api/shows", on.create_show, "Create a show", body=NewShow, result=Show, status=201,
            role=Role.host, scope="shows:write", tag="shows", errors=(Kind.show_exists, Kind.key_reused), keyed=True,
        ),
        Operation("GET", show, on.show, "Read a show", result=ShowDetails, tag="shows", errors=unknown),
        host("PATCH", show, on.update_show, "Change a show", body=ShowPatch, result=Show,
             errors=(Kind.illegal_transition,)),
        host("POST", f"{show}/state", on.go, "Move a show through its life", body=Go, result=Show,
             errors=(Kind.illegal_transition,)),
        host("PUT", f"{show}/lineup", on.set_lineup, "Set the lineup", body=Lineup, result=LineupView,
             errors=(Kind.unknown_product,)),
        host("PUT", f"{show}/pin", on.pin, "Pin a product", body=PinProduct, result=PinView,
             errors=(Kind.not_in_lineup, Kind.unknown_product, Kind.illegal_transition)),
        host("DELETE", f"{show}/pin", on.unpin, "Unpin the product"),
        Operation(
            "GET", f"{show}/timeline", on.timeline, "Read the timeline", result=TimelinePage, tag="shows",
            errors=(Kind.invalid_field, *unknown), query={"after": "the `next` of the page before"},
        ),
        host("POST", f"{show}/stream-keys", on.create_stream_key, "Make a stream key", body=NewStreamKey,
             result=StreamKeySecret, status=201, keyed=True, errors=(Kind.too_many_stream_keys, Kind.key_reused)),
        host("GET", f"{show}/stream-keys", on.stream_keys, "List stream keys", result=StreamKeys),
        host("GET", f"{show}/stream-keys/{{id}}", on.stream_key, "Read a stream key", result=StreamKey,
             errors=(Kind.unknown_stream_key,)),
        host("DELETE", f"{show}/stream-keys/{{id}}", on.revoke_stream_key, "Revoke a stream key",
             errors=(Kind.unknown_stream_key,)),
        Operation("POST", "/api/guests", on.create_guest, "Become a guest", body=NewGuest, result=Guest, status=201,
                  tag="viewers", errors=(Kind.invalid_field, Kind.rate_limited)),
    ]  # fmt: skip


def commands(registry: Commands, shows: Shows) -> None:
    """Add the commands `show.*` of hosts."""

    async def go(context: Context, body: Go) -> dict[str, Any]:
        return {"show": await shows.transition(context.show, body.to)}

    async def pin(context: Context, body: PinProduct) -> dict[str, Any]:
        return {"pin": await shows.pin(context.show, body.product_id)}

    async def unpin(context: Context, _body: Nothing) -> dict[str, Any]:
        await shows.unpin(context.show)
        return {}

    async def lineup(context: Context, body: Lineup) -> dict[str, Any]:
        return {"lineup": await shows.set_lineup(context.show, body.product_ids)}

    registry.add("show.go", Go, go, role=Role.host)
    registry.add("show.pin", PinProduct, pin, role=Role.host)
    registry.add("show.unpin", Nothing, unpin, role=Role.host)
    registry.add("show.lineup", Lineup, lineup, role=Role.host)


def _show_id(request: Request) -> str:
    show_id: str = request.path_params["show"]
    return show_id


def _states(raw: str | None) -> list[ShowState] | None:
    if raw is None:
        return None
    try:
        return [ShowState(name) for name in raw.split(",")]
    except ValueError:
        raise Problem(
            Kind.invalid_field, f"One of {', '.join(state.value for state in ShowState)}.", field="state"
        ) from None
