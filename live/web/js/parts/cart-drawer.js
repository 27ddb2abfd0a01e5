/*
 * <cart-drawer>: a bottom sheet on a phone, a side sheet on a wide screen; the video plays on.
 * It comes after the first paint and brings its style sheet; `connect` resolves when that has arrived.
 */
import { announce, h, icon, styled } from "../dom.js";
import "../icons.js";
import { clock, errorTexts, money, problemText, t } from "../i18n.js";
import { available } from "../store.js";
import { EndingNotice, tellOfHolds } from "./holds.js";
import { refresh } from "./holding.js";
import { noteNodes } from "../prices.js";
import { toast } from "../toast.js";
import { CheckoutForm, confirmation, sumList } from "./checkout-form.js";
import { CouponField } from "./coupon-field.js";
import { Handing } from "./handing.js";
import { hintText, lineMinor, sumRows, taxNote } from "../sums.js";

const SOON_MS = 60_000;
const TITLES = { cart: "cart.title", checkout: "checkout.title", handoff: "checkout.title", done: "order.title" };

/** What a unit of a line costs on screen now; null: it is not on screen. */
function priceNow({ lineup, pin }, { product_id: id, sku }) {
  const product = pin?.product.id === id ? pin.product : lineup.find((one) => one.id === id);
  return product?.variants.find((variant) => variant.sku === sku)?.price_minor ?? null;
}

