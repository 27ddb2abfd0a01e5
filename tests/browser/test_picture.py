"""The picture's way: how long it takes, measured on the screens of real browsers."""

import sys
from collections.abc import Awaitable, Callable
from functools import partial
from statistics import median, quantiles

import pytest

from tests.browser import people
from tests.browser.conftest import CLAPPER, Screens, Server

pytestmark = [pytest.mark.alone, pytest.mark.browser, pytest.mark.timeout(120)]

GLASS_TO_GLASS_P95_MS_MAX = 250
FIRST_FRAME_P95_MS_MAX = 300
FRAMES = 40  # of a window
JOINS = 20  # of a window
WINDOWS_MIN = 2
WINDOWS_MAX = 8

# Some viewers, one after the other: from the POST until the first frame is on the screen, in milliseconds.
_JOIN = """async joins => {
  const { Watcher } = await import("/static/js/whep.js");
  const video = Object.assign(document.createElement("video"), { muted: true, width: 320, height: 180 });
  document.body.prepend(video);
  const plain = window.fetch;
  let asked = 0;
  window.fetch = (url, options) => {
    if (options?.method === "POST") asked = performance.now();
    return plain(url, options);
  };
  const times = [];
  for (let join = 0; join < joins; join++) {
    await new Promise(resolve => {
      const watcher = new Watcher({ show: "demo", onStream: stream => {
        if (!stream) return;
        video.srcObject = stream;
        video.play().catch(() => {});
        video.requestVideoFrameCallback(() => {
          times.push(performance.now() - asked);
          setTimeout(() => { watcher.stop(); resolve(); });
        });
      } });
      watcher.start();
    });
  }
  return times;
}"""


@pytest.fixture
def tell(capsys: pytest.CaptureFixture[str]) -> Callable[[str], None]:
    """Shows a figure to whoever runs the tests, also when they pass."""

    def tell(line: str) -> None:
        with capsys.disabled():
            sys.stderr.write(f"\n{line}\n")

    return tell


def p95(values: list[float]) -> float:
    return quantiles(values, n=20, method="inclusive")[18]


async def best_p95(
    window: Callable[[], Awaitable[list[float]]], enough_ms: float, told: Callable[[str], None]
) -> float:
    """The 95th percentile of the best window, in milliseconds.

    Another process may take the processor for seconds, but never makes the way shorter.
    """
    windows: list[list[float]] = []
    while len(windows) < WINDOWS_MIN or (min(map(p95, windows)) > enough_ms and len(windows) < WINDOWS_MAX):
        windows.append(await window())
    every = [ms for each in windows for ms in each]
    by_window = ", ".join(f"{p95(each):.0f}" for each in windows)
    told(f"{len(every)} times: p50 {median(every):.0f} ms, p95 {p95(every):.0f} ms (by window: {by_window})")
    return min(map(p95, windows))


async def test_camera_to_screen_takes_less_than_250_ms(
    server: Server, screens: Screens, tell: Callable[[str], None]
) -> None:
    # Small windows: without a graphics card, painting large ones takes longer than all the rest of the way.
    studio = await screens.open(f"{server.url}/studio/demo#token=demo", script=CLAPPER, width=600, height=600)
    viewer = await screens.open(f"{server.url}/watch/demo", script=CLAPPER, width=390, height=600)
    await people.go_live(studio)
    await people.playing(viewer)
    read = partial(viewer.evaluate, "count => readClock(count)", FRAMES)
    best_ms = await best_p95(read, GLASS_TO_GLASS_P95_MS_MAX, lambda told: tell(f"camera to screen, {told}"))
    assert best_ms <= GLASS_TO_GLASS_P95_MS_MAX


async def test_the_first_frame_comes_within_300_ms(
    server: Server, screens: Screens, tell: Callable[[str], None]
) -> None:
    studio = await screens.open(f"{server.url}/studio/demo#token=demo")
    await people.go_live(studio)
    viewer = await screens.open(f"{server.url}/")
    join = partial(viewer.evaluate, _JOIN, JOINS)
    best_ms = await best_p95(join, FIRST_FRAME_P95_MS_MAX, lambda told: tell(f"first frame, {told}"))
    assert best_ms <= FIRST_FRAME_P95_MS_MAX
