/* A labelled input with room for what is wrong with it. */
import { h } from "../dom.js";

/** `tell(text)` says what is wrong with it; "": nothing. `control`: another element than an input. */
export function field(id, label, attributes = {}, control = "input") {
  const input = h(control, { class: "input", id, name: id, "data-testid": id, "aria-describedby": `${id}-error`, ...attributes });
  const error = h("p", { class: "error", id: `${id}-error` });
  const element = h("div", { class: "field" }, h("label", { for: id, text: label }), input, error);
  const tell = (text) => {
    error.textContent = text;
    input.setAttribute("aria-invalid", String(text !== ""));
  };
  input.addEventListener("input", () => tell(""));
  return { input, element, tell };
}
