/* How much data the picture may cost: chosen in the player, kept in this browser, and told to the server. */
import { h, icon, s } from "../dom.js";
import { t } from "../i18n.js";

const KEPT = "showcart.quality";
const SAVING_HEIGHT = 360; // pixels of the shorter side: enough for a phone held upright
const LIMITS = {
  auto: { max_height: null, video: true },
  save: { max_height: SAVING_HEIGHT, video: true },
  sound: { max_height: null, video: false },
};
const SLIDERS = "M4 7h8M18 7h2M4 17h2M12 17h8M15 4.5a2.5 2.5 0 1 0 0 5 2.5 2.5 0 0 0 0-5zM9 14.5a2.5 2.5 0 1 0 0 5 2.5 2.5 0 0 0 0-5z";

/** The choice of before; else what the browser's own data saver asks for. */
export function firstChoice(kept, saveData) {
  return kept in LIMITS ? kept : saveData ? "save" : "auto";
}

/** Puts the menu before `sound`, the button of the sound; `watcher` hears of each choice. */
export function addQuality(sound, watcher) {
  document.head.append(h("link", { rel: "stylesheet", href: "/static/css/quality.css" }));
  let choice = firstChoice(localStorage.getItem(KEPT), navigator.connection?.saveData);
  const glyph = s("svg", { class: "icon-glyph", viewBox: "0 0 24 24", "aria-hidden": "true" }, s("path", { d: SLIDERS }));
  const button = h("button", { class: "button icon veil", type: "button", "aria-expanded": "false", "aria-controls": "quality", "data-testid": "quality", onclick: () => show(menu.hidden) }, glyph);
  const radios = Object.keys(LIMITS).map((name) => h("label", {},
    h("input", { type: "radio", name: "quality", value: name, "data-testid": `quality-${name}`, onchange: () => choose(name) }),
    h("span", {}, h("strong", { text: t(`quality.${name}`) }), h("small", { text: t(`quality.${name}.more`) }))));
  const menu = h("fieldset", { class: "quality-menu", id: "quality", hidden: true }, h("legend", { text: t("quality.title") }), radios);
  const box = h("div", { class: "quality" }, button, menu);
  const cover = h("div", { class: "sound-only", hidden: true, "data-testid": "sound-only" }, icon("sound"), h("p", { text: t("quality.soundOnly") }),
    h("button", { class: "button", type: "button", text: t("quality.picture"), "data-testid": "picture-back", onclick: () => { choose("auto"); button.focus(); } }));

  const show = (open) => {
    menu.hidden = !open;
    button.setAttribute("aria-expanded", String(open));
    if (open) menu.querySelector(":checked").focus();
  };
  const draw = () => {
    menu.querySelector(`[value=${choice}]`).checked = true;
    button.setAttribute("aria-label", t("quality.button", { choice: t(`quality.${choice}`) }));
    button.dataset.choice = choice;
    cover.hidden = choice !== "sound";
  };
  const choose = (name) => {
    choice = name;
    localStorage.setItem(KEPT, name);
    watcher.limit(LIMITS[name]);
    draw();
  };
  box.addEventListener("keydown", (event) => {
    if (event.key !== "Escape" || menu.hidden) return;
    show(false);
    button.focus();
  });
  document.addEventListener("pointerdown", (event) => { if (!box.contains(event.target)) show(false); });
  box.addEventListener("focusout", ({ relatedTarget }) => { if (relatedTarget && !box.contains(relatedTarget)) show(false); });
  draw();
  if (choice !== "auto") watcher.limit(LIMITS[choice]);
  sound.before(box);
  document.querySelector("show-video").append(cover);
}
