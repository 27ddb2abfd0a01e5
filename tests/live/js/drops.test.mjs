import assert from "node:assert/strict";
import test from "node:test";

const { nextMs, offered, phaseOf } = await import("../../../live/web/js/drops.js");
const { Store } = await import("../../../live/web/js/store.js");

const drop = (more = {}) => ({ id: "d", sku: "cup", product_id: "cup", opens_at_ms: 10_000, closes_at_ms: 20_000, total_limit: 3, per_customer_limit: null, left: 3, ...more });
const place = (more = {}) => ({ sku: "cup", product_id: "cup", show: "demo", quantity: 1, joined_at_ms: 1, position: 2, offer: null, ...more });
const product = { id: "cup", title: "Cup", currency: "EUR", variants: [{ sku: "cup", price_minor: 1000, available: 0 }] };
const connected = (more = {}) => ({ type: "connected", viewer: { id: "a" }, snapshot: { show: {}, lineup: [product], pin: null, drops: [drop()], chat: { messages: [], slow_s: 0 }, viewers: 0 }, ...more });

test("a drop opens and closes by the server's clock, each at its very millisecond", () => {
  assert.deepEqual([9999, 10_000, 19_999, 20_000].map((now) => phaseOf(drop(), now)), ["before", "open", "open", "over"]);
  assert.deepEqual([phaseOf(undefined, 1), phaseOf(drop({ closes_at_ms: null }), 10 ** 12)], [null, "open"]);
});

test("a countdown is drawn again at each full second, and at its end", () => {
  assert.deepEqual([9000, 9300, 9999, 10_500].map((now) => nextMs(drop(), now)), [1000, 700, 1, 500]);
  assert.deepEqual([nextMs(drop(), 20_000), nextMs(drop({ closes_at_ms: null }), 11_000)], [null, null]);
});

test("drops come with the snapshot, by event, and by the state of what is left", () => {
  const store = new Store();
  store.dispatch(connected());
  assert.equal(store.state.drops.cup.left, 3);
  store.dispatch({ type: "state", name: "drop", key: "cup", data: { sku: "cup", left: 1 } });
  store.dispatch({ type: "state", name: "drop", key: "vase", data: { sku: "vase", left: 1 } });
  assert.deepEqual(store.state.drops, { cup: drop({ left: 1 }) });
  store.dispatch({ type: "event", name: "drop.changed", data: { sku: "cup", drop: null } });
  assert.deepEqual(store.state.drops, {});
});

test("a place is there until the server says otherwise, and gone after a connect that does not name it", () => {
  const store = new Store();
  const cart = { lines: [], total_minor: 0, currency: "" };
  store.dispatch(connected({ personal: { cart, waitlist: [place()], queues: [{ sku: "cup", waiting: 4, units: 5 }] } }));
  assert.deepEqual([store.state.places.cup.position, store.state.queues.cup.waiting], [2, 4]);
  store.dispatch(connected({ personal: {} }));
  assert.equal(store.state.places.cup.position, 2);
  store.dispatch({ type: "notice", name: "waitlist.changed", data: { sku: "cup", place: place({ position: 1 }), reason: "moved" } });
  assert.equal(store.state.places.cup.position, 1);
  store.dispatch({ type: "place", sku: "cup", place: null });
  store.dispatch({ type: "notice", name: "waitlist.offered", data: { sku: "cup", place: place({ position: null, offer: { hold_id: "h" } }) } });
  assert.equal(offered(store.state.places.cup, [{ hold_id: "h" }]), true);
  assert.deepEqual([offered(store.state.places.cup, []), offered(null, []), offered(place(), [])], [false, false, false]);
  store.dispatch(connected({ personal: { cart } }));
  assert.deepEqual(store.state.places, {});
});
