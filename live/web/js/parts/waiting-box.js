/* What a box to buy in tells of a drop and of the waitlist: times, limits, one's place, how to join and leave. Loaded when there is something to tell. */
import { announce, h } from "../dom.js";
import { clock, errorTexts, moreTexts, number, problemText, t, timeOfDay } from "../i18n.js";
import { nextMs, offered, phaseOf } from "../drops.js";
import { available, lineOf } from "../store.js";
import { toast } from "../toast.js";

const SOON_MS = 3_600_000; // further away, the time of day says more than a countdown
const texts = moreTexts("later");

export class WaitingBox {
  #timer = 0;
  #busy = false;

  static async create(box) {
    await texts;
    return new WaitingBox(box);
  }

  constructor(box) {
    this.box = box;
    const { scope } = box;
    this.drop = h("p", { class: "drop-note small", "data-testid": `drop${scope}`, hidden: true });
    this.turn = h("p", { class: "notice good drop-turn", "data-testid": `turn${scope}`, hidden: true });
    this.words = h("p", { class: "small", "data-testid": `place${scope}` });
    this.button = h("button", { class: "button outline wide", type: "button", onclick: () => this.#toggle() });
    this.wait = h("div", { class: "wait", hidden: true }, this.words, this.button);
    box.variants.after(this.drop, this.turn);
    box.append(this.wait);
  }

  /** Draws; what the box's own button says and may do: {label, blocked, most}, null: as usual. */
  update() {
    const { store, sku, item } = this.box;
    const { state } = store;
    const now = store.now();
    const [drop, place, line] = [state.drops[sku], state.places[sku] ?? null, lineOf(state, sku)];
    const phase = phaseOf(drop, now);
    clearTimeout(this.#timer);
    const wait = nextMs(drop, now);
    if (wait !== null && this.box.isConnected) this.#timer = setTimeout(() => this.box.update(), Math.max(1, wait));
    this.#drop(drop, phase, now);
    const turn = offered(place, state.cart.lines);
    this.turn.hidden = !turn;
    if (turn) this.turn.textContent = t("wait.turn", { count: place.offer.quantity });
    const out = available(state, item, sku) === 0;
    this.#place({ place: turn ? null : place, out: out && phase !== "over" && phase !== "before", line });
    const most = drop && phase === "open" ? (drop.per_customer_limit ?? Infinity) : Infinity;
    return { label: phase === "before" ? this.#until(drop.opens_at_ms, now, "drop.in", "drop.on") : null, blocked: phase === "before", over: phase === "over", taken: phase === "open" && drop.left === 0 && !out, most };
  }

  #until(end, now, soon, far) {
    return end - now < SOON_MS ? t(soon, { clock: clock(end - now) }) : t(far, { time: timeOfDay(end) });
  }

  #drop(drop, phase, now) {
    this.drop.hidden = phase === null;
    if (!phase) return;
    const parts = [
      phase === "before" ? t("drop.before") : phase === "over" ? t("drop.over") : drop.closes_at_ms === null ? t("drop.open") : this.#until(drop.closes_at_ms, now, "drop.ends", "drop.until"),
      phase === "before" && drop.total_limit !== null ? t("drop.pieces", { count: drop.total_limit }) : "",
      phase !== "over" && drop.per_customer_limit !== null ? t("drop.each", { count: drop.per_customer_limit }) : "",
    ].filter(Boolean).join(" · ");
    if (this.drop.textContent !== parts) this.drop.textContent = parts;
    if (this.phase === "before" && phase === "open") announce(t("drop.opened", { title: this.box.item.title }), true);
    this.phase = phase;
  }

  #place({ place, out, line }) {
    const waits = place !== null && place.offer === null;
    this.wait.hidden = !waits && !(out && !line);
    if (this.wait.hidden) return;
    this.words.hidden = !waits;
    if (waits) this.words.textContent = place.position === 1 ? t("wait.first") : t("wait.place", { position: number(place.position) });
    this.button.textContent = t(waits ? "wait.leave" : "wait.join");
    this.button.className = `button wide ${waits ? "quiet" : "outline"}`;
    this.button.dataset.testid = `${waits ? "waitlist-leave" : "waitlist-join"}${this.box.scope}`;
    this.button.setAttribute("aria-disabled", String(this.#busy));
  }

  async #toggle() {
    const { store, sku, buying, item } = this.box;
    if (this.#busy) return;
    const waits = store.state.places[sku]?.offer === null;
    this.#busy = true;
    try {
      const { place } = await buying.socket.command(waits ? "waitlist.leave" : "waitlist.join", waits ? { sku } : { sku, quantity: 1 });
      store.dispatch({ type: "place", sku, place });
      announce(t(waits ? "wait.left" : "wait.joined", { title: item.title, position: number(place?.position ?? 1) }));
    } catch (problem) {
      await errorTexts();
      toast(problemText(problem));
    } finally {
      this.#busy = false;
      this.box.update();
    }
  }
}
