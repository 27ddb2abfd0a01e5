import assert from "node:assert/strict";
import test from "node:test";
import { EventStream, Events } from "../../../live/web/js/stream.js";

const settled = async () => { for (let n = 0; n < 5; n++) await new Promise((resolve) => { setImmediate(resolve); }); };
const connected = (extra = {}) => ({ type: "connected", id: "1", viewer: { name: "Mia" }, token: "t1", ...extra });

/** A server whose answers the test gives: `asked` are the requests, each with reply(body, …), and say() for a stream. */
class Server {
  asked = [];
  fetch = (url, { body, headers, signal }) => new Promise((resolve, reject) => {
    const sent = { url, body: JSON.parse(body), headers, fail: reject };
    signal.addEventListener("abort", () => reject(signal.reason));
    sent.reply = (value, status = 200, more = {}) => resolve(new Response(JSON.stringify(value), { status, headers: more }));
    sent.stream = () => {
      const source = new ReadableStream({ start: (controller) => { sent.controller = controller; } });
      signal.addEventListener("abort", () => sent.controller.error(signal.reason));
      resolve(new Response(source, { status: 200 }));
    };
    sent.write = (text) => sent.controller.enqueue(new TextEncoder().encode(text));
    sent.say = (...messages) => sent.write(`data: ${JSON.stringify(messages)}\n\n`);
    this.asked.push(sent);
  });
  get last() { return this.asked.at(-1); }
}

async function opened() {
  const server = new Server();
  const wire = new EventStream("wss://shop/ws/demo", server.fetch);
  const [seen, closes] = [[], []];
  wire.onmessage = ({ data }) => seen.push(...JSON.parse(data));
  wire.onclose = (close) => closes.push(close);
  await new Promise((resolve) => { wire.onopen = resolve; });
  wire.send(JSON.stringify({ type: "connect", id: "1", token: null, position: null }));
  server.last.stream();
  await settled();
  server.last.say(connected());
  await settled();
  return { server, wire, seen, closes };
}

const command = (id) => JSON.stringify({ type: "command", id, name: "cart.add", data: {}, key: id });

test("events are put together again, wherever they were cut", () => {
  const events = new Events();
  const found = [..."retry: 2000\n\n:\n\ndata: [1]\n\nevent: close\ndata: {\"code\":4000}\n\ndata: half"].flatMap((char) => [...events.read(char)]);
  assert.deepEqual(found, [
    { name: "message", data: null }, { name: "message", data: null }, { name: "message", data: "[1]" }, { name: "close", data: '{"code":4000}' },
  ]);
});

test("what comes down a stream is what a socket brings, and letters survive a cut", async () => {
  const { server, wire, seen } = await opened();
  assert.equal(server.last.url, "https://shop/api/shows/demo/stream");
  assert.equal(seen[0].viewer.name, "Mia");
  const bytes = new TextEncoder().encode('data: [{"type":"event","data":{"text":"für ✓"}}]\n\n');
  for (const byte of bytes) server.last.controller.enqueue(Uint8Array.of(byte));
  await settled();
  assert.equal(seen.at(-1).data.text, "für ✓");
  wire.close();
});

test("commands go up in order, one request after the other, with the newest token", async () => {
  const { server, wire, seen } = await opened();
  for (const id of ["2", "3", "4"]) wire.send(command(id));
  const first = server.last;
  assert.deepEqual([first.url, first.headers.Authorization], ["https://shop/api/shows/demo/commands", "Bearer t1"]);
  assert.deepEqual(first.body.commands.map(({ id }) => id), ["2"]);
  first.reply({ messages: [{ type: "reply", id: "2", data: { token: "t2", viewer: { name: "Mio" } } }] });
  await settled();
  assert.deepEqual(server.last.body.commands.map(({ id }) => id), ["3", "4"]);
  assert.equal(server.last.headers.Authorization, "Bearer t2");
  server.last.reply({ code: 1006, name: "rate_limited" }, 429);
  await settled();
  assert.deepEqual(seen.slice(-2).map(({ id, error }) => [id, error.name]), [["3", "rate_limited"], ["4", "rate_limited"]]);
  server.asked[0].say(connected({ id: "" }));
  await settled();
  assert.equal(seen.at(-1).viewer.name, "Mio", "the stream's server has not heard of the name");
  wire.close();
});

test("a gap is closed by another stream from there", async () => {
  const { server, wire, closes } = await opened();
  wire.send(JSON.stringify({ type: "recover", id: "9", position: { epoch: "e", offset: 4 } }));
  assert.deepEqual(server.last.body, { type: "connect", id: "9", token: "t1", position: { epoch: "e", offset: 4 } });
  server.last.stream();
  await settled();
  assert.deepEqual(closes, [], "the first one's end is no end");
  wire.close();
});

test("a stream tells why it ends, and a cut is a cut", async () => {
  for (const [text, code] of [['event: close\ndata: {"code":4001,"reason":""}\n\n', 4001], ["", 1006]]) {
    const { server, closes } = await opened();
    if (text) server.last.write(text);
    server.last.controller.close();
    await settled();
    assert.deepEqual(closes, [{ code, retryAfterS: 0 }]);
  }
});

test("a refused stream tells when to come back; a strange answer is a lost line", async () => {
  for (const [status, headers, close] of [[503, { "Retry-After": "7" }, { code: 4005, retryAfterS: 7 }], [502, {}, { code: 1006, retryAfterS: 0 }]]) {
    const server = new Server();
    const wire = new EventStream("ws://shop/ws/demo", server.fetch);
    const closes = [];
    wire.onclose = (told) => closes.push(told);
    await settled();
    wire.send(JSON.stringify({ type: "connect", id: "1", token: null }));
    server.last.reply({}, status, headers);
    await settled();
    assert.deepEqual(closes, [close]);
  }
});

test("a worker that ends sends us to another one at once", async () => {
  const server = new Server();
  const wire = new EventStream("ws://shop/ws/demo", server.fetch);
  const seen = [];
  wire.onmessage = ({ data }) => seen.push(...JSON.parse(data));
  await settled();
  wire.send(JSON.stringify({ type: "connect", id: "1", token: null }));
  server.last.reply({ name: "draining" }, 503, { "Retry-After": "1" });
  await settled();
  assert.equal(server.asked.length, 2);
  server.last.stream();
  await settled();
  server.last.say(connected());
  await settled();
  assert.equal(seen.length, 1);
  wire.close();
});

test("a command that gets no answer loses the line, so that whoever has a key is sent again", async () => {
  const answers = [
    [(asked) => asked.fail(new TypeError("offline")), 1006],
    [(asked) => asked.reply({ name: "internal" }, 500), 1006],
    [(asked) => asked.reply({ name: "token_expired" }, 401), 4004],
    [(asked) => asked.reply({ name: "show_forbidden" }, 403), 4505],
  ];
  for (const [answer, code] of answers) {
    const { server, wire, closes } = await opened();
    wire.send(command("2"));
    answer(server.last);
    await settled();
    assert.deepEqual(closes.map((close) => close.code), [code]);
  }
});

test("a closed stream says nothing more", async () => {
  const { server, wire, seen, closes } = await opened();
  wire.send(command("2"));
  wire.close();
  await settled();
  assert.deepEqual([seen.length, closes.length], [1, 0]);
  const other = new EventStream("ws://shop/ws/demo", server.fetch);
  other.onopen = () => assert.fail("it was closed before");
  other.close();
  await settled();
});
