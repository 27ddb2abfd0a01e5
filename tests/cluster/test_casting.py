"""Who is on air: the whole table, and what must hold in every cell of it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from live.core.limits import STALL_S, STEADY_S
from stream.casting import BACKUP, PRIMARY, Holder, Player, is_replaced, may_take

FRESH = {rank: Player(rank, 0.0, 0.0, True) for rank in (PRIMARY, BACKUP)}
SILENT = {rank: Player(rank, STALL_S, 0.0, False) for rank in (PRIMARY, BACKUP)}
FLOWING = {rank: Player(rank, STALL_S / 2, STEADY_S / 2, False) for rank in (PRIMARY, BACKUP)}
STEADY = {rank: Player(rank, 0.0, STEADY_S, False) for rank in (PRIMARY, BACKUP)}
HOLDERS = (
    None,
    Holder(7, PRIMARY, 0.0),
    Holder(7, PRIMARY, STALL_S),
    Holder(7, BACKUP, 0.0),
    Holder(7, BACKUP, STALL_S),
)


@pytest.mark.parametrize(
    ("players", "rank", "takes"),
    [  # against nobody, a primary that flows and one that stalls, a backup that flows and one that stalls
        (FRESH, PRIMARY, (True, True, True, False, True)),
        (SILENT, PRIMARY, (False, False, False, False, False)),
        (FLOWING, PRIMARY, (True, False, False, False, True)),
        (STEADY, PRIMARY, (True, False, False, True, True)),
        (FRESH, BACKUP, (True, False, True, False, True)),
        (SILENT, BACKUP, (False, False, False, False, False)),
        (FLOWING, BACKUP, (True, False, True, False, True)),
        (STEADY, BACKUP, (True, False, True, False, True)),
    ],
)
def test_the_table(players: dict[int, Player], rank: int, takes: tuple[bool, ...]) -> None:
    assert tuple(may_take(players[rank], holder) for holder in HOLDERS) == takes


SECONDS = st.floats(0, 10)
PLAYERS = st.builds(Player, st.sampled_from((PRIMARY, BACKUP)), SECONDS, SECONDS, st.booleans())


@given(PLAYERS, PLAYERS)
def test_two_never_take_the_stage_from_each_other_for_ever(one: Player, other: Player) -> None:
    one, other = one._replace(fresh=False), other._replace(fresh=False)

    def holds(player: Player) -> Holder:
        return Holder(1, player.rank, player.silent_s)

    assert not (may_take(one, holds(other)) and may_take(other, holds(one)))


@given(PLAYERS)
def test_who_sends_gets_a_stage_that_nobody_has(player: Player) -> None:
    assert may_take(player, None) == (player.fresh or player.silent_s < STALL_S)


def test_only_a_primary_ends_another_one() -> None:
    for rank, holder, replaced in (
        (PRIMARY, PRIMARY, True),
        (PRIMARY, BACKUP, False),
        (BACKUP, PRIMARY, False),
        (BACKUP, BACKUP, False),
    ):
        assert is_replaced(FLOWING[rank], Holder(1, holder, 0.0)) is replaced
        assert not is_replaced(FRESH[rank], Holder(1, holder, 0.0))
