/* Watching over WHEP: one offer, one answer, and coming back when the picture is lost. When the server says that it is
   about to go, another session is made first, and the picture goes over to it without a gap. */
import { backoffMs } from "./wire.js";

const STATISTICS_MS = 2000;
const PATIENCE_MS = 2000; // whoever was hung up on hears why over the socket, and does not ask in vain
const FOLLOW_MS = 1000; // between two tries to go over
const PICTURE_MS_MAX = 3000; // to wait for the first picture of a session that is to follow; perhaps none is sent now
const LOOK_MS = 50;

/** One session: its peer, its address at the server, what it brings. */
class View {
  session = null;
  closed = false;
  lost = false;
  gone = false; // the server has ended it: there is nothing to give back
  stream = new MediaStream();
  peer = new RTCPeerConnection({ bundlePolicy: "max-bundle" });
  #path = null;
  #timer = 0;

  /** Resolves to what the server answered when it refused, to null when it did not; throws when nobody answered. */
  async open(url, limit) {
    const { peer } = this;
    peer.ontrack = ({ track }) => this.stream.addTrack(track);
    for (const kind of ["video", "audio"]) peer.addTransceiver(kind, { direction: "recvonly" });
    const offer = await peer.createOffer();
    const asked = fetch(url, { method: "POST", headers: { "Content-Type": "application/sdp" }, body: offer.sdp });
    this.code = Promise.all([import("./ice.js"), import("./health.js")]); // not part of the first paint
    this.code.catch(() => {}); // judged where it is waited for
    const answer = await asked;
    if (answer.status !== 201) return answer;
    const session = answer.headers.get("Location");
    if (this.closed) return release(session), null;
    this.session = session;
    const [{ accept }] = await this.code;
    await accept(peer, offer, answer);
    if (limit) this.tell(limit);
    return null;
  }

  tell(limit) {
    const [body, url] = [JSON.stringify(limit), `${this.session}/layer`];
    if (this.session) fetch(url, { method: "POST", headers: { "Content-Type": "application/json" }, body }).catch(() => {}); // told again with the next session
  }

  /** Keeps the path, and measures what comes over it; `wanted`: whether a picture is. */
  async attend({ onUp, onLost, onQuality, wanted }) {
    const [{ Path }, { Reception }] = await this.code;
    if (this.closed) return;
    this.#path = new Path(this.peer, { session: this.session, onUp, onLost });
    const reception = new Reception();
    this.#timer = setInterval(async () => {
      if (document.hidden) return;
      const reports = [...(await this.peer.getStats()).values()];
      if (!this.closed) onQuality(reception.update(reports, wanted()));
    }, STATISTICS_MS);
  }

  /** Resolves to whether it is connected, when its first picture is decoded (`wanted`), or none has come for long. */
  async playing(wanted) {
    const until = Date.now() + PICTURE_MS_MAX;
    while (!this.closed && Date.now() < until) {
      const reports = [...(await this.peer.getStats()).values()].filter(({ type }) => type === "inbound-rtp");
      if (reports.some((report) => (wanted ? report.framesDecoded > 0 : report.packetsReceived > 0))) break;
      await new Promise((resolve) => { setTimeout(resolve, LOOK_MS); });
    }
    return this.peer.connectionState === "connected";
  }

  close() {
    this.closed = true;
    clearInterval(this.#timer);
    if (!this.gone) release(this.session);
    this.#path?.close();
    this.peer.ontrack = null;
    this.peer.close();
  }
}

export class Watcher {
  #view = null;
  #next = null; // is to take its place, and does not play yet
  #timers = { retry: 0, follow: 0 };
  #attempt = 0;
  #wanted = false;
  #limit = null;
  #leaving = new Map(); // workers, and until when they are left
  waits = false; // nobody publishes: a session that is lost meanwhile is not asked for again until `start`

  /** `onStream` takes a MediaStream or null; `onQuality` "good" or "poor"; `onFull` is called when there is no room. */
  constructor({ show, onStream, onQuality = () => {}, onFull = () => {} }) {
    Object.assign(this, { url: `/whep/${encodeURIComponent(show)}`, onStream, onQuality, onFull });
    addEventListener("pagehide", () => this.stop());
  }

