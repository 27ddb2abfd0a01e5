"""The private Valkey dies or stands still in the middle of a show: the screens lose a moment, and nobody a thing."""

import asyncio
import signal

import pytest

from live.core.limits import BUS_PULSE_S, BUS_TIMEOUT_S
from tests.faults.audience import attending, over
from tests.faults.stand import PAUSE_S, Stand, killed

pytestmark = [pytest.mark.timeout(120)]


async def test_valkey_is_killed(stand: Stand) -> None:
    async with attending(stand) as audience:
        was = stand.valkey_process()
        killed(was)
        await over(audience)
        assert stand.valkey_process() != was
        epochs = {str(each.position["epoch"]) for each in audience.everybody if each.position}
        assert len(epochs) == 1


async def test_valkey_stands_still(stand: Stand) -> None:
    """For ten seconds, which is past BUS_TIMEOUT_S and reaches the second unanswered pulse of BUS_PULSE_S.

    So calls are done long after they were given up, some connections end while others hold, and epochs begin anew.
    """
    assert PAUSE_S >= 2 * BUS_PULSE_S > BUS_TIMEOUT_S
    async with attending(stand) as audience:
        valkey = stand.valkey_process()
        valkey.send_signal(signal.SIGSTOP)
        try:
            await asyncio.sleep(PAUSE_S)
        finally:
            valkey.send_signal(signal.SIGCONT)
        await over(audience)
