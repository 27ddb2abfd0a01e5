/* Watching over WHEP: one offer, one answer, and coming back when the picture is lost. */
import { backoffMs } from "./wire.js";

const STATISTICS_MS = 2000;
const LOST_MS = 4000; // "disconnected" often heals by itself

export class Watcher {
  #peer = null;
  #session = null;
  #timers = { retry: 0, statistics: 0, lost: 0 };
  #attempt = 0;
  #wanted = false;
  #before = null;
  #poor = 0;
  #round = 0;

  /** `onStream` takes a MediaStream or null; `onQuality` "good" or "poor"; `onFull` is called when there is no room. */
  constructor({ show, onStream, onQuality = () => {}, onFull = () => {} }) {
    Object.assign(this, { url: `/whep/${encodeURIComponent(show)}`, onStream, onQuality, onFull });
    addEventListener("pagehide", () => this.stop());
  }

  start() {
    if (this.#wanted) return;
    this.#wanted = true;
    this.#attempt = 0;
    this.#connect();
  }

  stop() {
    this.#wanted = false;
    this.#close();
    this.onStream(null);
  }

  async #connect() {
    this.#close();
    const round = this.#round;
    const peer = new RTCPeerConnection({ bundlePolicy: "max-bundle" });
    this.#peer = peer;
    const stream = new MediaStream();
    peer.ontrack = ({ track }) => {
      stream.addTrack(track);
      if (track.kind === "video") this.onStream(stream);
    };
    peer.onconnectionstatechange = () => this.#changed(peer);
    try {
      for (const kind of ["video", "audio"]) peer.addTransceiver(kind, { direction: "recvonly" });
      await peer.setLocalDescription(await peer.createOffer());
      const answer = await fetch(this.url, { method: "POST", headers: { "Content-Type": "application/sdp" }, body: peer.localDescription.sdp });
      if (answer.status !== 201) return this.#again(answer, round);
      const session = answer.headers.get("Location");
      if (round !== this.#round) return release(session);
      this.#session = session;
      await peer.setRemoteDescription({ type: "answer", sdp: await answer.text() });
      this.#timers.statistics = setInterval(() => this.#measure(peer), STATISTICS_MS);
    } catch {
      this.#again(null, round); // offline, or the peer was closed while it was set up
    }
  }

  #changed(peer) {
    if (peer !== this.#peer) return;
    clearTimeout(this.#timers.lost);
    if (peer.connectionState === "connected") this.#attempt = 0;
    else if (peer.connectionState === "failed") this.#again(null, this.#round);
    else if (peer.connectionState === "disconnected") this.#timers.lost = setTimeout(() => this.#again(null, this.#round), LOST_MS);
  }

  #again(answer, round) {
    if (!this.#wanted || round !== this.#round) return;
    this.#close();
    if (answer?.status === 503) this.onFull();
    const asked = 1000 * (Number(answer?.headers.get("Retry-After")) || 0);
    const wait = Math.min(asked, 5000) * (0.5 + Math.random() / 2) + backoffMs(this.#attempt) / 2;
    this.#attempt += 1;
    this.#timers.retry = setTimeout(() => this.#wanted && this.#connect(), wait);
  }

  #close() {
    this.#round += 1;
    for (const timer of Object.values(this.#timers)) clearTimeout(timer);
    release(this.#session);
    this.#session = null;
    this.#before = null;
    if (this.#peer) {
      this.#peer.ontrack = this.#peer.onconnectionstatechange = null;
      this.#peer.close();
    }
    this.#peer = null;
  }

  async #measure(peer) {
    if (peer !== this.#peer || document.hidden) return;
    const now = { frames: 0, received: 0, lost: 0 };
    for (const report of (await peer.getStats()).values()) {
      if (report.type !== "inbound-rtp" || report.kind !== "video") continue;
      Object.assign(now, { frames: report.framesDecoded ?? 0, received: report.packetsReceived ?? 0, lost: report.packetsLost ?? 0 });
    }
    const before = this.#before;
    this.#before = now;
    if (!before) return;
    const [received, lost] = [now.received - before.received, now.lost - before.lost];
    const stalled = received > 0 && now.frames === before.frames;
    const poor = stalled || lost > 0.05 * (received + lost);
    this.#poor = poor ? Math.min(this.#poor + 1, 3) : Math.max(this.#poor - 1, 0);
    this.onQuality(this.#poor >= 2 ? "poor" : "good");
  }
}

/** Frees the server's side; `keepalive` lets the request outlive the page. */
export function release(session, headers = {}) {
  if (session) fetch(session, { method: "DELETE", keepalive: true, headers }).catch(() => {}); // the server finds a dead peer by itself
}
