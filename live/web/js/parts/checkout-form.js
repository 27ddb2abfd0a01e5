/* The check-out inside the cart's sheet, and what follows it. */
import { h, icon } from "../dom.js";
import { has, money, problemText, t } from "../i18n.js";

const words = ({ quantity, title, variant }) => `${quantity} × ${title}${variant ? ` · ${variant}` : ""}`;

export class CheckoutForm {
  sending = false;

  constructor({ buying, onOrder, onBack }) {
    Object.assign(this, { buying, onOrder });
    this.name = this.#field("name", { autocomplete: "name", required: true, maxlength: "120" });
    this.email = this.#field("email", { type: "email", autocomplete: "email", required: true, maxlength: "254", inputmode: "email" });
    this.note = this.#field("note", { maxlength: "300" });
    this.summary = h("ul", { class: "checkout-lines small" });
    this.total = h("strong", { class: "price" });
    this.error = h("p", { class: "error", role: "alert", "data-testid": "checkout-error" });
    this.button = h("button", { class: "button primary wide order-button", type: "submit", "data-testid": "checkout" });
    this.element = h("form", { class: "sheet-step", novalidate: true, onsubmit: (event) => this.#submit(event) },
      h("div", { class: "sheet-scroll stack" }, this.name.element, this.email.element, this.note.element,
        h("div", { class: "checkout-sum" }, h("h3", { text: t("checkout.yours") }), this.summary),
        h("p", { class: "small muted", text: t("checkout.pay") })),
      h("footer", { class: "sheet-foot" }, this.error,
        h("div", { class: "row" }, h("span", { text: t("cart.total") }), h("span", { class: "tiny muted", text: t("cart.tax") }), h("span", { class: "push" }, this.total)),
        this.button, h("button", { class: "button quiet wide", type: "button", text: t("checkout.back"), onclick: onBack })));
    this.#label();
  }

  show(cart) {
    if (!this.sending) this.cart = cart;
    this.summary.replaceChildren(...cart.lines.map((line) => h("li", { class: "row" },
      h("span", { class: "grow", text: words(line) }), h("span", { text: money(line.line_minor, cart.currency) }))));
    if (cart.lines.length) this.total.textContent = money(cart.total_minor, cart.currency);
  }

  #field(name, attributes) {
    const input = h("input", { class: "input", id: `checkout-${name}`, name, "data-testid": `checkout-${name}`, "aria-describedby": `checkout-${name}-error`, ...attributes });
    const error = h("p", { class: "error", id: `checkout-${name}-error` });
    const element = h("div", { class: "field" }, h("label", { for: input.id, text: t(`checkout.${name}`) }), input, error);
    const tell = (text) => {
      error.textContent = text;
      input.setAttribute("aria-invalid", String(text !== ""));
    };
    input.addEventListener("input", () => tell(""));
    return { input, element, tell };
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
    first?.focus();
    return first === null;
  }

  /** Shows what the cart is now; the next tap orders that. */
  async #newTotal({ total_minor, currency }) {
    this.sending = false;
    try {
      await this.buying.refresh();
    } catch {
      return (this.error.textContent = t("error.price_changed")); // the cart comes with the connection
    }
    this.error.textContent = t("checkout.newTotal", { total: money(total_minor, currency) });
  }

  async #submit(event) {
    event.preventDefault();
    if (this.sending || !this.#check()) return;
    this.error.textContent = "";
    this.sending = true;
    this.#label();
    const note = this.note.input.value.trim();
    try {
      const order = await this.buying.checkout({ name: this.name.input.value.trim(), email: this.email.input.value.trim(), total_minor: this.cart.total_minor, ...(note && { note }) });
      this.note.input.value = "";
      this.sending = false;
      this.onOrder(order);
    } catch (problem) {
      const field = this[problem.field];
      if (problem.name === "price_changed") await this.#newTotal(problem);
      else if (field?.tell && has(`checkout.${problem.field}.wrong`)) {
        field.tell(t(`checkout.${problem.field}.wrong`));
        field.input.focus();
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
    h("span", { class: "grow", text: words(line) }), h("span", { text: money(line.line_minor, order.currency) })))) : null;
  if (lines) box.append(lines);
  if (order.total_minor != null) box.append(h("p", { class: "row" }, h("span", { text: t("cart.total") }), h("strong", { class: "price push", text: money(order.total_minor, order.currency) })));
  box.append(h("p", { class: "small muted", text: t("order.next") }));
  return h("div", { class: "sheet-step" }, h("div", { class: "sheet-scroll" }, box),
    h("footer", { class: "sheet-foot" }, h("button", { class: "button primary wide", type: "button", text: t("order.close"), "data-testid": "order-close", onclick: onClose })));
}
