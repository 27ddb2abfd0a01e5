/* <hold-button>: does its thing only when it is held down, so that nobody goes on air by a slip. */
import { h } from "../dom.js";

const HOLD_MS = 800;

customElements.define("hold-button", class extends HTMLElement {
  /** `run` is called after the hold; `hint` tells how, `confirm` is asked where holding is not possible. */
  connect({ run, hint, confirm }) {
    Object.assign(this, { run, confirm });
    this.label = h("span", { class: "hold-label" });
    this.button = h("button", { class: "button primary wide hold", type: "button", "data-testid": this.dataset.testid, title: hint, "aria-describedby": `${this.id}-hint` }, h("span", { class: "hold-fill" }), this.label);
    delete this.dataset.testid;
    this.append(this.button, h("p", { class: "tiny muted hold-hint", id: `${this.id}-hint`, text: hint }));
    this.button.addEventListener("pointerdown", (event) => event.button === 0 && this.#begin());
    for (const name of ["pointerup", "pointerleave", "pointercancel", "blur", "keyup"]) this.button.addEventListener(name, () => this.#end());
    this.button.addEventListener("contextmenu", (event) => event.preventDefault());
    this.button.addEventListener("keydown", (event) => {
      if (event.key !== "Enter" && event.key !== " ") return;
      event.preventDefault();
      if (!event.repeat) this.#begin();
    });
    this.button.addEventListener("click", (event) => {
      // A screen reader or a switch clicks without pressing: ask instead.
      if (event.detail === 0 && event.pointerType === "" && this.button.getAttribute("aria-disabled") !== "true") this.confirm();
    });
  }

  set text(text) {
    this.label.textContent = text;
  }

  set busy(busy) {
    this.button.setAttribute("aria-disabled", String(busy));
  }

  #begin() {
    if (this.button.getAttribute("aria-disabled") === "true") return;
    this.#end();
    this.button.classList.add("holding");
    this.timer = setTimeout(() => { this.#end(); this.run(); }, HOLD_MS);
  }

  #end() {
    clearTimeout(this.timer);
    this.button.classList.remove("holding");
  }
});
