"""Over HTTP: locations, what they have, and transfers (`/api/locations…`, `/api/stock…`, `/api/transfers…`)."""

from typing import Annotated, Any

import msgspec
from msgspec import Meta
from starlette.requests import Request
from starlette.responses import Response

from cart.answers import Answer
from cart.places.locations import LocationChange, StockLocation, Transfer, TransferLine
from cart.places.service import Places, view
from cart.stock import Level
from live.core.auth import Principal, Role
from live.core.errors import Kind
from live.core.limits import LOCATION_STOCK_PAGE, STOCK_REASON_CHARS_MAX, TRANSFER_LINES_MAX
from live.core.rest import Operation, idempotency_key, principal_of, respond

Reason = Annotated[str, Meta(max_length=4 * STOCK_REASON_CHARS_MAX)]


class Recount(msgspec.Struct, forbid_unknown_fields=True):
    """How many more units were found than the books say (negative: fewer)."""

    change: int
    reason: Reason = ""


class TransferEntry(msgspec.Struct, forbid_unknown_fields=True):
    """What goes from one location to another. A SKU that is named twice counts together."""

    source: str = msgspec.field(name="from")
    to: str
    lines: Annotated[list[TransferLine], Meta(min_length=1, max_length=TRANSFER_LINES_MAX)]
    reason: Reason = ""


class Locations(msgspec.Struct):
    """All locations, by id."""

    locations: list[StockLocation]


class LocationAnswer(msgspec.Struct):
    """The location as it is now."""

    location: StockLocation


class LevelView(msgspec.Struct):
    """The units of a SKU at a location: `allocated` belong to orders, `held` to carts, the rest is `available`."""

    sku: str
    location: str
    on_hand: int
    allocated: int
    held: int
    available: int


class SkuLevels(msgspec.Struct):
    """What there is of a SKU, by location."""

    sku: str
    levels: list[LevelView]


class LocationLevels(msgspec.Struct):
    """What a location has, by SKU. `next` None: the last page; else the value of `after` for the next."""

    location: str
    levels: list[LevelView]
    next: str | None


class TransferAnswer(msgspec.Struct):
    """What went where."""

    transfer: Transfer


class _Operations:
    def __init__(self, places: Places) -> None:
        self._places = places

    async def locations(self, _request: Request) -> Locations:
        return Locations(await self._places.locations())

    async def location(self, request: Request) -> LocationAnswer:
        return LocationAnswer(await self._places.location(_at(request)))

    async def create(self, request: Request, body: StockLocation) -> Response:
        """Its stock is empty at first; move some there, or count it."""
        key = idempotency_key(request)
        return _respond(await self._places.create(body, _who(request), key), 201)

    async def change(self, request: Request, body: LocationChange) -> Response:
        """What is left out stays. `active` false closes it, once it is empty and no order can be picked up there."""
        key = idempotency_key(request)
        return _respond(await self._places.change(_at(request), body, _who(request), key))

    async def levels(self, request: Request) -> SkuLevels:
        """Shoppers buy what `main` has."""
        sku = request.path_params["sku"]
        return SkuLevels(sku, [_view(level) for level in await self._places.levels(sku)])

    async def stock(self, request: Request) -> LocationLevels:
        levels = [
            _view(level) for level in await self._places.stock(_at(request), request.query_params.get("after", ""))
        ]
        return LocationLevels(_at(request), levels, levels[-1].sku if len(levels) == LOCATION_STOCK_PAGE else None)

    async def adjust(self, request: Request, body: Recount) -> Response:
        """What carts and orders have cannot be taken away. The trail says who did it, and why."""
        key, sku, who = idempotency_key(request), request.path_params["sku"], _who(request)
        return _respond(await self._places.adjust(_at(request), sku, body.change, who, reason=body.reason, key=key))

    async def transfer(self, request: Request, body: TransferEntry) -> Response:
        """All of it or nothing, in one moment. What arrives at `main` is for those who wait first, then for anybody."""
        key, who = idempotency_key(request), _who(request)
        answer = await self._places.transfer(body.source, body.to, body.lines, who, reason=body.reason, key=key)
        return _respond(answer, 201)

    async def find_transfer(self, request: Request) -> TransferAnswer:
        return TransferAnswer(await self._places.find_transfer(request.path_params["transfer"]))


def operations(places: Places) -> list[Operation]:
    """The HTTP operations of locations and their stock."""
    on = _Operations(places)
    one = "/api/locations/{location}"
    moved = (Kind.unknown_location, Kind.location_closed, Kind.unknown_sku, Kind.invalid_quantity, Kind.invalid_field,
             Kind.stock_short, Kind.key_reused)  # fmt: skip

    def read(path: str, handler: Any, summary: str, result: Any, *errors: Kind, **more: Any) -> Operation:
        return Operation("GET", path, handler, summary, result=result, errors=errors, role=Role.host, tag="stock",
                         scope="catalogue:read", **more)  # fmt: skip

    def write(method: str, path: str, handler: Any, summary: str, body: Any, result: Any, **more: Any) -> Operation:
        return Operation(method, path, handler, summary, body=body, result=result, role=Role.ops, tag="stock",
                         scope="stock:write", keyed=True, **more)  # fmt: skip

    return [
        read("/api/locations", on.locations, "List locations", Locations),
        write("POST", "/api/locations", on.create, "Add a location", StockLocation, LocationAnswer, status=201,
              errors=(Kind.invalid_field, Kind.location_exists, Kind.too_many_locations, Kind.key_reused)),
        read(one, on.location, "Read a location", LocationAnswer, Kind.unknown_location),
        write("PATCH", one, on.change, "Change or close a location", LocationChange, LocationAnswer,
              errors=(Kind.unknown_location, Kind.invalid_field, Kind.location_in_use, Kind.key_reused)),
        read(f"{one}/stock", on.stock, "List what a location has", LocationLevels, Kind.unknown_location,
             Kind.invalid_field, query={"after": "the `next` of the page before"}),
        write("POST", f"{one}/stock/{{sku}}/adjust", on.adjust, "Say how many more units a location has", Recount,
              LevelView, errors=moved, key_required=True),
        read("/api/stock/{sku}", on.levels, "Read where a SKU is", SkuLevels, Kind.unknown_sku),
        write("POST", "/api/transfers", on.transfer, "Move stock to another location", TransferEntry, TransferAnswer,
              status=201, errors=moved, key_required=True),
        read("/api/transfers/{transfer}", on.find_transfer, "Read a transfer", TransferAnswer, Kind.unknown_transfer),
    ]  # fmt: skip


def _view(level: Level) -> LevelView:
    return LevelView(**view(level))


def _at(request: Request) -> str:
    location: str = request.path_params["location"]
    return location


def _who(request: Request) -> Principal:
    principal = principal_of(request)
    assert principal is not None, "the operation has a role"
    return principal


def _respond(answer: Answer, status: int = 200) -> Response:
    return respond(answer.body, status, {"idempotency-replayed": "true"} if answer.replayed else None)
