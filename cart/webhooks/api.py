"""Webhooks over HTTP: `/api/webhooks…`, for ops and for programs that may change them."""

from typing import Annotated, Any, Literal

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from cart.webhooks import events, service
from cart.webhooks.records import Delivery, Detail
from cart.webhooks.service import Asked, Done, Webhooks
from live.core.auth import Principal, Role
from live.core.errors import Kind, Problem
from live.core.limits import (
    LABEL_CHARS_MAX,
    WEBHOOK_OVERLAP_S,
    WEBHOOK_OVERLAP_S_MAX,
    WEBHOOK_PAGE,
    WEBHOOK_URL_CHARS_MAX,
)
from live.core.rest import Operation, idempotency_key, principal_of, respond

_STATES = ("pending", "delivered", "dead", "superseded")
Url = Annotated[str, msgspec.Meta(max_length=WEBHOOK_URL_CHARS_MAX)]
Label = Annotated[str, msgspec.Meta(max_length=4 * LABEL_CHARS_MAX)]
Types = Annotated[list[str], msgspec.Meta(max_length=len(events.KINDS))]


# --- what comes in --------------------------------------------------------------------------------------------


class NewEndpoint(msgspec.Struct, forbid_unknown_fields=True):
    """Where messages go. `types`: which ones, an empty list is all; `label`: for people."""

    url: Url
    types: Types = []
    label: Label = ""


class EndpointChange(msgspec.Struct, forbid_unknown_fields=True):
    """What shall be otherwise; None: as it is. `state`: `paused` lets messages wait, `active` sends them."""

    url: Url | None = None
    types: Types | None = None
    label: Label | None = None
    state: Literal["active", "paused"] | None = None


class Rotation(msgspec.Struct, forbid_unknown_fields=True):
    """How many seconds the secret of before signs beside the new one; 0: it ends at once."""

    overlap_s: Annotated[int, msgspec.Meta(ge=0, le=WEBHOOK_OVERLAP_S_MAX)] = WEBHOOK_OVERLAP_S


class Replay(msgspec.Struct, forbid_unknown_fields=True):
    """Of what happened from `since_ms` to before `until_ms` (Unix milliseconds): what is `dead`, or `all`."""

    since_ms: int
    until_ms: int
    of: Literal["dead", "all"] = "dead"


# --- what goes out --------------------------------------------------------------------------------------------


class EndpointView(msgspec.Struct):
    """Who is told. `types`: of what, an empty list is everything; `reason`: why it is disabled.

    `old_until_ms`: until then the secret of before signs as well, None: it does not. `failing_since_ms` None: the
    last message has arrived.
    """

    id: str
    url: str
    label: str
    types: list[str]
    state: Literal["active", "paused", "disabled"]
    reason: str
    old_until_ms: int | None
    failing_since_ms: int | None
    created_at_ms: int


class Endpoints(msgspec.Struct):
    """All endpoints, the oldest first."""

    endpoints: list[EndpointView]


class EndpointAnswer(msgspec.Struct):
    """The endpoint as it is now."""

    endpoint: EndpointView


class EndpointSecret(msgspec.Struct):
    """The endpoint as it is now, and its secret (`whsec_…`), which is shown here only."""

    endpoint: EndpointView
    secret: str


class DeliveryPage(msgspec.Struct):
    """Deliveries, the newest first. `next` None: the last page; else the value of `before` for the next."""

    deliveries: list[Delivery]
    next: str | None


class DeliveryId(msgspec.Struct):
    """The delivery, by its `webhook-id`."""

    id: str


class Replayed(msgspec.Struct):
    """How many messages are sent again. `next_since_ms` None: all; else ask for the rest from then on."""

    replayed: int
    next_since_ms: int | None


class TypeView(msgspec.Struct):
    """A type of message. `newest_only`: an older one that waits gives way to a newer one of its subject."""

    name: str
    meaning: str
    newest_only: bool
    schema: dict[str, Any]


class TypeList(msgspec.Struct):
    """All types with the JSON Schema of their data, and the schemas that these share."""

    types: list[TypeView]
    shared: dict[str, Any]


# --- operations -----------------------------------------------------------------------------------------------


