/* Tools on a chat message: by pointer, by Tab, or by arrow keys and a letter. */
import { announce, h, icon } from "../dom.js";
import { problemText, t } from "../i18n.js";
import { toast } from "../toast.js";
import { confirm } from "./confirm.js";

const TIMEOUT_S = 300;
const KEYS = { Delete: "remove", d: "remove", t: "timeout", b: "ban" };

export class Moderation {
  constructor(socket) {
    this.socket = socket;
    this.decorate = this.decorate.bind(this);
  }

  /** Gives `item` its tools; also marks questions, which can be looked at alone. */
  decorate(item, message) {
    if (message.text.includes("?")) item.classList.add("question");
    if (message.shown === false) item.append(" ", h("span", { class: "tiny muted", text: t("mod.leftOut") }));
    const act = { remove: () => this.#remove(message), timeout: () => this.#timeout(message), ban: () => this.#ban(message) };
    const tool = (name, glyph, testid) => h("button", { class: "button icon mod", type: "button", tabindex: "-1", title: t(`mod.${name}`), "aria-label": t(`mod.${name}Of`, { name: message.viewer.name }), "data-testid": testid, onclick: act[name] }, icon(glyph, "tiny"));
    const tools = [tool("remove", "trash", "chat-delete")];
    if (!message.own) tools.push(tool("timeout", "clock", "chat-timeout"), tool("ban", "ban", "chat-ban"));
    item.append(h("span", { class: "mod-tools" }, tools));
    item.tabIndex = -1;
    item.addEventListener("keydown", (event) => {
      const next = event.key === "ArrowDown" ? item.nextElementSibling : event.key === "ArrowUp" ? item.previousElementSibling : null;
      const name = event.target === item && !event.ctrlKey && !event.metaKey ? KEYS[event.key] : null;
      if (!next && (!name || (message.own && name !== "remove"))) return;
      event.preventDefault();
      event.stopPropagation();
      if (next) return next.focus();
      (item.nextElementSibling ?? item.previousElementSibling ?? item.parentElement).focus();
      act[name]();
    });
  }

  /** The list takes part in Tab; the arrows go into it, to the newest message first. */
  enter(list) {
    list.addEventListener("keydown", (event) => {
      if (event.target !== list || (event.key !== "ArrowUp" && event.key !== "ArrowDown")) return;
      event.preventDefault();
      list.lastElementChild?.focus();
    });
  }

  async #run(name, data, told, undo = null) {
    try {
      await this.socket.command(name, data);
      announce(told);
      toast(told, undo);
    } catch (problem) {
      toast(problemText(problem));
    }
  }

  #remove({ id }) {
    return this.#run("chat.delete", { id }, t("mod.removed"));
  }

  #timeout({ viewer }) {
    const undo = { text: t("mod.undo"), run: () => this.#run("chat.unban", { viewer_id: viewer.id }, t("mod.undone", { name: viewer.name })) };
    return this.#run("chat.timeout", { viewer_id: viewer.id, seconds: TIMEOUT_S }, t("mod.timedOut", { name: viewer.name }), undo);
  }

  async #ban({ viewer }) {
    if (!await confirm({ title: t("mod.banAsk", { name: viewer.name }), text: t("mod.banAsk.more"), yes: t("mod.ban"), danger: true, testid: "confirm-ban" })) return;
    const undo = { text: t("mod.undo"), run: () => this.#run("chat.unban", { viewer_id: viewer.id }, t("mod.undone", { name: viewer.name })) };
    await this.#run("chat.ban", { viewer_id: viewer.id }, t("mod.banned", { name: viewer.name }), undo);
  }
}
