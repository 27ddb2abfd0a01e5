/* Watching over WHEP: one offer, one answer, and coming back when the picture is lost. */
import { backoffMs } from "./wire.js";

const STATISTICS_MS = 2000;
const PATIENCE_MS = 2000; // whoever was hung up on hears why over the socket, and does not ask in vain

export class Watcher {
  #peer = null;
  #session = null;
  #path = null;
  #timers = { retry: 0, statistics: 0 };
  #attempt = 0;
  #wanted = false;
  #round = 0;
  #limit = null;
  waits = false; // nobody publishes: a session that is lost meanwhile is not asked for again until `start`

  /** `onStream` takes a MediaStream or null; `onQuality` "good" or "poor"; `onFull` is called when there is no room. */
  constructor({ show, onStream, onQuality = () => {}, onFull = () => {} }) {
    Object.assign(this, { url: `/whep/${encodeURIComponent(show)}`, onStream, onQuality, onFull });
    addEventListener("pagehide", () => this.stop());
  }

  /** Watches from now on; called again, it does not wait any longer for its turn. */
  start() {
    if (this.#wanted && this.#peer) return;
    this.#wanted = true;
    this.#attempt = 0;
    this.#connect();
  }

  stop() {
    this.#wanted = false;
    this.#close();
    this.onStream(null);
  }

  /** {max_height: pixels or null, video: boolean}: the most that is to be sent here. */
  limit(limit) {
    this.#limit = limit;
    this.#tell();
  }

  #tell() {
    const [body, url] = [JSON.stringify(this.#limit), `${this.#session}/layer`];
    if (this.#session) fetch(url, { method: "POST", headers: { "Content-Type": "application/json" }, body }).catch(() => {}); // told again with the next session
  }

  async #connect() {
    this.#close();
    const round = this.#round;
    const peer = new RTCPeerConnection({ bundlePolicy: "max-bundle" });
    this.#peer = peer;
    const stream = new MediaStream();
    peer.ontrack = ({ track }) => stream.addTrack(track);
    try {
      for (const kind of ["video", "audio"]) peer.addTransceiver(kind, { direction: "recvonly" });
      const offer = await peer.createOffer();
      const asked = fetch(this.url, { method: "POST", headers: { "Content-Type": "application/sdp" }, body: offer.sdp });
      const code = Promise.all([import("./ice.js"), import("./health.js")]); // not part of the first paint
      code.catch(() => {}); // judged where it is waited for
      const answer = await asked;
      if (answer.status !== 201) return this.#again(answer, round);
      const session = answer.headers.get("Location");
      if (round !== this.#round) return release(session);
      this.#session = session;
      const [{ Path, accept }, { Reception }] = await code;
      await accept(peer, offer, answer);
      if (round !== this.#round) return;
      this.onStream(stream);
      if (this.#limit) this.#tell();
      this.#path = new Path(peer, { session, onUp: () => { this.#attempt = 0; }, onLost: (outcome) => this.#again(null, round, outcome === "gone" ? PATIENCE_MS : 0) });
      const reception = new Reception();
      this.#timers.statistics = setInterval(() => this.#measure(peer, reception), STATISTICS_MS);
    } catch {
      this.#again(null, round); // offline, or the peer was closed while it was set up
    }
  }

  #again(answer, round, patience = 0) {
    if (!this.#wanted || round !== this.#round) return;
    this.#close();
    if (answer?.status === 503) this.onFull();
    const asked = 1000 * (Number(answer?.headers.get("Retry-After")) || 0);
    const wait = Math.min(asked || patience, 5000) * (0.5 + Math.random() / 2) + backoffMs(this.#attempt) / 2;
    this.#attempt += 1;
    if (!this.waits) this.#timers.retry = setTimeout(() => this.#wanted && this.#connect(), wait);
  }

  #close() {
    this.#round += 1;
    for (const timer of Object.values(this.#timers)) clearTimeout(timer);
    release(this.#session);
    this.#session = null;
    this.#path?.close();
    this.#path = null;
    if (this.#peer) {
      this.#peer.ontrack = null;
      this.#peer.close();
    }
    this.#peer = null;
  }

  async #measure(peer, reception) {
    if (document.hidden) return;
    const reports = [...(await peer.getStats()).values()];
    if (peer === this.#peer) this.onQuality(reception.update(reports, this.#limit?.video !== false));
  }
}

/** Frees the server's side; `keepalive` lets the request outlive the page. */
export function release(session, headers = {}) {
  if (session) fetch(session, { method: "DELETE", keepalive: true, headers }).catch(() => {}); // the server finds a dead peer by itself
}
