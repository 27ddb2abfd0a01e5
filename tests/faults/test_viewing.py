"""What viewers see when the network is bad: lost pictures, freezes, and the layer that suits the path."""

import asyncio

import pytest

from tests.faults.conftest import RIDS, Show
from tests.faults.judging import FREEZE_S_MAX, squeezed, watched
from tests.faults.path import Conditions

pytestmark = pytest.mark.alone  # thirty pictures a second, sent and judged by the clock


async def test_viewers_on_a_train_see_every_picture(show: Show) -> None:
    """With retransmissions in a stream of their own, or in the stream itself; and behind a path that shuffles."""
    train = Conditions(loss=0.05, delay_s=0.03)
    shuffle = Conditions(reorder=0.05, reorder_s=0.02, duplicate=0.05, delay_s=0.01, jitter_s=0.01)
    await show.camera()
    one, _ = await show.screen(rtx=True, link=show.link(train, train, seed=5))
    two, _ = await show.screen(rtx=False, link=show.link(train, train, seed=15))
    three, _ = await show.screen(link=show.link(shuffle, shuffle, seed=25))
    await watched(show, one, two, three)
    for screen in (one, two):
        assert screen.recovered > 20 and screen.nacked < 4 * screen.recovered


async def test_hosts_on_hotel_wifi_reach_their_viewers(show: Show) -> None:
    wifi = Conditions(loss=0.05, delay_s=0.03)
    cameras, screens = [], []
    for name, rtx in (("demo", True), ("other", False)):
        camera, _ = await show.camera(rtx=rtx, link=show.link(wifi, wifi, seed=6), show=name)
        screen, _ = await show.screen(show=name)
        cameras.append(camera)
        screens.append(screen)
    await watched(show, *screens)
    assert all(camera.resent > 20 for camera in cameras)
    # What has not reached the server is not sent again to each viewer, but once to all of them when it comes.
    assert show.house.media.counts["retransmitted"] < 5


async def test_a_hosts_reordered_and_doubled_packets_cost_nothing(show: Show) -> None:
    shuffle = Conditions(reorder=0.05, reorder_s=0.02, duplicate=0.05, delay_s=0.01, jitter_s=0.01)
    await show.camera(link=show.link(shuffle, shuffle, seed=7))
    screen, _ = await show.screen()
    await watched(show, screen)


async def test_a_squeezed_viewer_gets_a_low_layer_and_climbs_back(show: Show) -> None:
    camera, _ = await show.camera(rids=RIDS)
    link = show.link(down=Conditions(delay_s=0.02), seed=9)
    screen, _ = await show.screen(link=link)
    other, _ = await show.screen()
    began = show.now()
    await squeezed(show, screen, link.down.conditions)
    assert other.bits_per_s(began, show.now()) > 800_000, "the path of one is no matter of the others"
    assert camera.keyframes_asked < 40


async def test_viewer_and_host_may_change_their_addresses(show: Show) -> None:
    host_link, viewer_link = show.link(), show.link()
    _, host = await show.camera(link=host_link)
    screen, viewer = await show.screen(link=viewer_link)
    await asyncio.sleep(0.5)
    for link, client in ((viewer_link, viewer), (host_link, host)):
        link.move()
        moved = show.now()
        client.keep_alive()  # a browser asks on every path that it knows
        await asyncio.sleep(1.5)
        assert screen.freezes(moved, show.now()) <= FREEZE_S_MAX
