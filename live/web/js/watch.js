/* The watch page: wires the socket, the picture and the parts together. */
import { h, icon } from "./dom.js";
import { compact, errorTexts, loadTexts, moreTexts, number, t } from "./i18n.js";
import { ShowSocket, guestTokens, socketUrl } from "./socket.js";
import { Store, cartCount } from "./store.js";
import { Buying } from "./parts/buying.js";
import "./parts/show-chat.js";
import "./parts/pinned-card.js";

const LATER_MS = 800;
const moving = Promise.all([import("./picture.js"), import("./whep.js"), import("./parts/show-video.js")]); // the page is painted, and the show asked for, while they come
const show = decodeURIComponent(location.pathname.split("/")[2] ?? "");
const wide = matchMedia("(min-width: 900px), (orientation: landscape) and (min-width: 640px)");
const id = (name) => document.getElementById(name);
const all = (selector) => document.querySelectorAll(selector);
const store = new Store();

function socketOf() {
  const onStatus = async (status, reason) => {
    store.dispatch({ type: "status", status, reason });
    if (reason !== "unreachable" || store.state.show) return;
    const { status: code } = await fetch(`/api/shows/${encodeURIComponent(show)}`).catch(() => ({ status: 0 }));
    if (code === 404) socket.stop();
    if (code === 404) store.dispatch({ type: "status", status: "closed", reason: "unknown_show" });
    else if (code === 503) store.dispatch({ type: "status", status: "reconnecting", reason: "full" });
  };
  const name = t("chat.guest", { number: String(Math.floor(10_000 * Math.random())).padStart(4, "0") }); // until they choose one
  const socket = new ShowSocket({ url: socketUrl(show), tokens: guestTokens, name, onMessage: (message) => store.dispatch(message), onStatus });
  return socket;
}

function bar() {
  store.watch(["show", "viewers", "status"], ({ show: known, viewers, status }) => {
    id("live").hidden = known?.state !== "live" || !known.publishing;
    id("viewers").hidden = viewers === null || !known;
    if (viewers !== null) {
      id("viewer-count").textContent = compact(viewers);
      id("viewer-words").textContent = t("watch.viewers", { count: viewers });
      id("viewers").title = t("watch.viewers", { count: viewers });
    }
    id("chip-reconnecting").hidden = status !== "reconnecting" || !known;
    if (!known) return;
    document.querySelector("reaction-bar").hidden = !["lobby", "live", "paused"].includes(known.state); // its place, until it is here
    id("title").textContent = known.title;
    document.title = `${known.title} · Showcart`;
  });
}

function tabs() {
  const [chat, products] = [id("tab-chat"), id("tab-products")];
  const choose = (tab, focus = false) => {
    for (const other of [chat, products]) {
      other.setAttribute("aria-selected", String(other === tab));
      other.tabIndex = other === tab ? 0 : -1;
      id(other.getAttribute("aria-controls")).hidden = other !== tab;
    }
    document.body.classList.toggle("products-open", tab === products);
    if (focus) tab.focus();
  };
  for (const tab of [chat, products]) {
    tab.addEventListener("click", () => choose(tab));
    tab.addEventListener("keydown", ({ key }) => {
      if (key === "ArrowLeft" || key === "ArrowRight") choose(tab === chat ? products : chat, true);
    });
  }
  const close = () => { choose(chat); id("products-open").focus(); };
  id("products-close").addEventListener("click", close);
  id("pane-products").addEventListener("keydown", ({ key }) => { if (key === "Escape" && !wide.matches) close(); });
  store.watch(["lineup"], ({ lineup }) => { id("product-count").textContent = lineup.length ? number(lineup.length) : ""; });
  return () => { choose(products); id("products-close").focus(); };
}

/** On a phone the tools stand beside the message line, and the pinned card above it. */
function place(chat, openProducts) {
  chat.tools.append(
    h("button", { class: "button icon veil", type: "button", id: "products-open", "aria-label": t("products.title"), "data-testid": "products-open", onclick: openProducts }, icon("tag")),
    h("button", { class: "button icon veil cart-button", type: "button", "aria-label": t("cart.title"), "data-cart": true, "data-testid": "cart-open-phone" }, icon("cart"), h("span", { class: "count", "data-cart-count": true, hidden: true })));
  const below = id("below");
  const reactions = document.querySelector("reaction-bar");
  const arrange = () => {
    if (wide.matches) document.querySelector(".stage").after(below), chat.form.before(reactions);
    else chat.form.before(below), chat.scroll.append(reactions);
  };
  wide.addEventListener("change", arrange);
  arrange();
}

/** What is not part of the first paint: its code comes once the page stands, with the first tap, or when data is dear. */
function later(buying, watching, socket) {
  const drawer = document.querySelector("cart-drawer");
  let ready = null;
  const load = () => (ready ??= Promise.all([moreTexts("later"), errorTexts()]).then(() => Promise.all([
    import("./parts/cart-drawer.js").then(() => drawer.connect({ store, buying })),
    import("./parts/turns.js").then(({ tellOfTurns }) => tellOfTurns({ store, open })),
    import("./ways.js").then(({ tellShipping }) => tellShipping(store)),
    import("./parts/product-list.js").then(() => document.querySelector("product-list").connect({ store, buying })),
    import("./parts/reaction-bar.js").then(() => document.querySelector("reaction-bar").connect({ store, socket })),
    Promise.all([watching, import("./parts/quality-menu.js")]).then(([watcher]) => document.querySelector("quality-menu").connect({ stage: document.querySelector("show-video"), watcher })),
  ])));
  const away = store.watch(["own"], async ({ own }) => {
    if (!own) return;
    away();
    const { keepOwnPrices, quotesOf } = await import("./own-prices.js");
    keepOwnPrices({ store, ask: quotesOf(show, guestTokens) });
  });
  const open = () => load().then(() => drawer.open());
  setTimeout(load, navigator.connection?.saveData || localStorage.getItem("showcart.quality") ? 0 : LATER_MS);
  id("tab-products").addEventListener("click", load);
  id("products-open").addEventListener("click", load);
  for (const button of all("[data-cart]")) button.addEventListener("click", open);
  document.addEventListener("opencart", open);
  store.watch(["cart"], (state) => {
    const count = cartCount(state);
    for (const badge of all("[data-cart-count]")) {
      badge.hidden = count === 0;
      badge.textContent = number(count);
    }
    for (const button of all("[data-cart]")) button.setAttribute("aria-label", t("cart.open", { count }));
  });
}

await loadTexts();
const socket = socketOf();
const buying = new Buying(store, socket);
const chat = document.querySelector("show-chat");
import("./parts/show-cover.js").then(() => document.querySelector("show-cover").connect(store)); // a show that is live has none
chat.connect({ store, socket, tokens: guestTokens });
document.querySelector("pinned-card").connect({ store, buying });
bar();
place(chat, tabs());
later(buying, moving.then(([{ picture }]) => picture(store, show)), socket);
store.watch(["show"], (state) => { if (state.show) document.body.classList.add("ready"); }); // chat and card come together, so that nothing jumps
const signOn = async (from) => location.hash.startsWith("#sign-on=") && (await import("./sign-on.js")).signOn(guestTokens, from);
addEventListener("hashchange", async () => await signOn() && location.reload());
await signOn(document.referrer);
socket.start();
