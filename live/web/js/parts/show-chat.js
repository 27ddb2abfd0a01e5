/* <show-chat>: the messages and the line to write one. */
import { h, icon } from "../dom.js";
import { errorTexts, problemText, t, timeOfDay } from "../i18n.js";

const NEAR_BOTTOM_PX = 48;
const RELEASE_MS = 200;
const SHADES = 6;

/** The same person keeps the same colour; which one only depends on the id. */
const shade = (id) => [...id].reduce((sum, char) => (sum * 31 + char.charCodeAt(0)) % 9973, 7) % SHADES;

customElements.define("show-chat", class extends HTMLElement {
  #items = new Map();
  #pending = [];
  following = true;

  /** `decorate(item, message)` lets the studio add its tools to a message. */
  connect({ store, socket, tokens, decorate = null, times = false, fast = "chat.fast" }) {
    Object.assign(this, { store, socket, tokens, decorate, times, fast: t(fast) });
    this.#build();
    store.watch(["chat", "viewer"], (state, before) => this.#messages(state, before));
    store.watch(["status", "mute", "chat", "viewer", "fastUntilMs"], () => this.#mode());
    setInterval(() => (this.store.state.mute?.until_ms || this.store.state.fastUntilMs) && this.#mode(), 1000);
  }

  #build() {
    this.list = h("div", { class: "chat-list", role: "log", "aria-label": t("chat.title"), tabindex: "0", "data-testid": "chat-list" });
    this.empty = h("p", { class: "chat-empty muted small", text: t("chat.empty") });
    this.more = h("button", { class: "button primary chat-more", type: "button", hidden: true, text: t("chat.newer"), onclick: () => this.#toBottom() });
    this.list.addEventListener("scroll", () => this.#scrolled());
    new ResizeObserver(() => this.#resized()).observe(this.list);
    this.input = h("input", {
      class: "input", type: "text", name: "text", maxlength: "1000", autocomplete: "off", enterkeyhint: "send",
      "aria-label": t("chat.write"), placeholder: t("chat.write"), "data-testid": "chat-input", "aria-describedby": "chat-note",
    });
    this.send = h("button", { class: "button primary icon", type: "submit", "aria-label": t("chat.send"), "data-testid": "chat-send" }, icon("send"));
    this.note = h("p", { class: "chat-note tiny", id: "chat-note" });
    this.error = h("p", { class: "error", role: "alert", "data-testid": "chat-error" });
    this.who = h("button", { class: "button text chat-who", type: "button", "data-testid": "rename", onclick: () => this.#rename() });
    this.tools = h("div", { class: "composer-tools" });
    const line = h("div", { class: "composer-line" }, this.input, this.send, this.tools);
    this.form = h("form", { class: "composer", novalidate: true, onsubmit: (event) => this.#post(event) }, this.error, h("div", { class: "composer-meta" }, this.who, this.note), line);
    this.input.addEventListener("focus", () => this.form.classList.add("writing"));
    this.form.addEventListener("keydown", ({ key, shiftKey }) => { if (key === "Tab" && !shiftKey && !this.input.value) this.form.classList.remove("writing"); }); // on to the tools
    this.form.addEventListener("focusout", () => setTimeout(() => this.#rest(), RELEASE_MS));
    this.scroll = h("div", { class: "chat-scroll" }, this.empty, this.list, this.more);
    this.append(this.scroll, this.form);
  }

  /** On a phone the send button and the page's tools share one place; they change it once a tap is over. */
  #rest() {
    if (!this.input.value && !this.form.contains(document.activeElement)) this.form.classList.remove("writing");
  }

  #atBottom() {
    return this.list.scrollHeight - this.list.scrollTop - this.list.clientHeight < NEAR_BOTTOM_PX;
  }

  #scrolled() {
    if (this.list.clientHeight === this.height) this.following = this.#atBottom(); // otherwise nobody scrolled
    if (this.following) this.more.hidden = true;
  }

  /** Who saw the newest still does when a card, a keyboard or a list of products took the room and gave it back. */
  #resized() {
    if (this.following) this.#toBottom();
    this.height = this.list.clientHeight;
  }

  #toBottom() {
    this.list.scrollTop = this.list.scrollHeight;
    this.more.hidden = true;
  }

  #messages(state, before) {
    const { messages } = state.chat;
    const stick = this.following || this.#items.size === 0;
    if (state.viewer?.id !== before.viewer?.id) for (const [id, item] of this.#items) (item.remove(), this.#items.delete(id));
    const known = new Set(messages.map((message) => message.id));
    for (const [id, item] of this.#items) if (!known.has(id)) (item.remove(), this.#items.delete(id));
    let foreign = false;
    let after = null; // from the newest back, so that a late one finds its place
    for (const message of [...messages].reverse()) {
      let item = this.#items.get(message.id);
      if (!item) {
        this.#landed(message);
        item = this.#item(message);
        this.#items.set(message.id, item);
        this.list.insertBefore(item, after ?? this.#pending[0]?.item ?? null);
        foreign ||= message.viewer.id !== state.viewer?.id;
      }
      after = item;
    }
    this.empty.hidden = messages.length + this.#pending.length > 0;
    if (stick) this.#toBottom();
    else if (foreign) this.more.hidden = false;
  }

  #item({ id, viewer, text, sent_at_ms, shown }, pending = false) {
    const own = viewer.id === this.store.state.viewer?.id;
    const staff = viewer.role === "host" || viewer.role === "moderator";
    const name = h("b", { class: `chat-name shade-${shade(viewer.id)}`, text: viewer.name });
    const item = h("div", { class: `chat-message${own ? " own" : ""}${staff ? " staff" : ""}${pending ? " pending" : ""}`, data: { id, viewer: viewer.id } });
    if (this.times && sent_at_ms) item.append(h("time", { class: "chat-time tiny muted", datetime: new Date(sent_at_ms).toISOString(), text: timeOfDay(sent_at_ms) }));
    item.append(name);
    if (staff) item.append(h("span", { class: "badge chat-role", text: t(`chat.role.${viewer.role}`) }));
    item.append(" ", h("span", { class: "chat-text", text }));
    if (!pending) this.decorate?.(item, { id, viewer, text, own, shown });
    return item;
  }

  async #post(event) {
    event.preventDefault();
    const text = this.input.value.trim();
    const { viewer } = this.store.state;
    if (!text || !viewer || this.input.disabled) return;
    this.error.textContent = "";
    this.input.value = "";
    const pending = { id: null, text, item: this.#item({ id: "", viewer, text }, true) };
    this.#pending.push(pending);
    this.list.append(pending.item);
    this.empty.hidden = true;
    this.#toBottom();
    try {
      const { message, shown } = await this.socket.command("chat.post", { text });
      pending.id = message.id;
      if (shown === false) this.store.dispatch({ type: "written", message }); // nobody tells us of it
      if (this.#items.has(message.id)) this.#drop(pending);
    } catch (problem) {
      this.#drop(pending);
      this.input.value ||= text;
      await errorTexts();
      this.error.textContent = problemText(problem);
    }
  }

  #drop(pending) {
    pending.item.remove();
    this.#pending = this.#pending.filter((other) => other !== pending);
  }

  /** The real message takes the place of the one that was shown while it was on its way. */
  #landed(message) {
    if (message.viewer.id !== this.store.state.viewer?.id) return;
    const pending = this.#pending.find((other) => other.id === message.id) ?? this.#pending.find((other) => other.id === null && other.text === message.text);
    if (pending) this.#drop(pending);
  }

  #mode() {
    const { status, mute, chat, viewer } = this.store.state;
    const left = mute ? (mute.until_ms === null ? Infinity : mute.until_ms - this.store.now()) : 0;
    const closed = left > 0;
    this.input.disabled = closed || status === "closed" || !viewer;
    this.send.disabled = this.input.disabled;
    const pace = chat.slow_s && viewer?.role === "viewer" ? t("chat.slow", { count: chat.slow_s }) : this.store.state.fastUntilMs > this.store.now() ? this.fast : "";
    this.note.textContent = left === Infinity ? t("chat.banned") : closed ? t("chat.mutedUntil", { time: timeOfDay(mute.until_ms) }) : pace;
    this.note.classList.toggle("closed", closed);
    this.who.hidden = closed || !viewer;
    if (!viewer) return;
    this.who.textContent = t(this.tokens.person?.() === viewer.id ? "chat.signedIn" : "chat.as", { name: viewer.name });
    this.who.disabled = viewer.role !== "viewer"; // the staff's names come with their tokens
  }

  async #rename() {
    const { rename } = await import("./rename.js");
    rename(this);
  }
});
