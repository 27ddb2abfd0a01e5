/* <live-price>: a price for what is pinned, started and ended with one click, and what viewers see of it now. */
import { announce, h, icon } from "../dom.js";
import { money, percent, problemText, t } from "../i18n.js";
import { priceFacts, priceNodes, priceNotes } from "../prices.js";
import { readBid, running } from "../bids.js";
import { newKey } from "../wire.js";
import { field } from "./field.js";

const OFFERED_BP = [1000, 2000, 3000];

customElements.define("live-price", class extends HTMLElement {
  #busy = false;

  connect({ store, show, token }) {
    Object.assign(this, { store, token, url: `/api/shows/${encodeURIComponent(show)}/live-price` });
    this.setAttribute("role", "region");
    this.setAttribute("aria-label", t("deal.title"));
    this.none = h("p", { class: "small muted deal-none", text: t("deal.none"), "data-testid": "live-price-none" });
    this.seen = h("p", { class: "deal-seen", "data-testid": "live-price-seen" });
    this.notes = h("p", { class: "tiny muted deal-notes" });
    this.quick = h("div", { class: "deal-quick", role: "group", "aria-label": t("deal.off") }, OFFERED_BP.map((bp) =>
      h("button", { class: "button outline", type: "button", text: percent(-bp / 10_000), "data-testid": `live-price-${bp / 100}`, onclick: () => this.#start({ off_bp: bp }) })));
    this.bid = field("live-price-bid", t("deal.bid"), { autocomplete: "off", inputmode: "decimal", maxlength: "14", placeholder: t("deal.hint") });
    this.go = h("button", { class: "button outline", type: "submit", text: t("deal.start"), "data-testid": "live-price-start" });
    this.bid.element.querySelector("label").className = "visually-hidden";
    this.form = h("form", { class: "deal-form", novalidate: true, onsubmit: (event) => this.#typed(event) }, this.quick, this.bid.element, this.go);
    this.stop = h("button", { class: "button danger", type: "button", "data-testid": "live-price-stop", onclick: () => this.#stop() }, icon("stop"), h("span", { text: t("deal.stop") }));
    this.error = h("p", { class: "error", role: "alert", "data-testid": "live-price-error" });
    this.box = h("div", { class: "deal-box" }, h("div", { class: "grow" }, h("p", { class: "tiny muted deal-eyebrow", text: t("deal.seen") }), this.seen, this.notes), this.stop);
    this.append(this.none, this.box, this.form, this.error);
    store.watch(["pin"], (state, before) => this.#render(state.pin, before.pin));
  }

  #render(pin, before) {
    const product = pin?.product;
    this.none.hidden = Boolean(pin);
    this.box.hidden = !pin;
    for (const control of this.form.querySelectorAll("button, input")) control.disabled = !pin; // and not away, or the rows would jump under the pointer
    if (before?.pin_id !== pin?.pin_id) this.#say(""), this.bid.tell(""), this.bid.input.value = "";
    if (!pin) return;
    const live = running(product);
    const facts = priceFacts(live ?? product.variants[0], product.currency);
    this.seen.replaceChildren(...priceNodes(facts));
    this.notes.textContent = priceNotes(facts);
    const focused = document.activeElement === this.stop;
    this.stop.hidden = !live;
    if (focused && !live) this.quick.firstChild.focus();
    const was = running(before?.product);
    if (before?.pin_id === pin.pin_id && Boolean(was) !== Boolean(live)) announce(t(live ? "deal.on" : "deal.over", { title: product.title, price: facts.now }));
  }

  #typed(event) {
    event.preventDefault();
    const { currency } = this.store.state.pin.product;
    const places = new Intl.NumberFormat("en", { style: "currency", currency }).resolvedOptions().maximumFractionDigits;
    const bid = readBid(this.bid.input.value, places);
    if (bid) return this.#start(bid);
    this.bid.tell(t("deal.wrong", { example: money(1599, currency) }));
    return this.bid.input.focus();
  }

  async #start(bid) {
    if (await this.#ask("POST", bid)) this.bid.input.value = "";
  }

  #stop() {
    return this.#ask("DELETE");
  }

  /** One request at a time; a second click waits for the first one's answer. */
  async #ask(method, body = null) {
    if (this.#busy) return false;
    this.#busy = true;
    this.#say("");
    this.bid.tell("");
    try {
      const headers = { Authorization: `Bearer ${this.token()}`, "Idempotency-Key": newKey(), ...(body && { "Content-Type": "application/json" }) };
      const answer = await fetch(this.url, { method, headers, ...(body && { body: JSON.stringify(body) }) }).catch(() => null);
      if (answer?.ok) return true;
      const problem = answer ? await answer.json().catch(() => ({ name: "internal" })) : { name: "disconnected" };
      this.#say(problem.name === "invalid_field" ? t("deal.cheaper") : problemText(problem));
      return false;
    } finally {
      this.#busy = false;
    }
  }

  #say(text) {
    this.error.textContent = text;
  }
});
