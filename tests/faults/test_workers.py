"""A worker is killed in the middle of a show: its viewers are on the other one, and nothing was lost or done twice."""

import asyncio
from contextlib import AsyncExitStack

import pytest

from live.core.tasks import end
from tests.faults.audience import attending, over
from tests.faults.pages import PATIENCE_S, Screen
from tests.faults.stand import CONVERGE_S, UNTOLD, Stand, killed

pytestmark = [pytest.mark.timeout(120)]


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
        await over(audience)


@pytest.mark.parametrize("killed_too", ["nobody", "everybody"])
async def test_a_worker_is_killed_between_commit_and_publish(stand: Stand, killed_too: str) -> None:
    """Nothing happens in the show afterwards; who stayed and who came back see what was committed all the same."""
    async with AsyncExitStack() as stack:
        writer, *screens = everybody = [Screen(stand.port, seed) for seed in range(17)]
        for each in everybody:
            stack.push_async_callback(each.close)
        async with asyncio.timeout(PATIENCE_S):
            await asyncio.gather(*(each.joined.wait() for each in everybody))
        posting = asyncio.create_task(writer.command("chat.post", {"text": UNTOLD}, f"untold {killed_too}"))
        victim = await stand.hung()
        await end(posting)
        await writer.close()  # it would come back with the same words, which are told again
        [(stored,)] = await stand.rows(f"SELECT count(*) FROM chat_message WHERE text = '{UNTOLD}'")
        assert stored > 0 and not any(_shows(each, stored) for each in screens)
        for process in stand.worker_processes() if killed_too == "everybody" else [victim]:
            killed(process)
        async with asyncio.timeout(PATIENCE_S):
            while killed_too == "everybody" and not all(each.visits > 1 and each.joined.is_set() for each in screens):
                await asyncio.sleep(0.05)
        async with asyncio.timeout(CONVERGE_S):
            while not all(_shows(each, stored) for each in screens):
                await asyncio.sleep(0.05)
        if killed_too == "nobody":
            assert {each.visits > 1 for each in screens} == {False, True}, "some were on it, some were not"
        assert (await stand.totals("showcart_unclean_ends_total"))["showcart_unclean_ends_total"] > 0
    await stand.settled()


def _shows(screen: Screen, times: int) -> bool:
    """Whether it shows the words as often."""
    return [each["text"] for each in screen.picture["chat"]["messages"]].count(UNTOLD) == times
