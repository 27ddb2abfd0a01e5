"""JSON over HTTP: operations described once, served by Starlette and documented as OpenAPI 3.1.

An `Operation` names its address, its body and its result as msgspec structs. The same structs check what comes in,
encode what goes out and become the JSON Schemas of `/openapi.json`, so the document cannot drift from the code.
"""

import inspect
import re
from asyncio import to_thread
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from functools import cache, partial
from http import HTTPStatus
from typing import Any, Protocol, TypeVar

import msgspec
import orjson
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route

from live.core import codec
from live.core.auth import ALL_SHOWS, SCOPES, SERVICE_KEY_PREFIX, Principal, Role, Tokens, bearer
from live.core.errors import Kind, Problem
from live.core.limits import HTTP_BODY_BYTES_MAX, IDEMPOTENCY_KEY_CHARS_MAX
from live.core.tracing import Tracing

T = TypeVar("T")
Handler = Callable[..., Awaitable[Any]]
refused: Counter[str] = Counter()
"""Requests that this process answered with a problem, by the problem's name."""


@dataclass(frozen=True)
class Operation:
    """One method at one path.

    `handler` is called with the request and, when `body` is a struct type, the checked body. It returns a value
    of type `result` (None: no content) or a Starlette `Response`. `role` None: anybody; else the least role, in
    the show that the path's `{show}` names. Without one a role of the staff must be good for all shows, unless
    `finds_show`: the handler finds out which show it is about, and looks whether the bearer may. `scope`: with which a
    service may call it too, None: only persons may, unless anybody may. `query` documents query parameters: name →
    what it means. `keyed`: it takes an Idempotency-Key; `key_required`: it is refused without one, because doing it
    twice would be another thing than doing it once.
    """

    method: str
    path: str
    handler: Handler
    summary: str
    body: type[msgspec.Struct] | None = None
    result: Any = None
    status: int = 200
    role: Role | None = None
    errors: tuple[Kind, ...] = ()
    tag: str = ""
    query: dict[str, str] = field(default_factory=dict)
    keyed: bool = False
    key_required: bool = False
    scope: str | None = None
    finds_show: bool = False

    def __post_init__(self) -> None:
        assert self.scope is None or self.scope in SCOPES, f"{self.scope} is no scope"
        assert self.keyed or not self.key_required, "a key that is required is taken"


class Warden(Protocol):
    """Stands before the operations: knows services by their keys, and who asks for too much."""

    async def service(self, key: str, address: str) -> Principal:
        """The service with this key; raises `Problem` token_invalid, token_expired, rate_limited, unavailable."""
        ...

    async def take(self, principal: Principal | None, address: str) -> None:
        """Count a change by `principal` (None: nobody we know) from `address`; raises `Problem` rate_limited."""
        ...


def routes(
    operations: Iterable[Operation], tokens: Tokens, tracing: Tracing | None = None, warden: Warden | None = None
) -> list[Route]:
    """Starlette routes: one per path, so that a wrong method is a 405 that names the right ones.

    `warden` None: there are no services, and nothing is counted.
    """
    by_path: dict[str, dict[str, Operation]] = {}
    for operation in operations:
        methods = by_path.setdefault(operation.path, {})
        assert operation.method not in methods, f"{operation.method} {operation.path} is described twice"
        methods[operation.method] = operation
    return [
        Route(path, _endpoint(methods, tokens, tracing, warden), methods=list(methods))
        for path, methods in by_path.items()
    ]


def _endpoint(
    methods: dict[str, Operation], tokens: Tokens, tracing: Tracing | None, warden: Warden | None
) -> Callable[[Request], Awaitable[Response]]:
    async def endpoint(request: Request) -> Response:
        operation = methods["GET" if request.method == "HEAD" else request.method]
        request.state.principal = await _authorise(request, operation, tokens, warden)
        if warden is not None and operation.method != "GET":
            await warden.take(request.state.principal, _address(request))
        if operation.key_required:
            idempotency_key(request, required=True)
        arguments: list[Any] = [request]
        if operation.body is not None:
            arguments.append(await read_body(request, operation.body))
        with tracing.root(f"{operation.method} {operation.path}") if tracing is not None else nullcontext():
            result = await operation.handler(*arguments)
        if isinstance(result, Response):
            return result
        if result is None:
            return Response(status_code=204)
        return respond(result, operation.status)

    return endpoint


