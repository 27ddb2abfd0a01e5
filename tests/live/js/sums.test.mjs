import assert from "node:assert/strict";
import test from "node:test";

globalThis.customElements = { get: () => true };
globalThis.document = { documentElement: { lang: "de" } };
const { couponState, daysText, hintText, hoursText, lineMinor, sumRows, taxNote, titled } = await import("../../../live/web/js/sums.js");

const cart = (more = {}) => ({ lines: [], subtotal_minor: 6048, total_minor: 5083, currency: "EUR", taxes: [{ tax_bp: 1900, net_minor: 4271, tax_minor: 812 }], ...more });
const parcel = { kind: "delivery", title: { en: "Parcel", de: "Paket" }, price_minor: 490, days_min: 2, days_max: 3 };

test("goods alone need no rows above the total", () => {
  assert.deepEqual(sumRows(cart()), []);
});

test("discounts go by their names and add up to the total", () => {
  const rows = sumRows(cart({ discounts: [{ label: "Duo", amount_minor: 400 }, { label: "Welcome", amount_minor: 565 }] }), parcel);
  assert.deepEqual(rows.map(({ label, text }) => [label, text]), [["sum.goods", "€60.48"], ["Duo", "−€4.00"], ["Welcome", "−€5.65"], ["Paket", "€4.90"]]);
  assert.equal(6048 - 400 - 565, cart().total_minor);
});

test("a line stands before the discounts of the whole", () => {
  assert.equal(lineMinor({ line_minor: 900 }), 900);
  assert.equal(lineMinor({ line_minor: 900, off_minor: 100 }), 1000);
});

test("what costs nothing is free, and gifts are named", () => {
  const rows = sumRows(cart({ gifts: [{ label: "A spoon", sku: "SPOON", quantity: 1 }] }), { ...parcel, price_minor: 0 });
  assert.deepEqual(rows.map(({ text }) => text), ["€60.48", "sum.free", "sum.gift"]);
});

test("a tax is named as far as it is known", () => {
  assert.equal(taxNote(cart()), "sum.tax");
  assert.equal(taxNote(cart(), 490), "price.tax");
  assert.equal(taxNote(cart({ taxes: [{ tax_bp: 0, net_minor: 1, tax_minor: 0 }] })), "");
  assert.equal(taxNote(cart({ taxes: undefined })), "");
});

test("hints, coupons and days in words", () => {
  assert.equal(hintText({ label: "x", missing_minor: 640, missing_qty: null }, "EUR"), "hint.minor");
  assert.equal(hintText({ label: "x", missing_minor: null, missing_qty: 1 }, "EUR"), "hint.count");
  assert.deepEqual([["applied", true], ["budget_cut", true], ["condition", false]].map(([why, good]) => couponState({ code: "A", why }).good === good), [true, true, true]);
  assert.equal(couponState({ code: "A", why: null }).why, "unknown");
  assert.equal(daysText(parcel), "ship.daysRange");
  assert.equal(daysText({ days_min: 0, days_max: 0 }), "");
  assert.equal(titled(parcel.title), "Paket");
});

test("days in a row are a range, others are listed", () => {
  assert.equal(hoursText([{ days: ["mon", "tue", "wed"], opens: "10:00", closes: "19:00" }, { days: ["sat", "sun"], opens: "10:00", closes: "14:00" }]), "Mo–Mi 10:00–19:00 · Sa, So 10:00–14:00");
  assert.equal(hoursText([{ days: ["mon", "wed", "fri"], opens: "9:00", closes: "12:00" }]), "Mo, Mi, Fr 9:00–12:00");
  assert.equal(hoursText(), "");
});
