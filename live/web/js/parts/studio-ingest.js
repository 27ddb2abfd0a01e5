/* <studio-ingest>: how to send with OBS instead of this browser. */
import { h, icon } from "../dom.js";
import { problemText, t } from "../i18n.js";
import { toast } from "../toast.js";

customElements.define("studio-ingest", class extends HTMLElement {
  connect({ show, token }) {
    Object.assign(this, { show, token });
    this.key = h("div", { class: "stack" });
    const button = (name, backup) => h("button", { class: "button outline", type: "button", text: t(`obs.${name}`), "data-testid": `stream-key-${name}`, onclick: () => this.#create(backup) });
    this.buttons = [button("create", false), button("backup", true)];
    this.append(h("details", { class: "card fold", "data-testid": "obs" },
      h("summary", { text: t("obs.title") }),
      h("div", { class: "stack fold-body" },
        h("p", { class: "small muted", text: t("obs.more") }),
        copyable("obs-url", t("obs.url"), `${location.origin}/whip/${show}`),
        this.key, this.buttons[0],
        h("p", { class: "small muted", text: t("obs.backup.more") }), this.buttons[1])));
  }

  /** A key of the first rank, or one for an encoder that stands by. */
  async #create(backup) {
    for (const button of this.buttons) button.disabled = true;
    try {
      const answer = await fetch(`/api/shows/${encodeURIComponent(this.show)}/stream-keys`, {
        method: "POST", headers: { Authorization: `Bearer ${this.token()}`, "Content-Type": "application/json" }, body: JSON.stringify(backup ? { label: "OBS backup", backup } : { label: "OBS" }),
      });
      const body = await answer.json();
      if (!answer.ok) throw body;
      this.key.replaceChildren(copyable("obs-key", t(backup ? "obs.backupKey" : "obs.key"), body.key), h("p", { class: "notice" }, icon("warn"), h("span", { text: t("obs.once") })));
    } catch (problem) {
      toast(problemText(problem));
    } finally {
      for (const button of this.buttons) button.disabled = false;
    }
  }
});

function copyable(id, label, value) {
  const input = h("input", { class: "input mono", id, readonly: true, value, "data-testid": id, onfocus: () => input.select() });
  const copy = h("button", { class: "button icon", type: "button", "aria-label": t("obs.copy", { what: label }), onclick: async () => {
    input.select();
    try {
      await navigator.clipboard.writeText(value);
    } catch {
      if (!document.execCommand("copy")) return; // without https there is no clipboard, without focus it is refused; then what is marked can be copied by hand
    }
    toast(t("copied"));
  } }, icon("copy"));
  return h("div", { class: "field" }, h("label", { for: id, text: label }), h("div", { class: "row" }, input, copy));
}
