"""What an operator sees of the realtime part."""

from prometheus_client import CollectorRegistry

from live.core.auth import Role
from live.realtime import closes
from live.realtime.metrics import RealtimeCollector
from tests.realtime.conftest import Audience, Stage


async def test_figures_are_shown(stage: Stage, client: Audience) -> None:
    registry = CollectorRegistry()
    registry.register(RealtimeCollector(stage.connections, stage.hub, stage.outlet))
    viewer = await client()
    await viewer.join()
    await stage.say("a")
    await viewer.until("event")
    before = closes.sent[4502]
    broken = await client()
    await broken.socket.send("{")
    assert await broken.closed() == 4502
    foreign = await client()
    await foreign.send(type="connect", id="c", token=stage.token(Role.host, show="other"))
    await foreign.closed()

    def value(name: str, **labels: str) -> float | None:
        return registry.get_sample_value(name, labels)

    assert value("showcart_sockets_accepted_total") == 3
    assert value("showcart_channels") == 1
    assert value("showcart_joins_total", how="new") == 1
    assert value("showcart_events_total", what="delivered") == 1
    assert value("showcart_frames_total", kind="event") == 1
    assert (value("showcart_frame_bytes_total", kind="event") or 0) > 60
    assert value("showcart_frames_total", kind="snapshot") == 1
    assert value("showcart_subscriptions") == 1
    assert value("showcart_rounds_total") == value("showcart_broadcast_seconds_count")
    assert value("showcart_bus_lag_seconds_count") == 1
    assert (value("showcart_fanout_slice_max_seconds") or 0) > 0
    assert value("showcart_sockets_closed_total", code="4502") == before + 1
    assert value("showcart_joins_refused_total", reason="show_forbidden") == 1
    assert value("showcart_pongs_skipped_total") is not None
    assert value("showcart_slow_viewers") == 0
    assert value("showcart_unclean_ends_total") == 0
