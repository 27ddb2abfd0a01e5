import assert from "node:assert/strict";
import test from "node:test";
import { Reception } from "../../../live/web/js/health.js";
import { Path, accept, fragmentOf, iceServersOf, renewed } from "../../../live/web/js/ice.js";
import { encodings, figuresOf } from "../../../live/web/js/whip.js";

globalThis.HTMLElement = class {};
globalThis.customElements = { define() {}, get() {} };
const { firstChoice, limitOf } = await import("../../../live/web/js/parts/quality-menu.js");
const { layersOf } = await import("../../../live/web/js/parts/stream-figures.js");

test("a small picture needs no smaller copies", () => {
  const sizes = (width, height) => encodings(width, height).map(({ rid, scaleResolutionDownBy }) => [rid, scaleResolutionDownBy]);
  assert.deepEqual(sizes(1280, 720), [["l", 4], ["m", 2], ["h", 1]]);
  assert.deepEqual(sizes(720, 1280), [["l", 4], ["m", 2], ["h", 1]]);
  assert.deepEqual(sizes(0, 0), [["l", 4], ["m", 2], ["h", 1]]);
  assert.deepEqual(sizes(640, 360), [["m", 2], ["h", 1]]);
  assert.deepEqual(encodings(320, 180), [{ maxBitrate: 2_500_000 }]);
});

const out = (rid, second, more = {}) => ({
  type: "outbound-rtp", kind: "video", id: `out-${rid}`, rid, timestamp: 1000 * second, bytesSent: 125_000 * second, framesEncoded: 30 * second,
  frameWidth: 640, frameHeight: 360, qualityLimitationReason: "none", codecId: "codec", ...more,
});
const codec = { type: "codec", id: "codec", mimeType: "video/H264" };
const remote = (rid, fractionLost, roundTripTime) => ({ type: "remote-inbound-rtp", kind: "video", localId: `out-${rid}`, fractionLost, roundTripTime });

test("figures of layers, the best first, what was refused left out", () => {
  const rids = ["l", "m", "h"];
  assert.equal(figuresOf([out("l", 1)], [], rids), null);
  const quiet = { bytesSent: 0, framesEncoded: 0, frameWidth: undefined, frameHeight: undefined, qualityLimitationReason: "bandwidth" };
  const before = [out("l", 1), out("m", 1), out("h", 1, quiet), out("x", 1)];
  const now = [out("l", 2), out("m", 2), out("h", 2, quiet), out("x", 2), codec, remote("l", 0.1, 0.03), remote("m", 0, 0.02)];
  const { layers, ...all } = figuresOf(now, before, rids);
  assert.deepEqual(all, { bitrate: 2e6, fps: 30, width: 640, height: 360, codec: "H264", loss: 0.05, rtt: 0.02, limited: "bandwidth" });
  assert.deepEqual(layers.map(({ rid, bitrate }) => [rid, bitrate]), [["h", 0], ["m", 1e6], ["l", 1e6]]);
});

test("a single stream without a RID has figures too", () => {
  const [before, now] = [out(undefined, 1), out(undefined, 2)];
  assert.equal(figuresOf([now], [before], [""]).layers.length, 1);
});

test("the studio's table takes what the server tells when OBS sends", () => {
  const video = { layers: [{ rid: "l", width: 320, height: 180, fps: 30, bitrate_bps: 1e5 }, { rid: "h", width: 1280, height: 720, fps: 30, bitrate_bps: 2e6 }], audience: { layers: { h: 7 } } };
  assert.deepEqual(layersOf(null, video).map(({ rid, viewers }) => [rid, viewers]), [["h", 7], ["l", 0]]);
  assert.deepEqual(layersOf(null, { layers: video.layers.slice(0, 1) })[0].viewers, null);
  assert.deepEqual(layersOf({ layers: [{ rid: "l" }] }, { audience: { layers: { "": 4 } } })[0].viewers, 4);
  assert.deepEqual(layersOf(null, null), []);
});

