"""Video between workers over a real Valkey Cluster: other nodes carry it when one dies."""

import pytest

from stream.cluster import signals
from tests.cluster.conftest import SHOW, Publish, Watch, on_air, until
from tests.cluster.valkeys import Valkeys
from tests.stream.conftest import House

pytestmark = [pytest.mark.timeout(90)]


@pytest.fixture
def valkey_url(valkeys: Valkeys) -> str:
    """What the buses and wires of the workers are opened on."""
    return valkeys.url


async def test_video_goes_on_when_the_node_that_carries_it_dies(
    houses: list[House], publish: Publish, watch: Watch, valkeys: Valkeys
) -> None:
    near, far, _ = houses
    await publish(near, 1)
    await on_air(near)
    viewers = [await watch(house) for house in (near, far)]
    await until(lambda: all(len(viewer.packets) > 100 for viewer in viewers))
    channel = signals.media(SHOW, 0)
    was = valkeys.kill_primary(channel)
    await valkeys.promoted(channel, was)
    seen = len(viewers[1].packets)
    await until(lambda: len(viewers[1].packets) > seen + 100, 20)
    assert all(viewer.unbroken for viewer in viewers)
    assert viewers[0].pause_s() < viewers[1].pause_s(), "at the host's own worker nobody waits for the bus"
