"""The server does what its OpenAPI document says, whatever it is sent: schemathesis makes up the requests."""

import asyncio
from typing import Any

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schemathesis.checks import not_a_server_error
from schemathesis.core.result import Ok
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from live.core.auth import ALL_SHOWS, Principal, Role, Tokens
from live.core.clock import SystemClock
from tests.scenarios.conftest import Run, port_of

SECRET = "a secret of the tests, long enough"
EXAMPLES = 3  # of each operation
KNOWN = {"show": "demo", "sku": "CUP-WHITE", "product": "espresso-cup", "viewer": "ada", "number": "1"}
CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]


@pytest.mark.timeout(120)
async def test_the_server_keeps_to_its_document(showcart: Run) -> None:
    process = await showcart("demo", SHOWCART_SECRET=SECRET)
    url = f"http://127.0.0.1:{await port_of(process)}"
    ops = Principal(subject="ops", role=Role.ops, show=ALL_SHOWS, name="Ops")
    token = Tokens(SECRET, SystemClock()).sign(ops, 3600)
    async with httpx.AsyncClient(base_url=url) as http:
        document = (await http.get("/openapi.json")).json()
    found = await asyncio.to_thread(_try, document, url, token)
    assert not found, "\n\n".join(found)


def _try(document: dict[str, Any], url: str, token: str) -> list[str]:
    found = []
    schema = schemathesis.openapi.from_dict(document)
    schema.config.update(base_url=url)
    for result in schema.get_all_operations():
        assert isinstance(result, Ok)
        operation = result.ok()

        @settings(max_examples=EXAMPLES, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
        @given(case=operation.as_strategy(), known=st.booleans())
        def send(case: Any, known: bool) -> None:
            if known:
                case.path_parameters.update({n: KNOWN[n] for n in case.path_parameters if n in KNOWN})
            case.call_and_validate(headers={"authorization": f"Bearer {token}"}, checks=CHECKS, timeout=20)

        try:
            send()
        except BaseExceptionGroup as error:  # all that differs is told at once
            found.append(f"{operation.label}: {error}")
    return found
