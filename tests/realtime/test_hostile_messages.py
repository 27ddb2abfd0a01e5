"""Messages that no honest client sends: each costs bounded work, and its own socket at most."""

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Callable
from typing import Any

import msgpack
import pytest

from live.core.auth import Role
from live.core.errors import FLOOD, MALFORMED_FRAME, MESSAGE_TOO_BIG, TOKEN_EXPIRED, TOKEN_REFUSED
from live.core.limits import (
    COMMANDS_BURST,
    COMMANDS_REFUSED_MAX,
    MESSAGE_ID_CHARS_MAX,
    MESSAGE_LEVELS_MAX,
    RECOVER_COST,
    TOKEN_BYTES_MAX,
    WS_MESSAGE_BYTES_MAX,
)
from tests.realtime.conftest import SECRET, House, Stage, StillClock, housed
from tests.realtime.wire import BINARY, TEXT, Frame, Wire, frame, upgraded

pytestmark = pytest.mark.timeout(60)
DEEP = WS_MESSAGE_BYTES_MAX - 200
INNER = MESSAGE_LEVELS_MAX - 2  # below the command and its data


def command(data: bytes, members: str = "") -> bytes:
    """A command in JSON whose data holds a member with this value."""
    return b'{"type":"command","id":"1"%s,"name":"say","data":{"text":%s}}' % (members.encode(), data)


def packed(value: bytes) -> bytes:
    """The same in MessagePack."""
    head: bytes = msgpack.packb({"type": "command", "id": "1", "name": "say"})
    return b"\x84" + head[1:] + b"\xa4data\x81\xa4text" + value


async def joined(wire: Wire, encoding: str, **members: Any) -> Frame:
    wire.send(packet({"type": "connect", "id": "c", **members}, encoding))
    answer = await wire.frame()
    assert answer is not None
    return answer


async def answered(wire: Wire, type_: str) -> Frame:
    """The next frame that begins with such a message. The number of viewers, which all are told, may come before."""
    while (found := await wire.frame()) is not None and found.messages()[0]["type"] != type_:
        continue
    assert found is not None
    return found


def packet(message: Any, encoding: str) -> bytes:
    payload = json.dumps(message).encode() if encoding == "json" else msgpack.packb(message)
    return frame(TEXT if encoding == "json" else BINARY, payload)