async def _authorise(request: Request, operation: Operation, tokens: Tokens, warden: Warden | None) -> Principal | None:
    """The bearer, when there is a token; raises when the operation needs what the bearer has not."""
    header = request.headers.get("authorization")
    if operation.role is None and header is None:
        return None
    token = bearer(header)
    if warden is not None and token.startswith(SERVICE_KEY_PREFIX):
        service = await warden.service(token, _address(request))
        try:
            return service.serving(operation.scope, request.path_params.get("show"))
        except Problem:
            if operation.role is None:
                return service  # as anybody
            raise
    principal = tokens.verify(token)
    if operation.role is not None:
        own = operation.role is Role.viewer or operation.finds_show
        principal.require(operation.role, request.path_params.get("show", principal.show if own else ALL_SHOWS))
    return principal


def _address(request: Request) -> str:
    return request.client.host if request.client else ""


def principal_of(request: Request) -> Principal | None:
    """Who sent the request; None: no token was presented."""
    principal: Principal | None = request.state.principal
    return principal


def idempotency_key(request: Request, *, required: bool = False) -> str | None:
    """The `Idempotency-Key` header; raises `Problem` key_required when it must be there and is not."""
    key = request.headers.get("idempotency-key")
    if not key:
        if required:
            raise Problem(Kind.key_required, field="Idempotency-Key")
        return None
    if len(key) > IDEMPOTENCY_KEY_CHARS_MAX:
        raise Problem(Kind.invalid_field, f"At most {IDEMPOTENCY_KEY_CHARS_MAX} characters.", field="Idempotency-Key")
    return key


async def read_bytes(request: Request, size_bytes_max: int = HTTP_BODY_BYTES_MAX) -> bytes:
    """The request's body; raises `Problem` too_large as soon as it grows past the bound."""
    body = bytearray()
    try:
        async for chunk in request.stream():
            body += chunk
            if len(body) > size_bytes_max:
                raise Problem(Kind.too_large, f"At most {size_bytes_max} bytes.")
    except ClientDisconnect:
        raise Problem(Kind.malformed, "The body ended early.") from None
    return bytes(body)


async def read_body(request: Request, type_: type[T]) -> T:
    """The JSON body as `type_`; raises `Problem` unsupported_media_type, malformed or invalid_field."""
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type != "application/json":
        raise Problem(Kind.unsupported_media_type, "Send application/json.", field="Content-Type")
    return checked(await read_bytes(request), type_)


def checked(body: bytes, type_: type[T]) -> T:
    """`body` as `type_`; a wrong member raises `Problem` invalid_field, anything else malformed."""
    try:
        return codec.decode(body, "json", type_)
    except codec.Malformed as error:
        raise refusal(error) from None


def refusal(error: codec.Malformed) -> Problem:
    """The numbered problem for a value that does not fit its type."""
    missing = re.fullmatch(r"Object missing required field `(\w+)`", error.detail)
    unknown = re.fullmatch(r"Object contains unknown field `(\w+)`", error.detail)
    found = missing or unknown
    if found:
        path = f"{error.field}.{found[1]}" if error.field else found[1]
        return Problem(Kind.invalid_field, error.detail, field=path)
    if error.field:
        return Problem(Kind.invalid_field, error.detail, field=error.field)
    return Problem(Kind.malformed, error.detail)


