/* <reaction-bar>: what viewers send besides words. Buttons on the watch page, totals only in the studio. */
import { calm, h, s, styled } from "../dom.js";
import { compact, problemText, t } from "../i18n.js";
import { toast } from "../toast.js";

const GLYPHS = {
  heart: "M12 20s-7.5-4.6-7.5-10A4.2 4.2 0 0 1 12 7.2 4.2 4.2 0 0 1 19.5 10c0 5.4-7.5 10-7.5 10z",
  clap: "M8 13V6.6a1.5 1.5 0 0 1 3 0V11 5a1.5 1.5 0 0 1 3 0v6-4.4a1.5 1.5 0 0 1 3 0V14a6 6 0 0 1-6 6c-2.8 0-4.4-1.4-5.8-3.8l-1.6-2.8a1.4 1.4 0 0 1 2.4-1.4zM4.5 4.5l1.2 1.2M3 8.5h1.6M19.5 4.5l-1.2 1.2",
  fire: "M12.5 3c.3 3.2 4.7 5 4.7 10a5.2 5.2 0 0 1-10.4 0c0-2 .9-3.3 1.9-4.2.1 1.4.7 2.2 1.5 2.5-.1-3.2.5-6 2.3-8.3zM12 18.2a2 2 0 0 1-2-2c0-1.3 1-2 2-3.2 1 1.2 2 1.9 2 3.2a2 2 0 0 1-2 2z",
  wow: "M12 3.5a8.5 8.5 0 1 0 0 17 8.5 8.5 0 0 0 0-17zM9 9.5v.6M15 9.5v.6M12 13.2a2 2.3 0 1 0 .01 0z",
};
const KINDS = Object.keys(GLYPHS);
const OPEN = ["lobby", "live", "paused"];
const PER_S = 5; // the server's rate for one viewer; what is tapped faster only flies
const BURST = 15;
const FLYING_MAX = 14;
const FLY_MS = 1800;

const glyph = (kind) => h("span", { class: "reaction-glyph" }, s("svg", { class: "icon-glyph", viewBox: "0 0 24 24", "aria-hidden": "true" }, s("path", { d: GLYPHS[kind] })));

customElements.define("reaction-bar", class extends HTMLElement {
  #counts = {};
  #left = BURST;
  #since = performance.now();
  #flying = 0;

  /** `socket` null: only the totals are shown. */
  async connect({ store, socket = null }) {
    Object.assign(this, { store, socket });
    await styled("/static/css/reactions.css");
    this.setAttribute("role", "group");
    this.setAttribute("aria-label", t("react.title"));
    this.append(...KINDS.map((kind) => this.#item(kind)));
    store.watch(["show"], ({ show }) => { this.hidden = !OPEN.includes(show?.state); });
    store.watch(["reactions"], ({ reactions }, before) => this.#draw(reactions, before.reactions));
  }

  #item(kind) {
    const count = h("span", { class: "reaction-count", id: `reaction-${kind}`, "data-testid": `reaction-${kind}-total` });
    this.#counts[kind] = count;
    if (!this.socket) return h("span", { class: "reaction", data: { kind } }, glyph(kind), h("span", { class: "visually-hidden", text: t(`react.${kind}`) }), count);
    // The total describes the button and is not its name: a name that changes four times a second would be read again and again.
    return h("button", { class: "reaction", type: "button", "aria-label": t(`react.${kind}`), "aria-describedby": count.id, data: { kind }, "data-testid": `reaction-${kind}`, onclick: () => this.#send(kind) }, glyph(kind), count);
  }

  #draw(reactions, before) {
    for (const kind of KINDS) {
      const total = reactions?.[kind] ?? 0;
      this.#counts[kind].textContent = total || !this.socket ? compact(total) : "";
      if (before && reactions !== before && this.socket) for (let more = Math.min(3, total - (before[kind] ?? 0)); more > 0; more--) this.#fly(kind, more * 160);
    }
  }

  async #send(kind) {
    this.#fly(kind, 0);
    const now = performance.now();
    this.#left = Math.min(BURST, this.#left + ((now - this.#since) / 1000) * PER_S);
    this.#since = now;
    if (this.#left < 1) return;
    this.#left -= 1;
    try {
      await this.socket.command("chat.react", { kind });
    } catch (problem) {
      if (problem?.name !== "rate_limited") toast(problemText(problem));
    }
  }

  /** One more rises from its button. */
  #fly(kind, delay) {
    if (calm() || document.hidden || this.#flying >= FLYING_MAX) return;
    const item = h("span", { class: "reaction-flying", "aria-hidden": "true" }, glyph(kind));
    this.querySelector(`[data-kind="${kind}"] > .reaction-glyph`).append(item);
    this.#flying += 1;
    const drift = Math.random() * 44 - 22;
    const rise = [{ translate: "0 0", scale: ".6", opacity: 0 }, { opacity: 1, scale: "1.1", offset: .15 }, { translate: `${drift}px -150px`, scale: ".9", opacity: 0 }];
    item.animate(rise, { duration: FLY_MS, delay, easing: "ease-out", fill: "both" }).finished.catch(() => {}).then(() => {
      item.remove();
      this.#flying -= 1;
    });
  }
});
