"""Operations over real Starlette: checking, roles, numbered refusals, and the document that describes them."""

from collections.abc import AsyncIterator
from typing import Any

import httpx
import msgspec
import pytest
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import PlainTextResponse

from live.core import rest
from live.core.auth import Principal, Role, Tokens
from live.core.clock import ManualClock
from live.core.errors import Kind, Problem
from live.core.limits import HTTP_BODY_BYTES_MAX


class Item(msgspec.Struct, forbid_unknown_fields=True):
    """Something to buy."""

    sku: str
    count: int = 1


async def _echo(request: Request, body: Item) -> Item:
    """Says it back."""
    if body.sku == "gone":
        raise Problem(Kind.sold_out, field="sku", retry_after_s=2)
    if body.sku == "bug":
        raise RuntimeError("secret inside")
    return body


async def _who(request: Request) -> dict[str, Any]:
    principal = rest.principal_of(request)
    return {"subject": principal.subject if principal else None, "key": rest.idempotency_key(request)}


async def _nothing(request: Request) -> None:
    assert rest.idempotency_key(request) == "k"


async def _raw(request: Request) -> PlainTextResponse:
    return PlainTextResponse("raw")


OPERATIONS = [
    rest.Operation("POST", "/api/items", _echo, "Echo", body=Item, result=Item, status=201, errors=(Kind.sold_out,)),
    rest.Operation("GET", "/api/who", _who, "Who am I", result=dict[str, Any], query={"full": "everything"}),
    rest.Operation("GET", "/api/shows/{show}/secret", _who, "Staff", result=Any, role=Role.host, tag="shows"),
    rest.Operation("DELETE", "/api/items", _nothing, "Forget", keyed=True, key_required=True),
    rest.Operation("GET", "/api/raw", _raw, "Raw", result=str),
]


@pytest.fixture
def tokens(clock: ManualClock) -> Tokens:
    return Tokens("0123456789abcdef", clock)


@pytest.fixture
async def client(tokens: Tokens) -> AsyncIterator[httpx.AsyncClient]:
    app = Starlette(
        routes=rest.routes(OPERATIONS, tokens),
        exception_handlers={Problem: rest.on_problem, HTTPException: rest.on_http_exception, Exception: rest.on_crash},
    )
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
        yield client


async def test_a_good_body_is_answered(client: httpx.AsyncClient) -> None:
    response = await client.post("/api/items", json={"sku": "a"})
    assert (response.status_code, response.json()) == (201, {"sku": "a", "count": 1})
    assert response.headers["cache-control"] == "no-store"


@pytest.mark.parametrize(
    ("content", "code", "field"),
    [
        (b'{"sku": 1}', 1002, "sku"),
        (b"{}", 1002, "sku"),
        (b'{"sku": "a", "colour": 1}', 1002, "colour"),
        (b'{"sku": "a", "count": "1"}', 1002, "count"),
        (b"{", 1001, None),
        (b"", 1001, None),
        (b"[]", 1001, None),
        (b"\xff", 1001, None),
        (b'"' + b"x" * HTTP_BODY_BYTES_MAX + b'"', 1004, None),
    ],
)
async def test_a_bad_body_is_refused_by_number_and_field(
    client: httpx.AsyncClient, content: bytes, code: int, field: str | None
) -> None:
    response = await client.post("/api/items", content=content, headers={"content-type": "application/json"})
    assert response.headers["content-type"] == "application/problem+json"
    assert response.json()["code"] == code
    assert response.json().get("field") == field
    assert response.status_code == response.json()["status"]


async def test_another_content_type_is_refused(client: httpx.AsyncClient) -> None:
    response = await client.post("/api/items", content=b"{}", headers={"content-type": "text/plain"})
    assert (response.status_code, response.json()["code"]) == (415, 1003)


async def test_a_problem_becomes_problem_details(client: httpx.AsyncClient) -> None:
    before = rest.refused["sold_out"]
    response = await client.post("/api/items", json={"sku": "gone"})
    assert (response.status_code, response.headers["retry-after"]) == (409, "2")
    assert response.json()["name"] == "sold_out"
    assert rest.refused["sold_out"] == before + 1


async def test_a_bug_shows_nothing_of_our_insides(client: httpx.AsyncClient) -> None:
    response = await client.post("/api/items", json={"sku": "bug"})
    assert (response.status_code, response.json()["code"]) == (500, 1015)
    assert "secret" not in response.text


async def test_roles_are_enforced_for_the_show_in_the_path(client: httpx.AsyncClient, tokens: Tokens) -> None:
    async def status(principal: Principal | None) -> tuple[int, int | None]:
        headers = {"authorization": f"Bearer {tokens.sign(principal, 60)}"} if principal else {}
        response = await client.get("/api/shows/demo/secret", headers=headers)
        return response.status_code, response.json().get("code")

    assert await status(None) == (401, 1101)
    assert await status(Principal("v", Role.viewer, "*", "V")) == (403, 1104)
    assert await status(Principal("h", Role.host, "gala", "H")) == (403, 1105)
    assert await status(Principal("h", Role.host, "demo", "H")) == (200, None)


async def test_a_bad_token_is_refused_even_where_none_is_needed(client: httpx.AsyncClient) -> None:
    response = await client.get("/api/who", headers={"authorization": "Bearer nonsense"})
    assert (response.status_code, response.headers["www-authenticate"]) == (401, "Bearer")
    assert (await client.get("/api/who")).json() == {"subject": None, "key": None}


async def test_the_idempotency_key_is_read(client: httpx.AsyncClient) -> None:
    assert (await client.get("/api/who", headers={"idempotency-key": "k"})).json()["key"] == "k"
    assert (await client.get("/api/who", headers={"idempotency-key": "k" * 200})).json()["code"] == 1002
    for missing in ({}, {"idempotency-key": ""}):
        refused = await client.delete("/api/items", headers=missing)
        assert (refused.status_code, refused.json()["code"], refused.json()["field"]) == (400, 1010, "Idempotency-Key")
    assert (await client.delete("/api/items", headers={"idempotency-key": "k"})).status_code == 204


async def test_wrong_method_and_unknown_path(client: httpx.AsyncClient) -> None:
    response = await client.put("/api/items")
    assert (response.status_code, response.json()["code"]) == (405, 1009)
    assert set(response.headers["allow"].split(", ")) == {"POST", "DELETE"}
    assert (await client.get("/api/none")).json()["code"] == 1008
    assert (await client.get("/api/raw")).text == "raw"
    assert (await client.head("/api/raw")).status_code == 200


def test_the_document_shows_what_is_checked() -> None:
    document = rest.openapi(OPERATIONS, "1.2.3")
    post = document["paths"]["/api/items"]["post"]
    assert post["requestBody"]["content"]["application/json"]["schema"] == {"$ref": "#/components/schemas/Item"}
    assert set(post["responses"]) == {"201", "400", "409", "413", "415", "422", "429"}
    assert document["components"]["schemas"]["Item"]["required"] == ["sku"]
    secret = document["paths"]["/api/shows/{show}/secret"]["get"]
    assert secret["parameters"][0]["name"] == "show"
    assert (secret["x-role"], secret["operationId"]) == ("host", "get_shows_show_secret")
    delete = document["paths"]["/api/items"]["delete"]
    assert [(one["name"], one["required"]) for one in delete["parameters"]] == [("Idempotency-Key", True)]
    assert "1010 key_required" in delete["responses"]["400"]["description"]
    assert document["paths"]["/api/who"]["get"]["parameters"][0]["in"] == "query"
