/* What a shopper can do with the cart; the components only show it. */
import { announce, calm, h, icon, toast } from "../dom.js";
import { clock, problemText, t } from "../i18n.js";
import { lineOf } from "../store.js";

export const WARN_MS = 60_000;

export class Buying extends EventTarget {
  #final = new Set(); // holds that cannot be extended any more
  #busy = new Map();

  constructor(store, socket) {
    super();
    Object.assign(this, { store, socket });
    setInterval(() => this.#tick(), 1000);
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
    const done = await this.#run(sku, "cart.add", { sku, quantity: 1, ...(price !== null && { price_minor: price }) }, from);
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

  /** The lines whose time is nearly over. */
  ending() {
    return this.store.state.cart.lines.filter((line) => this.left(line) > 0 && this.left(line) <= WARN_MS);
  }

  /** Whether any of them can be held for longer. */
  extendable() {
    return this.ending().some((line) => !this.#final.has(line.hold_id));
  }

  /** Holds them for a full time again; resolves to the milliseconds that are left then, 0 when none was extended. */
  async extend() {
    let left = 0;
    for (const { sku } of this.ending()) if (await this.#run(sku, "cart.extend", { sku })) left = this.left(lineOf(this.store.state, sku));
    return left;
  }

  /** Resolves to the order; rejects with a problem. */
  async checkout(details) {
    const { order } = await this.socket.command("cart.checkout", details);
    this.store.dispatch({ type: "cart", cart: { lines: [], total_minor: 0, currency: order.currency ?? "" } });
    return order;
  }

  /** What the server says is in the cart. */
  async refresh() {
    const { cart } = await this.socket.command("cart.get", {}, { key: null });
    this.store.dispatch({ type: "cart", cart });
    return cart;
  }

  /** One change of a line at a time: a second tap waits for the first one's answer. */
  async #run(sku, name, data, from = null) {
    if (this.#busy.has(sku)) return false;
    this.#busy.set(sku, name);
    this.#told();
    try {
      const { cart } = await this.socket.command(name, data);
      this.store.dispatch({ type: "cart", cart });
      return true;
    } catch (problem) {
      if (problem.name === "hold_final") this.#final.add(lineOf(this.store.state, sku)?.hold_id);
      if (problem.name === "price_changed") (await import("./price-changed.js")).priceChanged(problem, { store: this.store, buying: this, from });
      else toast(problemText(problem));
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
