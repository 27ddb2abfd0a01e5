/* <quality-menu>: how much data the picture may cost; kept in this browser, and told to the server. */
import { h, icon, s, styled } from "../dom.js";
import { t } from "../i18n.js";

const KEPT = "showcart.quality";
const CHOICES = ["auto", "save", "sound"];
const SAVING = { wide: 360, upright: 640 }; // lines of the picture: enough for a phone
const SLIDERS = "M4 7h8M18 7h2M4 17h2M12 17h8M15 4.5a2.5 2.5 0 1 0 0 5 2.5 2.5 0 0 0 0-5zM9 14.5a2.5 2.5 0 1 0 0 5 2.5 2.5 0 0 0 0-5z";

/** The choice of before; else what the browser's own data saver asks for. */
export function firstChoice(kept, saveData) {
  return CHOICES.includes(kept) ? kept : saveData ? "save" : "auto";
}

/** What to tell the server. */
export function limitOf(choice, upright) {
  return { max_height: choice === "save" ? SAVING[upright ? "upright" : "wide"] : null, video: choice !== "sound" };
}

customElements.define("quality-menu", class extends HTMLElement {
  #upright = false;

  /** `stage` is the <show-video>; `watcher` hears of each choice. */
  async connect({ stage, watcher }) {
    Object.assign(this, { stage, watcher, choice: firstChoice(localStorage.getItem(KEPT), navigator.connection?.saveData) });
    if (this.choice !== "auto") this.#tell();
    await styled("/static/css/quality.css");
    this.#build();
    this.#draw();
    stage.video.addEventListener("resize", () => this.#turned());
    this.addEventListener("keydown", (event) => { if (event.key === "Escape" && !this.menu.hidden) this.#show(false), this.button.focus(); });
    this.addEventListener("focusout", ({ relatedTarget: next }) => { if (next && !this.contains(next)) this.#show(false); });
    document.addEventListener("pointerdown", ({ target }) => { if (!this.contains(target)) this.#show(false); });
  }

  #build() {
    const glyph = s("svg", { class: "icon-glyph", viewBox: "0 0 24 24", "aria-hidden": "true" }, s("path", { d: SLIDERS }));
    this.button = h("button", { class: "button icon veil", type: "button", "aria-controls": "quality", "data-testid": "quality", onclick: () => this.#show(this.menu.hidden) }, glyph);
    this.menu = h("fieldset", { id: "quality", hidden: true }, h("legend", { text: t("quality.title") }), CHOICES.map((name) => h("label", {},
      h("input", { type: "radio", name: "quality", value: name, "data-testid": `quality-${name}`, onchange: () => this.#choose(name) }),
      h("span", {}, h("strong", { text: t(`quality.${name}`) }), h("small", { text: t(`quality.${name}.more`) })))));
    this.append(this.button, this.menu);
    this.cover = h("div", { class: "sound-only", "data-testid": "sound-only" }, icon("sound"), h("p", { text: t("quality.soundOnly") }),
      h("button", { class: "button", type: "button", text: t("quality.picture"), "data-testid": "picture-back", onclick: () => { this.#choose("auto"); this.button.focus(); } }));
    this.stage.append(this.cover);
    this.#show(false);
  }

  #show(open) {
    this.menu.hidden = !open;
    this.button.setAttribute("aria-expanded", String(open));
    if (open) this.menu.querySelector(":checked").focus();
  }

  #draw() {
    this.menu.querySelector(`[value=${this.choice}]`).checked = true;
    this.button.setAttribute("aria-label", t("quality.button", { choice: t(`quality.${this.choice}`) }));
    this.button.dataset.choice = this.choice;
    this.cover.hidden = this.choice !== "sound";
    this.stage.soundOnly = this.choice === "sound";
  }

  #choose(name) {
    this.choice = name;
    localStorage.setItem(KEPT, name);
    this.#tell();
    this.#draw();
  }

  #tell() {
    this.watcher.limit(limitOf(this.choice, this.#upright));
  }

  #turned() {
    const { videoWidth, videoHeight } = this.stage.video;
    if (videoHeight > videoWidth === this.#upright) return;
    this.#upright = !this.#upright;
    if (this.choice === "save") this.#tell();
  }
});
