/* Feeds traces of server messages to the page's own socket and tells what it did: see test_screens_agree.py. */
import { readFileSync } from "node:fs";

const { ShowSocket } = await import(process.argv[2]);
const timers = [];
globalThis.setTimeout = (call) => timers.push(call);
globalThis.setInterval = () => 0;
globalThis.clearTimeout = globalThis.clearInterval = () => {};

function replay(trace) {
  let socket = null;
  let done = [];
  class Socket {
    readyState = 1;
    constructor() {
      socket = this;
    }
    send(text) {
      const message = JSON.parse(text);
      if (message.type === "connect" || message.type === "recover") done.push([message.type, message.position]);
      this.asked = message.id;
    }
    close() {}
  }
  const onMessage = (message) => message.type === "event" && done.push(["applied", message.offset]);
  const tokens = { read: () => null, write: () => {}, drop: () => {} };
  const memory = { getItem: () => null, setItem: () => {}, removeItem: () => {} };
  const show = new ShowSocket({ url: "", tokens, onMessage, Socket, memory });
  show.start();
  socket.onopen();
  return trace.map((step) => {
    done = [];
    if (step.type === "drop") {
      socket.onclose({ code: 4003 });
      timers.at(-1)(); // the time to come back
      socket.onopen();
    } else {
      const message = step.type === "connected" && step.id === undefined ? { ...step, id: socket.asked } : step;
      socket.onmessage({ data: JSON.stringify([message]) });
    }
    return done;
  });
}

console.log(JSON.stringify(JSON.parse(readFileSync(0, "utf8")).map(replay)));
