"""Hash slots, a cluster's URL, and what its servers tell about each other."""

from typing import Any

import pytest

from live.core.slots import SLOTS, Address, View, seeds, slot_of, view

HERE = Address("10.0.0.1", 7001)


def test_slots_are_those_of_the_specification() -> None:
    assert slot_of(b"123456789") == 0x31C3 % SLOTS, "the check value of CRC16/XMODEM"
    assert slot_of(b"foo{bar}zap") == slot_of(b"bar") == 5061
    assert slot_of(b"foo{{bar}}zap") == slot_of(b"{bar")
    assert slot_of(b"foo{bar}{zap}") == slot_of(b"bar")
    for whole in (b"foo{}{bar}", b"foo{bar", b"foo}bar{", b""):
        assert 0 <= slot_of(whole) < SLOTS
    assert slot_of(b"foo{}{bar}") != slot_of(b"bar"), "an empty tag is none"
    assert slot_of(b"showcart:{demo}:head") == slot_of(b"showcart:{demo}:events") == slot_of(b"demo")


@pytest.mark.parametrize(
    ("url", "addresses", "one"),
    [
        ("redis+cluster://a:7001,b:7002", [("a", 7001), ("b", 7002)], "redis://h:1/0"),
        ("redis+cluster://a", [("a", 6379)], "redis://h:1/0"),
        ("redis+cluster://a/", [("a", 6379)], "redis://h:1/0"),
        ("redis+cluster://a/0", [("a", 6379)], "redis://h:1/0"),
        ("rediss+cluster://u:p%40@[::1]:7001,a", [("::1", 7001), ("a", 6379)], "rediss://u:p%40@h:1/0"),
        ("rediss+cluster://:{p}@a?ssl_ca_certs=/ca", [("a", 6379)], "rediss://:{p}@h:1/0?ssl_ca_certs=/ca"),
    ],
)
def test_urls_name_servers_and_how_to_reach_each(url: str, addresses: list[tuple[str, int]], one: str) -> None:
    found, template = seeds(url)
    assert found == addresses
    assert template.format(Address("h", 1)) == one
    assert str(Address("::1", 7)) == "[::1]:7"


@pytest.mark.parametrize(
    "url",
    [
        "redis+cluster://a,redis://b", "redis://a:7001", "redis+cluster://", "redis+cluster://a,,b", "redis+cluster://a:x",
        "redis+cluster://a:70000", "redis+cluster://a/1", "redis+cluster://a,u@b:1/2", "redis+cluster://u@a@b,c@d/9",
        "redis+cluster://:1",
    ],
)  # fmt: skip
def test_other_urls_are_refused(url: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        seeds(url)


def _slots(*nodes: list[Any]) -> list[Any]:
    return [[0, 1, *nodes]]


def test_view_has_owners_and_all_servers() -> None:
    found = view(
        b"cluster_state:ok\r\ncluster_current_epoch:7\r\n",
        [
            [0, 9, [b"10.0.0.2", 7002, b"id", []], [b"10.0.0.3", 7003, b"id", []]],
            [10, 10, [b"", 7001, b"id"]],
        ],
        HERE,
    )
    assert found == View(
        7,
        {**dict.fromkeys(range(10), Address("10.0.0.2", 7002)), 10: HERE},
        frozenset({Address("10.0.0.2", 7002), Address("10.0.0.3", 7003), HERE}),
    )


@pytest.mark.parametrize(
    ("node", "address"),
    [
        ([b"node-2.example", 7002, b"id", [b"ip", b"10.0.0.2"]], Address("node-2.example", 7002)),
        ([None, 7002, b"id", []], Address("10.0.0.1", 7002)),
        ([b"?", 7002, b"id", [b"ip", b"10.0.0.2"]], Address("10.0.0.2", 7002)),
        ([None, 7002, b"id", [b"hostname", b"x"]], Address("10.0.0.1", 7002)),
    ],
)
def test_servers_have_names_addresses_or_neither(node: list[Any], address: Address) -> None:
    assert view(b"", _slots(node), HERE).owners == {0: address, 1: address}


def test_view_of_nothing_is_none() -> None:
    with pytest.raises(ValueError, match="no server"):
        view(b"cluster_current_epoch:1\r\n", [], HERE)
