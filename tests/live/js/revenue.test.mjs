import assert from "node:assert/strict";
import test from "node:test";

const { barsOf, currencyOf, rowsOf } = await import("../../../live/web/js/revenue.js");

const money = (gross_minor, off_minor = 0, currency = "EUR") => ({ currency, gross_minor, off_minor, kept_minor: gross_minor - off_minor });
const sold = (revenue = [], more = {}) => ({ adds: 0, orders: revenue.length, units_ordered: 0, units_back: 0, conversion_bp: null, revenue, ...more });
const pin = (pin_id, revenue) => ({ pin_id, product_id: pin_id, title: pin_id, from_ms: 0, to_ms: null, ...sold(revenue) });
const report = (more = {}) => ({ show: "demo", pins: [], earlier_pins: null, unpinned: sold(), shipping: [], goodwill: [], total: { orders: 0, revenue: [] }, ...more });

test("nothing sold has no currency and no bars", () => {
  assert.equal(currencyOf(report()), null);
  assert.deepEqual(rowsOf(report()), []);
  const [row] = rowsOf(report({ pins: [pin("a", [])] }));
  assert.deepEqual([row.kind, row.gross, row.currency], ["pin", 0, null]);
  assert.deepEqual(barsOf([row], "EUR"), []);
});

test("rows come in the order of the pins, and what is beside them last; all add up to the total", () => {
  const found = rowsOf(report({
    pins: [pin("a", [money(1000)]), pin("b", [money(500, 500)])], earlier_pins: sold([money(50)]), unpinned: sold([money(200)]),
    shipping: [money(490)], goodwill: [money(0, 100)], total: { orders: 3, revenue: [money(2240, 600)] },
  }));
  assert.deepEqual(found.map(({ kind }) => kind), ["earlier", "pin", "pin", "unpinned", "shipping", "goodwill"]);
  assert.equal(found.reduce((sum, { kept }) => sum + kept, 0), 1640);
});

test("the chart is of the currency that sold most; others are in the table", () => {
  const total = { orders: 2, revenue: [money(900, 0, "CHF"), money(1000)] };
  const found = report({ pins: [pin("a", [money(900, 0, "CHF"), money(1000)])], total });
  assert.equal(currencyOf(found), "EUR");
  assert.equal(rowsOf(found).length, 2);
  assert.deepEqual(barsOf(rowsOf(found), "EUR").map(({ currency }) => currency), ["EUR"]);
});

test("of too many, the best are drawn, in their order", () => {
  const pins = [3, 9, 1, 7].map((euros) => pin(String(euros), [money(100 * euros)]));
  const rows = rowsOf(report({ pins, total: { orders: 4, revenue: [money(2000)] } }));
  assert.deepEqual(barsOf(rows, "EUR", 2).map(({ gross }) => gross), [900, 700]);
});
