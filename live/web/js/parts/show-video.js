/* <show-video>: the picture, letterboxed with a blurred edge, and its sound. */
import { h, calm } from "../dom.js";

const EDGE_MS = 400;

customElements.define("show-video", class extends HTMLElement {
  connectedCallback() {
    if (this.video) return;
    this.edge = h("canvas", { class: "edge", width: 32, height: 32, "aria-hidden": "true" });
    this.video = h("video", { playsinline: true, autoplay: true, disablepictureinpicture: true, "data-testid": "video" });
    this.video.addEventListener("resize", () => this.#fit());
    this.video.addEventListener("volumechange", () => this.#told());
    this.append(this.edge, this.video);
  }

  /** Shows `stream`, with sound when the browser lets us; null takes the picture away. */
  async attach(stream) {
    const shown = this.video.srcObject;
    const follows = stream && stream !== this.stream && shown?.active;
    this.stream = stream;
    if (follows) return this.#follow(shown, stream);
    this.video.srcObject = this.only && stream ? new MediaStream(stream.getAudioTracks()) : stream;
    this.classList.toggle("on", stream !== null);
    clearInterval(this.timer);
    if (!stream) return;
    this.timer = setInterval(() => this.#paintEdge(), EDGE_MS);
    if (this.silent) this.video.muted = true;
    try {
      await this.video.play();
    } catch (error) {
      if (error.name !== "NotAllowedError") return; // replaced by a newer stream
      this.video.muted = true;
      this.blocked = true;
      await this.video.play().catch(() => {}); // muted playback is refused in a power-saving mode only; a tap starts it
    }
    this.#told();
  }

  /** `stream` comes in the place of one that still plays: tracks are exchanged, so that the last picture stays. */
  #follow(shown, stream) {
    const before = shown.getTracks();
    for (const track of this.only ? stream.getAudioTracks() : stream.getTracks()) shown.addTrack(track);
    for (const track of before) shown.removeTrack(track);
    this.video.play().catch(() => {}); // it plays already; a browser may have paused it for want of tracks
  }

  /** Sound plays only when no picture is waited for. */
  set soundOnly(only) {
    if (only === Boolean(this.only)) return;
    this.only = only;
    if (this.stream) this.attach(this.stream);
  }

  get muted() {
    return this.video.muted;
  }

  setMuted(muted) {
    this.silent = muted;
    this.blocked = false;
    this.video.muted = muted;
    if (this.video.srcObject) this.video.play().catch(() => { this.video.muted = true; });
    this.#told();
  }

  #told() {
    this.dispatchEvent(new CustomEvent("sound", { detail: { muted: this.video.muted, blocked: this.blocked && this.video.muted } }));
  }

  /** Upright pictures fill the screen; wide ones are shown whole over their own blur. */
  #fit() {
    const { videoWidth: width, videoHeight: height } = this.video;
    this.classList.toggle("upright", width > 0 && width < 0.8 * height);
  }

  #paintEdge() {
    if (document.hidden || this.video.readyState < 2 || (calm() && this.painted)) return;
    const pen = this.edge.getContext("2d");
    pen.globalAlpha = 1;
    pen.drawImage(this.video, 0, 0, 32, 32);
    // Blurred and darkened here, where it is small: a filter of the style costs half a core without a graphics card.
    pen.globalAlpha = 0.5;
    for (const [x, y] of [[1, 0], [-1, 0], [0, 1], [0, -1]]) pen.drawImage(this.edge, x, y);
    pen.globalAlpha = 0.45;
    pen.fillRect(0, 0, 32, 32);
    this.painted = true;
  }
});
