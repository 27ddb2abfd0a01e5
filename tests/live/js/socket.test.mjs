import assert from "node:assert/strict";
import test from "node:test";
import { ShowSocket } from "../../../live/web/js/socket.js";
import { BACKOFF_MS_MAX, Ordering, Ways, afterClose, backoffMs, newKey } from "../../../live/web/js/wire.js";

/** A socket whose other end is the test. */
class Wire {
  static all = [];
  readyState = 0;
  sent = [];
  constructor(url, protocol) {
    Object.assign(this, { url, protocol });
    Wire.all.push(this);
  }
  open() { this.readyState = 1; this.onopen(); }
  send(text) { this.sent.push(JSON.parse(text)); }
  close() { this.readyState = 3; }
  drop(code) { this.readyState = 3; this.onclose({ code }); }
  tell(...messages) { this.onmessage({ data: JSON.stringify(messages) }); }
  last(type) { return this.sent.filter((message) => message.type === type).at(-1); }
}

/** The other way: a stream, which looks the same. */
class Stream extends Wire {
  deadMs = 40_000;
}

const settled = () => new Promise((resolve) => { setImmediate(resolve); });

function client(context, kept = {}) {
  context.mock.timers.enable({ apis: ["setTimeout", "setInterval", "Date"] });
  Wire.all = [];
  const memory = { getItem: (key) => kept[key] ?? null, setItem: (key, value) => { kept[key] = String(value); } };
  const seen = [];
  const statuses = [];
  const tokens = { guest: true, value: null, read() { return this.value; }, write(token) { this.value = token; }, drop() { this.value = null; } };
  const socket = new ShowSocket({ url: "ws://shop/ws/demo", tokens, Socket: Wire, stream: async () => ({ EventStream: Stream }), memory, onMessage: (message) => seen.push(message), onStatus: (...status) => statuses.push(status) });
  socket.start();
  return { socket, seen, statuses, tokens, wire: () => Wire.all.at(-1), tick: (ms) => context.mock.timers.tick(ms) };
}

const welcome = (wire, offset = 10, extra = {}) => wire.tell({ type: "connected", id: wire.last("connect")?.id, viewer: { id: "v", name: "Mia", role: "viewer" }, position: { epoch: "e", offset }, recovered: false, time_ms: 0, events: [], snapshot: {}, personal: {}, token: null, ...extra });
const event = (offset) => ({ type: "event", offset, at_ms: 0, name: "chat.mode", data: { slow_s: offset } });
const offsets = (seen) => seen.filter(({ type }) => type === "event").map(({ offset }) => offset);

test("connects as a guest, keeps the token, and presents it again", (context) => {
  const { wire, tokens, tick, statuses } = client(context);
  wire().open();
  assert.equal(wire().protocol, "showcart.json.v1");
  assert.deepEqual([wire().sent[0].token, wire().sent[0].position], [null, null]);
  welcome(wire(), 10, { token: "t1" });
  assert.equal(tokens.value, "t1");
  wire().drop(1006);
  tick(BACKOFF_MS_MAX);
  wire().open();
  assert.deepEqual([wire().sent[0].token, wire().sent[0].position], ["t1", { epoch: "e", offset: 10 }]);
  assert.deepEqual(statuses, [["open", ""], ["reconnecting", "lost"]]);
});

test("applies each event once and in order, also those of a recovery", (context) => {
  const { wire, seen, tick } = client(context);
  wire().open();
  welcome(wire());
  wire().tell(event(11), event(12), event(12), event(11));
  wire().drop(4001);
  tick(BACKOFF_MS_MAX);
  wire().open();
  welcome(wire(), 14, { recovered: true, events: [event(12), event(13), event(14)], snapshot: null });
  wire().tell(event(15));
  assert.deepEqual(offsets(seen), [11, 12, 13, 14, 15]);
});

