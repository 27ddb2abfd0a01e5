/* The check-out inside the cart's sheet, and what follows it. */
import { h, icon } from "../dom.js";
import { has, money, problemText, t } from "../i18n.js";
import { lineMinor, sumRows, taxNote, titled } from "../sums.js";
import { field } from "./field.js";
import { checkout, refresh } from "./holding.js";
import { ShippingChoice } from "./shipping-choice.js";

const words = ({ quantity, title, variant }) => `${quantity} × ${title}${variant ? ` · ${variant}` : ""}`;

/** Rows above a total, as elements. */
export const sumList = (rows) => rows.map(({ label, text, off }) => h("li", { class: `row${off ? " off" : ""}` }, h("span", { class: "grow", text: label }), h("span", { text })));

export class CheckoutForm {
  sending = false;

  constructor({ buying, onOrder, onBack }) {
    Object.assign(this, { buying, onOrder });
    const input = (name, attributes) => field(`checkout-${name}`, t(`checkout.${name}`), attributes);
    this.shipping = new ShippingChoice({ buying, onChange: () => this.#sum() });
    this.name = input("name", { autocomplete: "name", required: true, maxlength: "100" });
    this.email = input("email", { type: "email", autocomplete: "email", required: true, maxlength: "254", inputmode: "email" });
    this.note = input("note", { maxlength: "300" });
    this.summary = h("ul", { class: "checkout-lines small" });
    this.sums = h("ul", { class: "checkout-lines small" });
    this.tax = h("span", { class: "tiny muted" });
    this.pay = h("p", { class: "small muted" });
    this.total = h("strong", { class: "price", "data-testid": "checkout-total" });
    this.error = h("p", { class: "error", role: "alert", "data-testid": "checkout-error" });
    this.button = h("button", { class: "button primary wide order-button", type: "submit", "data-testid": "checkout" });
    this.element = h("form", { class: "sheet-step", novalidate: true, onsubmit: (event) => this.#submit(event) },
      h("div", { class: "sheet-scroll stack" }, this.name.element, this.email.element, this.shipping.element, this.note.element,
        h("div", { class: "checkout-sum" }, h("h3", { text: t("checkout.yours") }), this.summary, this.sums),
        this.pay),
      h("footer", { class: "sheet-foot" }, this.error,
        h("div", { class: "row" }, h("span", { text: t("cart.total") }), this.tax, h("span", { class: "push" }, this.total)),
        this.button, h("button", { class: "button quiet wide", type: "button", text: t("checkout.back"), onclick: onBack })));
    this.#label();
  }

  show(cart) {
    const before = this.cart;
    if (!this.sending) this.cart = cart;
    this.summary.replaceChildren(...cart.lines.map((line) => h("li", { class: "row" },
      h("span", { class: "grow", text: words(line) }), h("span", { text: money(lineMinor(line), cart.currency) }))));
    if (before?.total_minor !== cart.total_minor && cart.lines.length) this.shipping.load(); // fees depend on what is in it
    this.#sum();
  }

  /** The check-out is on screen. */
  enter(cart) {
    this.cart = null;
    this.show(cart);
  }

  #sum() {
    const { cart, shipping } = this;
    this.pay.textContent = t(shipping.option?.kind === "delivery" ? "checkout.payLater" : "checkout.pay");
    if (!cart?.lines.length) return;
    this.sums.replaceChildren(...sumList(sumRows(cart, shipping.option)));
    this.tax.textContent = taxNote(cart, shipping.fee);
    this.total.textContent = money(cart.total_minor + shipping.fee, cart.currency);
  }

  #label() {
    this.button.textContent = t(this.sending ? "checkout.sending" : "checkout.order");
    this.button.setAttribute("aria-disabled", String(this.sending));
  }

  #check() {
    let first = null;
    for (const [field, key] of [[this.name, "checkout.name.missing"], [this.email, "checkout.email.wrong"]]) {
      const good = field.input.value.trim() !== "" && field.input.validity.valid;
      field.tell(good ? "" : t(key));
      if (!good) first ??= field.input;
    }
    first ??= this.shipping.check();
    first?.focus();
    return first === null;
  }

