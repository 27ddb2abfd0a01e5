/* Publishing over WHIP: H.264 first (every viewer and recorder takes it as it is), in up to three sizes at once, so that
   each viewer gets what its line carries (simulcast, RFC 8853). Figures once a second. */
import { Path, accept, connected } from "./ice.js";
import { release, workerOf } from "./whep.js";
import { backoffMs } from "./wire.js";

const GONE_MS = 2000;
const STATISTICS_MS = 1000;
const FOLLOW_MS = 1000; // between two tries to go over to another server, and before the first
const MOVED_MS = 5000; // after which a session that is gone has no longer to do with that
const VIDEO_BITS_PER_S_MAX = 2_500_000;
const LAYERS = [ // the smallest first: a browser that lacks bandwidth takes from the end
  { rid: "l", scaleResolutionDownBy: 4, maxBitrate: 150_000 },
  { rid: "m", scaleResolutionDownBy: 2, maxBitrate: 500_000 },
  { rid: "h", scaleResolutionDownBy: 1, maxBitrate: VIDEO_BITS_PER_S_MAX },
];
const THREE_FROM = 480; // pixels of the shorter side
const TWO_FROM = 270;

/** The codecs of `kind` in the order we want them; what the server would refuse is left out. */
export function preferred(codecs) {
  const rank = ({ mimeType, sdpFmtpLine = "" }) => {
    const type = mimeType.toLowerCase();
    if (type === "video/h264") return sdpFmtpLine.includes("packetization-mode=1") ? 0 : 1;
    if (type === "video/vp8") return 2;
    return /\/(rtx|red|ulpfec|flexfec-03)$/.test(type) ? 3 : 9;
  };
  return codecs.map((codec, index) => [rank(codec), index, codec]).filter(([order]) => order < 9)
    .sort((a, b) => a[0] - b[0] || a[1] - b[1]).map(([, , codec]) => codec);
}

/** The encodings of a picture of this size (0: not known): a small one needs no smaller copies. */
export function encodings(width, height) {
  const side = Math.min(width, height) || THREE_FROM;
  const count = side >= THREE_FROM ? 3 : side >= TWO_FROM ? 2 : 1;
  return count === 1 ? [{ maxBitrate: VIDEO_BITS_PER_S_MAX }] : LAYERS.slice(-count).map((layer) => ({ ...layer }));
}

/** Without what was sent again: browsers probe the line with copies of a small layer. */
const mediaBytes = ({ bytesSent, retransmittedBytesSent = 0 }) => bytesSent - retransmittedBytesSent;

/** One second's figures from two readings of `getStats` ([] before the first) of the layers `rids`; null: none yet. */
export function figuresOf(reports, before, rids) {
  const named = (type) => reports.filter((report) => report.type === type && report.kind === "video");
  const layers = [];
  let lost = 0;
  for (const out of named("outbound-rtp")) {
    const earlier = before.find((report) => report.id === out.id);
    if ((rids.length && !rids.includes(out.rid ?? "")) || !earlier || out.timestamp <= earlier.timestamp) continue;
    const seconds = (out.timestamp - earlier.timestamp) / 1000;
    const bitrate = (8 * (mediaBytes(out) - mediaBytes(earlier))) / seconds;
    const remote = named("remote-inbound-rtp").find((report) => report.localId === out.id);
    lost += bitrate * (remote?.fractionLost ?? 0);
    layers.push({
      rid: out.rid ?? "", bitrate, fps: (out.framesEncoded - earlier.framesEncoded) / seconds, width: out.frameWidth ?? 0, height: out.frameHeight ?? 0,
      limited: out.qualityLimitationReason ?? "none", codec: reports.find((report) => report.id === out.codecId)?.mimeType?.split("/")[1] ?? "",
    });
  }
  if (!layers.length) return null;
  const rank = ({ rid }) => LAYERS.findIndex((layer) => layer.rid === rid);
  layers.sort((a, b) => rank(b) - rank(a));
  const best = layers.find((layer) => layer.bitrate > 0) ?? layers[0];
  const bitrate = layers.reduce((sum, layer) => sum + layer.bitrate, 0);
  const trips = named("remote-inbound-rtp").map((report) => report.roundTripTime).filter((rtt) => rtt != null);
  const { fps, width, height, codec } = best;
  return { bitrate, fps, width, height, codec, loss: bitrate ? lost / bitrate : 0, rtt: trips.length ? Math.min(...trips) : null, limited: layers[0].limited, layers };
}

