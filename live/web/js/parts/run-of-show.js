/* <run-of-show>: the lineup as large rows; one tap or one digit pins. */
import { h, icon, keyed } from "../dom.js";
import { money, problemText, t } from "../i18n.js";
import { available } from "../store.js";
import { dropWords, planDrop } from "./drop-form.js";
import { toast } from "../toast.js";

const FEW = 5;

customElements.define("run-of-show", class extends HTMLElement {
  #rows = new Map();

  connect({ store, socket, show, token }) {
    Object.assign(this, { store, socket, show, token });
    this.list = h("ol", { class: "run", "data-testid": "lineup" });
    this.empty = h("p", { class: "muted run-empty", text: t("run.empty") });
    this.append(this.empty, this.list);
    store.watch(["lineup", "pin", "stock", "drops", "queues"], () => this.#render());
    setInterval(() => Object.keys(store.state.drops).length && this.#render(), 1000); // they open and end by the clock
    document.addEventListener("keydown", (event) => this.#key(event));
  }

  #render() {
    const { lineup, pin } = this.store.state;
    this.empty.hidden = lineup.length > 0;
    keyed(this.list, this.#rows, lineup, (product) => this.#row(product), (entry, product, index) => this.#fill(entry, product, index, pin?.product.id === product.id));
  }

  #row(product) {
    const digit = h("kbd", { class: "run-digit" });
    const name = h("h3");
    const price = h("p", { class: "run-price" });
    const stock = h("p", { class: "stock", "data-testid": `stock-${product.id}` });
    const picture = h("img", { class: "thumb", alt: "", width: 64, height: 64 });
    const pin = h("button", { class: "button pin", type: "button", "data-testid": `pin-${product.id}`, onclick: () => this.#toggle(product.id) });
    const drop = h("button", { class: "button icon quiet run-drop", type: "button", "data-testid": `drop-${product.id}`, onclick: () => planDrop({ ...this, product: entry.product }) }, icon("clock"));
    const row = h("li", { class: "run-row", data: { product: product.id } }, digit, picture, name, price, stock, drop, pin);
    const entry = { row, digit, name, price, stock, picture, drop, pin };
    return entry;
  }

  #fill(entry, product, index, pinned) {
    const { state } = this.store;
    const left = available(state, product);
    entry.product = product;
    entry.digit.textContent = index < 9 ? String(index + 1) : "";
    entry.name.textContent = product.title;
    if (!entry.picture.src.endsWith(product.picture)) entry.picture.src = product.picture;
    const drops = product.variants.flatMap(({ sku }) => (state.drops[sku] ? [dropWords(state.drops[sku], this.store.now())] : []));
    const { price_minor: now, list_price_minor: was } = product.variants[0];
    entry.price.replaceChildren(h("strong", { text: money(now, product.currency) }), ...(was > now ? [" ", h("s", { class: "price-was", text: money(was, product.currency) })] : []), ...drops.slice(0, 1).map((text) => h("span", { class: "tiny run-dropped", "data-testid": `dropped-${product.id}`, text: `${text}${drops.length > 1 ? " …" : ""}` })));
    entry.stock.className = `stock${left === 0 ? " none" : left <= FEW ? " few" : ""}`;
    const parts = product.variants.length > 1 ? product.variants.map((variant) => `${variant.title} ${available(state, product, variant.sku)}`.replaceAll(" ", "\u00a0")) : [];
    const waiting = product.variants.reduce((sum, { sku }) => sum + (state.queues[sku]?.waiting ?? 0), 0);
    entry.drop.setAttribute("aria-label", t("plan.of", { title: product.title }));
    entry.drop.classList.toggle("planned", drops.length > 0);
    entry.stock.replaceChildren(h("span", { text: left ? t("buy.left", { count: left }) : t("buy.soldOut") }), waiting ? h("span", { class: "run-waiting", "data-testid": `waiting-${product.id}`, text: t("run.waiting", { count: waiting }) }) : "", parts.length ? h("span", { class: "tiny muted run-variants", text: parts.join(" · ") }) : "");
    entry.row.classList.toggle("pinned", pinned);
    entry.pin.setAttribute("aria-pressed", String(pinned));
    entry.pin.setAttribute("aria-label", t(pinned ? "run.unpinOf" : "run.pinOf", { title: product.title }));
    entry.pin.classList.toggle("primary", pinned);
    if (entry.pin.dataset.pinned !== String(pinned)) entry.pin.replaceChildren(icon("pin"), h("span", { text: t(pinned ? "run.pinned" : "run.pin") }));
    entry.pin.dataset.pinned = pinned;
  }

  async #toggle(id) {
    const pinned = this.store.state.pin?.product.id === id;
    try {
      if (pinned) await this.socket.command("show.unpin", {});
      else await this.socket.command("show.pin", { product_id: id });
    } catch (problem) {
      toast(problemText(problem));
    }
  }

  #key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey || event.repeat || document.querySelector("dialog[open]")) return;
    if (event.target.closest?.("input:not([readonly]), textarea, select, [contenteditable]")) return;
    const product = /^[1-9]$/.test(event.key) ? this.store.state.lineup[Number(event.key) - 1] : null;
    if (product && this.store.state.pin?.product.id !== product.id) this.#toggle(product.id);
    else if (event.key === "0" && this.store.state.pin) this.#toggle(this.store.state.pin.product.id);
  }
});