test("a hole is filled by one recover, and nothing is applied meanwhile", (context) => {
  const { wire, seen } = client(context);
  wire().open();
  welcome(wire());
  wire().tell(event(13), event(14));
  const asked = wire().sent.filter(({ type }) => type === "recover");
  assert.deepEqual(asked.map(({ position }) => position), [{ epoch: "e", offset: 10 }]);
  wire().tell({ type: "connected", id: asked[0].id, viewer: {}, position: { epoch: "e", offset: 14 }, recovered: true, time_ms: 0, events: [11, 12, 13, 14].map(event), personal: {} });
  wire().tell(event(15));
  assert.deepEqual(offsets(seen), [11, 12, 13, 14, 15]);
});

test("a position beyond ours, or another epoch, asks for recovery", (context) => {
  const { wire } = client(context);
  wire().open();
  welcome(wire());
  wire().tell({ type: "position", position: { epoch: "e", offset: 10 } });
  assert.equal(wire().last("recover"), undefined);
  wire().tell({ type: "position", position: { epoch: "f", offset: 3 } });
  assert.ok(wire().last("recover"));
});

test("a keyed command survives the drop with its key; a plain one is refused", async (context) => {
  const { socket, wire, tick } = client(context);
  wire().open();
  welcome(wire());
  const add = socket.command("cart.add", { sku: "cup" });
  const look = socket.command("cart.get", {}, { key: null });
  const first = wire().last("command");
  const { key } = wire().sent.find(({ name }) => name === "cart.add");
  assert.equal(first.name, "cart.get");
  wire().drop(1006);
  await assert.rejects(look, { name: "disconnected" });
  tick(400);
  wire().open();
  welcome(wire());
  const again = wire().last("command");
  assert.deepEqual([again.name, again.key], ["cart.add", key]);
  wire().tell({ type: "reply", id: again.id, data: { cart: 1 }, replayed: true });
  assert.deepEqual(await add, { cart: 1 });
});

test("a command that is never answered times out; a refusal is told", async (context) => {
  const { socket, wire, tick } = client(context);
  wire().open();
  welcome(wire());
  const refused = socket.command("cart.add", { sku: "cup" });
  wire().tell({ type: "refused", id: wire().last("command").id, error: { name: "sold_out", code: 5003 } });
  await assert.rejects(refused, { name: "sold_out" });
  const lost = socket.command("cart.add", { sku: "cup" });
  tick(20_000);
  await assert.rejects(lost, { name: "timeout" });
});

test("a server that falls silent is asked, then given up", (context) => {
  const { wire, tick, statuses } = client(context);
  wire().open();
  welcome(wire());
  tick(15_000);
  assert.ok(wire().last("ping"));
  wire().tell({ type: "pong", time_ms: 0 });
  tick(25_000);
  assert.deepEqual(statuses.at(-1), ["reconnecting", "lost"]);
});

test("where no socket opens it goes by a stream, and for the rest of the session", async (context) => {
  const kept = {};
  const { wire, tick, statuses } = client(context, kept);
  wire().drop(1006);
  tick(BACKOFF_MS_MAX);
  wire().drop(1006);
  assert.deepEqual(Wire.all.map((each) => each instanceof Stream), [false, false]);
  tick(BACKOFF_MS_MAX);
  await settled();
  tick(0);
  assert.ok(wire() instanceof Stream);
  wire().open();
  welcome(wire());
  assert.deepEqual(statuses.at(-1), ["open", ""]);
  wire().drop(1006);
  tick(BACKOFF_MS_MAX);
  assert.ok(wire() instanceof Stream);
  assert.ok(kept["showcart.stream"] !== undefined);
  context.mock.timers.reset();
  kept["showcart.stream"] = String(Date.now() - 1000);
  client(context, kept);
  await settled();
  assert.equal(Wire.all.length, 0, "its code is loaded first");
});

test("a socket that says nothing is given up, and is reason enough for a stream", async (context) => {
  const { wire, tick, statuses } = client(context);
  tick(10_000);
  assert.deepEqual(statuses.at(-1), ["reconnecting", "unreachable"]);
  tick(BACKOFF_MS_MAX);
  await settled();
  tick(0);
  assert.ok(wire() instanceof Stream);
});

