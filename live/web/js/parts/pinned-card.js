/* <pinned-card>: the product on screen now, with one big button. */
import { announce, calm, h } from "../dom.js";
import { money, t } from "../i18n.js";
import { over } from "../store.js";
import "./buy-box.js";

customElements.define("pinned-card", class extends HTMLElement {
  connect({ store, buying }) {
    this.store = store;
    this.setAttribute("data-testid", "pinned-card");
    this.setAttribute("role", "region");
    this.hidden = true;
    this.picture = h("img", { class: "pin-picture", alt: "", width: 96, height: 96 });
    this.name = h("h2", { class: "pin-title", "data-testid": "pinned-title" });
    this.text = h("p", { class: "pin-text small muted" });
    this.box = h("buy-box");
    this.eyebrow = h("p", { class: "pin-eyebrow tiny", "data-testid": "pin-eyebrow" });
    this.append(this.picture, h("div", { class: "pin-words" }, this.eyebrow, this.name, this.text), this.box);
    this.box.connect({ store, buying });
    store.watch(["show"], (state) => this.#when(over(state)));
    store.watch(["pin"], (state, before) => this.#show(state.pin, before.pin));
    store.watch(["stock"], (state, before) => this.#soldOut(state, before));
  }

  #when(past) {
    this.eyebrow.textContent = t(past ? "pin.last" : "pin.now");
    this.setAttribute("aria-label", this.eyebrow.textContent);
  }

  #show(pin, before) {
    this.hidden = pin === null;
    if (!pin) return;
    const { product } = pin;
    this.dataset.product = product.id;
    if (!this.picture.src.endsWith(product.picture)) this.picture.src = product.picture;
    this.name.textContent = product.title;
    this.text.textContent = product.description;
    this.box.product = product;
    if (before === pin) return;
    if (before?.pin_id === pin.pin_id) return this.#priced(product, before.product);
    this.classList.remove("arrived");
    void this.offsetWidth; // lets the arrival play again for the next product
    this.classList.add("arrived");
    announce(t("pin.announced", { title: product.title, price: money(product.variants[0].price_minor, product.currency) }));
  }

  #priced({ title, variants, currency }, before) {
    const now = variants.find(({ sku, price_minor: price }) => before.variants.some((old) => old.sku === sku && old.price_minor !== price));
    if (!now) return;
    announce(t("buy.newPrice", { title, price: money(now.price_minor, currency) }));
    if (!calm()) this.box.price.animate([{ transform: "scale(1.12)" }, { transform: "none" }], 200);
  }

  #soldOut({ pin, stock }, before) {
    for (const variant of pin?.product.variants ?? []) {
      if (stock[variant.sku] === 0 && before.stock[variant.sku] > 0) announce(t("pin.soldOut", { title: pin.product.title }));
    }
  }
});