@pytest.mark.parametrize(
    ("encoding", "payload"),
    [
        ("json", command(b"[" * DEEP)),
        ("json", command(b"[" * (DEEP // 2) + b"]" * (DEEP // 2))),
        ("json", command(b"[" * (INNER + 1) + b"]" * (INNER + 1))),
        ("json", command(b'{"":' * (DEEP // 4))),
        ("json", b'{"type":"ping","x":' + b"[" * DEEP),
        ("json", command(b"NaN")),
        ("json", command(b"-Infinity")),
        ("json", command(b"1e999")),
        ("json", command(b"9" * DEEP)),
        ("json", command(rb'"\ud800"')),
        ("json", command(rb'"\udc00\ud800"')),
        ("json", command(rb'"\uD800A"')),
        ("json", command(b'"a\x00b"')),
        ("json", command(b'"x"', ',"type":"ping"')),
        ("json", command(b'"x"') + b"\x00"),
        ("json", b"\xef\xbb\xbf" + command(b'"x"')),
        ("json", command(b'"x"', f',"id":"{"x" * (MESSAGE_ID_CHARS_MAX + 1)}"')),
        ("json", command(b'"x"', ',"id":7')),
        ("json", b'{"type":"recover","id":"1","position":{"epoch":"e","offset":1.5}}'),
        ("msgpack", packed(b"\xdd\xff\xff\xff\xff")),
        ("msgpack", packed(b"\xdf\xff\xff\xff\xff")),
        ("msgpack", packed(b"\xdb\xff\xff\xff\xff")),
        ("msgpack", packed(b"\xc6\xff\xff\xff\xff")),
        ("msgpack", packed(b"\xc9\xff\xff\xff\xff\x01")),
        ("msgpack", packed(b"\x91" * DEEP)),
        ("msgpack", packed(b"\x91" * (DEEP // 2) + b"\xc0")),
        ("msgpack", packed(b"\x91" * (INNER + 1) + b"\xc0")),
        ("msgpack", packed(b"\x81\xa0" * (DEEP // 2))),
        ("msgpack", packed(b"\xdd\x00\xff\xff\xff" + b"\xc0" * DEEP)),
        ("msgpack", packed(b"\xa1\xff")),
        ("msgpack", packed(b"\xa3\xed\xa0\x80")),
        ("msgpack", packed(b"\xc1")),
        ("msgpack", packed(b"\xd7\xff" + b"\xff" * 8)),
        ("msgpack", packed(b"\x81\x81\x01\x02\x03")),
        ("msgpack", packed(b"\xa1x") + b"\xc0"),
        ("msgpack", b"\x81\x01\x02"),
        ("msgpack", b"\x81\xc4\x04type\xa4ping"),
        ("msgpack", msgpack.packb({"type": "command", "id": "x" * (MESSAGE_ID_CHARS_MAX + 1), "name": "say"})),
    ],
)  # fmt: skip
@housed
async def test_what_does_not_parse_ends_its_own_socket(house: House, encoding: str, payload: bytes) -> None:
    assert len(payload) <= WS_MESSAGE_BYTES_MAX
    async with upgraded(house.stage.url, encoding) as wire, upgraded(house.stage.url) as bystander:
        await joined(wire, encoding)
        began = time.thread_time()
        wire.send(frame(TEXT if encoding == "json" else BINARY, payload))
        assert await wire.ended() == MALFORMED_FRAME.code
        assert time.thread_time() - began < 0.25, "for one message, most of it ours"
        bystander.send(packet({"type": "ping"}, "json"))
        assert await bystander.frame()


@pytest.mark.parametrize(
    ("encoding", "payload", "error"),
    [
        ("json", command(b"[" * INNER + b"]" * INNER), "invalid_field"),
        ("json", command(b"1"), "invalid_field"),
        ("json", command(b"null"), "invalid_field"),
        ("json", command(b'"x"', ',"name":"%s"' % ("n" * 9000)).replace(b',"name":"say"', b""), "unknown_command"),
        ("json", command(b'"x"', ',"key":"%s"' % ("k" * 9000)), "invalid_field"),
        ("json", command(b'"x"', ',"key":""'), "invalid_field"),
        ("msgpack", packed(b"\xd4\x05\x01"), "invalid_field"),
        ("msgpack", packed(b"\xd6\xff\x00\x00\x00\x01"), "invalid_field"),
        ("msgpack", packed(b"\xc4\x01x"), "invalid_field"),
        ("msgpack", packed(b"\x81\x01\x02"), "invalid_field"),
        ("msgpack", packed(b"\xcb\x7f\xf8" + bytes(6)), "invalid_field"),
        ("msgpack", packed(b"\x91" * INNER + b"\xc0"), "invalid_field"),
    ],
)
@housed
async def test_what_parses_and_cannot_be_is_refused(
    house: House, caplog: pytest.LogCaptureFixture, encoding: str, payload: bytes, error: str
) -> None:
    async with upgraded(house.stage.url, encoding) as wire:
        await joined(wire, encoding)
        wire.send(frame(TEXT if encoding == "json" else BINARY, payload))
        answer = await answered(wire, "refused")
        assert len(answer.payload) < 1000, "an answer is not longer for a longer question"
        assert answer.messages()[0]["error"]["name"] == error
    assert caplog.records == []


@housed
async def test_of_two_members_of_one_name_the_last_counts(house: House) -> None:
    async with upgraded(house.stage.url) as wire:
        await joined(wire, "json")
        wire.send(frame(TEXT, command(b'"x"', ',"id":"2","name":"no"').replace(b'"name":"say"', b'"name":"nor"')))
        answer = await answered(wire, "refused")
        assert (answer.messages()[0]["id"], "'nor'" in answer.messages()[0]["error"]["detail"]) == ("2", True)


@pytest.mark.parametrize(
    "position",
    [
        {"epoch": "", "offset": 0},
        {"epoch": "e" * 9000, "offset": 1},
        {"epoch": "\x00{demo}", "offset": 2**63},
        {"offset": -1},
        {"offset": -(2**63)},
        {"offset": 10**30},
    ],
)
@housed
async def test_a_position_that_never_was_gets_a_snapshot(
    house: House, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, position: dict[str, Any]
) -> None:
    monkeypatch.setattr("live.realtime.recovery.REACH_TIMEOUT_S", 0.05)
    async with upgraded(house.stage.url) as wire:
        epoch = (await joined(wire, "json")).messages()[0]["position"]["epoch"]
        wire.send(packet({"type": "recover", "id": "r", "position": {"epoch": epoch} | position}, "json"))
        answer = await answered(wire, "connected")
        assert (answer.messages()[0]["id"], answer.messages()[0]["recovered"]) == ("r", False)
    assert caplog.records == []


def jwt(header: dict[str, Any], claims: dict[str, Any], secret: str) -> str:
    parts = [base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=") for part in (header, claims)]
    signed = b".".join(parts)
    signature = hmac.digest(secret.encode(), signed, hashlib.sha256) if secret else b""
    return b".".join((signed, base64.urlsafe_b64encode(signature).rstrip(b"="))).decode()


HS256 = {"alg": "HS256", "typ": "JWT"}
CLAIMS = {"sub": "boss", "role": "host", "show": "*", "name": "Boss", "iat": 1, "exp": 4_000_000_000}
Forge = Callable[[Stage], str]


def foreign(stage: Stage) -> str:
    return stage.token(Role.host, show="other")


@pytest.mark.parametrize(
    ("forge", "error", "code"),
    [
        (foreign, "show_forbidden", TOKEN_REFUSED.code),
        (lambda stage: stage.token(ttl_s=-60), "token_expired", TOKEN_EXPIRED.code),
        (lambda stage: jwt({"alg": "none"}, CLAIMS, ""), "token_invalid", TOKEN_REFUSED.code),
        (lambda stage: jwt({"alg": "None"}, CLAIMS, SECRET), "token_invalid", TOKEN_REFUSED.code),
        (lambda stage: jwt({"alg": "HS512"}, CLAIMS, SECRET), "token_invalid", TOKEN_REFUSED.code),
        (lambda stage: jwt({"alg": "RS256"}, CLAIMS, SECRET), "token_invalid", TOKEN_REFUSED.code),
        (lambda stage: jwt(HS256 | {"b64": False, "crit": ["b64"]}, CLAIMS, SECRET), "token_invalid", 4505),
        (lambda stage: jwt(HS256, CLAIMS, "another secret of 16"), "token_invalid", TOKEN_REFUSED.code),
        (lambda stage: jwt(HS256, CLAIMS | {"role": "owner"}, SECRET), "token_invalid", TOKEN_REFUSED.code),
        (lambda stage: jwt(HS256, CLAIMS | {"exp": "never"}, SECRET), "token_invalid", TOKEN_REFUSED.code),
        (lambda stage: jwt(HS256, CLAIMS | {"exp": 1e400}, SECRET), "token_invalid", TOKEN_REFUSED.code),
        (lambda stage: jwt(HS256, {}, SECRET), "token_invalid", TOKEN_REFUSED.code),
        (lambda stage: "." * TOKEN_BYTES_MAX, "token_invalid", TOKEN_REFUSED.code),
        (lambda stage: "é.é.é", "token_invalid", TOKEN_REFUSED.code),
        (lambda stage: stage.token().replace(".", "..", 1), "token_invalid", TOKEN_REFUSED.code),
    ],
)
@housed
async def test_no_forged_token_lets_anybody_in(
    house: House, caplog: pytest.LogCaptureFixture, forge: Forge, error: str, code: int
) -> None:
    async with upgraded(house.stage.url) as wire:
        answer = await joined(wire, "json", token=forge(house.stage))
        assert answer.messages()[0]["error"]["name"] == error
        assert await wire.ended() == code
    assert caplog.records == []


@pytest.mark.parametrize("joins", [False, True])
@housed
async def test_a_flood_of_messages_is_answered_so_often_and_closed(
    house: House, monkeypatch: pytest.MonkeyPatch, joins: bool
) -> None:
    """Connected or not, in one write of 16,000 messages: the worker does a bounded part of it."""
    monkeypatch.setattr("live.realtime.guard.WS_CLOSE_TIMEOUT_S", 0.2)  # our close frame is behind all that
    stage = house.stage
    async with upgraded(stage.url) as wire:
        monkeypatch.setattr(stage.connections, "_clock", StillClock())
        if joins:
            await joined(wire, "json")
        said = len(stage.words["demo"])
        await wire.flood(frame(TEXT, command(b'"x"')) * 1000 if joins else packet({"type": "ping"}, "json") * 1000, 16)
        frames = await wire.rest()
        assert frames[-1].code == FLOOD.code
        types = [each["type"] for found in frames[:-1] for each in found.messages()]
        assert types.count("refused" if joins else "pong") <= COMMANDS_REFUSED_MAX + COMMANDS_BURST
        assert len(stage.words["demo"]) - said <= COMMANDS_BURST


@housed
async def test_a_flood_of_recoveries_is_answered_a_few_times_only(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("live.realtime.guard.WS_CLOSE_TIMEOUT_S", 0.2)
    async with upgraded(house.stage.url) as wire:
        monkeypatch.setattr(house.stage.connections, "_clock", StillClock())
        position = (await joined(wire, "json")).messages()[0]["position"]
        before = house.stage.connections.recovery.recovered
        await wire.flood(packet({"type": "recover", "id": "r", "position": position}, "json") * 500)
        assert (await wire.rest())[-1].code == FLOOD.code
        assert 0 < house.stage.connections.recovery.recovered - before <= COMMANDS_BURST // RECOVER_COST


@housed
async def test_messages_that_are_too_big_are_not_parsed(house: House) -> None:
    for encoding, payload in (("json", b"[" * (WS_MESSAGE_BYTES_MAX + 1)), ("msgpack", b"\x91" * 60_000)):
        async with upgraded(house.stage.url, encoding) as wire:
            wire.send(frame(TEXT if encoding == "json" else BINARY, payload))
            assert await wire.ended() == MESSAGE_TOO_BIG.code
