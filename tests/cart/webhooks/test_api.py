"""Endpoints and deliveries over HTTP, as an operator's program sees them."""

from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx
import pytest
from standardwebhooks import Webhook
from starlette.applications import Starlette

from cart.webhooks import api, events
from cart.webhooks.sender import Sender
from cart.webhooks.service import Webhooks
from cart.webhooks.store import disable
from live.core.auth import Principal, Role, Tokens
from live.core.clock import ManualClock
from live.core.database import Database
from live.core.errors import Problem
from live.core.limits import WEBHOOK_ENDPOINTS_MAX
from live.core.rest import on_problem, openapi, routes
from tests.cart.webhooks.conftest import OPS, SECRET, asked, endpoint, happen, rounds, stored
from tests.cart.webhooks.receiver import Answer, Receiver

HOST = Principal(subject="host", role=Role.host, show="*", name="Host")


class Caller:
    """A program with a token and, when it says so, an Idempotency-Key."""

    def __init__(self, client: httpx.AsyncClient, token: str) -> None:
        self._client = client
        self._token = token

    async def __call__(self, method: str, path: str = "", body: Any = None, key: str = "") -> httpx.Response:
        headers = {"authorization": f"Bearer {self._token}"} | ({"idempotency-key": key} if key else {})
        return await self._client.request(method, f"/api/webhooks{path}", json=body, headers=headers)


Sign = Callable[[Principal], Caller]


@pytest.fixture
async def sign(webhooks: Webhooks, clock: ManualClock) -> AsyncIterator[Sign]:
    tokens = Tokens(SECRET, clock)
    app = Starlette(routes=routes(api.operations(webhooks), tokens), exception_handlers={Problem: on_problem})
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://test") as client:
        yield lambda principal: Caller(client, tokens.sign(principal, 10**6))


@pytest.fixture
def call(sign: Sign) -> Caller:
    return sign(OPS)


async def test_an_endpoint_from_its_first_secret_to_its_end(
    call: Caller, receiver: Receiver, database: Database, clock: ManualClock, sender: Sender
) -> None:
    asked_for = {"url": receiver.url, "types": ["show.ended", "order.placed", "show.ended"], "label": "  Our  shop "}
    made = await call("POST", "", asked_for, key="k")
    assert made.status_code == 201
    view, secret = made.json()["endpoint"], made.json()["secret"]
    assert (view["types"], view["label"], view["state"]) == (["order.placed", "show.ended"], "Our shop", "active")
    assert "secret" not in view
    again = await call("POST", "", asked_for, key="k")
    assert (again.json(), again.headers["idempotency-replayed"]) == (made.json(), "true")
    other = await call("POST", "", asked_for | {"label": ""}, key="k")
    assert (other.status_code, other.json()["name"]) == (422, "key_reused")
    found = await stored(database, view["id"])
    assert secret.encode() not in found.secret, "it is sealed"

    one = f"/{view['id']}"
    assert (await call("GET")).json()["endpoints"] == [view]
    assert (await call("GET", one)).json() == {"endpoint": view}
    changed = await call("PATCH", one, {"types": [], "label": "All"})
    assert (changed.json()["endpoint"]["types"], changed.json()["endpoint"]["label"]) == ([], "All")
    rotated = (await call("POST", f"{one}/secret", {"overlap_s": 0}, key="r")).json()
    assert (await call("POST", f"{one}/secret", {"overlap_s": 0}, key="r")).json() == rotated
    assert (rotated["endpoint"]["old_until_ms"], rotated["secret"] != secret) == (None, True)

    tested = await call("POST", f"{one}/test")
    assert tested.status_code == 202
    await rounds(sender)
    (message,) = receiver.messages
    Webhook(rotated["secret"]).verify(message.body, message.headers)
    assert (message.json["type"], message.id) == (events.TEST, tested.json()["id"])

    assert (await call("DELETE", one)).status_code == 204
    assert (await call("GET", one)).json()["name"] == "unknown_endpoint"
    await happen(database, clock, "order.placed")
    await rounds(sender)
    assert len(receiver.messages) == 1
    await sender.prune()
    assert (await call("DELETE", one)).status_code == 404


