/* What stands beside a price; used wherever one is shown. */
import { h } from "./dom.js";
import { money, percent, t, timeOfDay } from "./i18n.js";

const PER = { m2: "m²", m3: "m³" };

/** What there is to say of a variant's price, in words; null: nothing. `was` is struck out, `lowest` the lowest of 30 days. */
export function priceFacts(variant, currency) {
  const { price_minor: now, list_price_minor: was, lowest_30d_minor: lowest, off_percent: off, unit_price: unit, deal } = variant;
  const reduced = was > now;
  return {
    now: money(now, currency),
    was: reduced ? money(was, currency) : null,
    lowest: reduced && lowest ? t("price.lowest", { price: money(lowest, currency) }) + (off ? ` (${percent(-off / 100)})` : "") : null,
    unit: unit ? t("price.unit", { price: money(unit.price_minor, currency), per: PER[unit.per] ?? unit.per }) : null,
    tax: variant.tax_bp ? t("price.tax") : null,
    deal: deal && reduced ? (deal.live && deal.label === "Live" ? t("price.live") : deal.label) + (deal.until_ms ? ` ${t("price.until", { time: timeOfDay(deal.until_ms) })}` : "") : null,
  };
}

/** The price itself: [now, instead of was, by which deal]. */
export const priceNodes = ({ now, was, deal }, testid = null) => [
  h("strong", { class: "price", "data-testid": testid, text: now }),
  ...(was ? [" ", h("span", { class: "visually-hidden", text: t("buy.instead") }), h("s", { class: "price-was", text: was })] : []),
  ...(deal ? [" ", h("span", { class: "badge deal", text: deal })] : []),
];

/** What belongs beside it, in small type. */
export const priceNotes = ({ tax, unit, lowest }) => [tax, unit, lowest].filter(Boolean).join(" · ");

/** "plus shipping", with what it costs one tap away. */
export const shippingLink = () => h("a", { href: "/shipping", target: "_blank", rel: "noopener", text: t("price.shipping"), "data-testid": "shipping-terms" });

/** The same as nodes; `ships`: shipping comes on top. */
export const noteNodes = (facts, ships) => {
  if (!ships) return [priceNotes(facts)];
  const rest = priceNotes({ ...facts, tax: null });
  return [facts.tax ? `${facts.tax}, ` : "", shippingLink(), rest ? ` · ${rest}` : ""];
};
