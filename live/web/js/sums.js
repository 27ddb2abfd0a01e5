/* What a cart or an order comes to, row by row, and how goods get to people. Values in, words out. */
import { money, percent, t } from "./i18n.js";

const APPLIED = ["applied", "budget_cut"];

/** A title that the shop gave in its languages. */
export const titled = (title) => title[document.documentElement.lang] ?? title.en;

/** What a line costs before the discounts of the whole, which stand below the lines. */
export const lineMinor = ({ line_minor, off_minor = 0 }) => line_minor + off_minor;

const amount = (minor, currency) => (minor < 0 ? `−${money(-minor, currency)}` : money(minor, currency));

/** What stands above the total: [{label, text, off}]; none when goods are all there is. `way`: how it goes, null: not said. */
export function sumRows({ subtotal_minor, total_minor, discounts = [], gifts = [], currency }, way = null) {
  const rows = discounts.map((one) => ({ label: one.label, text: amount(-one.amount_minor, currency), off: true }));
  if (way) rows.push({ label: titled(way.title), text: way.price_minor ? amount(way.price_minor, currency) : t("sum.free"), off: false });
  if (rows.length) rows.unshift({ label: t("sum.goods"), text: amount(subtotal_minor ?? total_minor, currency), off: false });
  return [...rows, ...gifts.map((one) => ({ label: one.label, text: t("sum.gift", { count: one.quantity }), off: true }))];
}

/** The tax that a total holds; a `fee` that is not taxed yet leaves the amounts to the order. */
export function taxNote({ taxes = [], currency }, fee = 0) {
  const due = taxes.filter((tax) => tax.tax_bp > 0);
  if (!due.length) return "";
  if (fee > 0) return t("price.tax");
  return due.map((tax) => t("sum.tax", { amount: money(tax.tax_minor, currency), rate: percent(tax.tax_bp / 10_000) })).join(", ");
}

/** What is missing for a discount that the cart nearly has. */
export const hintText = ({ label, missing_minor: minor, missing_qty: count }, currency) =>
  minor ? t("hint.minor", { missing: money(minor, currency), label }) : t("hint.count", { count, label });

/** Whether a coupon does something, and what keeps it from it. */
export const couponState = ({ code, why }) => ({ code, good: APPLIED.includes(why), why: why ?? "unknown" });

/** When goods arrive or can be picked up, in days. */
export function daysText({ days_min: from, days_max: to }) {
  if (!to) return "";
  return from === to ? t("ship.days", { count: to }) : t("ship.daysRange", { from, to });
}

/** When a location is open. */
export function hoursText(hours = []) {
  const names = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];
  const day = (name) => new Intl.DateTimeFormat(document.documentElement.lang, { weekday: "short", timeZone: "UTC" }).format(Date.UTC(2024, 0, 1 + names.indexOf(name)));
  return hours.map(({ days, opens, closes }) => {
    const places = days.map((name) => names.indexOf(name));
    const row = days.length > 2 && places.every((place, index) => !index || place === places[index - 1] + 1);
    return `${row ? `${day(days[0])}–${day(days.at(-1))}` : days.map(day).join(", ")} ${opens}–${closes}`;
  }).join(" · ");
}
