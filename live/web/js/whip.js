/* Publishing over WHIP: H.264 first (every viewer and recorder takes it as it is), figures once a second. */
import { release } from "./whep.js";
import { backoffMs } from "./wire.js";

const LOST_MS = 4000;
const STATISTICS_MS = 1000;
const VIDEO_BITS_PER_S_MAX = 2_500_000;

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

export class Publisher {
  #peer = null;
  #session = null;
  #senders = {};
  #timers = { retry: 0, statistics: 0, lost: 0 };
  #attempt = 0;
  #round = 0;
  #before = null;
  stream = null;

  /**
   * `token` is a function; `onState` takes "off", "connecting", "on" or "reconnecting"; `onProblem` what the
   * server refused; `onFigures` {bitrate, fps, loss, rtt, limited, codec, width, height}.
   */
  constructor({ show, token, onState, onProblem, onFigures }) {
    Object.assign(this, { url: `/whip/${encodeURIComponent(show)}`, token, onState, onProblem, onFigures });
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

  stop() {
    this.stream = null;
    this.#close();
    this.onState("off");
  }

  /** Another camera, microphone or screen, without a new session. */
  async replace(track) {
    this.#senders[track.kind]?.replaceTrack(track);
  }

  async #connect() {
    this.#close();
    const round = this.#round;
    const peer = new RTCPeerConnection({ bundlePolicy: "max-bundle" });
    this.#peer = peer;
    peer.onconnectionstatechange = () => this.#changed(peer);
    for (const kind of ["video", "audio"]) {
      const [track] = this.stream.getTracks().filter((other) => other.kind === kind);
      if (!track) continue;
      const options = { direction: "sendonly", streams: [this.stream] };
      if (kind === "video") options.sendEncodings = [{ maxBitrate: VIDEO_BITS_PER_S_MAX }];
      const transceiver = peer.addTransceiver(track, options);
      if (kind === "video") transceiver.setCodecPreferences?.(preferred(RTCRtpSender.getCapabilities("video").codecs));
      this.#senders[kind] = transceiver.sender;
    }
    try {
      await peer.setLocalDescription(await peer.createOffer());
      const headers = { "Content-Type": "application/sdp", ...this.#authorisation() };
      const answer = await fetch(this.url, { method: "POST", headers, body: peer.localDescription.sdp });
      if (answer.status !== 201) return await this.#refused(answer, round);
      const session = answer.headers.get("Location");
      if (round !== this.#round) return release(session, this.#authorisation());
      this.#session = session;
      await peer.setRemoteDescription({ type: "answer", sdp: await answer.text() });
      this.#timers.statistics = setInterval(() => this.#measure(peer), STATISTICS_MS);
    } catch {
      this.#again(round); // offline, or the peer was closed while it was set up
    }
  }

  #authorisation() {
    return { Authorization: `Bearer ${this.token()}` };
  }

  async #refused(answer, round) {
    if (answer.status >= 500 || answer.status === 429) return this.#again(round);
    const problem = await answer.json().catch(() => ({ detail: answer.statusText }));
    this.stop();
    this.onProblem(problem);
  }

  #changed(peer) {
    if (peer !== this.#peer) return;
    clearTimeout(this.#timers.lost);
    const { connectionState: state } = peer;
    if (state === "connected") {
      this.#attempt = 0;
      this.onState("on");
    } else if (state === "failed") this.#again(this.#round);
    else if (state === "disconnected") this.#timers.lost = setTimeout(() => this.#again(this.#round), LOST_MS);
  }

  #again(round) {
    if (!this.stream || round !== this.#round) return;
    this.#close();
    this.onState("reconnecting");
    this.#timers.retry = setTimeout(() => this.stream && this.#connect(), 300 + backoffMs(this.#attempt));
    this.#attempt += 1;
  }

  #close() {
    this.#round += 1;
    for (const timer of Object.values(this.#timers)) clearTimeout(timer);
    release(this.#session, this.#authorisation());
    this.#session = null;
    this.#before = null;
    this.#senders = {};
    if (this.#peer) {
      this.#peer.onconnectionstatechange = null;
      this.#peer.close();
    }
    this.#peer = null;
  }

  async #measure(peer) {
    if (peer !== this.#peer) return;
    const reports = [...(await peer.getStats()).values()];
    const out = reports.find((report) => report.type === "outbound-rtp" && report.kind === "video");
    if (!out) return;
    const remote = reports.find((report) => report.type === "remote-inbound-rtp" && report.kind === "video");
    const before = this.#before;
    this.#before = out;
    if (!before) return;
    const seconds = (out.timestamp - before.timestamp) / 1000;
    this.onFigures({
      bitrate: (8 * (out.bytesSent - before.bytesSent)) / seconds,
      fps: (out.framesEncoded - before.framesEncoded) / seconds,
      loss: remote?.fractionLost ?? 0,
      rtt: remote?.roundTripTime ?? null,
      limited: out.qualityLimitationReason ?? "none",
      codec: reports.find((report) => report.id === out.codecId)?.mimeType?.split("/")[1] ?? "",
      width: out.frameWidth ?? 0,
      height: out.frameHeight ?? 0,
    });
  }
}
