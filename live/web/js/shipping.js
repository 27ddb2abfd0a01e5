/* How the shop ships, and who sells: what the links beside prices lead to. */
import { h } from "./dom.js";
import { loadTexts, money, problemText, t } from "./i18n.js";
import { daysText, hoursText, titled } from "./sums.js";

const id = (name) => document.getElementById(name);

async function read(path) {
  const answer = await fetch(path).catch(() => null);
  if (!answer) throw { name: "disconnected" };
  const told = await answer.json().catch(() => ({ name: "internal" }));
  if (!answer.ok) throw told;
  return told;
}

const countries = (codes) => codes.map((code) => new Intl.DisplayNames([document.documentElement.lang], { type: "region" }).of(code)).join(", ");
const fee = ({ currency, price_minor: price, free_from_minor: free }) =>
  h("span", {}, h("strong", { text: price ? money(price, currency) : t("sum.free") }), free ? h("span", { class: "small muted", text: ` ${t("ways.freeFrom", { value: money(free, currency) })}` }) : null);

function way(method) {
  const facts = [daysText(method), countries(method.countries ?? [])].filter(Boolean).join(" · ");
  const places = (method.locations ?? []).map((place) => h("li", {}, h("p", { text: `${place.name}, ${place.street}, ${[place.postcode, place.city].filter(Boolean).join(" ")}` }), h("p", { class: "small muted", text: hoursText(place.hours) })));
  return h("li", { class: "card way-card" }, h("div", { class: "row" }, h("h3", { class: "grow", text: titled(method.title) }), h("div", { class: "way-fees" }, method.rates.map(fee))),
    facts ? h("p", { class: "small muted", text: facts }) : null, places.length ? h("ul", { class: "stack" }, places) : null);
}

/** What the law has a shop tell of itself; nothing before it has said who it is. */
function seller(one) {
  const lang = document.documentElement.lang;
  const lines = [one.name, one.street, [one.postcode, one.city].filter(Boolean).join(" "), one.country && countries([one.country])].filter(Boolean);
  const link = (href, text) => h("p", {}, h("a", { href, text }));
  return [h("p", {}, lines.flatMap((line, index) => (index ? [h("br"), line] : [line]))), one.email ? link(`mailto:${one.email}`, one.email) : null, one.phone ? h("p", { text: one.phone }) : null,
    one.site ? link(one.site, one.site) : null, one.register ? h("p", { class: "small muted", text: one.register }) : null, one.vat_id ? h("p", { class: "small muted", text: t("ways.vat", { id: one.vat_id }) }) : null,
    one.terms?.[lang] ? h("p", { class: "terms", text: one.terms[lang] }) : null];
}

await loadTexts("errors", "later");
document.title = `${t("nav.shipping")} · Showcart`;
try {
  const [{ methods }, who] = await Promise.all([read("/api/shipping-methods"), read("/api/seller")]);
  const open = methods.filter(({ active }) => active !== false);
  id("ways").replaceChildren(...(open.length ? open.map(way) : [h("li", { class: "card way-card", text: t("ways.none") })]));
  id("seller").replaceChildren(...(who.name ? seller(who).filter(Boolean) : [h("p", { class: "muted", text: t("ways.nobody") })]));
} catch (problem) {
  id("trouble").textContent = problemText(problem);
  id("trouble").hidden = false;
}
id("main").removeAttribute("aria-busy");
