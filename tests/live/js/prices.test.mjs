import assert from "node:assert/strict";
import test from "node:test";

globalThis.customElements = { get: () => true };
const { priceFacts, priceNotes } = await import("../../../live/web/js/prices.js");
const { Store } = await import("../../../live/web/js/store.js");

const variant = (more = {}) => ({ sku: "cup", price_minor: 1890, list_price_minor: null, lowest_30d_minor: null, off_percent: null, unit_price: null, deal: null, tax_bp: 1900, available: 3, ...more });
const quote = { sku: "cup", unit_minor: 1512, list_minor: 1890, lowest_30d_minor: 1800, unit_price: null, applied: [{ rule: "live-1", version: 1, label: "Live" }] };

function shown(...variants) {
  const store = new Store();
  const product = { id: "cup", title: "Cup", currency: "EUR", variants };
  store.dispatch({ type: "connected", snapshot: { show: {}, lineup: [product], pin: { pin_id: "p", product }, chat: { messages: [], slow_s: 0 }, viewers: 0 } });
  return store;
}

test("a price that is not reduced has nothing struck out and no lowest price", () => {
  const facts = priceFacts(variant({ lowest_30d_minor: 1700, deal: { label: "Old", live: false, until_ms: null } }), "EUR");
  assert.equal(facts.now, "€18.90");
  assert.deepEqual([facts.was, facts.lowest, facts.deal, facts.unit], [null, null, null, null]);
  assert.equal(priceNotes(facts), "price.tax");
});

test("a reduction names what was, the lowest of 30 days, and who made it", () => {
  const facts = priceFacts(variant({ price_minor: 1512, list_price_minor: 2490, lowest_30d_minor: 1890, off_percent: 20, deal: { label: "Live", live: true, until_ms: null }, unit_price: { price_minor: 3780, per: "m2" } }), "EUR");
  assert.equal(facts.was, "€24.90");
  assert.equal(facts.lowest, "price.lowest (−20%)");
  assert.equal(facts.deal, "price.live");
  assert.equal(priceNotes(facts), "price.tax · price.unit · price.lowest (−20%)");
});

test("a rule's own words stand as they are, and no tax is named where none is held", () => {
  const facts = priceFacts(variant({ list_price_minor: 2000, deal: { label: "20 % off clay", live: false, until_ms: null }, tax_bp: 0 }), "EUR");
  assert.equal(facts.deal, "20 % off clay");
  assert.equal(priceNotes(facts), "");
});

test("a price's event reaches the lineup and the pin", () => {
  const store = shown(variant());
  store.dispatch({ type: "event", name: "product.price", data: { product_id: "cup", sku: "cup", price_minor: 1512, list_price_minor: 1890, lowest_30d_minor: 1890, off_percent: 20, unit_price: null, deal: null } });
  for (const product of [store.state.lineup[0], store.state.pin.product]) assert.deepEqual([product.variants[0].price_minor, product.variants[0].off_percent, product.variants[0].available], [1512, 20, 3]);
});

test("a refusal's quote is shown whole, and one without takes away what is not known", () => {
  const store = shown(variant({ list_price_minor: 2490 }));
  store.dispatch({ type: "price", sku: "cup", price_minor: 1512, quote });
  const now = store.state.pin.product.variants[0];
  assert.deepEqual([now.price_minor, now.list_price_minor, now.lowest_30d_minor, now.off_percent, now.deal.live], [1512, 1890, 1800, 16, true]);
  store.dispatch({ type: "price", sku: "cup", price_minor: 1600 });
  assert.equal(store.state.pin.product.variants[0].list_price_minor, null);
});

test("a customer's own prices stand over the snapshot", () => {
  const store = shown(variant());
  store.dispatch({ type: "connected", personal: { prices: [{ product_id: "cup", sku: "cup", price_minor: 1701, list_price_minor: 1890, lowest_30d_minor: null, off_percent: null, unit_price: null, deal: null }] } });
  assert.equal(store.state.pin.product.variants[0].price_minor, 1701);
});