  /** Shows what the cart is now; the next tap orders that. */
  async #newTotal({ total_minor, currency }) {
    this.sending = false;
    try {
      this.cart = await refresh(this.buying);
      await this.shipping.load();
    } catch {
      return (this.error.textContent = t("error.price_changed")); // the cart comes with the connection
    }
    this.error.textContent = t("checkout.newTotal", { total: money(total_minor, currency) });
  }

  #details() {
    const name = this.name.input.value.trim();
    return { name, email: this.email.input.value.trim(), total_minor: this.cart.total_minor + this.shipping.fee, language: document.documentElement.lang, ...this.shipping.value(name) };
  }

  async #submit(event) {
    event.preventDefault();
    if (this.sending || !this.#check()) return;
    this.error.textContent = "";
    this.sending = true;
    this.#label();
    const note = this.note.input.value.trim();
    try {
      const order = await checkout(this.buying, { ...this.#details(), ...(note && { note }) });
      this.note.input.value = "";
      this.sending = false;
      this.onOrder(order);
    } catch (problem) {
      const wrong = this[problem.field];
      if (problem.name === "price_changed") await this.#newTotal(problem);
      else if (this.shipping.refused(problem)) this.error.textContent = "";
      else if (wrong?.tell && has(`checkout.${problem.field}.wrong`)) {
        wrong.tell(t(`checkout.${problem.field}.wrong`));
        wrong.input.focus();
      } else this.error.textContent = problemText(problem);
    } finally {
      this.sending = false;
      this.#label();
    }
  }
}

/** What is shown once the order exists. */
export function confirmation(order, onClose) {
  const box = h("div", { class: "confirmation", tabindex: "-1", role: "status" },
    h("span", { class: "confirmation-mark" }, icon("check")),
    h("h3", { text: t("order.thanks") }),
    h("p", { class: "small muted", text: t("order.number") }),
    h("p", { class: "order-number", "data-testid": "order-number", text: order.number ?? order.id }));
  const lines = order.lines?.length ? h("ul", { class: "checkout-lines small" }, order.lines.map((line) => h("li", { class: "row" },
    h("span", { class: "grow", text: words(line) }), h("span", { text: money(lineMinor(line), order.currency) })))) : null;
  if (lines) box.append(lines);
  const rows = sumRows(order, order.shipping);
  if (rows.length) box.append(h("ul", { class: "checkout-lines small" }, sumList(rows)));
  if (order.total_minor != null) box.append(h("p", { class: "row" }, h("span", { text: t("cart.total") }), h("span", { class: "tiny muted", text: taxNote(order) }), h("strong", { class: "price push", text: money(order.total_minor, order.currency) })));
  const place = order.shipping?.location;
  if (order.shipping) box.append(h("p", { class: "small", text: [titled(order.shipping.title), place && `${place.name}, ${place.street}, ${place.city}`].filter(Boolean).join(": ") }));
  box.append(h("p", { class: "small muted", text: t(order.shipping?.kind === "delivery" ? "order.nextDelivery" : "order.next") }));
  if (order.email) box.append(h("p", { class: "small muted", text: t("order.mailed", { email: order.email }) }));
  if (order.number) box.append(h("a", { class: "small", href: `/withdraw#${new URLSearchParams({ number: order.number, email: order.email ?? "" })}`, target: "_blank", rel: "noopener", text: t("nav.withdraw"), "data-testid": "order-withdraw" }));
  return h("div", { class: "sheet-step" }, h("div", { class: "sheet-scroll" }, box),
    h("footer", { class: "sheet-foot" }, h("button", { class: "button primary wide", type: "button", text: t("order.close"), "data-testid": "order-close", onclick: onClose })));
}
