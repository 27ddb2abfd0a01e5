/* How an order reaches its buyer: the shop's ways with their prices, and the address that a delivery needs. */
import { h } from "../dom.js";
import { money, t } from "../i18n.js";
import { daysText, hoursText, titled } from "../sums.js";
import { field } from "./field.js";

const ANYWHERE = ["AT", "BE", "BG", "CH", "CY", "CZ", "DE", "DK", "EE", "ES", "FI", "FR", "GB", "GR", "HR", "HU", "IE", "IT", "LI", "LT", "LU", "LV", "MT", "NL", "NO", "PL", "PT", "RO", "SE", "SI", "SK", "US"];

export class ShippingChoice {
  options = [];
  #method = null;
  #asked = 0;

  /** `onChange` is called when the fee is another one. */
  constructor({ buying, onChange }) {
    Object.assign(this, { buying, onChange });
    this.list = h("div", { class: "ways" });
    this.error = h("p", { class: "error", role: "alert", "data-testid": "shipping-error" });
    this.place = field("shipping-place", t("ship.place"), {}, "select");
    this.hours = h("p", { class: "small muted" });
    this.pickup = h("div", { class: "stack ways-more", hidden: true }, this.place.element, this.hours);
    this.street = field("address-street", t("ship.street"), { autocomplete: "street-address", maxlength: "100" });
    this.extra = field("address-extra", t("ship.extra"), { autocomplete: "address-line2", maxlength: "100" });
    this.postcode = field("address-postcode", t("ship.postcode"), { autocomplete: "postal-code", maxlength: "12" });
    this.city = field("address-city", t("ship.city"), { autocomplete: "address-level2", maxlength: "100" });
    this.country = field("address-country", t("ship.country"), { autocomplete: "country" }, "select");
    this.address = h("div", { class: "stack ways-more", hidden: true }, this.street.element, this.extra.element,
      h("div", { class: "ways-town" }, this.postcode.element, this.city.element), this.country.element);
    this.element = h("fieldset", { class: "ways-box stack", hidden: true, "data-testid": "shipping" },
      h("legend", { class: "ways-title", text: t("ship.title") }), this.list, this.error, this.pickup, this.address);
    for (const { input } of [this.postcode, this.country]) input.addEventListener("change", () => this.load());
    this.place.input.addEventListener("change", () => this.#hours());
  }

  /** The way that was chosen; null: none, or there is nothing to choose from. */
  get option() {
    return this.options.find(({ method }) => method === this.#method) ?? null;
  }

  get fee() {
    return this.option?.price_minor ?? 0;
  }

  /** Asks for the ways and prices of now. Without an answer the order is tried as it is: the server says what is missing. */
  async load() {
    const turn = ++this.#asked;
    try {
      if (!this.country.input.options.length) await this.#countries();
      const [country, postcode] = [this.country.input.value, this.postcode.input.value.trim().toUpperCase()];
      const query = country && postcode ? `?${new URLSearchParams({ country, postcode })}` : "";
      const { store, socket } = this.buying;
      const answer = await fetch(`/api/shows/${encodeURIComponent(store.state.show.id)}/cart/shipping${query}`, { headers: { Authorization: `Bearer ${socket.tokens.read()}` } });
      if (!answer.ok || turn !== this.#asked) return;
      this.options = (await answer.json()).options;
    } catch {
      return; // the connection is away; the check-out says so
    }
    this.#draw();
  }

  async #countries() {
    const { methods } = await (await fetch("/api/shipping-methods")).json();
    const named = methods.filter(({ kind, active }) => kind === "delivery" && active !== false);
    const codes = named.every(({ countries }) => countries?.length) ? [...new Set(named.flatMap(({ countries }) => countries))] : ANYWHERE;
    const { lang } = document.documentElement;
    const names = new Intl.DisplayNames([lang], { type: "region" });
    this.country.input.append(...codes.map((code) => new Option(names.of(code), code)).sort((a, b) => a.text.localeCompare(b.text, lang)));
    const home = [navigator.language.split("-")[1], lang.toUpperCase(), "DE"].find((code) => codes.includes(code));
    if (home) this.country.input.value = home;
  }

  #draw() {
    const focused = this.list.contains(document.activeElement);
    const lost = this.#method !== null && !this.option;
    if (lost || this.options.length === 1) this.#method = this.options.length === 1 ? this.options[0].method : null;
    this.element.hidden = !this.options.length && !lost;
    this.list.replaceChildren(...this.options.map((option) => {
      const radio = h("input", { type: "radio", name: "shipping", value: option.method, "data-testid": `shipping-${option.method}`, onchange: () => this.#choose(option.method) });
      radio.checked = option.method === this.#method;
      const more = [daysText(option), option.missing_minor ? t("ship.missing", { missing: money(option.missing_minor, option.currency) }) : ""].filter(Boolean).join(" · ");
      return h("label", { class: "way row" }, radio, h("span", { class: "grow" }, h("strong", { text: titled(option.title) }), more ? h("span", { class: "small muted way-more", text: more }) : null),
        h("span", { text: option.price_minor ? money(option.price_minor, option.currency) : t("sum.free") }));
    }));
    this.error.textContent = lost && !this.option ? t("error.shipping_unavailable") : "";
    this.#more();
    if (focused) (this.list.querySelector("input:checked") ?? this.list.querySelector("input"))?.focus();
  }

  #choose(method) {
    this.#method = method;
    this.error.textContent = "";
    this.#more();
  }

  #more() {
    const { option } = this;
    this.address.hidden = option?.kind !== "delivery";
    this.pickup.hidden = option?.kind !== "pickup";
    if (option?.kind === "pickup") {
      const before = this.place.input.value;
      this.place.input.replaceChildren(...option.locations.map(({ id, name, street, postcode, city }) => new Option(`${name}, ${street}, ${[postcode, city].filter(Boolean).join(" ")}`, id)));
      if (option.locations.some(({ id }) => id === before)) this.place.input.value = before;
      this.#hours();
    }
    this.onChange();
  }

  #hours() {
    this.hours.textContent = hoursText(this.option?.locations.find(({ id }) => id === this.place.input.value)?.hours);
  }

