"""The headline cases once more, with real IP packets between two hosts: network namespaces and a wire with faults."""

import pytest

from tests.faults.conftest import RIDS, Show
from tests.faults.judging import squeezed, watched

pytestmark = pytest.mark.alone  # thirty pictures a second, sent and judged by the clock


async def test_five_percent_loss_and_thirty_milliseconds_cost_no_picture(far_show: Show) -> None:
    assert far_show.network is not None
    for path in (far_show.network.there, far_show.network.back):
        path.conditions.loss, path.conditions.delay_s = 0.05, 0.03
    await far_show.camera()
    screen, _ = await far_show.screen()
    await watched(far_show, screen)
    assert screen.recovered > 20
    assert far_show.network.there.dropped > 20


async def test_half_a_megabit_means_a_low_layer_and_relief_the_best_one(far_show: Show) -> None:
    assert far_show.network is not None
    way_there = far_show.network.there.conditions
    way_there.delay_s = 0.02
    camera, _ = await far_show.camera(rids=RIDS)
    screen, _ = await far_show.screen()
    await squeezed(far_show, screen, way_there)
    assert camera.keyframes_asked < 40
