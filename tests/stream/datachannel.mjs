// A publisher and a viewer on libdatachannel, the stack of OBS. Arguments: base URL, stream key.
// Prints one JSON object: what the viewer got, and the statuses of the HTTP requests.
import { createRequire } from 'node:module';

const require = createRequire(process.cwd() + '/');
const { PeerConnection, Video, Audio, RtcpReceivingSession } = require('node-datachannel');
const [base, key] = process.argv.slice(2);
const H264 = 'profile-level-id=42e01f;packetization-mode=1;level-asymmetry-allowed=1';
const report = { viewer: { video: 0, audio: 0, keyframe: false }, statuses: [] };
const sleep = (ms) => new Promise((done) => setTimeout(done, ms));

async function connect(way, direction) {
  const pc = new PeerConnection(way, { iceServers: [], disableAutoNegotiation: true });
  const video = new Video('video', direction);
  video.addH264Codec(96, H264);
  const audio = new Audio('audio', direction);
  audio.addOpusCodec(111);
  if (direction === 'SendOnly') {
    video.addSSRC(42, 'host', 'stream', 'video');
    audio.addSSRC(43, 'host', 'stream', 'audio');
  }
  const tracks = { video: pc.addTrack(video), audio: pc.addTrack(audio) };
  if (direction === 'RecvOnly') for (const track of Object.values(tracks)) track.setMediaHandler(new RtcpReceivingSession());
  const gathered = new Promise((done) => pc.onGatheringStateChange((state) => state === 'complete' && done()));
  const connected = new Promise((done) => pc.onStateChange((state) => state === 'connected' && done()));
  pc.setLocalDescription('offer');
  await gathered;
  const answer = await fetch(`${base}/${way}/demo`, {
    method: 'POST', body: pc.localDescription().sdp,
    headers: { 'content-type': 'application/sdp', authorization: `Bearer ${key}` },
  });
  report.statuses.push(answer.status);
  if (answer.status !== 201) throw new Error(await answer.text());
  pc.setRemoteDescription(await answer.text(), 'answer');
  await connected;
  return { pc, tracks, url: new URL(answer.headers.get('location'), base) };
}

function packet(type, marker, sequence, timestamp, ssrc, payload) {
  const head = Buffer.alloc(12);
  head.writeUInt8(0x80, 0);
  head.writeUInt8((marker ? 0x80 : 0) | type, 1);
  head.writeUInt16BE(sequence & 0xffff, 2);
  head.writeUInt32BE(timestamp >>> 0, 4);
  head.writeUInt32BE(ssrc, 8);
  return Buffer.concat([head, payload]);
}

const host = await connect('whip', 'SendOnly');
let frame = 0;
const sending = setInterval(() => {
  const unit = Buffer.alloc(600, frame % 10 === 0 ? 0x65 : 0x41);
  unit[1] = 0x88;  // first_mb_in_slice 0: the first slice of its picture
  host.tracks.video.sendMessageBinary(packet(96, false, 2 * frame, 3000 * frame, 42, unit));
  host.tracks.video.sendMessageBinary(packet(96, true, 2 * frame + 1, 3000 * frame, 42, unit));
  host.tracks.audio.sendMessageBinary(packet(111, false, frame, 960 * frame, 43, Buffer.alloc(60, 1)));
  frame += 1;
}, 20);
await sleep(300);
const viewer = await connect('whep', 'RecvOnly');
for (const [kind, track] of Object.entries(viewer.tracks)) {
  track.onMessage((message) => {
    if (message[1] >= 192 && message[1] <= 223) return;
    report.viewer[kind] += 1;
    if (kind === 'video' && (message[12] & 0x1f) === 5) report.viewer.keyframe = true;
  });
}
for (let tries = 0; tries < 250 && !(report.viewer.video > 20 && report.viewer.audio > 10 && report.viewer.keyframe); tries++) await sleep(20);
clearInterval(sending);
for (const { url } of [viewer, host]) {
  report.statuses.push((await fetch(url, { method: 'DELETE', headers: { authorization: `Bearer ${key}` } })).status);
}
console.log(JSON.stringify(report));
viewer.pc.close();
host.pc.close();
process.exit(0);
