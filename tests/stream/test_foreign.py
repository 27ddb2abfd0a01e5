"""Other people's WebRTC: aiortc's RTCPeerConnection and libdatachannel (the stack of OBS) publish and watch."""

import asyncio
import json
import os
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import aioice.ice
import pytest
from aiortc import (
    AudioStreamTrack,
    MediaStreamTrack,
    RTCConfiguration,
    RTCPeerConnection,
    RTCRtpSender,
    RTCSessionDescription,
    VideoStreamTrack,
)
from av import VideoFrame

from tests.stream.conftest import KEY, House, until

pytestmark = pytest.mark.foreign
NODE_DATACHANNEL = "0.33.4"


class Colours(VideoStreamTrack):
    """Every frame has another brightness."""

    number = 0

    async def recv(self) -> VideoFrame:
        timestamp, base = await self.next_timestamp()
        frame = VideoFrame(320, 240, "yuv420p")
        for plane, level in zip(frame.planes, (self.number * 16 % 256, 128, 128), strict=True):
            plane.update(bytes((level,)) * plane.buffer_size)
        frame.pts, frame.time_base = timestamp, base
        self.number += 1
        return frame


Connect = Callable[[RTCPeerConnection, str], Awaitable[str]]


@pytest.fixture
async def connect(house: House, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Connect]:
    """Sends a connection's offer to "whip" or "whep" and applies the answer; returns the session's address."""
    # aioice leaves loopback out of its candidates.
    monkeypatch.setattr(aioice.ice, "get_host_addresses", lambda use_ipv4, use_ipv6: ["127.0.0.1"])
    made: list[RTCPeerConnection] = []

    async def connect_to(pc: RTCPeerConnection, way: str) -> str:
        made.append(pc)
        await pc.setLocalDescription(await pc.createOffer())
        answer = await house.post(way, pc.localDescription.sdp)
        assert answer.status_code == 201, answer.text
        await pc.setRemoteDescription(RTCSessionDescription(answer.text, "answer"))
        return answer.headers["location"]

    yield connect_to
    for pc in made:
        await pc.close()


def fresh() -> RTCPeerConnection:
    return RTCPeerConnection(RTCConfiguration(iceServers=[]))  # None would mean a public STUN server


def host(codec: str) -> RTCPeerConnection:
    pc = fresh()
    pc.addTrack(AudioStreamTrack())
    video = pc.addTransceiver(Colours(), direction="sendonly")
    codecs = [item for item in RTCRtpSender.getCapabilities("video").codecs if item.name.lower() == codec]
    video.setCodecPreferences(codecs)
    for transceiver in pc.getTransceivers():
        transceiver.direction = "sendonly"
    return pc


def watcher() -> tuple[RTCPeerConnection, dict[str, MediaStreamTrack]]:
    pc, tracks = fresh(), {}
    pc.addTransceiver("audio", direction="recvonly")
    pc.addTransceiver("video", direction="recvonly")
    pc.on("track", lambda track: tracks.update({track.kind: track}))
    return pc, tracks


async def brightness(track: MediaStreamTrack, count: int) -> set[int]:
    """The different pictures among the next `count`."""
    seen = set()
    for _ in range(count):
        frame = await asyncio.wait_for(track.recv(), 10)
        assert isinstance(frame, VideoFrame)
        seen.add(bytes(frame.planes[0])[frame.planes[0].line_size * 100 + 100] // 8)
    return seen


@pytest.mark.parametrize("codec", ["h264", "vp8"])
async def test_aiortc_publishes_and_watches_and_delete_frees_both(house: House, connect: Connect, codec: str) -> None:
    publisher = host(codec)
    published = await connect(publisher, "whip")
    await until(lambda: house.told == [("demo", True)])
    viewer, tracks = watcher()
    watched = await connect(viewer, "whep")
    assert len(await brightness(tracks["video"], 12)) > 3
    await asyncio.wait_for(tracks["audio"].recv(), 10)
    await until(lambda: house.figures and house.figures[-1]["codec"] == codec)
    for address in (watched, published):
        answer = await house.http.delete(address, headers={"authorization": f"Bearer {KEY}"})
        assert answer.status_code == 200
    assert not house.media.sessions
    await until(lambda: publisher.connectionState == viewer.connectionState == "closed")
    await until(lambda: house.told == [("demo", True), ("demo", False)])


async def test_aiortc_viewers_see_a_second_publisher_without_a_new_offer(house: House, connect: Connect) -> None:
    await connect(host("h264"), "whip")
    await until(lambda: house.told)
    viewer, tracks = watcher()
    await connect(viewer, "whep")
    await brightness(tracks["video"], 5)
    await connect(host("h264"), "whip")
    await until(lambda: house.media.ended["publisher", "taken_over"] == 1)
    assert len(await brightness(tracks["video"], 40)) > 3
    assert house.told == [("demo", True)]


async def _run(folder: Path, *command: str) -> tuple[int, str, str]:
    process = await asyncio.create_subprocess_exec(
        *command, cwd=folder, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    try:
        out, err = await asyncio.wait_for(process.communicate(), 60)
    except TimeoutError:
        process.kill()
        await process.wait()
        return -1, "", "took more than 60 s"
    return process.returncode or 0, out.decode(), err.decode()


async def _node_datachannel() -> Path:
    """The folder with the package; skips, with the reason, where it cannot be had."""
    if not shutil.which("node") or not shutil.which("npm"):
        pytest.skip("node and npm are not installed: libdatachannel is not tested")
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"))
    folder = cache / "showcart-tests" / f"node-datachannel-{NODE_DATACHANNEL}"
    if not (folder / "node_modules" / "node-datachannel").exists():
        folder.mkdir(parents=True, exist_ok=True)
        arguments = ("install", "--no-save", "--no-audit", "--no-fund", f"node-datachannel@{NODE_DATACHANNEL}")
        code, _, error = await _run(folder, "npm", *arguments)
        if code:
            pytest.skip(f"npm cannot install node-datachannel, so libdatachannel is not tested: {error[-200:]}")
    code, _, error = await _run(folder, "node", "-e", "require('node-datachannel')")
    if code:
        pytest.skip(f"node-datachannel does not load here, so libdatachannel is not tested: {error[-200:]}")
    return folder


async def test_libdatachannel_publishes_and_watches_and_delete_frees_both(house: House) -> None:
    folder = await _node_datachannel()
    script = Path(__file__).with_name("datachannel.mjs")
    code, out, error = await _run(folder, "node", str(script), str(house.http.base_url), KEY)
    assert code == 0, error
    report = json.loads(out.strip().splitlines()[-1])
    assert report["statuses"] == [201, 201, 200, 200]
    assert report["viewer"]["video"] > 20
    assert report["viewer"]["audio"] > 10
    assert report["viewer"]["keyframe"]
    assert not house.media.sessions
    await until(lambda: house.told == [("demo", True), ("demo", False)])
