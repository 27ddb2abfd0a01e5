/* <product-list>: the lineup, all of it buyable at any time. */
import { h, keyed } from "../dom.js";
import { t } from "../i18n.js";
import { over } from "../store.js";
import "./buy-box.js";

customElements.define("product-list", class extends HTMLElement {
  #rows = new Map();

  connect({ store, buying }) {
    Object.assign(this, { store, buying });
    this.list = h("ul", { class: "products", "data-testid": "product-list" });
    this.empty = h("p", { class: "muted small pane-empty", text: t("products.empty") });
    this.append(this.empty, this.list);
    store.watch(["lineup", "pin", "show"], (state) => this.#render(state));
  }

  #render(state) {
    const { lineup, pin } = state;
    this.empty.hidden = lineup.length > 0;
    keyed(this.list, this.#rows, lineup, (product) => this.#row(product), (entry, product) => {
      if (entry.product !== product) entry.fill(product);
      entry.now.hidden = pin?.product.id !== product.id || over(state);
    });
  }

  #row(product) {
    const picture = h("img", { class: "thumb", alt: "", width: 80, height: 80, loading: "lazy" });
    const name = h("h2");
    const text = h("p", { class: "product-text small muted" });
    const now = h("span", { class: "badge live", text: t("pin.badge") });
    const box = h("buy-box");
    const row = h("li", { class: "product", data: { product: product.id } }, picture, h("div", { class: "grow" }, h("div", { class: "row product-head" }, name, now), text, box));
    const entry = { row, now, product: null };
    entry.fill = (item) => {
      entry.product = item;
      if (!picture.src.endsWith(item.picture)) picture.src = item.picture;
      name.textContent = item.title;
      text.textContent = item.description;
      box.product = item;
    };
    box.connect({ store: this.store, buying: this.buying, scope: `-${product.id}` });
    return entry;
  }
});
