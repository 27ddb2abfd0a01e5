/* Elements without markup strings: whatever a viewer typed can only ever become text. */

/** An element; `on…` properties are listeners, `data` sets data-*, `text` the text, null and false are left out. */
export function h(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (value == null || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "data") Object.assign(element.dataset, value);
    else if (name === "text") element.textContent = value;
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat().filter((child) => child != null && child !== false));
  return element;
}

/** Rows of `list`, one for each of `items` in their order: `make` makes one for an id that is new, `fill` is called each time. */
export function keyed(list, rows, items, make, fill) {
  const known = new Set(items.map(({ id }) => id));
  for (const [id, { row }] of rows) if (!known.has(id)) (row.remove(), rows.delete(id));
  items.forEach((item, index) => {
    if (!rows.has(item.id)) rows.set(item.id, make(item));
    const entry = rows.get(item.id);
    if (list.children[index] !== entry.row) list.insertBefore(entry.row, list.children[index] ?? null);
    fill(entry, item, index);
  });
}

const SVG = "http://www.w3.org/2000/svg";

/** An SVG element; `children` are SVG elements or text. */
export function s(tag, properties = {}, ...children) {
  const element = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(properties)) element.setAttribute(name, value);
  element.append(...children);
  return element;
}

export const ICONS = {
  cart: "M6 7h14l-1.5 9h-11zM6 7 5.2 3.5H2.5M9 20.5h.01M17 20.5h.01",
  sound: "M4 9.5v5h3.5L12 18.5v-13L7.5 9.5zM15.5 9a4 4 0 0 1 0 6M18 6.5a8 8 0 0 1 0 11",
  muted: "M4 9.5v5h3.5L12 18.5v-13L7.5 9.5zM16 9.5l5 5M21 9.5l-5 5",
  close: "M6 6l12 12M18 6 6 18",
  eye: "M2.5 12S6 5.5 12 5.5 21.5 12 21.5 12 18 18.5 12 18.5 2.5 12 2.5 12zM12 9.5a2.5 2.5 0 1 0 0 5 2.5 2.5 0 0 0 0-5z",
  send: "M4 12h15M13 5.5l6.5 6.5-6.5 6.5",
  minus: "M6 12h12",
  plus: "M6 12h12M12 6v12",
  tag: "M3.5 12.5v-9h9l8 8-9 9zM8 8h.01",
  check: "M5 12.5l4.5 4.5L19 7.5",
  warn: "M12 4 2.5 20h19zM12 10v4.5M12 17.2h.01",
  play: "M7.5 5v14l11-7z",
  live: "M12 9.5a2.5 2.5 0 1 0 0 5 2.5 2.5 0 0 0 0-5zM7 17a7 7 0 0 1 0-10M17 7a7 7 0 0 1 0 10M4.2 19.8a11 11 0 0 1 0-15.6M19.8 4.2a11 11 0 0 1 0 15.6",
  signal: "M5 19v-4M10 19V12M15 19V9M20 19V5",
  link: "M10 14a4 4 0 0 0 6 .5l3-3a4 4 0 0 0-5.7-5.7L12 7M14 10a4 4 0 0 0-6-.5l-3 3a4 4 0 0 0 5.7 5.7L12 17",
  calendar: "M4 6h16v14H4zM4 10.5h16M8.5 3.5V8M15.5 3.5V8",
};

/** A 24 px line icon, hidden from screen readers: the control next to it carries the name. */
export function icon(name, extra = "") {
  return s("svg", { class: `icon-glyph ${extra}`, viewBox: "0 0 24 24", "aria-hidden": "true" }, s("path", { d: ICONS[name] }));
}

/** <show-icon name="cart">: for static markup. */
if (!customElements.get("show-icon")) {
  customElements.define("show-icon", class extends HTMLElement {
    connectedCallback() {
      if (!this.firstChild) this.append(icon(this.getAttribute("name"), this.getAttribute("extra") ?? ""));
    }
  });
}

/** Loads a stylesheet; what it styles is added afterwards, so that nothing stands unstyled for a moment and jumps. */
export const styled = (href) => new Promise((resolve) => { document.head.append(h("link", { rel: "stylesheet", href, onload: resolve, onerror: resolve })); });

let regions;
/** Tells screen readers; `urgent` interrupts what is being read. */
export function announce(text, urgent = false) {
  if (!regions) {
    regions = ["polite", "assertive"].map((mode) => h("div", { class: "visually-hidden", "aria-live": mode, "aria-atomic": "true" }));
    document.body.append(...regions);
  }
  const region = regions[urgent ? 1 : 0];
  region.textContent = "";
  setTimeout(() => { region.textContent = text; }, 50); // the same text twice is only read when it was gone between
}

export const calm = () => matchMedia("(prefers-reduced-motion: reduce)").matches;
