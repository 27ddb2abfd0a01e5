"""How many commands one person and one address may ask for, over all their sockets to a worker."""

import math

import pytest

from live.core.limits import (
    COMMANDS_BURST,
    COMMANDS_OF_ADDRESS_BURST,
    COMMANDS_OF_ADDRESS_PER_S,
    COMMANDS_OF_ONE_BURST,
    COMMANDS_OF_ONE_PER_S,
)
from live.realtime.pace import Pace
from tests.realtime.conftest import Audience, Stage, StillClock


def test_a_person_has_one_allowance_for_all_sockets() -> None:
    pace = Pace(addresses=True)
    assert not any(pace.refuse("ada", f"192.0.2.{number}", 0.0) for number in range(COMMANDS_OF_ONE_BURST))
    problem = pace.refuse("ada", "198.51.100.1", 0.0)
    assert problem is not None and (problem.kind.name, problem.retry_after_s) == ("rate_limited", 1)
    assert pace.refuse("bob", "198.51.100.1", 0.0) is None
    assert pace.refuse("ada", "198.51.100.1", 1 / COMMANDS_OF_ONE_PER_S) is None


def test_an_address_has_one_allowance_for_all_guests() -> None:
    pace = Pace(addresses=True)
    for number in range(COMMANDS_OF_ADDRESS_BURST):
        assert pace.refuse(f"g{number}", f"2001:db8::{number % 9}", 0.0) is None
    problem = pace.refuse("another", "2001:db8::ffff:0:1", 0.0)
    assert problem is not None and problem.retry_after_s == math.ceil(1 / COMMANDS_OF_ADDRESS_PER_S)
    assert pace.refuse("another", "2001:db9::1", 0.0) is None


@pytest.mark.parametrize("address", ["192.0.2.1", ""])
def test_where_addresses_say_nothing_they_are_not_bounded(address: str) -> None:
    pace = Pace(addresses=False)
    assert not any(pace.refuse(f"g{number}", address, 0.0) for number in range(COMMANDS_OF_ADDRESS_BURST + 1))


async def test_more_sockets_do_not_bring_more_commands(stage: Stage, client: Audience) -> None:
    stage.connections._clock = StillClock()
    each = COMMANDS_BURST - 1  # of a socket's own allowance, besides the one that joins
    names: list[str] = []
    for _ in range(COMMANDS_OF_ONE_BURST // each + 2):
        socket = await client()
        await socket.join(token=stage.token())
        names += [(await socket.command("moderate", text="a"))["error"]["name"] for _ in range(each)]
    assert set(names) == {"role_forbidden", "rate_limited"}
    assert names.index("rate_limited") == COMMANDS_OF_ONE_BURST
    assert stage.connections.throttled == names.count("rate_limited")
