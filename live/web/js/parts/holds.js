/* What is told of holds that are about to end, with more time in one tap (WCAG 2.2, 2.2.1), and of those that have ended. */
import { announce, h, icon } from "../dom.js";
import { clock, t } from "../i18n.js";
import { toast } from "../toast.js";
import { WARN_MS, ending, extend, extendable } from "./holding.js";

/** Tells of them anywhere on the page; `open` opens the cart. */
export function tellOfHolds({ store, buying, open }) {
  const [told, shown] = [new Map(), new Map()]; // hold → the end that was told: an extended hold is told of again
  let away = () => {};
  const news = (seen) => {
    const lines = ending(buying).filter((line) => seen.get(line.hold_id) !== line.expires_at_ms);
    for (const line of lines) seen.set(line.hold_id, line.expires_at_ms);
    return lines.map((line) => line.title).join(", ");
  };
  buying.addEventListener("tick", () => {
    const titles = news(told);
    if (titles) announce(t("cart.warning", { titles }), true);
    if (!ending(buying).length) away();
    if (document.querySelector("dialog.sheet[open]")) return away(); // there it stands at the head
    const text = news(shown);
    if (text) away = toast(t("cart.warning", { titles: text }), extendable(buying) ? { text: t("cart.moreTime"), run: () => moreTime(buying) } : { text: t("cart.toCheckout"), run: open }, WARN_MS);
  });
  store.watch(["expired"], (state, before) => {
    for (const line of state.expired) {
      if (before.expired.includes(line)) continue;
      const text = t("cart.expired", { title: line.title });
      announce(text, true);
      toast(text, { text: t("cart.again"), run: () => buying.add(line.sku, { price: line.price_minor }) });
    }
  });
}

async function moreTime(buying) {
  const ms = await extend(buying);
  if (ms > 0) announce(t("cart.moreTime.done", { clock: clock(ms) }));
}

/** The warning at the head of the cart's sheet, in the cart and in the check-out; hidden while there is time. */
export class EndingNotice {
  constructor(buying) {
    const words = h("span", { class: "grow" });
    const button = h("button", { class: "button outline", type: "button", text: t("cart.moreTime"), "data-testid": "more-time", onclick: () => this.#ask() });
    Object.assign(this, { buying, words, button });
    this.element = h("div", { class: "notice ending", "data-testid": "ending", hidden: true }, icon("clock"), words, button);
  }

  draw() {
    const lines = ending(this.buying);
    this.element.hidden = lines.length === 0;
    if (!lines.length) return;
    const left = clock(Math.min(...lines.map((line) => this.buying.left(line))));
    const more = extendable(this.buying);
    this.words.textContent = more ? t("cart.endingSoon", { clock: left }) : t("error.hold_final");
    this.button.hidden = !more;
    this.button.setAttribute("aria-disabled", String(lines.some((line) => this.buying.busy(line.sku))));
  }

  async #ask() {
    await moreTime(this.buying);
    if (this.element.hidden) this.element.closest("dialog").querySelector("input, .sheet-foot button").focus(); // the pressed button is gone
  }
}
