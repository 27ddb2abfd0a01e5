/* Price rules as the page's form makes them, and what a rule says in short. Values in, values out. */
import { readBid } from "./bids.js";

/** The kinds that the form knows; others are written by API, and only listed. */
export const KINDS = ["product", "coupon", "shipping"];
const LANES = { product: "price", coupon: "order", shipping: "shipping" };

/** An id that nobody has to think of: what the label says, and when it was made. */
const idOf = (label, now) => `${label.normalize("NFKD").toLowerCase().replace(/[^a-z0-9]+/g, "-").replace(/^-+|-+$/g, "").slice(0, 40) || "rule"}-${now.toString(36)}`;

const wrong = (field) => ({ field, rule: null });

/** A whole number of what was typed; null: nothing was, NaN: something else. */
function count(text) {
  if (!text.trim()) return null;
  return /^\s*\d{1,9}\s*$/.test(text) ? Number(text) : NaN;
}

/**
 * The rule that a form means: {field: null, rule}, or the field that is wrong and no rule. `values` are strings as
 * typed, `ends_ms` a time, null for none, and NaN for one that cannot be read; `places` are of the currency.
 */
export function ruleOf(values, { places, now }) {
  const { kind, currency } = values;
  const label = values.label.trim();
  if (!label) return wrong("label");
  const off = kind === "shipping" ? { off_bp: 10_000 } : readBid(values.off, places);
  if (!off || off.price_minor === 0) return wrong("off");
  const from = values.from.trim() ? readBid(values.from, places) : null;
  if (values.from.trim() && !from?.price_minor) return wrong("from");
  const code = values.code.trim().toUpperCase();
  if (kind === "coupon" && !/^[A-Z0-9][A-Z0-9_-]{2,}$/.test(code)) return wrong("code");
  const [limit, each] = [count(values.limit), count(values.each)];
  if (limit !== null && !(limit >= 1)) return wrong("limit");
  if (each !== null && !(each >= 1 && (limit === null || each <= limit))) return wrong("each");
  if (!values.standing && values.ends_ms === null && !(kind === "coupon" && limit)) return wrong("ends");
  if (!values.standing && values.ends_ms !== null && !(values.ends_ms > now)) return wrong("ends");
  const amount = off.price_minor;
  const target = kind === "product" && values.product ? { target: { products: [values.product] } } : {};
  const rule = {
    id: idOf(label, now), version: 1, label, lane: LANES[kind],
    then: [amount ? { kind: "amount", minor: amount, ...target } : { kind: "pct", bp: off.off_bp, ...target }],
    ...((amount || (kind !== "product" && from)) && { currency }),
    ...(kind !== "product" && from && { when: [{ fact: "amount", op: "ge", value: from.price_minor }] }),
    ...(kind === "coupon" && { coupon: { code, ...(limit && { limit }), ...(each && { per_customer: each }) } }),
    ...(values.standing ? { standing: true } : values.ends_ms !== null && { window: { to_ms: values.ends_ms } }),
  };
  return { field: null, rule };
}

/**
 * What a rule does, as parts to be put into words: {off, code, limit, each, from, ends, begins, show, segments, narrow}; null: not said.
 * `off` is {bp}, {minor}, {price} or {other: kind}; `more`: it does or asks more than that.
 */
export function partsOf(rule) {
  const [first = {}] = rule.then;
  const off = first.kind === "pct" ? { bp: first.bp } : first.kind === "amount" ? { minor: first.minor } : first.kind === "fixed_price" ? { price: first.minor } : { other: first.kind };
  const [condition = null] = rule.when ?? [];
  const plain = condition?.fact === "amount" && (condition.op ?? "ge") === "ge" && !condition.filter;
  return {
    off, lane: rule.lane, currency: rule.currency ?? null,
    code: rule.coupon?.code ?? null, limit: rule.coupon?.limit ?? null, each: rule.coupon?.per_customer ?? null,
    from: plain ? condition.value : null, begins: rule.window?.from_ms ?? null, ends: rule.window?.to_ms ?? null,
    show: rule.bind?.show ?? null, segments: rule.segments ?? [], channels: rule.channels ?? [],
    products: first.target?.products ?? [], categories: first.target?.categories ?? [],
    more: rule.then.length > 1 || (rule.when ?? []).length > (plain ? 1 : 0) || Boolean(first.every || first.cap_minor || first.max_qty),
  };
}
