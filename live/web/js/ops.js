/* The ops page: the last fifteen minutes of all workers together or of one, from /metrics; health from /readyz. */
import { CHARTS, LISTS, loop, megabytes, ms, perSecond } from "./charts.js";
import { h } from "./dom.js";
import { clock, compact, has, loadTexts, percent, t } from "./i18n.js";
import { Recent } from "./recent.js";
import "./parts/line-chart.js";

const ASK_MS = 2000;
const ANSWER_MS = 10_000;
const PATIENCE_MS = 2000;
const id = (name) => document.getElementById(name);
const recent = new Recent();
let shown = null; // a worker, or all of them together
let charts = [];
let told = 0; // the newest time that is drawn
let totals = new Map(); // by list, then by label

function build() {
  return CHARTS.map((chart) => {
    const element = h("line-chart", { "data-testid": `chart-${chart.key}` });
    id("charts").append(element);
    const lines = Object.keys(chart.lines).map((key) => ({ key, text: t(`ops.line.${key}`) }));
    element.setup({ title: t(`ops.${chart.key}`), lines, format: chart.format, floor: chart.floor });
    return { ...chart, element, points: [] };
  });
}

/** Draws what is new, or everything again for another choice. */
function draw(again = false) {
  if (again) {
    told = 0;
    totals = new Map();
    for (const chart of charts) chart.points = [];
  }
  for (const time of recent.times(told)) {
    const reading = recent.at(time, shown);
    for (const { points, lines } of charts) points.push({ now: time, values: Object.values(lines).map((line) => line(reading)) });
    for (const { key, name, label } of LISTS) {
      const list = totals.get(key) ?? new Map();
      for (const [value, increase] of reading.by(name, label)) list.set(value, [...(list.get(value) ?? []), [time, increase]].slice(-450));
      totals.set(key, list);
    }
    told = time;
  }
  const count = shown === null ? Math.max(1, recent.workers.size) : 1;
  for (const { element, points, limit } of charts) element.show(told, points, limit ? limit(count) : null);
  id("empty").hidden = told > 0;
  list();
}

function list() {
  const parts = LISTS.flatMap(({ key }) => {
    const found = [...(totals.get(key) ?? [])].map(([value, steps]) => [value, steps.reduce((total, [, increase]) => total + increase, 0)]).filter(([, total]) => total > 0).sort((a, b) => b[1] - a[1]);
    return found.length ? [h("div", {}, h("h3", { text: t(`ops.list.${key}`) }), h("dl", { class: "tally" }, found.map(([value, total]) => h("div", {}, h("dt", { text: value }), h("dd", { text: compact(total) })))))] : [];
  });
  id("tallies").replaceChildren(...(parts.length ? parts : [h("p", { class: "muted", text: t("ops.list.none") })]));
}

function state(number, worker) {
  if (!worker.up) return ["bad", "ops.away"];
  return recent.at(worker.newest, number).sum("showcart_draining") ? ["warn", "ops.draining"] : ["good", "ops.up"];
}

/** How often a worker's process was replaced, after a crash or in order, and how long ago the last time was. */
function replaced(reading, worker) {
  if (reading.max("showcart_worker_replaced_time_seconds") === null) return "–"; // it has no supervisor
  const parts = [["unclean", "bad"], ["restart", ""]].flatMap(([how, kind]) => {
    const count = reading.sum("showcart_worker_replaced_total", { how });
    if (!count) return [];
    const ago = worker.newest - 1000 * reading.sum("showcart_worker_replaced_time_seconds", { how });
    return [h("span", { class: `badge ${kind}`, text: t(`ops.replaced.${how}`, { count }) }), h("span", { class: "muted", text: t("ops.ago", { clock: clock(ago) }) })];
  });
  return parts.length ? h("span", { class: "replaced" }, parts) : t("ops.replaced.never");
}

function table() {
  const rows = [...recent.workers].map(([number, worker]) => {
    const reading = recent.at(worker.newest, number);
    const words = (value, format) => (value === null || !worker.up ? "–" : format(value));
    const [kind, text] = state(number, worker);
    const started = reading.max("process_start_time_seconds");
    return h("tr", {},
      h("th", { scope: "row", text: t("ops.worker", { number: String(number) }) }),
      h("td", {}, h("span", { class: `badge ${kind}`, text: t(text) })),
      h("td", { text: words(reading.sum("showcart_sockets"), compact) }),
      h("td", { text: words(reading.rate("showcart_joins_total"), perSecond) }),
      h("td", { text: words(reading.rate("showcart_events_total", { what: "delivered" }), perSecond) }),
      h("td", { text: words(loop(reading), ms) }),
      h("td", { text: words(reading.rate("process_cpu_seconds_total"), percent) }),
      h("td", { text: words(reading.sum("process_resident_memory_bytes"), megabytes) }),
      h("td", { text: words(started === null ? null : worker.newest - 1000 * started, clock) }),
      h("td", {}, replaced(reading, worker)));
  });
  id("workers").replaceChildren(...rows);
}

/** One choice for all workers together and one for each; built again only when there are others. */
function choices() {
  const numbers = [null, ...recent.workers.keys()];
  const box = id("scope");
  box.hidden = numbers.length < 3;
  if (box.dataset.numbers === numbers.join()) return;
  box.dataset.numbers = numbers.join();
  const choice = (number) => h("label", { class: "choice" },
    h("input", { type: "radio", name: "scope", value: String(number), checked: number === shown, onchange: () => { shown = number; draw(true); } }),
    h("span", { text: number === null ? t("ops.all") : t("ops.worker", { number: String(number) }) }));
  box.replaceChildren(h("legend", { class: "visually-hidden", text: t("ops.scope") }), ...numbers.map(choice));
}

async function ask() {
  const fresh = id("fresh");
  try {
    const answer = await fetch(`/metrics?recent=${recent.since}`, { signal: AbortSignal.timeout(ANSWER_MS) });
    if (!answer.ok) throw new Error(answer.statusText);
    recent.take(await answer.json());
    choices();
    table();
    draw();
    const away = [...recent.workers.values()].filter(({ up }) => !up).length;
    fresh.textContent = away ? t("ops.some", { count: away }) : t("ops.fresh");
    fresh.className = `badge ${away ? "warn" : "good"}`;
  } catch {
    fresh.textContent = t("ops.stale");
    fresh.className = "badge bad";
  }
}

async function ready() {
  let parts = {};
  try {
    parts = await (await fetch("/readyz", { signal: AbortSignal.timeout(ANSWER_MS) })).json();
  } catch {
    parts = { server: "out" };
  }
  id("stores").replaceChildren(...Object.entries(parts).map(([name, found]) => h("li", { class: `badge ${found === "ok" ? "good" : "bad"}`, title: found, text: t(found === "ok" ? "ops.ok" : "ops.bad", { name: has(`ops.part.${name}`) ? t(`ops.part.${name}`) : name }) })));
}

/** One question after the other, however slow the answers are; resolves with the first answer. */
async function forever(question, pause) {
  await question();
  setTimeout(forever, pause, question, pause);
}

await loadTexts("ops");
charts = build();
// Shown with its first figures, for they push it down; without them when they take long.
const first = Promise.all([forever(ask, ASK_MS), forever(ready, 5 * ASK_MS)]);
await Promise.race([first, new Promise((resolve) => { setTimeout(resolve, PATIENCE_MS); })]);
id("main").removeAttribute("aria-busy");
