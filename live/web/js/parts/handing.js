/* The hand-off: the order goes on at the shop's own check-out, in another tab; here it says so, and the cart can be taken back. */
import { h, icon } from "../dom.js";
import { clock, errorTexts, money, problemText, t } from "../i18n.js";

const KEPT = "showcart.handoff"; // for this tab: a reload must not lose the way back

export class Handing {
  #timer = 0;
  #busy = false;

  /** `onBack` is told when the cart is here again, or the time is over. */
  constructor({ buying, onBack }) {
    Object.assign(this, { buying, onBack, link: null });
    this.words = h("p", { class: "small muted" });
    this.time = h("p", { class: "small muted", "data-testid": "handoff-left" });
    this.go = h("a", { class: "button primary wide", target: "_blank", rel: "noopener", "data-testid": "handoff-link" });
    this.error = h("p", { class: "error", role: "alert" });
    this.back = h("button", { class: "button quiet wide", type: "button", text: t("handoff.back"), "data-testid": "handoff-back", onclick: () => this.#back() });
    this.element = h("div", { class: "sheet-step", tabindex: "-1" },
      h("div", { class: "sheet-scroll" }, h("div", { class: "confirmation", role: "status" }, h("span", { class: "confirmation-mark" }, icon("cart")), h("h3", { text: t("handoff.title") }), this.words, this.time)),
      h("footer", { class: "sheet-foot" }, this.error, this.go, this.back));
  }

  /** Hands the cart over; true: its order goes on elsewhere; false: this shop has its check-out here. Rejects with a problem. */
  async open(cart) {
    try {
      const { handoff } = await this.buying.socket.command("cart.handoff", { total_minor: cart.total_minor });
      this.#show(handoff);
      const tab = window.open(handoff.url, "_blank");
      if (tab) tab.opener = null;
      this.words.textContent = t(tab ? "handoff.more" : "handoff.tap"); // browsers may keep tabs from opening
      return true;
    } catch (problem) {
      if (["handoff_off", "unknown_command"].includes(problem.name)) return false;
      throw problem;
    }
  }

  /** Whether a hand-off of before a reload still runs; it is shown then. */
  resume() {
    const link = JSON.parse(sessionStorage.getItem(KEPT) ?? "null");
    if (!link || link.show !== this.buying.store.state.show?.id || link.expires_at_ms <= this.buying.store.now()) return false;
    this.#show(link);
    return true;
  }

  #show(link) {
    this.link = link;
    this.buying.handedUntilMs = link.expires_at_ms;
    sessionStorage.setItem(KEPT, JSON.stringify({ ...link, show: this.buying.store.state.show.id }));
    this.go.href = link.url;
    this.go.textContent = t("handoff.go", { total: money(link.total_minor, link.currency) });
    this.words.textContent = t("handoff.tap");
    this.error.textContent = "";
    clearInterval(this.#timer);
    this.#timer = setInterval(() => this.#tick(), 1000);
    this.#tick();
  }

  #tick() {
    const left = this.link.expires_at_ms - this.buying.store.now();
    if (left <= 0) return this.end();
    this.time.textContent = t("handoff.left", { clock: clock(left) });
  }

  /** It is over: sold, taken back, or too late. */
  end() {
    if (!this.link) return;
    this.link = null;
    this.buying.handedUntilMs = 0;
    clearInterval(this.#timer);
    sessionStorage.removeItem(KEPT);
    this.onBack();
  }

  async #back() {
    if (this.#busy) return;
    this.#busy = true;
    try {
      const { cart } = await this.buying.socket.command("cart.take_back", {});
      this.buying.store.dispatch({ type: "cart", cart });
      this.end();
    } catch (problem) {
      await errorTexts();
      this.error.textContent = problemText(problem);
    } finally {
      this.#busy = false;
    }
  }
}
