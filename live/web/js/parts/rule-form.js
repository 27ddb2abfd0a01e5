/* The form for a new price rule: a product's price, a coupon, or free shipping. */
import { h, icon } from "../dom.js";
import { money, problemText, t } from "../i18n.js";
import { KINDS, ruleOf } from "../promotions.js";
import { field } from "./field.js";

const FLAWED = { label: "label", "coupon.code": "code", "coupon.limit": "limit", "coupon.per_customer": "each", window: "ends" };
const placesOf = (currency) => new Intl.NumberFormat("en", { style: "currency", currency }).resolvedOptions().maximumFractionDigits;

export class RuleForm {
  #busy = false;

  /** `save(rule)` resolves when it is in force, and rejects with a problem. */
  constructor({ products, save }) {
    this.save = save;
    this.kind = KINDS[0];
    const currencies = [...new Set(products.map(({ currency }) => currency))];
    const input = (name, attributes = {}, control = "input") => field(`rule-${name}`, t(`rules.field.${name}`), { autocomplete: "off", ...attributes }, control);
    this.fields = {
      label: input("label", { maxlength: "60" }), off: input("off", { inputmode: "decimal", maxlength: "14", placeholder: t("rules.hint.off") }), product: input("product", {}, "select"),
      code: input("code", { autocapitalize: "characters", spellcheck: "false", maxlength: "32" }), limit: input("limit", { inputmode: "numeric", maxlength: "9" }), each: input("each", { inputmode: "numeric", maxlength: "6" }),
      from: input("from", { inputmode: "decimal", maxlength: "14" }), currency: input("currency", {}, "select"), ends: input("ends", { type: "datetime-local" }),
    };
    const { label, off, product, code, limit, each, from, currency, ends } = this.fields;
    product.input.append(new Option(t("rules.every"), ""), ...products.map((one) => new Option(one.title, one.id)));
    currency.input.append(...currencies.map((one) => new Option(one)));
    currency.element.hidden = currencies.length < 2;
    this.standing = h("input", { type: "checkbox", "data-testid": "rule-standing", onchange: () => this.#show() });
    this.error = h("div", { role: "alert", "data-testid": "rule-error" });
    this.button = h("button", { class: "button primary", type: "submit", text: t("rules.save"), "data-testid": "rule-save" });
    this.pairs = { coupon: h("div", { class: "pair" }, limit.element, each.element) };
    this.element = h("form", { class: "stack rule-form", novalidate: true, onsubmit: (event) => this.#submit(event) },
      h("fieldset", { class: "kinds" }, h("legend", { text: t("rules.kind") }), KINDS.map((kind) => h("label", { class: "kind" },
        h("input", { type: "radio", name: "kind", value: kind, checked: kind === this.kind, "data-testid": `rule-kind-${kind}`, onchange: () => { this.kind = kind; this.#show(); } }),
        h("span", {}, h("strong", { text: t(`rules.kind.${kind}`) }), h("span", { class: "small muted way-more", text: ` ${t(`rules.kind.${kind}.more`)}` }))))),
      label.element, off.element, product.element, code.element, this.pairs.coupon, from.element, currency.element, ends.element,
      h("label", { class: "check" }, this.standing, h("span", { text: t("rules.field.standing") })), this.error, this.button);
    this.#show();
  }

  #show() {
    const { off, product, code, from, ends } = this.fields;
    off.element.hidden = this.kind === "shipping";
    product.element.hidden = this.kind !== "product";
    code.element.hidden = this.pairs.coupon.hidden = this.kind !== "coupon";
    from.element.hidden = this.kind === "product";
    ends.element.hidden = this.standing.checked;
  }

  /** What is typed where it can be seen; what is hidden is as if it were empty. */
  #values() {
    const seen = Object.entries(this.fields).map(([name, { input, element }]) => [name, element.hidden || element.parentElement.hidden ? "" : input.value]);
    const ends = this.fields.ends.input;
    const values = Object.fromEntries(seen);
    return { ...values, kind: this.kind, currency: this.fields.currency.input.value || "EUR", standing: this.standing.checked, ends_ms: ends.validity.badInput ? NaN : ends.value ? new Date(ends.value).getTime() : null };
  }

  #tell(name, text) {
    this.fields[name].tell(text);
    this.fields[name].input.focus();
  }

  async #submit(event) {
    event.preventDefault();
    if (this.#busy) return;
    this.error.replaceChildren();
    for (const one of Object.values(this.fields)) one.tell("");
    const values = this.#values();
    const { field: bad, rule } = ruleOf(values, { places: placesOf(values.currency), now: Date.now() });
    if (bad) return this.#tell(bad, t(`rules.wrong.${bad}`, { example: money(500, values.currency) }));
    this.#busy = true;
    this.button.setAttribute("aria-disabled", "true");
    try {
      await this.save(rule);
      for (const { input } of Object.values(this.fields)) if (input.tagName === "INPUT") input.value = "";
    } catch (problem) {
      this.#refused(problem, rule);
    } finally {
      this.#busy = false;
      this.button.removeAttribute("aria-disabled");
    }
  }

  /** Shows the server's reasons; those of the new rule without its name. */
  #refused(problem, rule) {
    const flaws = problem.flaws ?? [];
    const [first] = flaws;
    const at = FLAWED[first?.field];
    if (at && flaws.length === 1) return this.#tell(at, first.why);
    const words = flaws.map((flaw) => h("li", { text: `${flaw.rule && flaw.rule !== rule.id ? `${flaw.rule}: ` : ""}${flaw.field}: ${flaw.why}` }));
    this.error.append(h("div", { class: "notice bad" }, icon("warn"), h("div", {}, h("p", { text: flaws.length ? t("rules.refused") : problemText(problem) }), words.length ? h("ul", { class: "flaws" }, words) : null)));
    return this.button.focus();
  }
}
