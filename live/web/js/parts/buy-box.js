/* <buy-box>: variant, price, stock and the one button, for the pinned card and for the list. */
import { h, icon, keyed } from "../dom.js";
import { clock, t } from "../i18n.js";
import { noteNodes, priceFacts, priceNodes } from "../prices.js";
import { available, lineOf } from "../store.js";

const FEW = 10;

customElements.define("buy-box", class extends HTMLElement {
  #choices = new Map(); // by SKU: a price that changes leaves the focus where it is

  /** `scope` makes test ids: "" on the pinned card, "-<product id>" in the list. */
  connect({ store, buying, scope = "" }) {
    Object.assign(this, { store, buying, scope });
    this.facts = h("div", { class: "buy-facts" });
    this.variants = h("div", { class: "variants", role: "group", "aria-label": t("buy.variant") });
    this.stock = h("span", { class: "stock", "data-testid": `stock${scope}` });
    this.price = h("span", { class: "buy-price" });
    this.notes = h("p", { class: "buy-notes tiny muted", "data-testid": `price-notes${scope}` });
    this.facts.append(this.price, this.stock);
    this.main = h("button", { class: "button primary buy-main", type: "button", "data-testid": `add-to-cart${scope}`, onclick: () => this.#tap() });
    this.out = h("p", { class: "sold-out", "data-testid": `sold-out${scope}`, hidden: true, text: t("buy.soldOut") });
    this.count = h("output", { "data-testid": `quantity${scope}` });
    this.fewer = h("button", { class: "button icon", type: "button", "aria-label": t("cart.fewer"), onclick: () => this.#step(-1) }, icon("minus"));
    this.greater = h("button", { class: "button icon", type: "button", "aria-label": t("cart.greater"), onclick: () => this.#step(1) }, icon("plus"));
    this.stepper = h("div", { class: "stepper", hidden: true, role: "group", "aria-label": t("cart.quantity") }, this.fewer, this.count, this.greater);
    this.append(this.facts, this.notes, this.variants, h("div", { class: "buy-action" }, this.main, this.out, this.stepper));
    store.watch(["stock", "cart", "status", "ships", "drops", "places"], () => this.update());
    buying.addEventListener("change", () => this.update());
    buying.addEventListener("tick", () => this.update());
  }

  set product(product) {
    const same = this.item?.id === product.id;
    this.item = product;
    if (!same || !product.variants.some((variant) => variant.sku === this.sku)) {
      const first = product.variants.find((variant) => available(this.store.state, product, variant.sku) > 0);
      this.sku = (first ?? product.variants[0]).sku;
    }
    this.variants.hidden = product.variants.length < 2;
    const choice = ({ id }) => ({ row: h("button", { class: "variant", type: "button", data: { sku: id }, onclick: () => { this.sku = id; this.update(); } }) });
    keyed(this.variants, this.#choices, product.variants.map(({ sku, title }) => ({ id: sku, title })), choice, ({ row }, { title }) => { row.textContent = title; });
    this.update();
  }

  update() {
    if (!this.item || !this.isConnected) return;
    const { state } = this.store;
    const variant = this.item.variants.find((other) => other.sku === this.sku);
    const drop = state.drops[this.sku];
    const left = Math.min(available(state, this.item, this.sku), drop?.left ?? Infinity);
    const line = lineOf(state, this.sku);
    const say = this.#waiting(drop, left === 0) ?? { blocked: drop?.opens_at_ms > this.store.now() };
    this.#price(variant);
    for (const button of this.variants.children) {
      const none = available(state, this.item, button.dataset.sku) === 0;
      button.setAttribute("aria-pressed", String(button.dataset.sku === this.sku));
      button.classList.toggle("none", none);
    }
    this.stock.dataset.available = left;
    this.stock.textContent = left > 0 ? t("buy.left", { count: left }) : line ? t("buy.last") : t("buy.soldOut");
    this.stock.className = `stock${left === 0 && !line ? " none" : left <= FEW ? " few" : ""}`;
    const out = (left === 0 || say.over) && !line;
    if (out) this.out.textContent = t(say.over ? "buy.over" : say.taken ? "buy.taken" : "buy.soldOut");
    this.out.hidden = !out;
    this.stock.hidden = out; // said once is enough
    this.main.hidden = out;
    this.stepper.hidden = !line;
    this.main.classList.toggle("held", line !== null);
    const busy = this.buying.busy(this.sku);
    this.main.setAttribute("aria-disabled", String((busy || say.blocked) && !line));
    const label = line ? t("buy.inCart", { clock: clock(this.buying.left(line)) }) : say.label ?? t("buy.add");
    if (this.main.textContent !== label) this.main.replaceChildren(...(line ? [icon("check"), h("span", { text: label })] : [label]));
    this.main.dataset.state = line ? "held" : "add";
    this.fewer.disabled = busy;
    this.greater.disabled = busy || left === 0 || Boolean(say.over) || line?.quantity >= say.most;
    this.count.textContent = line?.quantity ?? 0;
  }

  /** What a drop or the waitlist has to say: null while there is nothing, and until its code is here. */
  #waiting(drop, out) {
    if (!this.more && (drop || out || this.store.state.places[this.sku])) {
      this.more = import("./waiting-box.js").then(({ WaitingBox }) => WaitingBox.create(this)).then((box) => { this.box = box; this.update(); }, () => { this.more = null; });
    }
    return this.box?.update() ?? null;
  }

  #price(variant) {
    const facts = priceFacts(variant, this.item.currency);
    const ships = this.store.state.ships.includes(this.item.currency);
    const stamp = JSON.stringify([facts, ships]);
    if (this.stamp === stamp) return;
    this.stamp = stamp;
    this.price.replaceChildren(...priceNodes(facts, `price${this.scope}`));
    this.notes.replaceChildren(...noteNodes(facts, ships));
  }

  #tap() {
    if (lineOf(this.store.state, this.sku)) return this.dispatchEvent(new CustomEvent("opencart", { bubbles: true }));
    if (this.main.getAttribute("aria-disabled") === "true") return undefined;
    const { price_minor: price } = this.item.variants.find((variant) => variant.sku === this.sku);
    return this.buying.add(this.sku, { from: this.main, price });
  }

  async #step(by) {
    const line = lineOf(this.store.state, this.sku);
    if (!line) return;
    await this.buying.change(this.sku, line.quantity + by);
    if (this.stepper.hidden) this.main.focus(); // the pressed button is gone
  }
});