  /** Says what is missing, and where; null: nothing. */
  check() {
    if (!this.options.length) return null;
    if (!this.option) {
      this.error.textContent = t("error.shipping_required");
      return this.list.querySelector("input");
    }
    if (this.option.kind === "pickup") return null;
    const missing = [this.street, this.postcode, this.city].filter(({ input }) => !input.value.trim());
    for (const one of missing) one.tell(t("ship.missingField"));
    return missing[0]?.input ?? null;
  }

  /** What goes with the order of somebody called `name`. */
  value(name) {
    const { option } = this;
    if (!option) return {};
    if (option.kind === "pickup") return { shipping: { method: option.method, location: this.place.input.value } };
    const [street, extra, postcode, city, country] = [this.street, this.extra, this.postcode, this.city, this.country].map(({ input }) => input.value.trim());
    return { shipping: { method: option.method }, address: { name, street, postcode, city, country, ...(extra && { extra }) } };
  }

  /** Shows a refusal where it belongs; whether it belongs here. */
  refused({ name, field: where = "" }) {
    const one = where.startsWith("address.") ? this[where.slice(8)] : null;
    if (one?.tell) {
      one.tell(t("ship.wrongField"));
      one.input.focus();
      return true;
    }
    if (!["shipping_required", "shipping_unavailable", "unknown_shipping_method"].includes(name)) return false;
    this.load().then(() => {
      this.error.textContent = t(name === "shipping_required" ? "error.shipping_required" : "error.shipping_unavailable");
      this.list.querySelector("input")?.focus();
    });
    return true;
  }
}
