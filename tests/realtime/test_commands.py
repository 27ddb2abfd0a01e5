"""Commands over a real socket: their answers, their order, their keys, refusals, and new names."""

import base64
import json
from typing import Any

import pytest

from tests.realtime.conftest import Audience, Stage, both

pytestmark = pytest.mark.timeout(60)


@both
async def test_commands_are_answered_and_events_reach_everybody(client: Audience, encoding: str) -> None:
    here, there = await client(encoding), await client("json")
    start = (await here.join(token="demo"))["position"]
    await there.join()
    await here.send(type="command", id="x", name="say", data={"text": "hello"}, key="k1")
    assert (await here.until("reply"))["data"] == {"by": "Host", "key": "k1"}
    event = await there.until("event")
    assert event == {
        "type": "event", "offset": start["offset"] + 1, "at_ms": 0, "name": "word",
        "data": {"index": 0, "text": "hello"},
    }  # fmt: skip


@pytest.mark.parametrize(
    ("name", "data", "key", "error", "field"),
    [
        ("nonsense", {}, None, "unknown_command", "name"),
        ("x" * 5000, {}, None, "unknown_command", "name"),
        ("say", {}, None, "invalid_field", "data"),
        ("say", {"text": 5}, None, "invalid_field", "data.text"),
        ("say", {"text": "x", "wait_s": []}, None, "invalid_field", "data.wait_s"),
        ("say", {"text": "x"}, "", "invalid_field", "key"),
        ("say", {"text": "x"}, "k" * 129, "invalid_field", "key"),
        ("say", {"text": "x"}, "a\0b", "invalid_field", "key"),
        ("moderate", {"text": "x"}, None, "role_forbidden", None),
        ("fail", {"text": "x"}, None, "internal", None),
        ("viewer.rename", {"name": ""}, None, "invalid_field", "name"),
    ],
)
async def test_bad_commands_change_nothing_and_cost_only_themselves(
    stage: Stage, client: Audience, name: str, data: dict[str, Any], key: str | None, error: str, field: str | None
) -> None:
    viewer = await client()
    await viewer.join(token=stage.token())
    refused = await viewer.command(name, key, **data)
    assert (refused["type"], refused["id"]) == ("refused", "x")
    assert refused["error"]["name"] == error
    assert refused["error"].get("field") == field
    assert stage.words["demo"] == []
    assert (await viewer.command("say", text="fine"))["type"] == "reply"


@both
async def test_a_command_that_was_done_before_says_so(stage: Stage, client: Audience, encoding: str) -> None:
    viewer = await client(encoding)
    await viewer.join(token="demo")
    first = await viewer.command("say", "k1", text="once")
    again = await viewer.command("say", "k1", text="once")
    assert first == {"type": "reply", "id": "x", "data": {"by": "Host", "key": "k1"}, "replayed": False}
    assert again == first | {"replayed": True}
    assert stage.words["demo"] == ["once"]


async def test_commands_of_one_socket_are_done_in_order(stage: Stage, client: Audience) -> None:
    viewer = await client()
    await viewer.join()
    await viewer.send(type="command", id="1", name="say", data={"text": "a", "wait_s": 0.05})
    await viewer.send(type="command", id="2", name="say", data={"text": "b"})
    assert [(await viewer.until("reply"))["id"] for _ in range(2)] == ["1", "2"]
    assert stage.words["demo"] == ["a", "b"]


@both
async def test_rename_changes_the_socket_and_the_token(stage: Stage, client: Audience, encoding: str) -> None:
    viewer = await client(encoding)
    before = (await viewer.join())["viewer"]
    reply = await viewer.command("viewer.rename", name=" Ida ")
    assert reply["data"]["viewer"] == {**before, "name": "Ida"}
    assert (await viewer.command("say", text="x"))["data"]["by"] == "Ida"
    again = await client(encoding)
    assert (await again.join(token=reply["data"]["token"]))["viewer"]["name"] == "Ida"


async def test_a_new_name_does_not_make_a_token_last_longer(stage: Stage, client: Audience) -> None:
    viewer = await client()
    await viewer.join(token=stage.token(ttl_s=600))
    reply = await viewer.command("viewer.rename", name="Ida")
    claims = json.loads(base64.urlsafe_b64decode(reply["data"]["token"].split(".")[1] + "=="))
    assert 590 <= claims["exp"] - claims["iat"] <= 600


async def test_staff_keeps_its_name(client: Audience) -> None:
    host = await client()
    await host.join(token="demo")
    assert (await host.command("viewer.rename", name="Mallory"))["error"]["name"] == "role_forbidden"