customElements.define("cart-drawer", class extends HTMLElement {
  #lines = new Map();

  async connect({ store, buying }) {
    Object.assign(this, { store, buying });
    await styled("/static/css/cart.css");
    this.heading = h("h2", { id: "cart-title", text: t("cart.title") });
    this.body = h("div", { class: "sheet-body" });
    this.ending = new EndingNotice(buying);
    this.dialog = h("dialog", { class: "sheet", "aria-labelledby": "cart-title", "data-testid": "cart-drawer" },
      h("header", { class: "sheet-head" }, this.heading, h("button", { class: "button icon quiet push", type: "button", "aria-label": t("cart.close"), "data-testid": "cart-close", onclick: () => this.dialog.close() }, icon("close"))),
      this.ending.element, this.body);
    this.dialog.addEventListener("click", (event) => { if (event.target === this.dialog) this.dialog.close(); });
    this.dialog.addEventListener("close", () => this.#closed());
    this.append(this.dialog);
    this.#buildCart();
    this.form = new CheckoutForm({ buying, onOrder: (order) => this.#ordered(order), onBack: () => { this.#step("cart"); this.toCheckout.focus(); } });
    this.handing = new Handing({ buying, onBack: () => { if (this.step === "handoff") this.#step("cart"), this.dialog.querySelector("button").focus(); } });
    this.#step("cart");
    store.watch(["cart"], (state, before, message) => {
      if (message?.type === "notice" && message.data.reason === "ordered" && this.handing.link) this.#sold();
    });
    const known = store.watch(["show"], (state) => {
      if (!state.show) return;
      setTimeout(() => known());
      if (state.cart.lines.length && this.handing.resume()) this.#step("handoff");
    });
    store.watch(["cart", "expired", "stock", "lineup", "pin", "ships"], () => this.#render());
    buying.addEventListener("change", () => this.#render());
    buying.addEventListener("tick", () => this.#countdowns());
    tellOfHolds({ store, buying, open: () => this.open() });
  }

  open() {
    if (this.dialog.open) return;
    this.#countdowns();
    document.body.classList.add("sheet-open");
    this.dialog.showModal();
    if (this.store.state.cart.lines.length) refresh(this.buying).catch(() => {}); // discounts may have ended meanwhile; without a connection the cart stays as it was
  }

  /** At the shop's own check-out, where it has one; else here. */
  async #checkOut() {
    if (this.toCheckout.getAttribute("aria-disabled")) return;
    this.toCheckout.setAttribute("aria-disabled", "true");
    try {
      this.elsewhere = this.elsewhere !== false && await this.handing.open(this.store.state.cart);
      this.#step(this.elsewhere ? "handoff" : "checkout");
      (this.elsewhere ? this.handing.go : this.form.name.input).focus();
    } catch (problem) {
      await errorTexts();
      toast(problemText(problem));
      if (problem.name === "price_changed") refresh(this.buying).catch(() => {});
    } finally {
      this.toCheckout.removeAttribute("aria-disabled");
    }
  }

  #sold() {
    this.handing.end();
    announce(t("handoff.sold"));
    toast(t("handoff.sold"));
  }

  #closed() {
    document.body.classList.remove("sheet-open");
    if (this.step === "done") this.#step("cart");
  }

  #buildCart() {
    this.list = h("ul", { class: "cart-lines" });
    this.expired = h("ul", { class: "cart-expired" });
    this.empty = h("div", { class: "cart-empty" }, icon("cart"), h("p", { text: t("cart.empty") }), h("p", { class: "small muted", text: t("cart.empty.more") }));
    this.coupons = new CouponField({ buying: this.buying });
    this.hints = h("ul", { class: "hints", "data-testid": "hints" });
    this.sums = h("ul", { class: "checkout-lines small", "data-testid": "cart-sums" });
    this.tax = h("span", { class: "tiny muted" });
    this.extras = h("div", { class: "cart-extras" }, this.hints, this.coupons.element);
    this.total = h("strong", { class: "price", "data-testid": "cart-total" });
    this.toCheckout = h("button", { class: "button primary wide", type: "button", text: t("cart.toCheckout"), "data-testid": "to-checkout", onclick: () => this.#checkOut() });
    this.foot = h("footer", { class: "sheet-foot" },
      h("p", { class: "small muted", text: t("cart.holdNote") }),
      this.sums, h("div", { class: "row" }, h("span", { text: t("cart.total") }), this.tax, h("span", { class: "push" }, this.total)),
      this.toCheckout);
    this.cart = h("div", { class: "sheet-step" }, h("div", { class: "sheet-scroll" }, this.expired, this.empty, this.list, this.extras,
      h("p", { class: "cart-law" }, h("a", { class: "tiny muted", href: "/shipping", target: "_blank", rel: "noopener", text: t("nav.shipping") }), h("a", { class: "tiny muted", href: "/withdraw", target: "_blank", rel: "noopener", text: t("nav.withdraw") }))), this.foot);
  }

  #step(step) {
    this.step = step;
    this.heading.textContent = t(TITLES[step]);
    if (step === "cart") this.body.replaceChildren(this.cart);
    else if (step === "handoff") this.body.replaceChildren(this.handing.element);
    else if (step === "checkout") {
      this.body.replaceChildren(this.form.element);
      this.form.enter(this.store.state.cart);
    }
  }

  #ordered(order) {
    this.#step("done");
    this.body.replaceChildren(confirmation(order, () => this.dialog.close()));
    this.body.querySelector("[data-testid=order-number]").parentElement.focus();
  }

  #render() {
    const { cart, expired } = this.store.state;
    const known = new Set(cart.lines.map((line) => line.sku));
    for (const [sku, { row }] of this.#lines) if (!known.has(sku)) this.#drop(sku, row);
    for (const line of cart.lines) (this.#lines.get(line.sku) ?? this.#line(line)).fill(line);
    this.empty.hidden = cart.lines.length + expired.length > 0;
    this.foot.hidden = cart.lines.length === 0;
    this.total.textContent = cart.lines.length ? money(cart.total_minor, cart.currency) : "";
    this.extras.hidden = cart.lines.length === 0;
    this.coupons.show(cart);
    this.hints.replaceChildren(...(cart.hints ?? []).map((hint) => h("li", { class: "notice good" }, icon("tag"), h("span", { text: hintText(hint, cart.currency) }))));
    this.sums.replaceChildren(...sumList(sumRows(cart)));
    this.tax.replaceChildren(...noteNodes({ tax: taxNote(cart), unit: null, lowest: null }, this.store.state.ships.includes(cart.currency)));
    this.expired.replaceChildren(...expired.map((line) => this.#gone(line)));
    if (this.handing.link && !cart.lines.length) this.handing.end(); // sold or lapsed: during it the cart stays what it was
    if (this.step === "checkout") {
      if (cart.lines.length || this.form.sending) this.form.show(cart);
      else {
        this.#step("cart");
        this.dialog.querySelector("button").focus();
      }
    }
    this.#countdowns();
  }

  #drop(sku, row) {
    const focused = row.contains(document.activeElement);
    row.remove();
    this.#lines.delete(sku);
    if (focused) (this.list.querySelector("button") ?? this.dialog.querySelector("button")).focus();
  }

  #line(first) {
    const { sku } = first;
    let line = first;
    const name = h("h3");
    const variant = h("p", { class: "small muted" });
    const price = h("p", { class: "cart-price" });
    const other = h("p", { class: "small muted", "data-testid": `price-now-${sku}` });
    const left = h("span", { class: "cart-left tiny", "data-testid": `hold-${sku}` });
    const count = h("output");
    const fewer = h("button", { class: "button icon", type: "button", onclick: () => this.buying.change(sku, line.quantity - 1) }, icon("minus"));
    const greater = h("button", { class: "button icon", type: "button", onclick: () => this.buying.change(sku, line.quantity + 1) }, icon("plus"));
    const remove = h("button", { class: "button icon quiet", type: "button", "data-testid": `remove-${sku}`, onclick: () => this.buying.remove(sku) }, icon("trash"));
    const row = h("li", { class: "cart-line", data: { sku } }, h("img", { class: "thumb", src: first.picture, alt: "", width: 64, height: 64 }),
      h("div", { class: "grow" }, h("div", { class: "row cart-line-head" }, h("div", { class: "grow" }, name, variant, other), price),
        h("div", { class: "row" }, h("div", { class: "stepper", role: "group", "aria-label": t("cart.quantity") }, fewer, count, greater), remove, h("span", { class: "push" }, left))));
    const entry = { row, left };
    entry.fill = (next) => {
      line = entry.line = next;
      name.textContent = next.title;
      variant.textContent = next.variant;
      variant.hidden = !next.variant;
      const { currency } = this.store.state.cart;
      const before = next.quantity * (next.list_price_minor ?? next.price_minor);
      price.replaceChildren(h("strong", { class: "price", text: money(lineMinor(next), currency) }), ...(before > lineMinor(next) ? [h("span", { class: "visually-hidden", text: t("buy.instead") }), h("s", { class: "price-was small", text: money(before, currency) })] : []));
      const now = priceNow(this.store.state, next);
      other.hidden = now === null || now === next.price_minor;
      if (!other.hidden) other.textContent = t(now > next.price_minor ? "cart.priceKept" : "cart.priceLower", { price: money(next.price_minor, currency), now: money(now, currency) });
      count.textContent = next.quantity;
      const product = this.store.state.lineup.find((other) => other.id === next.product_id);
      const busy = this.buying.busy(sku);
      fewer.disabled = busy;
      greater.disabled = busy || (product ? available(this.store.state, product, sku) === 0 : false);
      fewer.setAttribute("aria-label", t("cart.fewerOf", { title: next.title }));
      greater.setAttribute("aria-label", t("cart.greaterOf", { title: next.title }));
      remove.setAttribute("aria-label", t("cart.removeOf", { title: next.title }));
    };
    this.#lines.set(sku, entry);
    this.list.append(row);
    return entry;
  }

  #gone(line) {
    const product = this.store.state.lineup.find((other) => other.id === line.product_id);
    const out = product ? available(this.store.state, product, line.sku) === 0 : false;
    return h("li", { class: "notice", "data-testid": `expired-${line.sku}` }, icon("clock"),
      h("div", { class: "grow" }, h("strong", { text: line.title }), h("p", { text: t(out ? "cart.goneOut" : "cart.gone") })),
      out ? null : h("button", { class: "button outline", type: "button", text: t("cart.again"), onclick: () => this.buying.add(line.sku, { price: line.price_minor }) }));
  }

  #countdowns() {
    this.ending.draw();
    for (const { line, left } of this.#lines.values()) {
      const ms = this.buying.left(line);
      left.textContent = ms > 0 ? t("cart.held", { clock: clock(ms) }) : t("cart.ending");
      left.classList.toggle("soon", ms < SOON_MS);
    }
  }
});