test("a viewer's line is weak when it was weak twice", () => {
  const reception = new Reception();
  const step = (packetsReceived, packetsLost, framesDecoded) => reception.update([{ type: "inbound-rtp", kind: "video", packetsReceived, packetsLost, framesDecoded }]);
  assert.deepEqual([step(100, 0, 30), step(200, 50, 60), step(300, 100, 90), step(400, 100, 120), step(500, 100, 150)], ["good", "good", "poor", "good", "good"]);
  assert.deepEqual([step(600, 100, 150), step(700, 100, 150)], ["good", "poor"]);
  assert.equal(reception.update([]), "good");
});

test("a picture that the server has left out is a weak line, unless only sound was wanted", () => {
  const reports = (second) => [{ type: "inbound-rtp", kind: "video", packetsReceived: 100, framesDecoded: 30 }, { type: "inbound-rtp", kind: "audio", packetsReceived: 50 * second }];
  for (const wanted of [true, false]) {
    const reception = new Reception();
    assert.deepEqual([1, 2, 3].map((second) => reception.update(reports(second), wanted)), ["good", "good", wanted ? "poor" : "good"]);
  }
  const nobody = new Reception();
  assert.deepEqual([1, 1, 1].map((second) => nobody.update(reports(second))), ["good", "good", "good"]);
});

test("saving data: what was chosen, what the browser wants, and upright pictures", () => {
  assert.deepEqual([firstChoice("sound", true), firstChoice(null, true), firstChoice("4k", false)], ["sound", "save", "auto"]);
  assert.deepEqual([limitOf("auto", true), limitOf("save", false), limitOf("save", true), limitOf("sound", false)], [
    { max_height: null, video: true }, { max_height: 360, video: true }, { max_height: 640, video: true }, { max_height: null, video: false },
  ]);
});

test("ICE servers stand in Link headers", () => {
  const link = '</whep/demo/x/layer>; rel="layer", <turn:turn.example:3478?transport=udp>; rel="ice-server"; username="17:a"; credential="p\\"w, d;"; credential-type="password",'
    + " <stun:stun.example>; rel=ice-server, <https://elsewhere.example>; rel=\"ice-server\"";
  assert.deepEqual(iceServersOf(link), [
    { urls: "turn:turn.example:3478?transport=udp", username: "17:a", credential: 'p"w, d;' }, { urls: "stun:stun.example" },
  ]);
  assert.deepEqual(iceServersOf(null), []);
});

const OFFER = "v=0\r\na=group:BUNDLE 0 1\r\nm=video 9 UDP/TLS/RTP/SAVPF 96\r\na=ice-ufrag:new\r\na=ice-pwd:secret\r\na=mid:0\r\nm=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=ice-ufrag:new\r\na=ice-pwd:secret\r\na=mid:1\r\n";
const ANSWER = "v=0\r\nm=video 9 UDP/TLS/RTP/SAVPF 96\r\na=ice-ufrag:old\r\na=ice-pwd:gone\r\na=candidate:1 1 udp 1 10.0.0.1 1 typ host\r\na=mid:0\r\n";

test("an ICE restart in fragments of SDP", () => {
  assert.deepEqual(fragmentOf(OFFER).split("\r\n"), ["a=group:BUNDLE 0 1", "a=ice-ufrag:new", "a=ice-pwd:secret", "m=video 9 UDP/TLS/RTP/SAVPF 96", "a=mid:0", ""]);
  const fragment = "a=ice-lite\r\na=ice-ufrag:fresh\r\na=ice-pwd:word\r\n";
  assert.equal(renewed(ANSWER, fragment), ANSWER.replace("old", "fresh").replace("gone", "word"));
  const candidate = "a=candidate:1 1 udp 1 10.0.0.2 2 typ host";
  assert.equal(renewed(ANSWER, `${fragment}${candidate}\r\n`), ANSWER.replace("old", "fresh").replace("gone", "word").replace(/a=candidate:.*/, candidate));
  assert.throws(() => renewed(ANSWER, "a=ice-lite\r\n"), SyntaxError);
});

/** A peer connection whose path comes up, or not, when the answer is set. */
class Peer extends EventTarget {
  connectionState = "connected";
  iceConnectionState = "connected";
  remoteDescription = { sdp: ANSWER };
  configuration = {};
  transport = Object.assign(new EventTarget(), { state: "connected" });