test("a stream that is silent for twenty seconds is believed, for forty it is not", async (context) => {
  const { wire, tick, statuses } = client(context);
  tick(10_000);
  tick(BACKOFF_MS_MAX);
  await settled();
  tick(0);
  wire().open();
  welcome(wire());
  tick(35_000);
  assert.deepEqual(statuses.at(-1), ["open", ""]);
  tick(10_000);
  assert.deepEqual(statuses.at(-1), ["reconnecting", "lost"]);
});

test("a full server's word of when to come back is kept", async (context) => {
  context.mock.method(Math, "random", () => 0);
  const { wire, tick, statuses } = client(context);
  wire().onclose({ code: 4005, retryAfterS: 7 });
  assert.deepEqual(statuses.at(-1), ["reconnecting", "full"]);
  tick(6_999);
  assert.equal(Wire.all.length, 1);
  tick(1);
  assert.equal(Wire.all.length, 2);
});

test("which way to go", () => {
  const ways = new Ways();
  ways.works(0);
  for (let n = 0; n < 5; n++) ways.fails();
  assert.equal(ways.stream, false, "sockets have been proved, so the server is down rather than the network odd");
  ways.fails();
  assert.equal(ways.stream, true);
  ways.fails(2);
  assert.equal(ways.stream, false, "nor does a stream get through");
  const other = new Ways();
  other.fails(2);
  assert.deepEqual([other.works(1000), other.works(2000)], [true, false]);
  other.lost(60_000);
  assert.equal(other.stream, true);
  other.lost(700_000);
  assert.equal(other.stream, false, "time to try a socket again");
  other.fails();
  assert.equal(other.stream, true, "once");
  assert.deepEqual([new Ways(1000, 2000).stream, new Ways(1000, 900_000).stream], [true, false]);
});

test("final codes stay closed; an unknown show and a full house say so", (context) => {
  for (const [code, expected] of [[4506, ["closed", "unknown_show"]], [4504, ["closed", "refused"]], [4005, ["reconnecting", "full"]]]) {
    context.mock.timers.reset();
    const { wire, statuses } = client(context);
    wire().open();
    wire().drop(code);
    assert.deepEqual(statuses.at(-1), expected);
  }
});

test("a guest whose token is refused becomes a new guest, once", (context) => {
  const { wire, tokens, tick, statuses } = client(context);
  tokens.value = "stale";
  wire().open();
  wire().drop(4505);
  assert.equal(tokens.value, null);
  tick(BACKOFF_MS_MAX);
  wire().open();
  assert.equal(wire().sent[0].token, null);
  wire().drop(4505);
  assert.deepEqual(statuses.at(-1), ["closed", "token_refused"]);
});

test("bye spreads the return over its window", (context) => {
  context.mock.method(Math, "random", () => 0.5);
  const { wire, tick } = client(context);
  wire().open();
  welcome(wire());
  wire().tell({ type: "bye", code: 4000, reason: "", within_s: 10 });
  wire().drop(4000);
  tick(4_999);
  assert.equal(Wire.all.length, 1);
  tick(1);
  assert.equal(Wire.all.length, 2);
});

test("after a bye it goes over while the old socket still answers, and when nothing is under way", async (context) => {
  context.mock.method(Math, "random", () => 0.5);
  const { socket, wire, tick, statuses } = client(context);
  wire().open();
  welcome(wire());
  const [old] = Wire.all;
  old.tell({ type: "bye", code: 4000, reason: "", within_s: 8 });
  const answer = socket.command("cart.get");
  tick(4_000);
  old.tell(event(11));
  assert.equal(Wire.all.length, 1, "a command is under way");
  old.tell({ type: "reply", id: old.last("command").id, data: { done: true } });
  assert.deepEqual(await answer, { done: true });
  tick(50);
  assert.equal(Wire.all.length, 2);
  wire().open();
  assert.deepEqual(wire().last("connect").position, { epoch: "e", offset: 11 });
  welcome(wire(), 11, { recovered: true, snapshot: null });
  assert.deepEqual(statuses, [["open", ""], ["open", ""]], "nobody is told of trouble");
  tick(8_000);
  assert.equal(Wire.all.length, 2);
});

