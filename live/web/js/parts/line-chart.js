/* <line-chart>: one question, up to three lines, the last fifteen minutes, and a threshold when there is one. */
import { h, s } from "../dom.js";
import { clock, t } from "../i18n.js";
import { WINDOW_MS } from "../recent.js";

const SPAN_MS_MIN = 2 * 60_000; // a young page is not an empty chart
const [WIDTH, HEIGHT, LEFT, BOTTOM, TOP] = [560, 200, 8, 28, 14];
const WORD = 24; // the height of a word above its line, with what keeps it apart

/** A round number not below `value`. */
export function ceiling(value) {
  const power = 10 ** Math.floor(Math.log10(value));
  return [1, 2, 2.5, 5, 10].map((step) => step * power).find((round) => round >= value * 0.999);
}

customElements.define("line-chart", class extends HTMLElement {
  /** `lines`: [{key, text}], `format` turns a value into words; `floor` keeps the scale calm. */
  setup({ title, lines, format, floor = 1 }) {
    Object.assign(this, { lines, format, floor });
    this.big = h("p", { class: "chart-now" });
    this.plot = s("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, class: "plot", role: "img" });
    this.legend = h("ul", { class: "legend" });
    this.classList.add("card", "chart");
    this.append(h("div", { class: "chart-head" }, h("h2", { text: title }), this.big), this.plot, this.legend);
    this.heading = title;
  }

  /** `points`: [{now, values}, …], oldest first, a number or null per line; those too old are taken out. `limit` is drawn in. */
  show(now, points, limit = null) {
    while (points.length && points[0].now < now - WINDOW_MS) points.shift();
    this.points = points;
    this.limit = limit;
    if (points.length) this.#draw(now);
  }

  #draw(now) {
    const known = this.points.flatMap(({ values }) => values.filter((value) => value !== null));
    const top = ceiling(Math.max(this.floor, this.limit ?? 0, ...known));
    const span = Math.max(SPAN_MS_MIN, now - this.points[0].now);
    const x = (time) => LEFT + (WIDTH - 2 * LEFT) * (1 - (now - time) / span);
    const y = (value) => TOP + (HEIGHT - TOP - BOTTOM) * (1 - value / top);
    const parts = [];
    const words = []; // above the lines, or a line would run through them
    const limit = this.limit === null ? -HEIGHT : y(this.limit);
    for (const share of [0, 0.5, 1]) {
      parts.push(s("line", { class: "grid", x1: LEFT, x2: WIDTH - LEFT, y1: y(share * top), y2: y(share * top) }));
      const free = limit > y(share * top) + 2 || limit < y(share * top) - WORD; // else the limit's line runs through it
      if (share > 0 && free) words.push(s("text", { class: "tick", x: LEFT, y: y(share * top) - 4 }, this.format(share * top)));
    }
    for (const share of [1, 2 / 3, 1 / 3, 0]) {
      const anchor = share === 1 ? "start" : share === 0 ? "end" : "middle";
      parts.push(s("text", { class: "tick", x: x(now - share * span), y: HEIGHT - 6, "text-anchor": anchor }, share ? t("ops.ago", { clock: clock(share * span) }) : t("ops.now")));
    }
    if (this.limit !== null) {
      parts.push(s("line", { class: "limit", x1: LEFT, x2: WIDTH - LEFT, y1: limit, y2: limit }));
      words.push(s("text", { class: "tick limit-text", x: WIDTH - LEFT, y: limit - 4, "text-anchor": "end" }, t("ops.limit", { value: this.format(this.limit) })));
    }
    this.lines.forEach((line, index) => {
      let path = "";
      let pen = false;
      for (const { now: time, values } of this.points) {
        if (values[index] === null) { pen = false; continue; }
        path += `${pen ? "L" : "M"}${x(time).toFixed(1)} ${y(values[index]).toFixed(1)}`;
        pen = true;
      }
      if (path) parts.push(s("path", { class: `line line-${index}`, d: path }));
    });
    this.plot.replaceChildren(...parts, ...words);
    const last = this.points.at(-1).values;
    const told = (value) => (value === null ? "–" : this.format(value));
    const lead = last.find((value) => value !== null) ?? null;
    this.big.textContent = told(lead);
    this.big.classList.toggle("over", this.limit !== null && lead !== null && lead > this.limit);
    this.legend.replaceChildren(...(this.lines.length > 1 ? this.lines.map((line, index) => h("li", {}, h("span", { class: `key key-${index}` }), line.text, h("strong", { text: told(last[index]) }))) : []));
    this.plot.setAttribute("aria-label", `${this.heading}: ${this.lines.map((line, index) => `${line.text} ${told(last[index])}`).join(", ")}`);
  }
});
