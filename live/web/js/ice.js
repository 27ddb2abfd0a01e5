/* What brings a WHIP or WHEP session back when its path is lost (RFC 9725, sections 4.3.3 and 4.6): new ICE credentials
   for the session that exists, and TURN servers to try. A new session costs a handshake and a keyframe; this does not. */

const LOST_MS = 1000; // "disconnected" often heals by itself
const OFFLINE_MS = 2000;
const PATCH_MS_MAX = 4000;
const CONNECT_MS_MAX = 6000;
const LINK = /<([^>]*)>((?:\s*;\s*[\w-]+(?:\s*=\s*(?:"(?:[^"\\]|\\.)*"|[^\s";,]+))?)*)/g;
const PARAMETER = /;\s*([\w-]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s";,]+))/g;

/** The ICE servers in a Link header, as an RTCPeerConnection takes them; none: an empty list. */
export function iceServersOf(link) {
  const servers = [];
  for (const [, urls, parameters] of (link ?? "").matchAll(LINK)) {
    const named = Object.fromEntries([...parameters.matchAll(PARAMETER)].map(([, name, quoted, plain]) => [name.toLowerCase(), quoted?.replace(/\\(.)/g, "$1") ?? plain]));
    if (named.rel !== "ice-server" || !/^(stun|turn)s?:/.test(urls)) continue;
    servers.push(urls.startsWith("stun") ? { urls } : { urls, username: named.username ?? "", credential: named.credential ?? "" });
  }
  return servers;
}

/**
 * Takes up what the server answered to the POST of `offer`, and resolves to its SDP. The TURN servers that it tells of
 * are known before candidates are gathered (RFC 9725, 4.6), so that they are used at once.
 */
export async function accept(peer, offer, answer) {
  const iceServers = iceServersOf(answer.headers.get("Link"));
  if (iceServers.length) peer.setConfiguration({ ...peer.getConfiguration(), iceServers });
  await peer.setLocalDescription(offer);
  const sdp = await answer.text();
  await peer.setRemoteDescription({ type: "answer", sdp });
  return sdp;
}

const first = (sdp, name) => sdp.match(new RegExp(`^a=${name}:(.*)$`, "m"))?.[1].trim();
const lines = (sdp) => sdp.split(/\r?\n/).filter(Boolean);

/** What a PATCH says of an offer with new credentials (RFC 8840, section 9). The server never calls: no candidates. */
export function fragmentOf(offer) {
  const section = lines(offer).find((line) => line.startsWith("m="));
  return [
    ...lines(offer).filter((line) => line.startsWith("a=group:BUNDLE")), `a=ice-ufrag:${first(offer, "ice-ufrag")}`, `a=ice-pwd:${first(offer, "ice-pwd")}`,
    section, `a=mid:${first(offer, "mid")}`, "",
  ].join("\r\n");
}

/** The answer that was agreed on, with the credentials and candidates of the server's `fragment`. */
export function renewed(answer, fragment) {
  const candidates = lines(fragment).filter((line) => line.startsWith("a=candidate:"));
  const [ufrag, password] = [first(fragment, "ice-ufrag"), first(fragment, "ice-pwd")];
  if (!ufrag || !password) throw new SyntaxError("a fragment without credentials");
  const out = [];
  for (const line of lines(answer)) {
    if (line.startsWith("a=ice-ufrag:")) out.push(`a=ice-ufrag:${ufrag}`);
    else if (line.startsWith("a=ice-pwd:")) out.push(`a=ice-pwd:${password}`, ...candidates);
    else if (!candidates.length || !line.startsWith("a=candidate:")) out.push(line);
  }
  return `${out.join("\r\n")}\r\n`;
}

/** Resolves to whether `peer` is connected soon: its ICE, or all of it (`state` "connectionState"). */
export function connected(peer, state = "iceConnectionState") {
  return new Promise((resolve) => {
    const event = `${state.toLowerCase()}change`;
    const done = (yes) => { clearTimeout(timer); peer.removeEventListener(event, look); resolve(yes); };
    const look = () => { if (["connected", "completed"].includes(peer[state])) done(true); };
    const timer = setTimeout(() => done(false), CONNECT_MS_MAX);
    peer.addEventListener(event, look);
    if (state === "connectionState") look(); // while ICE restarts, it says what was before
  });
}

/** Restarts ICE: "up", "gone" (no such session any more), "offline" (nobody answered), "down" (refused, or no path). */
async function restart(peer, session, headers = {}) {
  try {
    const { sdp: answer } = peer.remoteDescription;
    await peer.setLocalDescription(await peer.createOffer({ iceRestart: true }));
    const patched = await fetch(session, {
      method: "PATCH", signal: AbortSignal.timeout?.(PATCH_MS_MAX), body: fragmentOf(peer.localDescription.sdp),
      headers: { "Content-Type": "application/trickle-ice-sdpfrag", "If-Match": "*", ...headers },
    }).catch(() => null);
    if (!patched) return "offline";
    if (patched.status !== 200) return patched.status === 404 ? "gone" : "down";
    const up = connected(peer);
    await peer.setRemoteDescription({ type: "answer", sdp: renewed(answer, await patched.text()) });
    return (await up) ? "up" : "down";
  } catch {
    return "down"; // a server that answers nonsense, or the peer was closed meanwhile
  }
}

/** Keeps the path of one session, and finds another one when it is lost, over the peer's TURN servers too. */
export class Path {
  #timer = 0;
  #restarting = false;
  #closed = false;

  /**
   * `session` is its address, `headers` a function. `onUp` is told of a path, `onTrouble` when it is lost, `onLost`
   * "gone" or "down" when only a new session helps.
   */
  constructor(peer, { session, headers = () => ({}), onUp, onTrouble = () => {}, onLost }) {
    Object.assign(this, { peer, session, headers, onUp, onTrouble, onLost });
    peer.onconnectionstatechange = () => this.#changed();
    const transport = [...peer.getSenders(), ...peer.getReceivers()].find((end) => end.transport)?.transport;
    transport?.addEventListener("statechange", () => { if (transport.state === "closed" && !this.#closed) this.onLost("gone"); }); // the server hung up
    this.#changed();
  }

  close() {
    this.#closed = true;
    clearTimeout(this.#timer);
    this.peer.onconnectionstatechange = null;
  }

  #changed() {
    const { connectionState: state } = this.peer;
    if (state === "connected") this.#up();
    else if (state === "failed") this.#restart();
    else if (state === "disconnected") this.#wait(LOST_MS);
  }

  #up() {
    clearTimeout(this.#timer);
    this.onUp();
  }

  #wait(ms) {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#restart(), ms);
  }

  async #restart() {
    if (this.#restarting || this.peer.connectionState === "connected") return;
    this.#restarting = true;
    this.onTrouble();
    const outcome = await restart(this.peer, this.session, this.headers());
    this.#restarting = false;
    if (this.#closed) return;
    if (outcome === "up") this.#up();
    else if (outcome === "offline") this.#wait(OFFLINE_MS);
    else this.onLost(outcome);
  }
}
