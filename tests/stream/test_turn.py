"""What clients are told of TURN servers; a real coturn relays in test_reach.py."""

import base64
import hashlib
import hmac

from live.core.limits import TURN_CREDENTIAL_TTL_S
from stream.transport.turn import IceServers

NOW_S = 1_800_000_000


def test_nothing_is_told_where_nothing_is_set() -> None:
    assert IceServers().links("x", NOW_S) == []


def test_a_turn_server_comes_with_credentials_that_expire_and_a_stun_server_with_none() -> None:
    urls = ("stun:stun.example", "turn:turn.example:3478?transport=udp", "turns:turn.example:443?transport=tcp")
    stun, *turns = IceServers(urls, "secret").links("abc", NOW_S)
    assert stun == '<stun:stun.example>; rel="ice-server"'
    username = f"{NOW_S + TURN_CREDENTIAL_TTL_S}:abc"
    credential = base64.b64encode(hmac.new(b"secret", username.encode(), hashlib.sha1).digest()).decode()
    assert turns == [
        f'<{url}>; rel="ice-server"; username="{username}"; credential="{credential}"; credential-type="password"'
        for url in urls[1:]
    ]


def test_values_are_quoted() -> None:
    (link,) = IceServers(("turn:t.example",), "s").links('a"b\\', NOW_S)
    assert '; username="' + str(NOW_S + TURN_CREDENTIAL_TTL_S) + ':a\\"b\\\\"; ' in link
