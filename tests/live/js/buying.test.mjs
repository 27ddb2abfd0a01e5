import assert from "node:assert/strict";
import test from "node:test";

globalThis.customElements = { get: () => true };
globalThis.setInterval = () => 0;
const { Buying } = await import("../../../live/web/js/parts/buying.js");
const { WARN_MS, checkout, ending, extend, extendable, refresh } = await import("../../../live/web/js/parts/holding.js");
const { Store } = await import("../../../live/web/js/store.js");

const line = (sku, ms) => ({ hold_id: `h-${sku}`, sku, product_id: sku, title: sku, variant: "", picture: "", quantity: 1, price_minor: 1000, line_minor: 1000, expires_at_ms: Date.now() + ms });
const cartOf = (...lines) => ({ lines, total_minor: 1000 * lines.length, currency: "EUR" });

function shop(cart, answer) {
  const store = new Store();
  store.dispatch({ type: "cart", cart });
  const sent = [];
  const command = async (name, data) => (sent.push([name, data]), answer(name, data));
  return { store, sent, buying: new Buying(store, { command }) };
}

test("only what is about to end is extended", async () => {
  const full = cartOf(line("a", 600_000), line("b", 600_000), line("c", 0));
  const { buying, sent } = shop(cartOf(line("a", 5000), line("b", 2 * WARN_MS), line("c", 0)), () => ({ cart: full }));
  assert.deepEqual(ending(buying).map(({ sku }) => sku), ["a"]);
  assert.equal(extendable(buying), true);
  assert.ok(await extend(buying) > 599_000);
  assert.deepEqual(sent, [["cart.extend", { sku: "a" }]]);
  assert.deepEqual(ending(buying), []);
  assert.equal(extendable(buying), false);
});

test("what the buyer saw goes with the order and with each thing", async () => {
  const { buying, sent } = shop(cartOf(), (name) => (name === "cart.checkout" ? { order: { currency: "EUR" } } : { cart: cartOf() }));
  await buying.add("a", { price: 1000 });
  await buying.add("b");
  await checkout(buying, { name: "Ada", total_minor: 1000 });
  assert.deepEqual(sent, [
    ["cart.add", { sku: "a", quantity: 1, price_minor: 1000 }],
    ["cart.add", { sku: "b", quantity: 1 }],
    ["cart.checkout", { name: "Ada", total_minor: 1000 }],
  ]);
});

test("the cart can be read anew", async () => {
  const { buying, store } = shop(cartOf(), () => ({ cart: cartOf(line("a", 5000)) }));
  await refresh(buying);
  assert.equal(store.state.cart.lines.length, 1);
});

test("a cart that was handed over is kept as long as the hand-off, and nothing of it ends here", () => {
  const { buying, store } = shop(cartOf(line("a", 5000)), () => ({ cart: cartOf() }));
  const [first] = store.state.cart.lines;
  assert.equal(ending(buying).length, 1);
  buying.handedUntilMs = Date.now() + 600_000;
  assert.ok(buying.left(first) > 599_000);
  assert.deepEqual(ending(buying), []);
  buying.handedUntilMs = 0;
  assert.ok(buying.left(first) <= 5000);
});
