/* The shop window: what is live, what comes next, what was. */
import { h, icon } from "./dom.js";
import { loadTexts, moment, t } from "./i18n.js";
import { priceFacts, priceNodes, priceNotes } from "./prices.js";

const REFRESH_MS = 15_000;
const DETAILS_MAX = 12;
const LIVE = ["live", "paused"];
const PAST = ["ended", "replayable"];
const details = new Map();
const id = (name) => document.getElementById(name);

/** Where a show belongs. */
const shelfOf = ({ state }) => (LIVE.includes(state) ? "live" : PAST.includes(state) ? "past" : "next");

async function detailsOf(show) {
  const answer = await fetch(`/api/shows/${encodeURIComponent(show.id)}`);
  if (answer.ok) details.set(show.id, await answer.json());
}

function card(show) {
  const shelf = shelfOf(show);
  const { lineup = [], pin = null } = details.get(show.id) ?? {};
  const pictures = (pin ? [pin.product, ...lineup.filter((product) => product.id !== pin.product.id)] : lineup).slice(0, 3);
  const badge = shelf === "live"
    ? h("span", { class: show.publishing && show.state === "live" ? "badge live" : "badge", text: t(show.state === "paused" ? "window.paused" : show.publishing ? "watch.live" : "window.soon") })
    : h("span", { class: "badge", text: t(shelf === "past" ? "window.over" : show.state === "lobby" ? "window.lobby" : "window.announced") });
  const facts = shelf === "live" ? (pin ? t("window.now", { title: pin.product.title }) : t("window.products", { count: lineup.length }))
    : shelf === "past" ? t("window.buyable") : show.scheduled_at_ms ? moment(show.scheduled_at_ms) : t(show.state === "lobby" ? "window.ready" : "window.undated");
  return h("li", {}, h("a", { class: `show ${shelf}`, href: `/watch/${encodeURIComponent(show.id)}`, "data-testid": `show-${show.id}` },
    h("div", { class: `poster n${pictures.length}` }, pictures.length ? pictures.map((product) => h("img", { src: product.picture, alt: "", loading: "lazy" })) : h("img", { src: "/static/pictures/slate.svg", alt: "" }), badge),
    h("div", { class: "show-words" }, h("h3", { text: show.title }), h("p", { class: "small muted", text: facts }), shelf === "live" && pin ? priceOf(pin.product) : null,
      h("span", { class: "show-go" }, icon("play", "tiny"), t(shelf === "live" ? "window.watch" : shelf === "past" ? "window.shop" : "window.look")))));
}

/** The cheapest variant's price, with what belongs beside it. */
function priceOf({ variants, currency }) {
  const facts = priceFacts(variants.reduce((best, other) => (other.price_minor < best.price_minor ? other : best)), currency);
  return h("div", { class: "show-price", "data-testid": "pin-price" }, h("p", {}, priceNodes(facts)), h("p", { class: "tiny muted", text: priceNotes(facts) }));
}

function draw(shows) {
  const focused = document.activeElement?.dataset?.testid;
  for (const shelf of ["live", "next", "past"]) {
    const mine = shows.filter((show) => shelfOf(show) === shelf);
    if (shelf === "next") mine.sort((a, b) => (a.scheduled_at_ms ?? Infinity) - (b.scheduled_at_ms ?? Infinity));
    id(shelf).hidden = mine.length === 0;
    if (shelf !== "past") id(`${shelf}-list`).classList.toggle("big", shelf === "live" || id("live").hidden);
    id(`${shelf}-list`).replaceChildren(...mine.map(card));
  }
  id("empty").hidden = shows.length > 0;
  if (focused) document.querySelector(`[data-testid="${CSS.escape(focused)}"]`)?.focus();
}

async function refresh() {
  try {
    const answer = await fetch("/api/shows");
    if (!answer.ok) throw new Error(answer.statusText);
    const { shows } = await answer.json();
    id("trouble").hidden = true;
    await Promise.all(shows.slice(0, DETAILS_MAX).map((show) => detailsOf(show).catch(() => {}))); // a card without pictures is still a card
    draw(shows);
  } catch {
    id("trouble").hidden = false;
  }
  id("main").removeAttribute("aria-busy");
}

await loadTexts("window");
id("recipe").textContent = [
  "curl -X POST " + location.origin + "/api/shows \\",
  '  -H "Authorization: Bearer $TOKEN" -H "Content-Type: application/json" \\',
  `  -d '{"id": "first-show", "title": "${t("window.empty.name")}"}'`,
].join("\n");
await refresh();
setInterval(() => document.hidden || refresh(), REFRESH_MS);