def respond(value: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """A JSON response that no cache keeps."""
    return Response(
        codec.encode(value, "json"),
        status,
        {"cache-control": "no-store"} | (headers or {}),
        media_type="application/json",
    )


def problem_response(problem: Problem) -> Response:
    """`problem` as RFC 9457 problem details, with Retry-After and WWW-Authenticate where they belong."""
    refused[problem.kind.name] += 1
    headers = {"cache-control": "no-store"}
    if problem.retry_after_s is not None:
        headers["retry-after"] = str(problem.retry_after_s)
    if problem.kind.status == HTTPStatus.UNAUTHORIZED:
        headers["www-authenticate"] = "Bearer"
    return Response(orjson.dumps(problem.body()), problem.kind.status, headers, media_type="application/problem+json")


async def on_problem(_request: Request, error: Exception) -> Response:
    """Starlette's handler for `Problem`."""
    assert isinstance(error, Problem)
    return problem_response(error)


async def on_http_exception(_request: Request, error: Exception) -> Response:
    """Starlette's handler for its own refusals (404, 405), as numbered problems."""
    assert isinstance(error, HTTPException)
    kinds = {404: Kind.not_found, 405: Kind.method_not_allowed}
    kind = kinds.get(error.status_code, Kind.malformed)
    response = problem_response(Problem(kind))
    response.headers.update(error.headers or {})
    return response


async def on_crash(_request: Request, _error: Exception) -> Response:
    """Starlette's handler for our own bugs: a number, and no word about our insides."""
    return problem_response(Problem(Kind.internal))


class ProblemDetails(msgspec.Struct):
    """RFC 9457 problem details with our number and name."""

    type: str
    title: str
    status: int
    detail: str
    code: int
    name: str
    field: str | None = None
    retry_after_s: int | None = None


def document(operations: Sequence[Operation], version: str) -> Route:
    """`/openapi.json`, made once, when somebody asks: 0.1 s of work, which is in nobody's way in a thread."""
    made = cache(partial(openapi, operations, version))

    async def endpoint(_request: Request) -> Response:
        return respond(await to_thread(made))

    return Route("/openapi.json", endpoint)


def openapi(operations: Sequence[Operation], version: str) -> dict[str, Any]:
    """The OpenAPI 3.1 document of `operations`."""
    types: list[Any] = [ProblemDetails]
    for operation in operations:
        types += [type_ for type_ in (operation.body, operation.result) if type_ is not None]
    schemas, components = msgspec.json.schema_components(types, ref_template="#/components/schemas/{name}")
    by_type = {repr(type_): schema for type_, schema in zip(types, schemas, strict=True)}
    paths: dict[str, dict[str, Any]] = {}
    for operation in operations:
        path = re.sub(r"\{(\w+):\w+\}", r"{\1}", operation.path)
        paths.setdefault(path, {})[operation.method.lower()] = _describe(operation, path, by_type)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Showcart",
            "version": version,
            "summary": "Live shopping: shows, chat and commerce. Video is WHIP (RFC 9725) and WHEP.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "paths": paths,
        "components": {
            "schemas": components,
            "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}},
        },
    }


def _describe(operation: Operation, path: str, by_type: dict[str, Any]) -> dict[str, Any]:
    parameters = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
        for name in re.findall(r"\{(\w+)\}", path)
    ]
    parameters += [
        {"name": name, "in": "query", "description": text, "schema": {"type": "string"}}
        for name, text in operation.query.items()
    ]
    if operation.keyed:
        parameters.append(
            {
                "name": "Idempotency-Key",
                "in": "header",
                "required": operation.key_required,
                "description": "The same key with the same body is answered alike and done once.",
                "schema": {"type": "string", "maxLength": IDEMPOTENCY_KEY_CHARS_MAX},
            }
        )
    described: dict[str, Any] = {
        "operationId": _operation_id(operation, path),
        "summary": operation.summary,
        "tags": [operation.tag] if operation.tag else [],
        "parameters": parameters,
        "responses": _responses(operation, by_type),
    }
    if text := inspect.getdoc(operation.handler):
        described["description"] = text
    if operation.body is not None:
        content = {"application/json": {"schema": by_type[repr(operation.body)]}}
        described["requestBody"] = {"required": True, "content": content}
    if operation.role is not None:
        described["security"] = [{"bearer": []}]
        described["x-role"] = operation.role.value
    if operation.scope is not None:
        described["x-scope"] = operation.scope
    return described


def _operation_id(operation: Operation, path: str) -> str:
    words = [word for word in re.split(r"[^a-z0-9]+", path.lower()) if word and word != "api"]
    return "_".join([operation.method.lower(), *words])


def _responses(operation: Operation, by_type: dict[str, Any]) -> dict[str, Any]:
    if operation.result is None:
        responses: dict[str, Any] = {"204": {"description": "Done."}}
    else:
        content = {"application/json": {"schema": by_type[repr(operation.result)]}}
        responses = {str(operation.status): {"description": "Done.", "content": content}}
    kinds = list(operation.errors)
    if operation.role is not None:
        kinds += [Kind.token_missing, Kind.token_invalid, Kind.token_expired, Kind.role_forbidden, Kind.show_forbidden]
        kinds.append(Kind.person_required if operation.scope is None else Kind.scope_forbidden)
    if operation.body is not None:
        kinds += [Kind.malformed, Kind.invalid_field, Kind.unsupported_media_type, Kind.too_large]
    if operation.method != "GET":
        kinds.append(Kind.rate_limited)
    if operation.key_required:
        kinds.append(Kind.key_required)
    by_status: dict[int, list[Kind]] = {}
    for kind in dict.fromkeys(kinds):
        by_status.setdefault(kind.status, []).append(kind)
    problem = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/ProblemDetails"}}}
    for status, found in sorted(by_status.items()):
        names = ", ".join(f"{kind.number} {kind.name}" for kind in found)
        responses[str(status)] = {"description": names, "content": problem}
    return responses
