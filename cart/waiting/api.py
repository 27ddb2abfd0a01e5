"""The waitlist and drops over HTTP (`/api/shows/{show}/waitlist…`, `…/queues`, `…/drops…`), and `waitlist.*`."""

from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from cart.answers import Answer
from cart.waiting.drops import StaffDropView
from cart.waiting.places import Place, Queue
from cart.waiting.planning import DropChange, NewDrop, Planning
from cart.waiting.service import Waiting
from live.core.auth import Principal, Role
from live.core.errors import Kind
from live.core.rest import Operation, idempotency_key, principal_of, respond
from live.realtime.commands import Commands, Context, Replayed


class Wish(msgspec.Struct, forbid_unknown_fields=True):
    """What is waited for, and up to how many units of it."""

    sku: str
    quantity: int = 1


class OneSku(msgspec.Struct, forbid_unknown_fields=True):
    """What is not waited for any more."""

    sku: str


class Nothing(msgspec.Struct, forbid_unknown_fields=True):
    """A command without arguments."""


class PlaceView(msgspec.Struct):
    """The place on the waitlist; null: there is none."""

    place: Place | None


class Places(msgspec.Struct):
    """All of one's places, in the order of joining."""

    waitlist: list[Place]


class Queues(msgspec.Struct):
    """How many wait for what."""

    queues: list[Queue]


class DropAnswer(msgspec.Struct):
    """The drop."""

    drop: StaffDropView


class Drops(msgspec.Struct):
    """A show's drops, in the order of their making."""

    drops: list[StaffDropView]


class _Operations:
    def __init__(self, waiting: Waiting, planning: Planning) -> None:
        self._waiting = waiting
        self._planning = planning

    async def places(self, request: Request) -> Places:
        """In all shows, whichever is asked. An offer is in the cart of its show."""
        return Places(await self._waiting.places(_show(request), _who(request)))

    async def join(self, request: Request, body: Wish) -> Response:
        """Only for what is sold out. Joining again keeps the place, and takes the new quantity."""
        key = idempotency_key(request)
        answer = await self._waiting.join(_show(request), _who(request), body.sku, body.quantity, key=key)
        return _respond(answer, 201)

    async def leave(self, request: Request) -> Response:
        """Who does not wait has left already. An offer is turned down by taking it out of the cart."""
        key, sku = idempotency_key(request), request.path_params["sku"]
        return _respond(await self._waiting.leave(_show(request), _who(request), sku, key=key))

    async def queues(self, request: Request) -> Queues:
        """Of the SKUs in the show's lineup that somebody waits for, in whichever show they joined."""
        return Queues(await self._waiting.queues(_show(request)))

    async def drops(self, request: Request) -> Drops:
        """Those that are planned, open or over; cancelled ones are not there."""
        return Drops(await self._planning.drops(_show(request)))

    async def create(self, request: Request, body: NewDrop) -> Response:
        """From now on the SKU can be put into carts of this show while the drop is open, and within its limits."""
        key = idempotency_key(request)
        return _respond(await self._planning.create(_show(request), _who(request), body, key=key), 201)

    async def change(self, request: Request, body: DropChange) -> Response:
        """Before it opens. What is left out stays; null takes a limit away."""
        key, drop = idempotency_key(request), request.path_params["drop"]
        return _respond(await self._planning.change(_show(request), _who(request), drop, body, key=key))

    async def cancel(self, request: Request) -> Response:
        """At any time. What carts hold stays there."""
        key, drop = idempotency_key(request), request.path_params["drop"]
        return _respond(await self._planning.cancel(_show(request), _who(request), drop, key=key))


def operations(waiting: Waiting, planning: Planning) -> list[Operation]:
    """The HTTP operations of the waitlist and of drops."""
    on = _Operations(waiting, planning)
    places, drops = "/api/shows/{show}/waitlist", "/api/shows/{show}/drops"
    viewer: dict[str, Any] = {"role": Role.viewer, "tag": "waitlist"}
    host: dict[str, Any] = {"role": Role.host, "tag": "drops"}
    known = (Kind.unknown_show, Kind.key_reused)
    planned = (*known, Kind.invalid_field, Kind.unknown_drop)
    window = (Kind.drop_not_open, Kind.drop_over, Kind.drop_customer_limit)
    full = (Kind.not_sold_out, Kind.waitlist_full, Kind.too_many_places)
    return [
        Operation("GET", places, on.places, "Read what one waits for", result=Places, errors=(Kind.unknown_show,),
                  **viewer),
        Operation("POST", places, on.join, "Wait for what is sold out", body=Wish, result=PlaceView, status=201,
                  keyed=True, errors=(*known, Kind.unknown_sku, Kind.invalid_quantity, *full, *window), **viewer),
        Operation("DELETE", f"{places}/{{sku}}", on.leave, "Wait no longer", result=PlaceView, keyed=True,
                  errors=(*known, Kind.unknown_sku), **viewer),
        Operation("GET", "/api/shows/{show}/queues", on.queues, "Read how many wait", result=Queues,
                  errors=(Kind.unknown_show,), scope="catalogue:read", **host),
        Operation("GET", drops, on.drops, "List drops", result=Drops, errors=(Kind.unknown_show,), scope="shows:read",
                  **host),
        Operation("POST", drops, on.create, "Plan a drop", body=NewDrop, result=DropAnswer, status=201, keyed=True,
                  errors=(*planned, Kind.unknown_sku, Kind.drop_exists), scope="shows:write", **host),
        Operation("PATCH", f"{drops}/{{drop}}", on.change, "Change a drop that has not opened", body=DropChange,
                  result=DropAnswer, keyed=True, errors=(*planned, Kind.drop_open), scope="shows:write", **host),
        Operation("DELETE", f"{drops}/{{drop}}", on.cancel, "Cancel a drop", result=DropAnswer, keyed=True,
                  errors=planned, scope="shows:write", **host),
    ]  # fmt: skip


def commands(registry: Commands, waiting: Waiting) -> None:
    """Add the commands `waitlist.*` of viewers."""

    async def join(context: Context, body: Wish) -> dict[str, Any] | Replayed:
        answer = await waiting.join(context.show, context.principal, body.sku, body.quantity, key=context.key)
        return _answered(answer)

    async def leave(context: Context, body: OneSku) -> dict[str, Any] | Replayed:
        return _answered(await waiting.leave(context.show, context.principal, body.sku, key=context.key))

    async def get(context: Context, _body: Nothing) -> Places:
        return Places(await waiting.places(context.show, context.principal))

    registry.add("waitlist.join", Wish, join)
    registry.add("waitlist.leave", OneSku, leave)
    registry.add("waitlist.get", Nothing, get)


def _show(request: Request) -> str:
    show: str = request.path_params["show"]
    return show


def _who(request: Request) -> Principal:
    principal = principal_of(request)
    assert principal is not None, "the operation has a role"
    return principal


def _answered(answer: Answer) -> dict[str, Any] | Replayed:
    return Replayed(answer.body) if answer.replayed else answer.body


def _respond(answer: Answer, status: int = 200) -> Response:
    return respond(answer.body, status, {"idempotency-replayed": "true"} if answer.replayed else None)
