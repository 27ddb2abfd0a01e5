import assert from "node:assert/strict";
import test from "node:test";

const { partsOf, ruleOf } = await import("../../../live/web/js/promotions.js");

const NOW = 1_800_000_000_000;
const values = (more = {}) => ({ kind: "product", label: "Autumn Clay!", off: "20 %", product: "", code: "", limit: "", each: "", from: "", currency: "EUR", ends_ms: NOW + 1000, standing: false, ...more });
const made = (more) => ruleOf(values(more), { places: 2, now: NOW });

test("a lower price of one product, in percent or as an amount", () => {
  const { rule } = made({ product: "cup" });
  assert.match(rule.id, /^autumn-clay-[a-z0-9]+$/);
  assert.deepEqual({ ...rule, id: "" }, { id: "", version: 1, label: "Autumn Clay!", lane: "price", then: [{ kind: "pct", bp: 2000, target: { products: ["cup"] } }], window: { to_ms: NOW + 1000 } });
  const amount = made({ off: "5,00", standing: true }).rule;
  assert.deepEqual([amount.then, amount.currency, amount.standing, amount.window], [[{ kind: "amount", minor: 500 }], "EUR", true, undefined]);
});

test("a coupon with limits needs no end; a minimum names its currency", () => {
  const { rule } = made({ kind: "coupon", code: " hello10 ", off: "10%", limit: "1000", each: "1", from: "50", ends_ms: null });
  assert.deepEqual([rule.lane, rule.coupon, rule.when, rule.currency], ["order", { code: "HELLO10", limit: 1000, per_customer: 1 }, [{ fact: "amount", op: "ge", value: 5000 }], "EUR"]);
  assert.equal(made({ kind: "coupon", code: "HELLO", ends_ms: null }).field, "ends");
});

test("free shipping takes off all of the fee", () => {
  const { rule } = made({ kind: "shipping", off: "", from: "50.00" });
  assert.deepEqual([rule.lane, rule.then], ["shipping", [{ kind: "pct", bp: 10_000 }]]);
  assert.equal(made({ kind: "shipping", off: "" }).rule.currency, undefined);
});

test("what is wrong is named by its field", () => {
  const wrong = [[{ label: " " }, "label"], [{ off: "much" }, "off"], [{ off: "0" }, "off"], [{ off: "101 %" }, "off"], [{ from: "x" }, "from"], [{ from: "5 %" }, "from"], [{ ends_ms: NOW }, "ends"], [{ ends_ms: NaN }, "ends"], [{ ends_ms: null }, "ends"],
    [{ kind: "coupon", code: "ab" }, "code"], [{ kind: "coupon", code: "ABC", limit: "0" }, "limit"], [{ kind: "coupon", code: "ABC", limit: "1", each: "2" }, "each"]];
  for (const [more, field] of wrong) assert.deepEqual(made(more), { field, rule: null }, JSON.stringify(more));
});

test("what a rule of the form says reads back; what others write is marked as more", () => {
  const { rule } = made({ kind: "coupon", code: "HELLO", off: "5", limit: "10", from: "50" });
  const parts = partsOf(rule);
  assert.deepEqual([parts.off, parts.code, parts.limit, parts.from, parts.more], [{ minor: 500 }, "HELLO", 10, 5000, false]);
  const bundle = partsOf({ id: "b", label: "Set", lane: "item", then: [{ kind: "bundle_price", minor: 2500, parts: [] }] });
  assert.deepEqual([bundle.off, bundle.more], [{ other: "bundle_price" }, false]);
  assert.equal(partsOf({ id: "c", label: "x", lane: "item", then: [{ kind: "pct", bp: 10_000, every: 3 }], when: [{ fact: "quantity", op: "ge", value: 3 }] }).more, true);
});
