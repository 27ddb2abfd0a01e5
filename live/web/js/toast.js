/* Short messages over the page. */
import { h } from "./dom.js";

let toasts;
/** A short message that stays for `ms`; `action` is {text, run}. Returns how to take it away. */
export function toast(text, action = null, ms = action ? 20_000 : 6_000) {
  toasts ??= h("div", { class: "toasts" });
  const host = document.querySelector("dialog[open]") ?? document.body; // a modal dialog covers everything outside of it
  host.append(toasts);
  const item = h("div", { class: "toast", role: "status" }, h("span", { text }));
  const away = () => item.remove();
  if (action) item.append(h("button", { class: "button text", type: "button", text: action.text, onclick: () => { away(); action.run(); } }));
  toasts.replaceChildren(item);
  setTimeout(away, ms);
  return away;
}
