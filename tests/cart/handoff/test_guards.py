"""What hand-offs must not let anybody do: act for another show."""

import httpx
from starlette.applications import Starlette

from cart.handoff import api
from cart.service import Shop
from live.core.auth import Principal, Role, Tokens
from live.core.clock import ManualClock
from live.core.errors import Problem
from live.core.rest import on_problem, routes
from tests.cart.handoff.conftest import ONE_STORE, hand_over


@ONE_STORE
async def test_who_looks_after_one_show_has_no_say_in_others(shop: Shop, clock: ManualClock) -> None:
    id_, tokens = await hand_over(shop), Tokens("a secret of the tests", clock)
    other = Principal(subject="ops", role=Role.ops, show="other", name="Ops")
    app = Starlette(routes=routes(api.operations(shop.handing), tokens), exception_handlers={Problem: on_problem})
    headers = {"authorization": f"Bearer {tokens.sign(other, 60)}", "if-match": "*"}
    cart = "/api/customers/c42/cart?show=demo"
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://test") as client:
        answers = [
            await client.get(f"/api/handoffs/{id_}", headers=headers),
            await client.post(f"/api/handoffs/{id_}/order", json={"number": "S-1"}, headers=headers),
            await client.get(cart, headers=headers),
            await client.put(cart, json={"lines": [{"sku": "CUP", "quantity": 1}]}, headers=headers),
        ]
    assert [answer.json().get("name") for answer in answers] == ["show_forbidden"] * 4
    assert (await shop.handing.handoffs.read(id_))[0].state.value == "pending"
