/* The rules of showcart.json.v1 that need no socket: order, backoff, what a close code means, which way to go. */

export const SUBPROTOCOL = "showcart.json.v1";
export const BACKOFF_MS_MAX = 20_000;
const BACKOFF_MS_FIRST = 400;

/** Full jitter: anything up to the cap, so that a crowd does not come back at the same moment. */
export function backoffMs(attempt, random = Math.random) {
  return Math.min(BACKOFF_MS_MAX, BACKOFF_MS_FIRST * 2 ** Math.min(attempt, 10)) * random();
}

const FINAL = {
  4505: "token_refused",
  4506: "unknown_show",
};

/**
 * What to do after a close: {retry, reason, newToken}.
 * 3000–3499 and 4000–4499 come back, 3500–3999 and 4500–4999 do not; codes below 3000 are the network's.
 */
export function afterClose(code) {
  if (code >= 3000 && code < 5000 && code % 1000 >= 500) return { retry: false, reason: FINAL[code] ?? "refused", newToken: false };
  if (code === 4004) return { retry: true, reason: "token_expired", newToken: true };
  return { retry: true, reason: code === 4005 ? "full" : "lost", newToken: false };
}

/** Follows {epoch, offset}: each event is applied once and in order, a hole is noticed. */
export class Ordering {
  position = null;

  /** "apply", "duplicate" or "gap". */
  judge(offset) {
    if (this.position === null || offset > this.position.offset + 1) return "gap";
    return offset <= this.position.offset ? "duplicate" : "apply";
  }

  advance(offset) {
    this.position = { epoch: this.position.epoch, offset };
  }

  /** Whether a position the server told of lies beyond ours. */
  behind(position) {
    return this.position === null || position.epoch !== this.position.epoch || position.offset > this.position.offset;
  }
}

const TRIES = { untried: 2, proved: 6 };
const STREAM_KEPT_MS = 600_000;

/** Whether to go by a stream of events: where the network breaks sockets, until a socket is worth another try. */
export class Ways {
  #failures = 0;
  #proved = { true: false, false: false };
  #since;

  /** `since`: when a stream was found to be the way (ms), null: never. */
  constructor(since = null, now = Date.now()) {
    this.#since = since;
    this.stream = since !== null && now - since < STREAM_KEPT_MS;
  }

  /** The present way works; whether that is news about streams. */
  works(now) {
    const news = this.stream && !this.#proved.true;
    this.#failures = 0;
    this.#proved[this.stream] = true;
    if (news) this.#since = now;
    return news;
  }

  /** Nobody was reached by the present way. */
  fails(times = 1) {
    this.#failures += times;
    if (this.#failures < (this.#proved[this.stream] ? TRIES.proved : TRIES.untried)) return;
    this.stream = !this.stream;
    this.#failures = 0;
  }

  /** What worked was lost: a moment to try a socket again, once. */
  lost(now) {
    if (!this.stream || now - this.#since < STREAM_KEPT_MS) return;
    this.stream = false;
    this.#proved = { true: false, false: false };
    this.#failures = TRIES.untried - 1;
  }
}

/** A key that no other click has; works without a secure context too. */
export function newKey() {
  if (crypto.randomUUID) return crypto.randomUUID();
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}