/** Opens, hears of the end of its worker, and goes over: the new socket is open and has asked to join. */
function between(context) {
  context.mock.method(Math, "random", () => 0.5);
  const parts = client(context);
  parts.wire().open();
  welcome(parts.wire());
  parts.wire().tell({ type: "bye", code: 4000, reason: "", within_s: 8 });
  parts.tick(4_000);
  parts.wire().open();
  assert.equal(Wire.all.length, 2);
  const sent = () => Wire.all.flatMap((wire) => wire.sent.filter(({ type }) => type === "command")).map(({ name, key }) => [name, Boolean(key)]);
  return { ...parts, sent };
}

test("a command on the way to another worker is sent once, when that one has let us in", async (context) => {
  const { socket, wire, sent } = between(context);
  const add = socket.command("cart.add", { sku: "cup" });
  const look = socket.command("cart.get", {}, { key: null });
  assert.deepEqual(sent(), [], "the worker that does not know us yet would refuse it");
  welcome(wire(), 10, { recovered: true, snapshot: null });
  assert.deepEqual(sent(), [["cart.add", true], ["cart.get", false]]);
  for (const { type, id, name } of wire().sent) if (type === "command") wire().tell({ type: "reply", id, data: name });
  assert.deepEqual(await Promise.all([add, look]), ["cart.add", "cart.get"]);
  wire().tell({ type: "bye", code: 4000, reason: "", within_s: 8 });
  context.mock.timers.tick(4_000);
  wire().open();
  welcome(wire(), 10, { recovered: true, snapshot: null });
  assert.equal(Wire.all.length, 3);
  assert.equal(sent().length, 2, "what is answered is not sent again");
});

test("when the other worker does not let us in, a command with a key waits on, and one without is refused", async (context) => {
  const { socket, wire, tick, sent } = between(context);
  const add = socket.command("cart.add", { sku: "cup" });
  const look = socket.command("cart.get", {}, { key: null });
  wire().drop(1006);
  await assert.rejects(look, { name: "disconnected" });
  tick(400);
  wire().open();
  welcome(wire());
  assert.deepEqual(sent(), [["cart.add", true]], "it was never sent before");
  wire().tell({ type: "reply", id: wire().last("command").id, data: 1 });
  assert.equal(await add, 1);
});

test("a stopped socket stays stopped and refuses commands", async (context) => {
  const { socket, wire, tick, statuses } = client(context);
  wire().open();
  welcome(wire());
  socket.stop();
  tick(60_000);
  assert.equal(Wire.all.length, 1);
  assert.deepEqual(statuses.at(-1), ["closed", "stopped"]);
  await assert.rejects(socket.command("cart.get"), { name: "disconnected" });
});

test("backoff has full jitter and a cap", () => {
  assert.equal(backoffMs(0, () => 0), 0);
  assert.equal(backoffMs(0, () => 1), 400);
  assert.equal(backoffMs(50, () => 1), BACKOFF_MS_MAX);
});

test("the hundreds of a close code decide", () => {
  for (const code of [1000, 1006, 3000, 3499, 4000, 4003, 4499]) assert.equal(afterClose(code).retry, true, code);
  for (const code of [3500, 3999, 4500, 4999]) assert.equal(afterClose(code).retry, false, code);
  assert.equal(afterClose(4004).newToken, true);
});

test("an ordering without a position knows nothing", () => {
  assert.equal(new Ordering().judge(1), "gap");
  assert.equal(new Ordering().behind({ epoch: "e", offset: 0 }), true);
});

test("keys are not repeated", () => {
  assert.equal(new Set(Array.from({ length: 100 }, newKey)).size, 100);
});