/** One session: its peer, its address at the server, what sends. */
class Line {
  session = null;
  closed = false;
  lost = false;
  gone = false; // the server has ended it: there is nothing to give back
  senders = {};
  path = null;
  before = []; // the last reading of its statistics
  peer = new RTCPeerConnection({ bundlePolicy: "max-bundle" });

  close(headers) {
    this.closed = true;
    if (!this.gone) release(this.session, headers);
    this.path?.close();
    this.peer.close();
  }
}

export class Publisher {
  #line = null;
  #next = null; // is to take its place, and is not connected yet
  #timers = { retry: 0, statistics: 0, follow: 0 };
  #attempt = 0;
  #leaving = new Map(); // workers, and until when what happens to a session has to do with their end
  stream = null;

  /**
   * `token` and `onAir` (whether somebody publishes now) are functions; `onState` takes "off", "connecting", "on" or
   * "reconnecting"; `onProblem` what the server refused; `onFigures` {bitrate, fps, loss, rtt, limited, codec, width,
   * height, layers}, the best layer first.
   */
  constructor({ show, token, onAir, onState, onProblem, onFigures }) {
    Object.assign(this, { url: `/whip/${encodeURIComponent(show)}`, token, onAir, onState, onProblem, onFigures });
    addEventListener("pagehide", () => this.stop());
  }

  get active() {
    return this.stream !== null;
  }

  /** Resolves when the server has answered; the picture follows at once. */
  async start(stream) {
    this.stream = stream;
    this.#attempt = 0;
    this.onState("connecting");
    await this.#connect();
  }

