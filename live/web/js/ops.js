/* The ops page: one chart per question, from /metrics; the stores' health from /readyz. */
import { h } from "./dom.js";
import { compact, loadTexts, number, percent, t } from "./i18n.js";
import { Rates, parse, quantile, sum } from "./prometheus.js";
import "./parts/line-chart.js";

const SCRAPE_MS = 2000;
const LAG_LIMIT_S = 0.05;
const DROPPED = ["frame_dropped", "overload_dropped", "send_full", "send_failed", "protect_refused"];
const plus = (a, b) => (a === null || b === null ? null : a + b);
const rates = new Rates();
const id = (name) => document.getElementById(name);
const ms = (value) => t("ops.ms", { value: number(1000 * value, { maximumFractionDigits: value < 0.01 ? 1 : 0 }) });
const perSecond = (value) => t("ops.perSecond", { value: number(value, { maximumFractionDigits: value < 10 ? 1 : 0, notation: value < 10_000 ? "standard" : "compact" }) });
const megabytes = (value) => t("ops.mb", { value: number(value / 1e6, { maximumFractionDigits: 0 }) });

/** Each line is a function of a scrape {samples, before, now, rate}; null leaves a hole. A counter that has not counted yet is missing: it starts at 0. */
const CHARTS = [
  { key: "here", format: compact, floor: 10, lines: {
    sockets: ({ samples }) => sum(samples, "showcart_sockets"),
    watching: ({ samples }) => sum(samples, "showcart_media_sessions", { role: "subscriber" }) ?? 0,
    publishing: ({ samples }) => sum(samples, "showcart_media_sessions", { role: "publisher" }) ?? 0,
  } },
  { key: "fast", format: ms, floor: 0.02, limit: LAG_LIMIT_S, lines: {
    p99: ({ samples, before }) => quantile(samples, before, "showcart_loop_lag_seconds", 0.99),
    worst: ({ samples }) => sum(samples, "showcart_loop_lag_max_seconds"),
  } },
  { key: "messages", format: perSecond, floor: 10, lines: {
    sent: ({ rate }) => rate("showcart_frames_total", {}, 0),
    events: ({ rate }) => rate("showcart_events_total", { what: "delivered" }, 0),
  } },
  { key: "video", format: perSecond, floor: 100, lines: {
    packets: ({ rate }) => rate("showcart_media_packets_total", { what: "sent" }, 0),
  } },
  { key: "losing", format: perSecond, floor: 5, lines: {
    dropped: ({ rate }) => DROPPED.map((what) => rate("showcart_media_packets_total", { what }, 0)).reduce(plus),
    again: ({ rate }) => rate("showcart_media_packets_total", { what: "retransmitted" }, 0),
    skipped: ({ rate }) => rate("showcart_events_total", { what: "skipped" }, 0),
  } },
  { key: "closes", format: perSecond, floor: 1, lines: {
    closed: ({ rate }) => rate("showcart_sockets_closed_total", {}, 0),
    ended: ({ rate }) => rate("showcart_media_sessions_ended_total", {}, 0),
  } },
  { key: "cpu", format: percent, floor: 1, limit: 0.7, lines: {
    cpu: ({ rate }) => rate("process_cpu_seconds_total"),
  } },
  { key: "memory", format: megabytes, floor: 100e6, lines: {
    memory: ({ samples }) => sum(samples, "process_resident_memory_bytes"),
  } },
];

let before = [];
function build() {
  return CHARTS.map((chart) => {
    const element = h("line-chart", { "data-testid": `chart-${chart.key}` });
    id("charts").append(element);
    const lines = Object.keys(chart.lines).map((key) => ({ key, text: t(`ops.line.${key}`) }));
    element.setup({ title: t(`ops.${chart.key}`), lines, format: chart.format, limit: chart.limit ?? null, floor: chart.floor });
    return { ...chart, element };
  });
}

async function scrape(charts) {
  const fresh = id("fresh");
  try {
    const answer = await fetch("/metrics");
    if (!answer.ok) throw new Error(answer.statusText);
    const samples = parse(await answer.text());
    const now = Date.now();
    const rate = (name, labels = {}, start = null) => rates.of(name + JSON.stringify(labels), sum(samples, name, labels) ?? start, now);
    for (const { element, lines } of charts) element.add(now, Object.values(lines).map((line) => line({ samples, before, now, rate })));
    before = samples;
    fresh.textContent = t("ops.fresh");
    fresh.className = "badge good";
  } catch {
    fresh.textContent = t("ops.stale");
    fresh.className = "badge bad";
  }
}

async function ready() {
  let parts = {};
  try {
    parts = await (await fetch("/readyz")).json();
  } catch {
    parts = { server: "out" };
  }
  id("stores").replaceChildren(...Object.entries(parts).map(([name, state]) => h("li", { class: `badge ${state === "ok" ? "good" : "bad"}`, title: state, text: t(state === "ok" ? "ops.ok" : "ops.bad", { name }) })));
}

await loadTexts("staff");
const charts = build();
await Promise.all([scrape(charts), ready()]);
setInterval(() => scrape(charts), SCRAPE_MS);
setInterval(ready, 5 * SCRAPE_MS);
