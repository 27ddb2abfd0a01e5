/* What a shopper can do with the cart; the components only show it. */
import { announce, calm } from "../dom.js";
import { clock, errorTexts, problemText, t } from "../i18n.js";
import { lineOf } from "../store.js";

async function refused(problem) {
  const [{ toast }] = await Promise.all([import("../toast.js"), errorTexts()]);
  toast(problemText(problem));
}

export class Buying extends EventTarget {
  handedUntilMs = 0; // a cart that was handed over is kept so long
  final = new Set(); // holds that cannot be extended any more
  #busy = new Map();

  constructor(store, socket) {
    super();
    Object.assign(this, { store, socket });
    setInterval(() => this.#tick(), 1000);
  }

  /** Milliseconds until the line's hold ends. */
  left(line) {
    return Math.max(line.expires_at_ms, this.handedUntilMs) - this.store.now();
  }

  busy(sku) {
    return this.#busy.has(sku);
  }

  /** `price` is what the viewer saw (null: not said); another one is refused, never charged. */
  async add(sku, { from = null, price = null } = {}) {
    const done = await this.run(sku, "cart.add", { sku, quantity: 1, ...(price !== null && { price_minor: price }) }, from);
    if (!done) return false;
    this.store.dispatch({ type: "forgive", sku });
    const line = lineOf(this.store.state, sku);
    if (line) announce(t("cart.added", { title: line.title, clock: clock(this.left(line)) }));
    if (from && !calm()) import("./fly.js").then(({ fly }) => fly(from), () => {}); // an ornament
    return true;
  }

  change(sku, quantity) {
    return quantity > 0 ? this.run(sku, "cart.change", { sku, quantity }) : this.remove(sku);
  }

  remove(sku) {
    return this.run(sku, "cart.remove", { sku });
  }

  /** One change of a line at a time: a second tap waits for the first one's answer. */
  async run(sku, name, data, from = null) {
    if (this.#busy.has(sku)) return false;
    this.#busy.set(sku, name);
    this.#told();
    try {
      const { cart } = await this.socket.command(name, data);
      this.store.dispatch({ type: "cart", cart });
      return true;
    } catch (problem) {
      if (problem.name === "hold_final") this.final.add(lineOf(this.store.state, sku)?.hold_id);
      if (problem.name === "price_changed") (await import("./price-changed.js")).priceChanged(problem, { store: this.store, buying: this, from });
      else await refused(problem);
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
