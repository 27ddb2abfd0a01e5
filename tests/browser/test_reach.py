"""A viewer behind a firewall that lets nothing through but a TURN server."""

from pathlib import Path

import pytest
from playwright.async_api import expect

from tests.browser import people
from tests.browser.conftest import SECRET, Screens, start_demo
from tests.browser.people import button

pytestmark = [pytest.mark.browser, pytest.mark.timeout(60)]

_FIREWALL = """window.RTCPeerConnection = class extends RTCPeerConnection {
  constructor(configuration) {
    super({ ...configuration, iceTransportPolicy: "relay" });
    window.peer = this;
  }
};"""
_CANDIDATES = """async () => {
  const own = [...(await peer.getStats()).values()].filter(({ type }) => type === "local-candidate");
  return [...new Set(own.map(({ candidateType, relayProtocol }) => `${candidateType} ${relayProtocol}`))];
}"""


async def test_a_viewer_who_has_only_turn_sees_the_picture(tmp_path: Path, coturn: int, screens: Screens) -> None:
    firewall = tmp_path / "firewall.js"
    firewall.write_text(_FIREWALL)
    url = f"turn:127.0.0.1:{coturn}?transport=tcp"
    server = await start_demo(tmp_path, SHOWCART_TURN_URLS=url, SHOWCART_TURN_SECRET=SECRET)
    try:
        studio = await screens.open(f"{server.url}/studio/demo#token=demo")
        viewer = await screens.open(f"{server.url}/watch/demo", script=firewall)
        await people.go_live(studio)
        await people.playing(viewer)
        await expect(button(viewer, "live-badge")).to_be_visible()
        assert await viewer.evaluate(_CANDIDATES) == ["relay tcp"]
        await studio.context.close()
        await viewer.context.close()
    finally:
        assert await server.stop() == 0, server.log.read_text()
