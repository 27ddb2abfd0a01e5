/*
 * One show's socket: connects, comes back, recovers, and answers commands with promises. Where the network breaks
 * WebSockets it goes by `stream.js`, which looks like one.
 *
 * Guarantees: `onMessage` sees every event once and in order, or a snapshot in its place; a command that carries a
 * key survives a reconnect and is done once. A command without one is refused when the socket drops.
 */
import { SUBPROTOCOL, Ordering, Ways, afterClose, backoffMs, newKey } from "./wire.js";

const SILENCE_MS = 10_000; // then ask whether the server is there
const DEAD_MS = 20_000; // and do not believe it any longer
const COMMAND_MS = 20_000;
const CONNECT_MS = 10_000;
const PENDING_MAX = 64;
const MOVE_MS = 50;
const KEPT = "showcart.stream"; // when a stream was found to be the way, for this tab

export class ShowSocket {
  status = "connecting"; // connecting | open | reconnecting | closed
  #ordering = new Ordering();
  #pending = new Map();
  #socket = null;
  #attempt = 0;
  #next = 1;
  #timers = { retry: 0, beat: 0, connect: 0, move: 0 };
  #heard = 0;
  #recovering = false;
  #joined = false;
  #handshake = "";
  #byeWithinMs = null;
  #refused = null;
  #Stream = null;
  #ways;

  /**
   * `tokens` has read(), write(token) and drop(); `onMessage` takes a message of the server, `onStatus`
   * (status, reason). `Socket`, `stream` (brings the other way's code) and `memory` are replaced in tests.
   */
  constructor({ url, tokens, onMessage, onStatus = () => {}, name = null, Socket = globalThis.WebSocket, stream = () => import("./stream.js"), memory = sessionStorage }) {
    Object.assign(this, { url, tokens, onMessage, onStatus, name, Socket, stream, memory });
    this.#ways = new Ways(Number(memory.getItem(KEPT)) || null);
  }

