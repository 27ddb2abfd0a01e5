/* What a shopper can do with the cart; the components only show it. */
import { announce, calm, h, icon, toast } from "../dom.js";
import { clock, problemText, t } from "../i18n.js";
import { lineOf } from "../store.js";

const WARN_MS = 60_000;

export class Buying extends EventTarget {
  #warned = new Set();
  #busy = new Map();

  constructor(store, socket) {
    super();
    Object.assign(this, { store, socket });
    setInterval(() => this.#tick(), 1000);
    store.watch(["expired"], (state, before) => this.#expired(state, before));
  }

  /** Milliseconds until the line's hold ends. */
  left(line) {
    return line.expires_at_ms - this.store.now();
  }

  busy(sku) {
    return this.#busy.has(sku);
  }

  /** `price` is what the viewer saw (null: not said); another one is refused, never charged. */
  async add(sku, { from = null, price = null } = {}) {
    const done = await this.#run(sku, "cart.add", { sku, quantity: 1, ...(price !== null && { price_minor: price }) });
    if (!done) return false;
    this.store.dispatch({ type: "forgive", sku });
    const line = lineOf(this.store.state, sku);
    if (line) announce(t("cart.added", { title: line.title, clock: clock(this.left(line)) }));
    if (from) fly(from);
    return true;
  }

  change(sku, quantity) {
    return quantity > 0 ? this.#run(sku, "cart.change", { sku, quantity }) : this.remove(sku);
  }

  remove(sku) {
    return this.#run(sku, "cart.remove", { sku });
  }

  /** Resolves to the order; rejects with a problem. */
  async checkout(details) {
    const { order } = await this.socket.command("cart.checkout", details);
    this.store.dispatch({ type: "cart", cart: { lines: [], total_minor: 0, currency: order.currency ?? "" } });
    return order;
  }

  /** One change of a line at a time: a second tap waits for the first one's answer. */
  async #run(sku, name, data) {
    if (this.#busy.has(sku)) return false;
    this.#busy.set(sku, name);
    this.#told();
    try {
      const { cart } = await this.socket.command(name, data);
      this.store.dispatch({ type: "cart", cart });
      return true;
    } catch (problem) {
      toast(problemText(problem));
      return false;
    } finally {
      this.#busy.delete(sku);
      this.#told();
    }
  }

  #told() {
    this.dispatchEvent(new Event("change"));
  }

  #tick() {
    const { lines } = this.store.state.cart;
    if (!lines.length) return;
    this.dispatchEvent(new Event("tick"));
    for (const line of lines) {
      if (this.left(line) > WARN_MS || this.#warned.has(line.hold_id) || this.left(line) <= 0) continue;
      this.#warned.add(line.hold_id);
      const text = t("cart.warning", { title: line.title });
      announce(text, true);
      toast(text, { text: t("cart.toCheckout"), run: () => document.dispatchEvent(new Event("opencart")) });
    }
  }

  #expired(state, before) {
    for (const line of state.expired) {
      if (before.expired.includes(line)) continue;
      const text = t("cart.expired", { title: line.title });
      announce(text, true);
      toast(text, { text: t("cart.again"), run: () => this.add(line.sku) });
    }
  }
}

/** A small basket on its way from the button to the cart. */
function fly(from) {
  const target = [...document.querySelectorAll("[data-cart]")].find((element) => element.offsetParent !== null);
  if (!target || calm()) return;
  const [start, end] = [from.getBoundingClientRect(), target.getBoundingClientRect()];
  const basket = h("div", { class: "basket", "aria-hidden": "true" }, icon("cart"));
  document.body.append(basket);
  const at = (box, scale) => `translate(${box.left + box.width / 2 - 16}px, ${box.top + box.height / 2 - 16}px) scale(${scale})`;
  basket.animate([{ transform: at(start, 1.2), opacity: 1 }, { transform: at(end, 0.6), opacity: 0.6 }], { duration: 200, easing: "ease-in" })
    .finished.finally(() => basket.remove());
}
