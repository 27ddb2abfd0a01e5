/* <show-cover>: what stands in the picture's place while there is none. */
import { h, icon } from "../dom.js";
import { clock, moment, t, has } from "../i18n.js";
import { cover } from "../store.js";

const PATIENCE_MS = 700; // a page that connects at once must not flash a slate

customElements.define("show-cover", class extends HTMLElement {
  connect(store) {
    this.store = store;
    this.setAttribute("role", "status");
    store.watch(["status", "reason", "show"], () => this.#render());
    setTimeout(() => { this.late = true; this.#render(); }, PATIENCE_MS);
  }

  #render() {
    const { store } = this;
    const kind = cover(store.state);
    const shown = kind === "connecting" && !this.late ? "blank" : kind;
    const { show } = store.state;
    const stamp = `${shown} ${show?.scheduled_at_ms} ${show?.title}`;
    if (stamp === this.stamp) return;
    this.stamp = stamp;
    clearInterval(this.timer);
    this.hidden = shown === null;
    this.dataset.kind = shown ?? "";
    this.dataset.testid = `cover-${shown}`;
    document.body.dataset.cover = shown ?? "";
    if (shown === null || shown === "blank") return this.replaceChildren();
    const parts = [h("img", { class: "cover-mark", src: "/static/pictures/favicon.svg", alt: "", width: 56, height: 56 })];
    const planned = shown === "before" && show.scheduled_at_ms;
    parts.push(h(show ? "h2" : "h1", { text: t(planned ? "cover.before.planned" : `cover.${shown}`) }));
    if (planned) parts.push(...this.#countdown(show));
    else if (has(`cover.${shown}.more`)) parts.push(h("p", { text: t(`cover.${shown}.more`) }));
    if (shown === "refused") parts.push(h("button", { class: "button primary", type: "button", text: t("cover.reload"), onclick: () => location.reload() }));
    if (shown === "unknown" || shown === "refused") parts.push(h("a", { class: `button${shown === "unknown" ? " primary" : ""}`, href: "/", text: t("cover.home") }));
    this.replaceChildren(h("div", { class: "cover-box" }, parts));
  }

  #countdown(show) {
    const left = h("p", { class: "cover-clock", role: "timer", "data-testid": "countdown" });
    const tick = () => {
      const ms = show.scheduled_at_ms - this.store.now();
      const days = Math.floor(ms / 86_400_000);
      left.textContent = ms <= 0 ? t("cover.before.now") : days > 0 ? t("cover.before.days", { count: days, clock: clock(ms % 86_400_000) }) : clock(ms);
    };
    tick();
    this.timer = setInterval(tick, 1000);
    const when = h("p", { text: moment(show.scheduled_at_ms) });
    const calendar = h("button", { class: "button", type: "button", onclick: async () => (await import("./calendar.js")).save(show) }, icon("calendar"), t("cover.before.calendar"));
    return [left, when, calendar];
  }
});