  start() {
    if (typeof window !== "undefined") {
      addEventListener("online", () => this.#hurry());
      addEventListener("offline", () => this.status === "open" && this.#lost(this.#socket, 1006, true));
      addEventListener("pagehide", (event) => event.persisted || this.stop());
      document.addEventListener("visibilitychange", () => document.hidden || this.#hurry());
    }
    this.#open();
  }

  stop() {
    for (const timer of Object.values(this.#timers)) clearTimeout(timer);
    this.#abandon();
    this.#tell("closed", "stopped");
  }

  /** Does `name`; resolves to the reply's data, rejects with a problem ({name, code, detail, …}). */
  command(name, data = {}, { key = newKey() } = {}) {
    return new Promise((resolve, reject) => {
      if (this.status === "closed" || this.#pending.size >= PENDING_MAX) return reject({ name: "disconnected" });
      const id = String(this.#next++);
      const message = { type: "command", id, name, data, ...(key && { key }) };
      const timer = setTimeout(() => {
        this.#pending.delete(id);
        reject({ name: "timeout" });
      }, COMMAND_MS);
      this.#pending.set(id, { message, resolve, reject, timer });
      if (this.#joined) this.#send(message);
      else if (!key && this.status !== "open") // on the way to another worker it waits, and is sent once, by `#connected`
        this.#settle(id, null, { name: "disconnected" });
    });
  }

  #open() {
    clearTimeout(this.#timers.retry);
    clearTimeout(this.#timers.move);
    this.#abandon();
    this.#joined = false;
    this.#byeWithinMs = null;
    this.#refused = null;
    if (this.#ways.stream && !this.#Stream) return this.#fetch();
    const socket = this.#ways.stream ? new this.#Stream(this.url) : new this.Socket(this.url, SUBPROTOCOL);
    this.#socket = socket;
    let opened = false;
    this.#timers.connect = setTimeout(() => { this.#ways.fails(); this.#lost(socket, 1006, opened); }, CONNECT_MS);
    socket.onopen = () => {
      opened = true;
      this.#handshake = String(this.#next++);
      this.#recovering = true;
      this.#send({ type: "connect", id: this.#handshake, token: this.tokens.read(), position: this.#ordering.position, name: this.name });
    };
    socket.onmessage = ({ data }) => {
      this.#heard = Date.now();
      const messages = JSON.parse(data);
      for (const message of Array.isArray(messages) ? messages : [messages]) this.#receive(message);
    };
    socket.onclose = ({ code, retryAfterS }) => this.#lost(socket, code, opened, retryAfterS);
  }

  async #fetch() {
    try {
      this.#Stream = (await this.stream()).EventStream;
    } catch {
      this.#ways.fails(2);
    }
    if (this.status !== "closed") this.#timers.retry = setTimeout(() => this.#open(), this.#Stream ? 0 : backoffMs(this.#attempt++));
  }

  /** Lets go of the old socket without waiting: a dead network never finishes the closing handshake. */
  #abandon() {
    const socket = this.#socket;
    this.#socket = null;
    clearTimeout(this.#timers.connect);
    clearInterval(this.#timers.beat);
    if (!socket) return;
    socket.onopen = socket.onmessage = socket.onclose = null;
    socket.close();
  }

  #lost(socket, code, opened, retryAfterS = 0) {
    if (socket !== this.#socket) return;
    this.#abandon();
    if (this.#joined) this.#ways.lost(Date.now());
    else if (code < 3000) this.#ways.fails();
    this.#joined = false;
    clearTimeout(this.#timers.move);
    const next = this.#refused ?? afterClose(code);
    if (next.newToken || (next.reason === "token_refused" && this.tokens.guest && this.tokens.read())) {
      this.tokens.drop(); // a guest whose token the server no longer knows simply becomes a new guest
      next.retry = true;
    }
    if (!next.retry) {
      for (const id of [...this.#pending.keys()]) this.#settle(id, null, { name: "disconnected" });
      return this.#tell("closed", next.reason);
    }
    for (const [id, { message }] of this.#pending) if (!message.key) this.#settle(id, null, { name: "disconnected" });
    const wait = this.#byeWithinMs !== null ? Math.random() * this.#byeWithinMs : 1000 * retryAfterS + backoffMs(this.#attempt);
    this.#attempt += 1;
    this.#tell("reconnecting", opened ? next.reason : next.reason === "lost" ? "unreachable" : next.reason);
    this.#timers.retry = setTimeout(() => this.#open(), wait);
  }

  #hurry() {
    if (this.status === "reconnecting") this.#open();
    else if (this.status === "open") this.#send({ type: "ping" });
  }

  #beat() {
    const silence = Date.now() - this.#heard;
    if (silence > (this.#socket?.deadMs ?? DEAD_MS)) this.#lost(this.#socket, 4002, true);
    else if (silence > SILENCE_MS) this.#send({ type: "ping" });
  }

  #send(message) {
    if (this.#socket?.readyState === 1) this.#socket.send(JSON.stringify(message));
  }

  #tell(status, reason = "") {
    this.status = status;
    this.onStatus(status, reason);
  }

  #settle(id, data, error) {
    const waiting = this.#pending.get(id);
    if (!waiting) return;
    this.#pending.delete(id);
    clearTimeout(waiting.timer);
    if (error) waiting.reject(error);
    else waiting.resolve(data);
  }

  #receive(message) {
    switch (message.type) {
      case "connected": return this.#connected(message);
      case "event": return this.#event(message);
      case "position": return this.#ordering.behind(message.position) && this.#recover();
      case "reply": return this.#settle(message.id, message.data, null);
      case "refused": return this.#refusal(message);
      case "bye": return this.#bye(message);
      case "pong": return;
      default: this.onMessage(message);
    }
  }

  /** The server is about to go: connects anew at some time, while it still answers. A crowd must not come at once. */
  #bye(message) {
    this.#byeWithinMs = message.within_s * 1000;
    this.#timers.move = setTimeout(() => this.#move(), Math.random() * this.#byeWithinMs);
  }

  /** Goes when nothing is under way: it would be asked for a second time while the first is still running. */
  #move() {
    if (this.status !== "open") return;
    if (this.#pending.size) this.#timers.move = setTimeout(() => this.#move(), MOVE_MS);
    else this.#open();
  }

  #connected(message) {
    clearTimeout(this.#timers.connect);
    const fresh = message.id === this.#handshake;
    if (message.token) this.tokens.write(message.token);
    if (message.recovered) {
      this.onMessage({ ...message, events: undefined });
      for (const event of message.events) if (this.#ordering.judge(event.offset) === "apply") this.#apply(event);
    } else {
      this.onMessage(message);
    }
    this.#ordering.position = message.position;
    this.#recovering = false;
    if (!fresh) return;
    this.#joined = true;
    if (this.#ways.works(Date.now())) this.memory.setItem(KEPT, Date.now());
    this.#attempt = 0;
    this.#heard = Date.now();
    this.#timers.beat = setInterval(() => this.#beat(), SILENCE_MS / 2);
    this.#tell("open");
    for (const { message: command } of this.#pending.values()) this.#send(command);
  }

  #event(event) {
    if (this.#recovering) return; // the answer to `recover` holds it
    const verdict = this.#ordering.judge(event.offset);
    if (verdict === "apply") this.#apply(event);
    else if (verdict === "gap") this.#recover();
  }

  #apply(event) {
    this.#ordering.advance(event.offset);
    this.onMessage(event);
  }

  #recover() {
    if (this.#recovering || this.status !== "open") return;
    this.#recovering = true;
    this.#send({ type: "recover", id: String(this.#next++), position: this.#ordering.position });
  }

  #refusal({ id, error }) {
    if (this.#pending.has(id)) return this.#settle(id, null, error);
    if (id === this.#handshake && error.name === "unknown_show") this.#refused = { retry: false, reason: "unknown_show", newToken: false };
    else if (this.#recovering && this.status === "open") this.#lost(this.#socket, 4003, true);
  }
}

/** A guest's token outlives the page, so that the cart does too. */
export const guestTokens = {
  guest: true,
  read: () => localStorage.getItem("showcart.guest"),
  write: (token) => localStorage.setItem("showcart.guest", token),
  drop: () => ["guest", "customer", "person"].forEach((name) => localStorage.removeItem(`showcart.${name}`)),
  customer: () => localStorage.getItem("showcart.customer"), // the name of who signed in, null: a guest;
  person: () => localStorage.getItem("showcart.person"), // and the id
  signed: ({ id, name }) => Object.assign(localStorage, { "showcart.customer": name, "showcart.person": id }),
};

export function socketUrl(show) {
  return `${location.protocol === "https:" ? "wss" : "ws"}://${location.host}/ws/${encodeURIComponent(show)}`;
}