async def test_deliveries_are_seen_page_by_page_with_what_was_answered(
    call: Caller, receiver: Receiver, database: Database, clock: ManualClock, sender: Sender,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    for module in ("api", "service"):
        monkeypatch.setattr(f"cart.webhooks.{module}.WEBHOOK_PAGE", 4)
    one = (await call("POST", "", {"url": receiver.url})).json()["endpoint"]["id"]
    many = [("order.placed", {"id": f"{number:032d}"}) for number in range(6)]
    receiver.answers = [Answer(400, body=b"what is this?")]
    await happen(database, clock, *many)
    await rounds(sender)
    first = (await call("GET", f"/{one}/deliveries")).json()
    assert len(first["deliveries"]) == 4
    second = (await call("GET", f"/{one}/deliveries?before={first['next']}")).json()
    assert (len(second["deliveries"]), second["next"]) == (2, None)
    (waiting,) = (await call("GET", f"/{one}/deliveries?state=pending")).json()["deliveries"]
    seen = (await call("GET", f"/{one}/deliveries/{waiting['id']}")).json()
    assert seen["delivery"]["state"] == "pending"
    assert [(each["status"], each["response"]) for each in seen["attempts"]] == [(400, "what is this?")]
    assert (seen["show"], seen["data"]["number"]) == ("gala", "7K3M-9QXA")


async def test_what_is_over_is_sent_again_one_by_one_or_by_its_time(
    call: Caller, receiver: Receiver, database: Database, clock: ManualClock, sender: Sender,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    one = (await call("POST", "", {"url": receiver.url})).json()["endpoint"]["id"]
    began_ms = clock.now_ms()
    monkeypatch.setattr("cart.webhooks.schedule.WEBHOOK_DELAYS_S", (0,))
    receiver.answers = [Answer(500), Answer(500)]
    await happen(database, clock, "order.placed", "hold.created", "show.started")
    await rounds(sender)
    dead = (await call("GET", f"/{one}/deliveries?state=dead")).json()["deliveries"]
    assert len(dead) == 2
    assert (await call("POST", f"/{one}/deliveries/{dead[0]['id']}/replay")).status_code == 202
    await rounds(sender)
    assert receiver.messages[-1].id == dead[0]["id"]
    late_ms = clock.now_ms() + 1
    span: dict[str, Any] = {"since_ms": began_ms, "until_ms": late_ms}
    assert (await call("POST", f"/{one}/replay", span)).json() == {"replayed": 1, "next_since_ms": None}
    await rounds(sender)
    assert receiver.messages[-1].id == dead[1]["id"]
    assert (await call("POST", f"/{one}/replay", span)).json()["replayed"] == 0
    assert (await call("POST", f"/{one}/replay", span | {"of": "all"}, key="a")).json()["replayed"] == 3
    await rounds(sender)
    assert (await call("POST", f"/{one}/replay", span | {"of": "all"}, key="a")).json()["replayed"] == 3
    await rounds(sender)
    assert len(receiver.messages) == 3 + 1 + 1 + 3, "the same key asks once"
    monkeypatch.setattr("cart.webhooks.service.WEBHOOK_REPLAY_MAX", 2)
    part = (await call("POST", f"/{one}/replay", span | {"of": "all"})).json()
    assert (part["replayed"], part["next_since_ms"] > began_ms) == (2, True)
    # An endpoint that did not exist yet gets what it would have wanted, but nobody else's tests.
    await call("POST", f"/{one}/test")
    late = (await call("POST", "", {"url": receiver.url, "types": ["hold.created"]})).json()["endpoint"]["id"]
    span = {"since_ms": began_ms, "until_ms": late_ms, "of": "all"}
    assert (await call("POST", f"/{late}/replay", span)).json()["replayed"] == 1
    await rounds(sender)
    delivered = (await call("GET", f"/{late}/deliveries")).json()["deliveries"]
    assert [(each["type"], each["state"]) for each in delivered] == [("hold.created", "delivered")]


_NO_URLS = (
    "ftp://shop.example/", "https://", "https://ada:secret@shop.example/", "https://shop.example/#part",
    "https://shop.example:99999/", "https://shöp.example/", "https://shop.example/ \u0000", "https://[::1",
    "https://" + "a" * 1990 + "b" * 11,
)  # fmt: skip
_FORBIDDEN = (
    "http://8.8.8.8/", "https://10.0.0.7/", "https://[::ffff:10.0.0.7]/", "https://169.254.169.254/latest/meta-data",
    "https://name.invalid/", "https://0x0a000007/", "https://167772167/",
)  # fmt: skip


async def test_where_nothing_may_be_sent(call: Caller) -> None:
    for name, urls in (("invalid_field", _NO_URLS), ("webhook_target_forbidden", _FORBIDDEN)):
        for url in urls:
            refused = await call("POST", "", {"url": url})
            problem = refused.json()
            assert (refused.status_code, problem["name"], problem["field"]) == (422, name, "url"), url
    assert (await call("GET")).json()["endpoints"] == []


async def test_refusals_name_what_is_wrong(
    call: Caller, sign: Sign, webhooks: Webhooks, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = f"/{await endpoint(webhooks, receiver.url)}"
    cases: list[tuple[str, str, Any, int, str, str]] = [
        ("POST", "", {"url": receiver.url, "types": ["order.lost"]}, 422, "invalid_field", "types[0]"),
        ("POST", "", {"url": receiver.url, "types": [events.TEST]}, 422, "invalid_field", "types[0]"),
        ("POST", "", {"url": receiver.url, "label": "x" * 100}, 422, "invalid_field", "label"),
        ("POST", "", {"url": receiver.url, "label": "x\u0000"}, 422, "invalid_field", "label"),
        ("POST", "", {}, 422, "invalid_field", "url"),
        ("PATCH", one, {"state": "deleted"}, 422, "invalid_field", "state"),
        ("PATCH", one, {"url": "https://192.168.0.1/"}, 422, "webhook_target_forbidden", "url"),
        ("PATCH", "/nobody", {"label": "x"}, 404, "unknown_endpoint", "endpoint"),
        ("GET", "/no-body", None, 404, "unknown_endpoint", "endpoint"),
        ("POST", f"{one}/secret", {"overlap_s": -1}, 422, "invalid_field", "overlap_s"),
        ("POST", f"{one}/secret", {"overlap_s": 10**9}, 422, "invalid_field", "overlap_s"),
        ("GET", f"{one}/deliveries?state=lost", None, 422, "invalid_field", "state"),
        ("GET", f"{one}/deliveries?before=no-id", None, 404, "unknown_delivery", "before"),
        ("GET", f"{one}/deliveries/none", None, 404, "unknown_delivery", "delivery"),
        ("GET", f"{one}/deliveries/no-ne", None, 404, "unknown_delivery", "delivery"),
        ("POST", f"{one}/deliveries/none/replay", None, 404, "unknown_delivery", "delivery"),
        ("POST", f"{one}/replay", {"since_ms": 2, "until_ms": 2}, 422, "invalid_field", "until_ms"),
        ("POST", f"{one}/replay", {"since_ms": -1, "until_ms": 2}, 422, "invalid_field", "since_ms"),
        ("POST", f"{one}/replay", {"since_ms": 1, "until_ms": 10**18}, 422, "invalid_field", "until_ms"),
    ]
    for method, path, body, status, name, field in cases:
        refused = await call(method, path, body)
        problem = refused.json()
        assert (refused.status_code, problem["name"], problem["field"]) == (status, name, field), (method, path, body)
    long_key = await call("POST", f"{one}/test", key="k" * 129)
    assert (long_key.status_code, long_key.json()["field"]) == (422, "Idempotency-Key")
    assert (await sign(HOST)("GET")).json()["name"] == "role_forbidden"
    with pytest.raises(Problem, match="too_many_endpoints"):
        for _ in range(WEBHOOK_ENDPOINTS_MAX):
            monkeypatch.setattr("cart.webhooks.service.WEBHOOK_ENDPOINTS_MAX", 2)
            await endpoint(webhooks, receiver.url)
    await webhooks._database.write_sync(lambda conn: disable(conn, one[1:], "For a test."))
    for path, body in (("/test", None), ("/replay", {"since_ms": 1, "until_ms": 2})):
        problem = (await call("POST", one + path, body)).json()
        assert (problem["name"], problem["detail"]) == ("endpoint_disabled", "For a test.")
    assert (await webhooks.change(asked(), one[1:], state="active")).body["endpoint"]["reason"] == ""


async def test_types_and_operations_are_described(call: Caller, webhooks: Webhooks) -> None:
    told = (await call("GET", "/types")).json()
    assert [each["name"] for each in told["types"]] == list(events.KINDS)
    assert all(each["schema"]["$ref"].rsplit("/", 1)[1] in told["shared"] for each in told["types"])
    paths = openapi(api.operations(webhooks), "1")["paths"]
    mutations = [each for path in paths.values() for method, each in path.items() if method != "get"]
    assert all(any(found["name"] == "Idempotency-Key" for found in each["parameters"]) for each in mutations)