  /** `over`: with the show, whose sessions the server ends by itself. */
  stop(over = false) {
    this.stream = null;
    if (over) for (const line of [this.#line, this.#next]) if (line) line.gone = true;
    this.#close();
    this.onState("off");
  }

  /** A worker is about to end: if it is ours, goes over to another one, before the viewers do, who have `within_s`. */
  move({ worker, within_s: within }) {
    this.#leaving.set(worker, Date.now() + within * 1000 + MOVED_MS);
    if (this.#line?.session) this.#leave(this.#line);
  }

  #leave({ session }) {
    if (!this.#leaves(session)) return;
    clearTimeout(this.#timers.follow);
    this.#timers.follow = setTimeout(() => this.#follow(), Math.random() * FOLLOW_MS);
  }

  /** Whether the worker of `session` ends about now. */
  #leaves(session) {
    return Date.now() < (this.#leaving.get(workerOf(session)) ?? 0);
  }

  /** Another camera, microphone or screen, without a new session. */
  async replace(track) {
    for (const line of [this.#line, this.#next]) line?.senders[track.kind]?.replaceTrack(track);
  }

  async #connect() {
    this.#close();
    const line = new Line();
    this.#line = line;
    try {
      const refusal = await this.#open(line);
      if (refusal) return await this.#refused(refusal, line);
      if (!line.closed) this.#attend(line);
    } catch {
      this.#again(line); // offline, or the peer was closed while it was set up
    }
  }

  /** Resolves to what the server answered when it refused, to null when it did not; throws when nobody answered. */
  async #open(line) {
    const { peer, senders } = line;
    for (const kind of ["video", "audio"]) {
      const [track] = this.stream.getTracks().filter((other) => other.kind === kind);
      if (!track) continue;
      const transceiver = kind === "video" ? this.#addVideo(peer, track) : peer.addTransceiver(track, this.#options());
      senders[kind] = transceiver.sender;
    }
    const offer = await peer.createOffer();
    const headers = { "Content-Type": "application/sdp", ...this.#authorisation() };
    const answer = await fetch(this.url, { method: "POST", headers, body: offer.sdp });
    if (answer.status !== 201) return answer;
    const session = answer.headers.get("Location");
    if (line.closed) return release(session, this.#authorisation()), null;
    line.session = session;
    const sdp = await accept(peer, offer, answer);
    if (!/^a=simulcast:/m.test(sdp)) await this.#single(senders);
    return null;
  }

  /** Keeps the path of the line that is on air, and measures it. */
  #attend(line) {
    clearInterval(this.#timers.statistics);
    this.#timers.statistics = setInterval(() => this.#measure(line), STATISTICS_MS);
    line.path = new Path(line.peer, {
      session: line.session, headers: () => this.#authorisation(),
      onUp: () => { this.#attempt = 0; this.onState("on"); },
      onTrouble: () => this.onState("reconnecting"),
      onLost: (outcome) => { line.lost = true; line.gone = outcome === "gone"; if (!this.#next) this.#lost(outcome, line); },
    });
    clearTimeout(this.#timers.follow); // of the one before: a page is told again that its worker ends when it comes over
    this.#leave(line); // what was said while it was opened
  }

  /** A session on a new connection, and so at another worker, takes over; viewers see one stream. */
  async #follow() {
    const before = this.#line;
    if (!this.stream || !before?.session || this.#next) return;
    const next = new Line();
    this.#next = next;
    const up = await this.#comesUp(next);
    if (next !== this.#next) return next.close(this.#authorisation()); // stopped meanwhile
    this.#next = null;
    if (up) {
      this.#line = next;
      before.close(this.#authorisation());
      return this.#attend(next);
    }
    next.close(this.#authorisation());
    if (before.lost) return this.#again(before);
    this.#timers.follow = setTimeout(() => this.#follow(), FOLLOW_MS * (0.5 + Math.random()));
  }

  async #comesUp(line) {
    try {
      return !(await this.#open(line)) && (await connected(line.peer, "connectionState"));
    } catch {
      return false; // nobody answered; the present line still carries
    }
  }

  #options(sendEncodings) {
    return { direction: "sendonly", streams: [this.stream], ...(sendEncodings && { sendEncodings }) };
  }

  #addVideo(peer, track) {
    const { width = 0, height = 0 } = track.getSettings();
    let transceiver;
    try {
      transceiver = peer.addTransceiver(track, this.#options(encodings(width, height)));
    } catch {
      transceiver = peer.addTransceiver(track, this.#options([{ maxBitrate: VIDEO_BITS_PER_S_MAX }])); // a browser without simulcast
    }
    transceiver.setCodecPreferences?.(preferred(RTCRtpSender.getCapabilities("video").codecs));
    return transceiver;
  }

  /** The server takes one stream: the first encoding is what is left, and that was to be the small one. */
  async #single({ video }) {
    const parameters = video?.getParameters();
    if (!parameters?.encodings?.length) return;
    Object.assign(parameters.encodings[0], { scaleResolutionDownBy: 1, maxBitrate: VIDEO_BITS_PER_S_MAX });
    await video.setParameters(parameters).catch(() => {}); // it stays small then, which is better than nothing
  }

  #authorisation() {
    return { Authorization: `Bearer ${this.token()}` };
  }

  async #refused(answer, line) {
    if (line !== this.#line) return;
    if (answer.status >= 500 || answer.status === 429) return this.#again(line, 1000 * (Number(answer.headers.get("Retry-After")) || 0));
    const problem = await answer.json().catch(() => ({ detail: answer.statusText }));
    this.stop();
    this.onProblem(problem);
  }

  /** A new session, unless somebody has taken over: two must not fight. Why a session is gone is heard soon after. */
  #lost(outcome, line) {
    if (outcome !== "gone" || this.#leaves(line.session)) return this.#again(line);
    this.onState("reconnecting");
    clearTimeout(this.#timers.retry);
    this.#timers.retry = setTimeout(() => {
      if (!this.onAir()) return this.#again(line);
      this.stop();
      this.onProblem({ name: "taken_over" });
    }, GONE_MS);
  }

  #again(line, least = 300) {
    if (!this.stream || line !== this.#line) return;
    this.#close();
    this.onState("reconnecting");
    this.#timers.retry = setTimeout(() => this.stream && this.#connect(), least + backoffMs(this.#attempt));
    this.#attempt += 1;
  }

  #close() {
    for (const timer of Object.values(this.#timers)) clearTimeout(timer);
    for (const line of [this.#line, this.#next]) line?.close(this.#authorisation());
    this.#line = this.#next = null;
  }

  async #measure(line) {
    const reports = [...(await line.peer.getStats()).values()];
    const rids = line.senders.video?.getParameters().encodings.map((encoding) => encoding.rid ?? "") ?? [];
    const figures = figuresOf(reports, line.before, rids); // what the server did not take up has reports of nothing
    line.before = reports;
    if (figures && line === this.#line) this.onFigures(figures);
  }
}
