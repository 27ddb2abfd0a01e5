"""Prices for the staff over HTTP: `/api/shows/{show}/live-price` for hosts, `/api/rulesets…` for ops and services."""

from typing import Annotated, Any

import msgspec
from msgspec import Meta
from starlette.requests import Request
from starlette.responses import Response

from cart.answers import once
from cart.moves import Moves
from cart.offering.live_prices import Start
from cart.offering.rehearsal import Trial
from cart.offering.service import Offering
from cart.pricing.checks import Flaw
from cart.pricing.priced import Priced
from cart.pricing.rules import Rule
from cart.pricing.store import LivePrice, PriceChange, StoredRuleset
from live.core.auth import Principal, Role
from live.core.codec import plain
from live.core.errors import Kind, Problem
from live.core.limits import LABEL_CHARS_MAX, RULES_MAX, RULESETS_PAGE
from live.core.rest import Operation, idempotency_key, principal_of, respond

Rules = Annotated[list[Rule], Meta(max_length=RULES_MAX)]


class LivePriceView(msgspec.Struct):
    """The live price of a show; None: there is none."""

    live_price: LivePrice | None


class Draft(msgspec.Struct, forbid_unknown_fields=True):
    """Rules that are to be in force together, with a word about them."""

    rules: Rules
    note: Annotated[str, Meta(max_length=LABEL_CHARS_MAX)] = ""


class Candidate(msgspec.Struct, forbid_unknown_fields=True):
    """Rules that somebody thinks of."""

    rules: Rules


class Flaws(msgspec.Struct):
    """Why rules cannot be saved; none: they can."""

    flaws: list[Flaw]


class RulesetView(msgspec.Struct):
    """The ruleset."""

    ruleset: StoredRuleset


class RulesetPage(msgspec.Struct):
    """Rulesets, the newest first; prices are made by `in_force` (0: by none). `next` None: the last page."""

    rulesets: list[StoredRuleset]
    in_force: int
    next: int | None


class Published(msgspec.Struct):
    """The version of prices from now on, and the ruleset that makes them."""

    version: int
    ruleset: int


class PriceChanges(msgspec.Struct):
    """Who changed when what prices are made by, the newest first."""

    changes: list[PriceChange]


class _Operations:
    def __init__(self, offering: Offering) -> None:
        self._stockroom = offering.stockroom
        self._live_prices = offering.live_prices
        self._rulesets = offering.rulesets
        self._rehearsal = offering.rehearsal

    async def start(self, request: Request, body: Start) -> Response:
        """What is pinned costs this from now on, on all screens of the show, until it is unpinned at the latest."""
        show, by, key = _host(request)

        def effect(moves: Moves, _scope: str) -> dict[str, Any]:
            return {"live_price": plain(self._live_prices.start(moves, show, by.subject, body))}

        request_ = ("live-price", plain(body))
        answer = await self._stockroom.change(lambda moves: once(moves, show, by, request_, key, effect))
        return _respond(answer.body, answer.replayed, 201)

    async def stop(self, request: Request) -> Response:
        """Holds keep their price; whoever clicks from now on pays what it costs without."""
        show, by, key = _host(request)

        def effect(moves: Moves, _scope: str) -> dict[str, Any]:
            self._live_prices.stop(moves, show, by.subject)
            return {"live_price": None}

        answer = await self._stockroom.change(lambda moves: once(moves, show, by, ("no live-price",), key, effect))
        return _respond(answer.body, answer.replayed)

    async def list_rulesets(self, request: Request) -> RulesetPage:
        before = request.query_params.get("before")
        found = await self._rulesets.page(None if before is None else _number(before, "before"))
        last = found[-1].number if len(found) == RULESETS_PAGE else None
        return RulesetPage(rulesets=found, in_force=await self._rulesets.in_force(), next=last)

    async def ruleset(self, request: Request) -> RulesetView:
        return RulesetView(await self._rulesets.get(_number(request.path_params["number"], "number")))

    async def draft(self, request: Request, body: Draft) -> Response:
        """Changes no price until it is published; a published one never changes."""
        key = idempotency_key(request)
        return _respond(*await self._rulesets.draft(body.note, body.rules, _who(request).subject, key), 201)

    async def check(self, _request: Request, body: Candidate) -> Flaws:
        return Flaws(self._rulesets.check(body.rules))

    async def rehearse(self, _request: Request, body: Trial) -> Priced:
        """Changes nothing. The trace says of each rule whether it applied, and why it did not."""
        return await self._rehearsal.price(body)

    async def publish(self, request: Request) -> Response:
        """All prices are made by this ruleset at once, an earlier one too; the screens of open shows hear of it."""
        number, key = _number(request.path_params["number"], "number"), idempotency_key(request)
        base = request.query_params.get("in_force")
        in_force = None if base is None else _number(base, "in_force")
        return _respond(*await self._rulesets.publish(number, _who(request).subject, key, in_force))

    async def roll_back(self, request: Request) -> Response:
        """Publishes the ruleset again that was in force before; none, when there was none."""
        return _respond(*await self._rulesets.roll_back(_who(request).subject, idempotency_key(request)))

    async def changes(self, _request: Request) -> PriceChanges:
        return PriceChanges(await self._rulesets.changes())


