// A page that takes its random times early, and watches its picture: how often there was none to show, how many
// sessions were opened, and how often one was let go of before another one was there (`bare`).
Math.random = () => 0.05;
window.seen = { shown: false, dark: 0, sessions: 0, bare: 0 };
{
  const { seen } = window;
  const open = new Set();
  window.RTCPeerConnection = class extends RTCPeerConnection {
    constructor(configuration) {
      super(configuration);
      seen.sessions += 1;
      open.add(this);
    }

    close() {
      open.delete(this);
      if (![...open].some((peer) => peer.connectionState === "connected")) seen.bare += 1;
      super.close();
    }
  };
  const pen = new OffscreenCanvas(16, 9).getContext("2d", { willReadFrequently: true });
  const look = () => {
    const video = document.querySelector("[data-testid=video]");
    if (video) {
      pen.clearRect(0, 0, 16, 9);
      pen.drawImage(video, 0, 0, 16, 9);
      const bright = video.readyState >= 2 && pen.getImageData(0, 0, 16, 9).data.some((value, index) => index % 4 < 3 && value > 16);
      seen.shown ||= bright;
      if (seen.shown && !bright) seen.dark += 1;
    }
    requestAnimationFrame(look);
  };
  requestAnimationFrame(look);
}
