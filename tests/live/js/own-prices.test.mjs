import assert from "node:assert/strict";
import test from "node:test";

globalThis.customElements = { get: () => true };
const { keepOwnPrices, pricedBy } = await import("../../../live/web/js/own-prices.js");
const { feesOf } = await import("../../../live/web/js/ways.js");
const { Store } = await import("../../../live/web/js/store.js");

const variant = (sku, more = {}) => ({ sku, price_minor: 1000, list_price_minor: null, lowest_30d_minor: null, off_percent: null, unit_price: null, deal: null, tax_bp: 1900, available: 3, ...more });
const product = (id, ...skus) => ({ id, title: id, currency: "EUR", variants: skus.map((sku) => variant(sku)) });
const changed = (sku, price_minor) => ({ type: "event", name: "product.price", data: { product_id: sku, sku, price_minor, list_price_minor: null, deal: null } });
const quote = (sku, unit_minor, list_minor = 1000) => ({ sku, unit_minor, list_minor, lowest_30d_minor: null, unit_price: null, applied: [{ rule: "members", version: 1, label: "Members" }] });

function room(prices, ask) {
  const store = new Store();
  const [asked, timers] = [[], []];
  const cup = product("cup", "cup", "plate");
  store.dispatch({ type: "connected", viewer: { id: "a" }, snapshot: { show: {}, lineup: [cup], pin: { pin_id: "p", product: cup }, chat: { messages: [], slow_s: 0 }, viewers: 0 }, personal: { ...(prices.length && { prices }) } });
  keepOwnPrices({ store, ask: async (skus) => (asked.push(skus), ask(skus)), later: (run) => timers.push(run) });
  const price = (sku) => store.state.pin.product.variants.find((one) => one.sku === sku).price_minor;
  return { store, asked, timers, price };
}

test("whoever has prices of their own asks again, once for what comes together", async () => {
  const { store, asked, timers, price } = room([{ product_id: "cup", sku: "cup", price_minor: 900 }], (skus) => skus.map((sku) => quote(sku, 700)));
  assert.equal(price("cup"), 900);
  store.dispatch(changed("cup", 800));
  store.dispatch(changed("plate", 800));
  assert.equal(price("cup"), 800);
  assert.equal(timers.length, 1);
  await timers[0]();
  assert.deepEqual(asked, [["cup", "plate"]]);
  assert.equal(price("cup"), 700);
  assert.equal(store.state.pin.product.variants[0].deal.label, "Members");
});

test("who has none asks nothing", () => {
  const { store, timers } = room([], () => []);
  store.dispatch(changed("cup", 800));
  assert.equal(timers.length, 0);
});

test("what changes again while it is asked for is asked for again, and a refusal leaves the price for everybody", async () => {
  const { store, timers, price, asked } = room([{ sku: "cup", price_minor: 900 }], async () => {
    if (asked.length > 1) throw new Error("away");
    store.dispatch(changed("cup", 600));
    return [quote("cup", 700)];
  });
  store.dispatch(changed("cup", 800));
  await timers[0]();
  assert.equal(price("cup"), 600);
  assert.equal(timers.length, 2);
  await timers[1]();
  assert.equal(price("cup"), 600);
  assert.equal(asked.length, 2);
});

test("every message that sets prices for everybody is known", () => {
  assert.deepEqual(pricedBy({ type: "event", name: "product.pinned", data: { product: product("cup", "a", "b") } }), ["a", "b"]);
  assert.deepEqual(pricedBy({ type: "event", name: "show.lineup", data: { lineup: [product("cup", "a"), product("vase", "c")] } }), ["a", "c"]);
  assert.deepEqual([pricedBy({ type: "event", name: "chat.message", data: {} }), pricedBy({ type: "price" })], [[], []]);
});

test("shipping comes on top where an open delivery costs something", () => {
  const method = (kind, rates, more = {}) => ({ kind, rates: rates.map(([currency, price_minor]) => ({ currency, price_minor })), ...more });
  assert.deepEqual(feesOf([method("pickup", [["CHF", 100]]), method("delivery", [["EUR", 490], ["USD", 0]]), method("delivery", [["EUR", 990]]), method("delivery", [["GBP", 500]], { active: false })]), ["EUR"]);
  assert.deepEqual(feesOf([]), []);
});