  async createOffer() { return { sdp: OFFER }; }
  async setLocalDescription(offer) { this.localDescription = offer; }
  async setRemoteDescription() {
    this.iceConnectionState = "completed";
    queueMicrotask(() => this.dispatchEvent(new Event("iceconnectionstatechange")));
  }
  getSenders() { return [{ transport: null }]; }
  getReceivers() { return [{ transport: this.transport }]; }
  getConfiguration() { return this.configuration; }
  setConfiguration(configuration) { this.configuration = configuration; }
  turn(state) { this.connectionState = state; this.onconnectionstatechange(); }
}

test("TURN servers are known before candidates are gathered", async () => {
  const peer = new Peer();
  const order = [];
  for (const name of ["setConfiguration", "setLocalDescription", "setRemoteDescription"]) {
    const plain = peer[name];
    peer[name] = function (value) { order.push([name, value]); return plain.call(this, value); };
  }
  peer.configuration = { bundlePolicy: "max-bundle" };
  const answer = (link) => ({ headers: { get: () => link }, text: async () => ANSWER });
  assert.equal(await accept(peer, { sdp: OFFER }, answer("<stun:s>; rel=ice-server")), ANSWER);
  assert.deepEqual(order, [
    ["setConfiguration", { bundlePolicy: "max-bundle", iceServers: [{ urls: "stun:s" }] }], ["setLocalDescription", { sdp: OFFER }], ["setRemoteDescription", { type: "answer", sdp: ANSWER }],
  ]);
  order.length = 0;
  await accept(peer, { sdp: OFFER }, answer(null));
  assert.deepEqual(order.map(([name]) => name), ["setLocalDescription", "setRemoteDescription"]);
});

for (const [status, told] of [[200, "up"], [404, "gone"], [422, "down"]]) {
  test(`a path that failed, and the server answers ${status}`, async () => {
    const asked = [];
    globalThis.fetch = async (url, { method, headers }) => {
      asked.push([method, url, headers["If-Match"], headers.Authorization]);
      return { status, text: async () => "a=ice-ufrag:fresh\r\na=ice-pwd:word\r\n" };
    };
    const peer = new Peer();
    const said = [];
    const done = new Promise((resolve) => {
      const path = new Path(peer, {
        session: "/whip/demo/1", headers: () => ({ Authorization: "Bearer b" }),
        onUp: () => { said.push("up"); if (said.length > 2) resolve(); }, onTrouble: () => said.push("trouble"), onLost: (outcome) => { said.push(outcome); path.close(); resolve(); },
      });
    });
    peer.turn("failed");
    await done;
    assert.deepEqual(asked, [["PATCH", "/whip/demo/1", "*", "Bearer b"]]);
    assert.deepEqual(said, ["up", "trouble", told]);
  });
}

test("a server that hangs up is believed at once, until the path is closed", () => {
  const said = [];
  for (const close of [false, true]) {
    const peer = new Peer();
    const path = new Path(peer, { session: "/whep/demo/1", onUp() {}, onLost: (outcome) => said.push(outcome) });
    if (close) path.close();
    peer.transport.state = "closed";
    peer.transport.dispatchEvent(new Event("statechange"));
  }
  assert.deepEqual(said, ["gone"]);
});

test("nobody answers: it is tried again until it is closed", async (context) => {
  context.mock.timers.enable({ apis: ["setTimeout"] });
  let asked = 0;
  globalThis.fetch = async () => { asked += 1; throw new TypeError("offline"); };
  const peer = new Peer();
  const path = new Path(peer, { session: "/whep/demo/1", onUp() {}, onLost: () => assert.fail("the session may live on") });
  const settle = () => new Promise((resolve) => { setImmediate(resolve); });
  peer.turn("disconnected");
  context.mock.timers.tick(1000);
  await settle();
  assert.equal(asked, 1);
  context.mock.timers.tick(2000);
  await settle();
  assert.equal(asked, 2);
  path.close();
  context.mock.timers.tick(60_000);
  await settle();
  assert.equal(asked, 2);
});