class _Operations:
    def __init__(self, webhooks: Webhooks) -> None:
        self._webhooks = webhooks

    async def types(self, _request: Request) -> TypeList:
        schema = events.schema()
        views = [
            TypeView(kind.name, kind.meaning, kind.newest, schema["types"][kind.name]) for kind in events.KINDS.values()
        ]
        return TypeList(views, schema["$defs"])

    async def endpoints(self, _request: Request) -> Endpoints:
        return Endpoints([_view(endpoint) for endpoint in await self._webhooks.endpoints()])

    async def create(self, request: Request, body: NewEndpoint) -> Response:
        """Its name is resolved and looked at: nothing is sent to private addresses."""
        return _respond(await self._webhooks.create(_asked(request), body.url, body.types, body.label), 201)

    async def endpoint(self, request: Request) -> EndpointAnswer:
        return EndpointAnswer(_view(await self._webhooks.endpoint(_endpoint(request))))

    async def change(self, request: Request, body: EndpointChange) -> Response:
        """`active` also takes a disabled endpoint up again."""
        members = {name: getattr(body, name) for name in body.__struct_fields__}
        return _respond(await self._webhooks.change(_asked(request), _endpoint(request), **members))

    async def rotate(self, request: Request, body: Rotation) -> Response:
        """Messages carry the signatures of both secrets until the overlap is over."""
        return _respond(await self._webhooks.rotate(_asked(request), _endpoint(request), body.overlap_s))

    async def delete(self, request: Request) -> None:
        """What waits for it is not sent."""
        await self._webhooks.delete(_asked(request), _endpoint(request))

    async def test(self, request: Request) -> Response:
        """A message of the type `webhook.test`; read its delivery to see what was answered."""
        return _respond(await self._webhooks.test(_asked(request), _endpoint(request)), 202)

    async def deliveries(self, request: Request) -> DeliveryPage:
        state, before = request.query_params.get("state"), request.query_params.get("before")
        if state is not None and state not in _STATES:
            raise Problem(Kind.invalid_field, f"One of {', '.join(_STATES)}.", field="state")
        found = await self._webhooks.deliveries(_endpoint(request), state, before)  # type: ignore[arg-type]
        return DeliveryPage(found, found[-1].id if len(found) == WEBHOOK_PAGE else None)

    async def delivery(self, request: Request) -> Detail:
        return await self._webhooks.delivery(_endpoint(request), request.path_params["delivery"])

    async def replay(self, request: Request) -> Response:
        """It has the same `webhook-id` as before: receivers that remember ids must let it in again."""
        webhooks, asked = self._webhooks, _asked(request)
        return _respond(await webhooks.replay(asked, _endpoint(request), request.path_params["delivery"]), 202)

    async def replay_range(self, request: Request, body: Replay) -> Response:
        """`all` also sends what this endpoint was never sent, because it was disabled or did not exist."""
        everything = body.of == "all"
        asked = _asked(request)
        done = await self._webhooks.replay_range(
            asked, _endpoint(request), body.since_ms, body.until_ms, everything=everything
        )
        return _respond(done, 202)


def operations(webhooks: Webhooks) -> list[Operation]:
    """The HTTP operations of webhooks."""
    on = _Operations(webhooks)
    one, sent = "/api/webhooks/{endpoint}", "/api/webhooks/{endpoint}/deliveries"
    unknown, able = (Kind.unknown_endpoint,), (Kind.unknown_endpoint, Kind.endpoint_disabled)
    target = (Kind.webhook_target_forbidden,)

    def ops(method: str, path: str, handler: Any, summary: str, **more: Any) -> Operation:
        errors = (*more.pop("errors", ()), *((Kind.key_reused,) if method != "GET" else ()))
        keyed = method != "GET"
        return Operation(method, path, handler, summary, role=Role.ops, scope="webhooks:write", tag="webhooks",
                         errors=errors, keyed=keyed, **more)  # fmt: skip

    return [
        ops("GET", "/api/webhooks", on.endpoints, "List webhook endpoints", result=Endpoints),
        ops("POST", "/api/webhooks", on.create, "Create a webhook endpoint", body=NewEndpoint, result=EndpointSecret,
            status=201, errors=(*target, Kind.too_many_endpoints)),
        ops("GET", "/api/webhooks/types", on.types, "List types of messages", result=TypeList),
        ops("GET", one, on.endpoint, "Read a webhook endpoint", result=EndpointAnswer, errors=unknown),
        ops("PATCH", one, on.change, "Change a webhook endpoint", body=EndpointChange, result=EndpointAnswer,
            errors=(*target, *unknown)),
        ops("DELETE", one, on.delete, "Delete a webhook endpoint", errors=unknown),
        ops("POST", f"{one}/secret", on.rotate, "Rotate an endpoint's secret", body=Rotation, result=EndpointSecret,
            errors=unknown),
        ops("POST", f"{one}/test", on.test, "Send a test message", result=DeliveryId, status=202, errors=able),
        ops("GET", sent, on.deliveries, "List an endpoint's deliveries", result=DeliveryPage,
            errors=(*unknown, Kind.unknown_delivery, Kind.invalid_field),
            query={"state": "only those that are pending, delivered, dead or superseded",
                   "before": "the `next` of the page before"}),
        ops("GET", f"{sent}/{{delivery}}", on.delivery, "Read a delivery and its tries", result=Detail,
            errors=(*unknown, Kind.unknown_delivery)),
        ops("POST", f"{sent}/{{delivery}}/replay", on.replay, "Send a message again", result=DeliveryId, status=202,
            errors=(*able, Kind.unknown_delivery)),
        ops("POST", f"{one}/replay", on.replay_range, "Send messages of a time again", body=Replay, result=Replayed,
            status=202, errors=able),
    ]  # fmt: skip


def _view(endpoint: Any) -> EndpointView:
    return EndpointView(**service.seen(endpoint))


def _asked(request: Request) -> Asked:
    principal: Principal | None = principal_of(request)
    assert principal is not None, "the operation has a role"
    return Asked(principal, idempotency_key(request))


def _endpoint(request: Request) -> str:
    endpoint: str = request.path_params["endpoint"]
    return endpoint


def _respond(done: Done, status: int = 200) -> Response:
    return respond(done.body, status, {"idempotency-replayed": "true"} if done.replayed else None)
