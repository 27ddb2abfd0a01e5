"""The private Valkey dies or stands still in the middle of a show: the screens lose a moment, and nobody a thing."""

import asyncio
import signal

import pytest

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
    """For three seconds by hurried bounds, which shows what ten seconds do by the real ones.

    A pause matters by the two bounds that it passes: a call is given up after BUS_TIMEOUT_S (1 s here, 5 s as shipped),
    and a connection after two unanswered pulses of BUS_PULSE_S (1.6 s here, 10 s as shipped). Three seconds are past
    both here, ten are past the first and reach the second there: so what is seen is what ten seconds bring about, and
    more of it. Calls are done long after they were given up, connections end, and epochs begin anew.
    """
    async with attending(stand) as audience:
        valkey = stand.valkey_process()
        valkey.send_signal(signal.SIGSTOP)
        try:
            await asyncio.sleep(PAUSE_S)
        finally:
            valkey.send_signal(signal.SIGCONT)
        await over(audience)
