"""What a show over a bad network must still be, whatever carries it."""

import asyncio

from loadtests.media.source import FRAMES_PER_S
from tests.faults.conftest import Show
from tests.faults.path import Conditions
from tests.faults.screen import Screen

WATCH_S = 6.0
SETTLE_S = 1.0
FREEZE_S_MAX = 0.5
LOST_MAX = 0.005


async def watched(show: Show, *screens: Screen) -> None:
    """Less than 0.5 % of the pictures miss on any screen, and no picture stands still for longer than 500 ms.

    A packet and its three repetitions are lost together six times in a million: then they watch once more. Twice in a
    row is no chance.
    """
    await asyncio.sleep(SETTLE_S)
    if await _faults(show, screens):
        faults = await _faults(show, screens)
        assert not faults, faults


async def _faults(show: Show, screens: tuple[Screen, ...]) -> list[str]:
    since = show.now()
    await asyncio.sleep(WATCH_S)
    until = show.now()
    found = []
    for number, screen in enumerate(screens):
        lost, due = screen.lost(since, until)
        frozen_s = screen.freezes(since, until)
        assert due > 0.5 * WATCH_S * FRAMES_PER_S, "the camera films"
        if lost > LOST_MAX * due or frozen_s > FREEZE_S_MAX:
            found.append(f"screen {number}: {lost} of {due} pictures lost, frozen for {frozen_s:.2f} s")
    return found


async def squeezed(show: Show, screen: Screen, way_there: Conditions) -> None:
    """A viewer of three layers whose path carries 500 kbit/s sits on a low one within 5 s, and is back in 15 s."""
    await until_rate(show, screen, above=1_000_000, within_s=10)
    way_there.bits_per_s = 500_000
    await asyncio.sleep(5.0)
    since = show.now()
    await asyncio.sleep(2.0)
    assert screen.bits_per_s(since, show.now()) < 450_000
    assert len([at for at in screen.shown if at >= since]) >= 2.0 * FRAMES_PER_S * 0.9
    await _told(show, limited=1)
    way_there.bits_per_s = None
    await until_rate(show, screen, above=1_000_000, within_s=15)
    await _told(show, limited=0)


async def _told(show: Show, limited: int) -> None:
    """Wait until the host is; figures are a second old, and a busy machine may skip one."""
    async with asyncio.timeout(10):
        while await _limited(show) != limited:
            await asyncio.sleep(0.1)


async def _limited(show: Show) -> int:
    """How many viewers have a path that keeps them from a better layer, as the API tells."""
    limited: int = (await show.house.video()).json()["figures"]["audience"]["limited"]
    return limited


async def until_rate(show: Show, screen: Screen, above: float, within_s: float) -> None:
    """Wait until the video's rate over a second is `above`."""
    deadline = show.now() + within_s
    while screen.bits_per_s(show.now() - 1.0, show.now()) < above:
        assert show.now() < deadline, f"still below {above:,.0f} bit/s after {within_s} s"
        await asyncio.sleep(0.1)
