/* Reads the Prometheus text format, and keeps fifteen minutes of what the charts need. */

export const WINDOW_MS = 15 * 60_000;
const LINE = /^([a-zA-Z_:][\w:]*)(?:\{(.*)\})?\s+(\S+)/;
const LABEL = /([a-zA-Z_]\w*)="((?:[^"\\]|\\.)*)"/g;

/** [{name, labels, value}, …]; comments and lines that are not samples are left out. */
export function parse(text) {
  const samples = [];
  for (const line of text.split("\n")) {
    const found = line.startsWith("#") ? null : LINE.exec(line);
    if (!found) continue;
    const labels = {};
    for (const [, name, value] of (found[2] ?? "").matchAll(LABEL)) labels[name] = value.replace(/\\n/g, "\n").replace(/\\(.)/g, "$1");
    samples.push({ name: found[1], labels, value: Number(found[3].replace("Inf", "Infinity")) });
  }
  return samples;
}

/** The sum of the samples of `name` whose labels match; null when there is none. */
export function sum(samples, name, labels = {}) {
  const mine = samples.filter((sample) => sample.name === name && Object.entries(labels).every(([key, value]) => sample.labels[key] === value));
  return mine.length ? mine.reduce((total, sample) => total + sample.value, 0) : null;
}

/** A histogram's quantile between two scrapes, in the histogram's unit; null when nothing was observed. */
export function quantile(samples, before, name, q) {
  const buckets = samples.filter((sample) => sample.name === `${name}_bucket`).map(({ labels, value }) => {
    const old = before.find((other) => other.name === `${name}_bucket` && other.labels.le === labels.le && other.labels.worker === labels.worker);
    return { le: Number(labels.le.replace("+Inf", "Infinity")), count: Math.max(0, value - (old?.value ?? 0)) };
  }).sort((a, b) => a.le - b.le);
  const merged = [];
  for (const bucket of buckets) {
    if (merged.at(-1)?.le === bucket.le) merged.at(-1).count += bucket.count;
    else merged.push(bucket);
  }
  const total = merged.at(-1)?.count ?? 0;
  if (total === 0) return null;
  const index = merged.findIndex(({ count }) => count >= q * total);
  const upper = merged[index].le;
  if (upper === Infinity) return merged[index - 1]?.le ?? null;
  const [lower, under] = index > 0 ? [merged[index - 1].le, merged[index - 1].count] : [0, 0];
  return lower + ((upper - lower) * (q * total - under)) / Math.max(1, merged[index].count - under);
}

/** What a counter grew by per second; null at the first scrape, and after a restart. */
export class Rates {
  #last = new Map();

  of(key, value, now) {
    const last = this.#last.get(key);
    if (value === null) return null;
    this.#last.set(key, { value, now });
    return last && value >= last.value && now > last.now ? (1000 * (value - last.value)) / (now - last.now) : null;
  }
}
