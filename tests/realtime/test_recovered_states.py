"""States have no numbers: who comes back and recovers the events is told all states that the worker knows."""

from tests.realtime.conftest import Audience, Stage, both


@both
async def test_a_state_of_a_viewers_absence_is_told(stage: Stage, client: Audience, encoding: str) -> None:
    stayer, goer = await client(encoding), await client(encoding)
    await stayer.join()
    connected = await goer.join()
    await goer.socket.close()
    await stage.outlet.state("demo", "stock", {"sku": "a", "available": 3}, key="a")
    assert (await stayer.until("state", name="stock"))["data"]["available"] == 3
    again = await client(encoding)
    await again.send(type="connect", id="c", position=connected["position"])
    assert (await again.until("connected"))["recovered"] is True
    assert (await again.until("state", name="stock"))["data"] == {"sku": "a", "available": 3}
