"""A worker is killed in the middle of a show: its viewers are on the other one, and nothing was lost or done twice."""

import pytest

from tests.faults.audience import attending, over
from tests.faults.stand import Stand, killed

pytestmark = [pytest.mark.timeout(120), pytest.mark.xdist_group("stand")]


async def test_a_worker_is_killed(stand: Stand) -> None:
    async with attending(stand) as audience:
        one, other = stand.worker_processes()
        killed(one)
        await over(audience)
        assert sum(each.visits for each in audience.everybody) > len(audience.everybody), "some were on it"
    assert len(stand.worker_processes()) == 2 and other in stand.worker_processes()


async def test_all_workers_are_killed(stand: Stand) -> None:
    async with attending(stand) as audience:
        for each in stand.worker_processes():
            killed(each)
        # A state that changed while no worker listened is told to those who recover with its next change.
        await over(audience, nudge=True)
