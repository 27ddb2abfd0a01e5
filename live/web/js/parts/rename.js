/* The dialog in which a viewer says what to be called. */
import { announce, h } from "../dom.js";
import { problemText, t } from "../i18n.js";

export function rename({ store, socket, tokens }) {
  const { name } = store.state.viewer;
  const input = h("input", { class: "input", id: "rename-input", value: name, maxlength: "48", autocomplete: "nickname", required: true, "data-testid": "rename-input", "aria-describedby": "rename-error" });
  const error = h("p", { class: "error", id: "rename-error", role: "alert" });
  const dialog = h("dialog", { class: "dialog", "aria-labelledby": "rename-title", onclose: () => dialog.remove() });
  const save = async (event) => {
    event.preventDefault();
    try {
      const { viewer, token } = await socket.command("viewer.rename", { name: input.value.trim() });
      const signed = Boolean(tokens.customer?.());
      if (token && (!signed || tokens.person() === viewer.id)) tokens.write(token); // else somebody has signed in in another tab
      if (signed && tokens.person() === viewer.id) tokens.signed(viewer);
      store.dispatch({ type: "viewer", viewer });
      dialog.close();
      announce(t("chat.as", { name: viewer.name }));
    } catch (problem) {
      error.textContent = problem.name === "invalid_field" ? t("chat.name.wrong") : problemText(problem);
      input.setAttribute("aria-invalid", "true");
    }
  };
  dialog.append(h("form", { class: "stack", onsubmit: save },
    h("h2", { id: "rename-title", text: t("chat.rename") }),
    h("div", { class: "field" }, h("label", { for: "rename-input", text: t("chat.name") }), input, error),
    h("div", { class: "actions" },
      h("button", { class: "button quiet", type: "button", text: t("cancel"), onclick: () => dialog.close() }),
      h("button", { class: "button primary", type: "submit", text: t("save"), "data-testid": "rename-save" }))));
  document.body.append(dialog);
  dialog.showModal();
  input.select();
}
