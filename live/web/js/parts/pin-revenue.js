/* <pin-revenue>: what each pin sold, as bars and as a table. Asked for while it is open, and again when orders come. */
import { h, icon, s } from "../dom.js";
import { clock, money, number, percent, problemText, t } from "../i18n.js";
import { barsOf, currencyOf, rowsOf } from "../revenue.js";

const AGAIN_MS = 3000; // orders of a drop come in hundreds a second
const [WIDTH, ROW, BAR, WORD] = [320, 46, 10, 18];
const GAP = ROW - WORD - 6 - BAR; // between a bar and the next name
const CHARS_MAX = 27; // of a name beside its amount, at this width

const short = (text) => (text.length > CHARS_MAX ? `${text.slice(0, CHARS_MAX - 1).trimEnd()}…` : text);

customElements.define("pin-revenue", class extends HTMLElement {
  #asked = 0;
  #timer = 0;
  #asking = false;
  #again = false;

  connect({ store, show, token }) {
    Object.assign(this, { store, token, url: `/api/shows/${encodeURIComponent(show)}/revenue` });
    this.note = h("p", { class: "small muted", text: t("sales.loading") });
    this.error = h("div", { class: "notice bad", hidden: true, role: "alert", "data-testid": "sales-error" });
    this.plot = s("svg", { class: "bars", role: "img" });
    this.total = h("p", { class: "row sales-total" });
    this.rows = h("tbody");
    const head = ["pin", "units", "conversion", "revenue"].map((name) => h("th", { scope: "col", text: t(`sales.${name}`) }));
    this.table = h("details", { class: "sales-table" }, h("summary", { class: "small", text: t("sales.table") }),
      h("div", { class: "sales-wide", tabindex: "0", role: "region", "aria-label": t("sales.title") }, h("table", { class: "layers", "data-testid": "sales-table" }, h("caption", { class: "visually-hidden", text: t("sales.title") }), h("thead", {}, h("tr", {}, head)), this.rows)));
    this.details = h("details", { class: "card fold", "data-testid": "sales", ontoggle: () => this.#soon() },
      h("summary", { text: t("sales.title") }),
      h("div", { class: "stack fold-body" }, this.error, this.note, this.plot, this.total, this.table));
    this.append(this.details);
    this.#hide(true);
    store.watch(["figures", "pin"], (state, before) => {
      const same = state.figures?.orders === before.figures?.orders && state.figures?.revenue_minor === before.figures?.revenue_minor && state.pin?.pin_id === before.pin?.pin_id;
      if (!same) this.#soon();
    });
  }

  #hide(hidden) {
    for (const part of [this.plot, this.total, this.table]) part.toggleAttribute("hidden", hidden);
  }

  /** At most once in three seconds, and not while nobody looks. */
  #soon() {
    clearTimeout(this.#timer);
    if (this.details.open) this.#timer = setTimeout(() => this.#ask(), Math.max(0, this.#asked + AGAIN_MS - Date.now()));
  }

  async #ask() {
    if (this.#asking) {
      this.#again = true;
      return;
    }
    this.#asking = true;
    this.#again = false;
    this.#asked = Date.now();
    try {
      const answer = await fetch(this.url, { headers: { Authorization: `Bearer ${this.token()}` } });
      const body = await answer.json();
      if (!answer.ok) throw body;
      this.error.hidden = true;
      this.#draw(body);
    } catch (problem) {
      this.note.hidden = true;
      this.error.replaceChildren(icon("warn"), h("div", {}, h("p", { text: problemText(problem.name && problem.code ? problem : { name: "disconnected" }) }),
        h("button", { class: "button text", type: "button", text: t("sales.again"), "data-testid": "sales-again", onclick: () => this.#ask() })));
      this.error.hidden = false;
    } finally {
      this.#asking = false;
      if (this.#again) this.#soon();
    }
  }

  #draw(report) {
    const currency = currencyOf(report);
    const rows = rowsOf(report);
    const bars = currency ? barsOf(rows, currency) : [];
    this.#hide(rows.length === 0);
    this.plot.toggleAttribute("hidden", bars.length === 0);
    this.total.toggleAttribute("hidden", currency === null);
    const left = rows.filter((row) => row.currency === currency && row.gross > 0).length - bars.length;
    this.note.hidden = bars.length > 0 && left === 0;
    this.note.textContent = bars.length ? t("sales.best", { count: bars.length }) : t("sales.empty");
    this.total.replaceChildren(h("span", { text: t("sales.orders", { count: report.total.orders }) }),
      h("span", { class: "push" }, report.total.revenue.map((one, index) => h("strong", { text: `${index ? " + " : ""}${money(one.kept_minor, one.currency)}` }))));
    this.#bars(bars, report.total.orders);
    this.rows.replaceChildren(...rows.map((row) => this.#line(row)));
  }

  #name({ kind, sold }) {
    return kind === "pin" ? sold.title ?? t("sales.gone") : t(`sales.${kind}`);
  }

  #when({ kind, sold }) {
    if (kind !== "pin") return "";
    if (sold.to_ms === null) return t("sales.now");
    return sold.from_ms > 0 ? t("sales.at", { clock: clock(sold.from_ms) }) : ""; // before the show went on air
  }

  #bars(bars, orders) {
    const most = Math.max(1, ...bars.map(({ gross }) => gross));
    const wide = (minor) => Math.max(0, (WIDTH * minor) / most);
    this.plot.setAttribute("viewBox", `0 0 ${WIDTH} ${Math.max(1, bars.length) * ROW - GAP}`);
    this.plot.setAttribute("aria-label", t("sales.told", { count: orders, best: bars.map((row) => `${this.#name(row)} ${money(row.kept, row.currency)}`).join(", ") }));
    this.plot.replaceChildren(...bars.flatMap((row, index) => {
      const y = index * ROW;
      const bar = (name, width) => s("rect", { class: `${name}${row.kind === "pin" ? "" : " other"}`, x: 0, y: y + WORD + 6, width: width.toFixed(1), height: BAR, rx: 3 });
      const when = this.#when(row);
      return [
        s("text", { class: "bar-name", x: 0, y: y + WORD - 2 }, short(this.#name(row)), ...(when ? [s("tspan", { class: "bar-when", dx: 6 }, when)] : [])),
        s("text", { class: "bar-sum", x: WIDTH, y: y + WORD - 2, "text-anchor": "end" }, money(row.kept, row.currency)),
        ...(row.off > 0 ? [bar("bar off", wide(row.gross))] : []),
        ...(row.kept > 0 ? [bar("bar", Math.max(2, wide(row.kept)))] : []),
      ];
    }));
  }

  #line(row) {
    const { sold } = row;
    const cell = (text) => h("td", { text });
    const when = this.#when(row);
    const off = row.off > 0 && row.gross > 0 ? h("span", { class: "tiny muted sales-off", text: t("sales.off", { amount: money(row.off, row.currency) }) }) : null;
    return h("tr", {}, h("th", { scope: "row" }, this.#name(row), when ? h("span", { class: "tiny muted sales-when", text: when }) : null),
      cell(sold ? number(sold.units_ordered - sold.units_back) : "–"), cell(sold?.conversion_bp == null ? "–" : percent(sold.conversion_bp / 10_000)),
      h("td", {}, row.currency ? money(row.kept, row.currency) : "–", off));
  }
});