def operations(offering: Offering) -> list[Operation]:
    """The HTTP operations of whoever makes prices."""
    on = _Operations(offering)
    live, sets = "/api/shows/{show}/live-price", "/api/rulesets"
    host: dict[str, Any] = {"role": Role.host, "scope": "prices:write", "tag": "prices", "keyed": True}
    ops: dict[str, Any] = {"role": Role.ops, "scope": "prices:write", "tag": "prices"}
    return [
        Operation("POST", live, on.start, "Start a live price", body=Start, result=LivePriceView, status=201,
                  errors=(Kind.unknown_show, Kind.nothing_pinned, Kind.unknown_sku, Kind.key_reused), **host),
        Operation("DELETE", live, on.stop, "End the live price", result=LivePriceView,
                  errors=(Kind.unknown_show, Kind.key_reused), **host),
        Operation("GET", sets, on.list_rulesets, "List rulesets", result=RulesetPage, errors=(Kind.invalid_field,),
                  query={"before": "the `next` of the page before"}, **ops),
        Operation("POST", sets, on.draft, "Save a ruleset", body=Draft, result=RulesetView, status=201, keyed=True,
                  errors=(Kind.invalid_rules, Kind.key_reused), **ops),
        Operation("POST", f"{sets}/check", on.check, "Check rules", body=Candidate, result=Flaws, **ops),
        Operation("POST", f"{sets}/rehearse", on.rehearse, "Try rules on a cart", body=Trial, result=Priced,
                  errors=(Kind.unknown_sku, Kind.invalid_rules, Kind.invalid_quantity, Kind.mixed_currency), **ops),
        Operation("POST", f"{sets}/rollback", on.roll_back, "Publish the ruleset before again", result=Published,
                  keyed=True, errors=(Kind.key_reused,), **ops),
        Operation("GET", f"{sets}/{{number}}", on.ruleset, "Read a ruleset", result=RulesetView,
                  errors=(Kind.unknown_ruleset,), **ops),
        Operation("POST", f"{sets}/{{number}}/publish", on.publish, "Publish a ruleset", result=Published, keyed=True,
                  query={"in_force": "the ruleset that this one was made from (0: none); any, when it is left out"},
                  errors=(Kind.unknown_ruleset, Kind.invalid_rules, Kind.rules_changed, Kind.invalid_field,
                          Kind.key_reused), **ops),
        Operation("GET", "/api/price-changes", on.changes, "Read who changed prices", result=PriceChanges, **ops),
    ]  # fmt: skip


def _who(request: Request) -> Principal:
    principal = principal_of(request)
    assert principal is not None, "the operation has a role"
    return principal


def _host(request: Request) -> tuple[str, Principal, str | None]:
    show: str = request.path_params["show"]
    return show, _who(request), idempotency_key(request)


def _number(text: str, field: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        raise Problem(Kind.unknown_ruleset if field == "number" else Kind.invalid_field, field=field)
    return int(text)


def _respond(body: dict[str, Any], replayed: bool, status: int = 200) -> Response:
    return respond(body, status, {"idempotency-replayed": "true"} if replayed else None)
