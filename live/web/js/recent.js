/* The workers' figures of the last fifteen minutes, as /metrics?recent= tells them, and what charts make of them. */

export const WINDOW_MS = 15 * 60_000;
const SERIES = /^([a-zA-Z_:][\w:]*)(?:\{(.*)\})?$/;
const LABEL = /([a-zA-Z_]\w*)="((?:[^"\\]|\\.)*)"/g;
const LATE_MS = 4000; // a worker whose row is not there after so long is not waited for

function read(key) {
  const [, name, inner] = SERIES.exec(key) ?? [null, key, ""];
  return { name, labels: Object.fromEntries([...(inner ?? "").matchAll(LABEL)].map(([, label, text]) => [label, text])) };
}

export class Recent {
  #ids = new Map(); // by series
  #byName = new Map(); // [{id, labels}, …]
  intervalMs = 2000;
  workers = new Map(); // by number: {up, rows: Map of values by time, newest}

  /** Adds what the server told. */
  take(told) {
    this.intervalMs = 1000 * told.interval_s;
    for (const { worker, up, series, rows } of told.workers) {
      const mine = this.workers.get(worker) ?? { rows: new Map(), newest: 0 };
      mine.up = up;
      this.workers.set(worker, mine);
      const ids = series.map((key) => this.#id(key));
      for (const [at, ...values] of rows) {
        const row = [];
        values.forEach((value, index) => { row[ids[index]] = value; });
        mine.rows.set(1000 * at, row);
        mine.newest = Math.max(mine.newest, 1000 * at);
      }
    }
    for (const { rows } of this.workers.values()) for (const time of rows.keys()) if (time < this.newest - WINDOW_MS) rows.delete(time);
  }

  get newest() {
    return Math.max(0, ...[...this.workers.values()].map(({ newest }) => newest));
  }

  /** What to ask for next, in Unix seconds: what some worker that answers has not told yet. */
  get since() {
    const alive = [...this.workers.values()].filter(({ up, newest }) => up && newest > this.newest - WINDOW_MS);
    return alive.length ? Math.min(...alive.map(({ newest }) => newest)) / 1000 : 0;
  }

  /** The times after `after` that everybody who answers has told about, or that are not waited for any longer. */
  times(after = 0) {
    const all = new Set([...this.workers.values()].flatMap(({ rows }) => [...rows.keys()].filter((time) => time > after)));
    const alive = [...this.workers.values()].filter(({ up }) => up);
    const told = alive.length ? Math.min(...alive.map(({ newest }) => newest)) : this.newest;
    return [...all].filter((time) => time <= Math.max(told, this.newest - LATE_MS)).sort((a, b) => a - b);
  }

  /** The figures at `time`, and since the row before, of the one worker `of`, or of all together (null). */
  at(time, of = null) {
    const pairs = [...this.workers].filter(([number]) => of === null || number === of)
      .map(([, { rows }]) => [rows.get(time), rows.get(time - this.intervalMs)]).filter(([now]) => now);
    return new Reading(pairs, this.intervalMs / 1000, (name) => this.#byName.get(name) ?? []);
  }

  #id(key) {
    if (!this.#ids.has(key)) {
      const { name, labels } = read(key);
      this.#ids.set(key, this.#ids.size);
      this.#byName.set(name, [...(this.#byName.get(name) ?? []), { id: this.#ids.get(key), labels }]);
    }
    return this.#ids.get(key);
  }
}

/** Null: nobody told. A series that is missing although its worker told has not counted yet: it is 0. */
class Reading {
  constructor(pairs, seconds, find) {
    this.pairs = pairs;
    this.grown = pairs.filter(([, before]) => before);
    this.seconds = seconds;
    this.find = find;
  }

  #matching(name, labels) {
    return this.find(name).filter((series) => Object.entries(labels).every(([key, value]) => series.labels[key] === value));
  }

  #increase(series) {
    let total = 0;
    for (const [now, before] of this.grown) for (const { id } of series) total += Math.max(0, (now[id] ?? 0) - (before[id] ?? 0)); // less: it was started again
    return total;
  }

  sum(name, labels = {}) {
    if (!this.pairs.length) return null;
    const series = this.#matching(name, labels);
    return this.pairs.reduce((total, [now]) => total + series.reduce((part, { id }) => part + (now[id] ?? 0), 0), 0);
  }

  max(name) {
    const values = this.pairs.flatMap(([now]) => this.find(name).map(({ id }) => now[id])).filter((value) => value != null);
    return values.length ? Math.max(...values) : null;
  }

  /** By how much a counter grew since the row before. */
  increase(name, labels = {}) {
    return this.grown.length ? this.#increase(this.#matching(name, labels)) : null;
  }

  rate(name, labels = {}) {
    const increase = this.increase(name, labels);
    return increase === null ? null : increase / this.seconds;
  }

  /** What a counter grew by, for each value of `label`: [[value, increase], …]. */
  by(name, label) {
    return this.find(name).map((series) => [series.labels[label], this.#increase([series])]);
  }

  /** A histogram's quantile since the row before, in the histogram's unit; null when nothing was observed. */
  quantile(name, q) {
    const counts = new Map();
    for (const series of this.find(`${name}_bucket`)) {
      const le = Number(series.labels.le.replace("+Inf", "Infinity"));
      counts.set(le, (counts.get(le) ?? 0) + this.#increase([series]));
    }
    const buckets = [...counts].sort(([a], [b]) => a - b);
    const total = buckets.at(-1)?.[1] ?? 0;
    if (total === 0) return null;
    const index = buckets.findIndex(([, count]) => count >= q * total);
    const [upper, over] = buckets[index];
    if (upper === Infinity) return buckets[index - 1]?.[0] ?? null;
    const [lower, under] = buckets[index - 1] ?? [0, 0];
    return lower + ((upper - lower) * (q * total - under)) / Math.max(1, over - under);
  }
}
