/*
 * Like a WebSocket to a show, for networks that break those: what the server says comes as events in the answer to one
 * POST, commands go by others, one after the other. Not an EventSource: that could send neither token nor position but
 * in the address, where every proxy logs it, and would not tell when a full server wants it back.
 */

const POSTED_MAX = 40;
const REFUSED = { token_expired: 4004, token_invalid: 4505, show_forbidden: 4505 };

/** Splits text/event-stream, as it arrives, into {name, data}; data null: a comment. */
export class Events {
  #rest = "";

  /** The events that `text` completes. */
  *read(text) {
    const blocks = (this.#rest + text).split("\n\n");
    this.#rest = blocks.pop();
    for (const block of blocks) {
      const members = Object.fromEntries(block.split("\n").map((line) => [line.split(":", 1)[0], line.slice(line.indexOf(":") + 1).trimStart()]));
      yield { name: members.event ?? "message", data: members.data ?? null };
    }
  }
}

export class EventStream {
  readyState = 0;
  deadMs = 40_000; // the server says something every 15 seconds; there is nothing to ask it by
  #base;
  #token = null;
  #viewer = null;
  #reading = null; // the answer that is being read
  #waiting = [];
  #posting = null;

  /** `url` is the socket's. */
  constructor(url, fetch = (...asked) => globalThis.fetch(...asked)) {
    this.#base = url.replace(/^ws/, "http").replace("/ws/", "/api/shows/");
    this.fetch = fetch;
    queueMicrotask(() => {
      if (this.readyState === 3) return;
      this.readyState = 1;
      this.onopen?.();
    });
  }

  send(text) {
    const message = JSON.parse(text);
    if (message.type === "connect") this.#token = message.token;
    if (message.type === "connect") this.#read(message);
    else if (message.type === "recover") this.#read({ ...message, type: "connect", token: this.#token }); // what is missing comes on a new stream
    else if (message.type === "command") this.#waiting.push(message), this.#post();
  }

  close() {
    this.readyState = 3;
    this.#reading?.abort();
    this.#posting?.abort();
  }

  #end(code, retryAfterS = 0) {
    if (this.readyState === 3) return;
    this.close();
    this.onclose?.({ code, retryAfterS });
  }

  #ask(path, body, { signal }) {
    const authorized = path === "commands" ? { Authorization: `Bearer ${this.#token}` } : {};
    return this.fetch(`${this.#base}/${path}`, {
      method: "POST", cache: "no-store", credentials: "omit", signal, body: JSON.stringify(body), headers: { "Content-Type": "application/json", ...authorized },
    });
  }

  async #read(connect) {
    this.#reading?.abort();
    const reading = new AbortController();
    this.#reading = reading;
    let end = [1006];
    try {
      let answer = await this.#ask("stream", connect, reading);
      // A worker that ends answers on the connection that we had to it; the next one leads elsewhere.
      if (answer.status === 503 && (await answer.clone().json().catch(() => ({}))).name === "draining") answer = await this.#ask("stream", connect, reading);
      const retryAfterS = Number(answer.headers.get("Retry-After")) || 0;
      if (!answer.ok) return this.#end(retryAfterS ? 4005 : 1006, retryAfterS);
      const events = new Events();
      const [body, decoder] = [answer.body.getReader(), new TextDecoder()];
      for (let piece = await body.read(); !piece.done; piece = await body.read()) {
        if (reading !== this.#reading) return;
        for (const { name, data } of events.read(decoder.decode(piece.value, { stream: true }))) {
          if (name === "close") end = [JSON.parse(data).code];
          else if (this.readyState === 1) this.#tell(data === null ? [] : JSON.parse(data));
        }
      }
    } catch {
      // cut, offline, or not our server's answer: as when a socket is lost
    }
    if (reading === this.#reading) this.#end(...end);
  }

  async #post() {
    if (this.#posting) return;
    const posting = new AbortController();
    this.#posting = posting;
    try {
      while (this.#waiting.length && this.readyState === 1) await this.#send(this.#waiting.splice(0, POSTED_MAX), posting);
    } catch {
      this.#end(1006); // whoever has a key is sent again
    }
    this.#posting = null;
  }

  async #send(commands, posting) {
    const answer = await this.#ask("commands", { commands }, posting);
    const body = await answer.json();
    if (this.readyState !== 1) return;
    if (answer.ok) return this.#tell(body.messages);
    if (!body.name || answer.status >= 500) return this.#end(1006, Number(answer.headers.get("Retry-After")) || 0);
    if (answer.status === 401 || REFUSED[body.name]) return this.#end(REFUSED[body.name] ?? 4505);
    this.#tell(commands.map(({ id }) => ({ type: "refused", id, error: body })));
  }

  /** The stream's server does not know what another one was asked: tokens and names are kept here. */
  #tell(messages) {
    for (const message of messages) {
      const renamed = message.type === "reply" && message.data.token;
      const { token, viewer } = message.type === "connected" ? message : renamed ? message.data : {};
      this.#token = token ?? this.#token;
      if (message.type === "connected" && !message.id) message.viewer = this.#viewer ?? viewer;
      else this.#viewer = viewer ?? this.#viewer;
    }
    this.onmessage?.({ data: JSON.stringify(messages) });
  }
}
