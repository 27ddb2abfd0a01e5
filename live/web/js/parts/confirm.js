/* One question in a dialog; resolves to whether the answer was yes. `no`: what the other button says. */
import { h } from "../dom.js";
import { t } from "../i18n.js";

export function confirm({ title, text, yes, no = t("cancel"), danger = false, testid = "confirm" }) {
  return new Promise((resolve) => {
    let answer = false;
    const dialog = h("dialog", { class: "dialog", role: "alertdialog", "aria-labelledby": "confirm-title", "aria-describedby": "confirm-text", onclose: () => { dialog.remove(); resolve(answer); } });
    dialog.append(h("div", { class: "stack" }, h("h2", { id: "confirm-title", text: title }), h("p", { id: "confirm-text", class: "muted", text }),
      h("div", { class: "actions" },
        h("button", { class: "button", type: "button", text: no, autofocus: true, onclick: () => dialog.close() }),
        h("button", { class: `button ${danger ? "danger" : "primary"}`, type: "button", text: yes, "data-testid": testid, onclick: () => { answer = true; dialog.close(); } }))));
    document.body.append(dialog);
    dialog.showModal();
  });
}