  /** Watches from now on; called again, it does not wait any longer for its turn. */
  start() {
    if (this.#wanted && this.#view) return;
    this.#wanted = true;
    this.#attempt = 0;
    this.#connect();
  }

  /** `over`: with the show, whose sessions the server ends by itself. */
  stop(over = false) {
    this.#wanted = false;
    if (over) for (const view of [this.#view, this.#next]) if (view) view.gone = true;
    this.#close();
    this.onStream(null);
  }

  /** A worker is about to end: if it is ours, goes over to another one at some time within `within_s`. */
  move({ worker, within_s: within }) {
    this.#leaving.set(worker, Date.now() + within * 1000);
    if (this.#view?.session) this.#leave(this.#view);
  }

  #leave({ session }) {
    const until = this.#leaving.get(workerOf(session));
    if (until === undefined) return;
    clearTimeout(this.#timers.follow);
    this.#timers.follow = setTimeout(() => this.#follow(), Math.random() * Math.max(0, until - Date.now()));
  }

  /** {max_height: pixels or null, video: boolean}: the most that is to be sent here. */
  limit(limit) {
    this.#limit = limit;
    this.#view?.tell(limit);
    this.#next?.tell(limit);
  }

  async #connect() {
    this.#close();
    const view = new View();
    this.#view = view;
    try {
      const refusal = await view.open(this.url, this.#limit);
      if (refusal) return this.#again(refusal, view);
      if (view.closed) return;
      this.onStream(view.stream);
      await this.#attend(view);
    } catch {
      this.#again(null, view); // offline, or the peer was closed while it was set up
    }
  }

  #attend(view) {
    clearTimeout(this.#timers.follow); // of the one before: a page is told again that its worker ends when it comes over
    this.#leave(view); // what was said while it was opened
    return view.attend({
      onUp: () => { this.#attempt = 0; },
      onLost: (outcome) => { view.lost = true; view.gone = outcome === "gone"; if (!this.#next) this.#again(null, view, outcome === "gone" ? PATIENCE_MS : 0); },
      onQuality: this.onQuality, wanted: () => this.#limit?.video !== false,
    });
  }

  /** A session on a new connection, and so at another worker, takes the place of the present one once it plays. */
  async #follow() {
    const before = this.#view;
    if (!this.#wanted || !before?.session || this.#next) return;
    const next = new View();
    this.#next = next;
    const plays = await this.#plays(next);
    if (next !== this.#next) return next.close(); // stopped meanwhile
    this.#next = null;
    if (!plays) {
      next.close();
      if (before.lost) return this.#again(null, before);
      this.#timers.follow = setTimeout(() => this.#follow(), FOLLOW_MS * (0.5 + Math.random()));
      return;
    }
    this.#view = next;
    this.onStream(next.stream);
    before.close();
    this.#attend(next).catch(() => this.#again(null, next));
  }

  async #plays(view) {
    try {
      return !(await view.open(this.url, this.#limit)) && (await view.playing(this.#limit?.video !== false));
    } catch {
      return false; // nobody answered; the present one still plays
    }
  }

  #again(answer, view, patience = 0) {
    if (!this.#wanted || view !== this.#view) return;
    this.#close();
    if (answer?.status === 503) this.onFull();
    const asked = 1000 * (Number(answer?.headers.get("Retry-After")) || 0);
    const wait = Math.min(asked || patience, 5000) * (0.5 + Math.random() / 2) + backoffMs(this.#attempt) / 2;
    this.#attempt += 1;
    if (!this.waits) this.#timers.retry = setTimeout(() => this.#wanted && this.#connect(), wait);
  }

  #close() {
    for (const timer of Object.values(this.#timers)) clearTimeout(timer);
    this.#view?.close();
    this.#next?.close();
    this.#view = this.#next = null;
  }
}

/** The worker that a session lives on: the first part of its id. */
export const workerOf = (session) => session.split("/").at(-1).split(".")[0];

/** Frees the server's side; `keepalive` lets the request outlive the page. */
export function release(session, headers = {}) {
  if (session) fetch(session, { method: "DELETE", keepalive: true, headers }).catch(() => {}); // the server finds a dead peer by itself
}
