import assert from "node:assert/strict";
import test from "node:test";
import { readBid, running } from "../../../live/web/js/bids.js";

test("a price is read in minor units, with a comma or a point", () => {
  for (const text of ["15,99", "15.99", " 15,99 "]) assert.deepEqual(readBid(text, 2), { price_minor: 1599 });
  assert.deepEqual(readBid("15,9", 2), { price_minor: 1590 });
  assert.deepEqual(readBid("15", 2), { price_minor: 1500 });
  assert.deepEqual(readBid("1500", 0), { price_minor: 1500 });
});

test("a percentage is read in hundredths", () => {
  assert.deepEqual(readBid("20 %", 2), { off_bp: 2000 });
  assert.deepEqual(readBid("12,5%", 2), { off_bp: 1250 });
  assert.deepEqual(readBid("100%", 2), { off_bp: 10_000 });
});

test("what is neither is refused", () => {
  for (const text of ["", "abc", "-5", "0 %", "101 %", "1.599,00", "15,999", "%", "12,555%"]) assert.equal(readBid(text, 2), null, text);
  assert.equal(readBid("1,5", 0), null);
});

test("a live price is one that a host started", () => {
  const product = (deal) => ({ variants: [{ sku: "a", deal: null }, { sku: "b", deal }] });
  assert.equal(running(product({ label: "Live", live: true, until_ms: null })).sku, "b");
  assert.equal(running(product({ label: "Sale", live: false, until_ms: null })), null);
  assert.equal(running(undefined), null);
});
