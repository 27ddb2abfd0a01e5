/* Coupons of a cart: a field to give one, and what each of them does or why it does nothing. */
import { announce, h, icon } from "../dom.js";
import { has, problemText, t } from "../i18n.js";
import { couponState } from "../sums.js";
import { field } from "./field.js";

export class CouponField {
  #busy = false;

  constructor({ buying }) {
    this.buying = buying;
    this.codes = [];
    this.field = field("coupon", t("coupon.title"), { autocomplete: "off", autocapitalize: "characters", spellcheck: "false", maxlength: "32" });
    this.button = h("button", { class: "button outline", type: "submit", text: t("coupon.use"), "data-testid": "coupon-use" });
    const row = h("div", { class: "row coupon-row" });
    this.field.input.before(row);
    row.append(this.field.input, this.button);
    this.list = h("ul", { class: "coupons", "data-testid": "coupons" });
    this.element = h("form", { class: "coupon", novalidate: true, onsubmit: (event) => this.#use(event) }, this.list, this.field.element);
  }

  show({ coupons = [] }) {
    const focused = this.list.contains(document.activeElement);
    this.codes = coupons.map(({ code }) => code);
    this.list.replaceChildren(...coupons.map(couponState).map(({ code, good, why }) => h("li", { class: `row coupon-chip${good ? " good" : ""}` },
      icon(good ? "check" : "warn"), h("div", { class: "grow" }, h("strong", { text: code }), good ? null : h("p", { class: "small", text: t(has(`coupon.${why}`) ? `coupon.${why}` : "coupon.unknown") })),
      h("button", { class: "button icon quiet", type: "button", "aria-label": t("coupon.remove", { code }), onclick: () => this.#give(this.codes.filter((other) => other !== code)) }, icon("close")))));
    if (focused) this.field.input.focus();
  }

  async #use(event) {
    event.preventDefault();
    const code = this.field.input.value.trim().toUpperCase();
    if (!code) return this.field.input.focus();
    if (await this.#give([...this.codes.filter((other) => other !== code), code])) {
      this.field.input.value = "";
      const found = this.given.find((one) => one.code === code);
      announce(t(found && couponState(found).good ? "coupon.done" : "coupon.noted", { code }));
    }
    return this.field.input.focus();
  }

  async #give(codes) {
    if (this.#busy) return false;
    this.#busy = true;
    this.field.tell("");
    try {
      const { cart } = await this.buying.socket.command("cart.coupon", { codes });
      this.given = cart.coupons ?? [];
      this.buying.store.dispatch({ type: "cart", cart });
      return true;
    } catch (problem) {
      this.field.tell(["coupon_refused", "invalid_field"].includes(problem.name) ? t("coupon.unknown") : problemText(problem));
      return false;
    } finally {
      this.#busy = false;
    }
  }
}
