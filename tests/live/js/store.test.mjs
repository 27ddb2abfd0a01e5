import assert from "node:assert/strict";
import test from "node:test";
import { Store, available, cartCount, cover, initial, lineOf, over, reduce } from "../../../live/web/js/store.js";

const product = (id, units = 5, price = 1000) => ({
  id, title: id.toUpperCase(), description: "", picture: `/static/pictures/${id}.svg`, currency: "EUR",
  variants: [{ sku: `${id}-1`, title: "", price_minor: price, list_price_minor: null, available: units }],
});
const message = (id, viewer = "v1", text = "hi") => ({ id, viewer: { id: viewer, name: viewer, role: "viewer" }, text, sent_at_ms: 1, reply_to: null });
const line = (sku, expires_at_ms) => ({ hold_id: `h-${sku}`, sku, product_id: sku.slice(0, -2), title: sku, variant: "", picture: "", quantity: 1, price_minor: 1000, line_minor: 1000, expires_at_ms });
const cartOf = (...lines) => ({ lines, total_minor: 1000 * lines.length, currency: "EUR" });
const snapshot = () => ({
  show: { id: "demo", title: "Demo", state: "live", started_at_ms: 1, ended_at_ms: null, scheduled_at_ms: null, publishing: true, auto_live: true },
  lineup: [product("cup"), product("lamp", 3)], pin: null, chat: { messages: [message("01"), message("02")], slow_s: 0 }, viewers: 7, now_ms: 1,
});
const connected = (extra = {}) => ({ type: "connected", viewer: { id: "v1", name: "Mia", role: "viewer" }, recovered: false, time_ms: Date.now(), snapshot: snapshot(), personal: { cart: cartOf() }, ...extra });
const event = (name, data) => ({ type: "event", offset: 1, at_ms: 0, name, data });
const after = (...messages) => messages.reduce(reduce, reduce(initial(), connected()));
const freeze = (value) => {
  if (value && typeof value === "object" && !Object.isFrozen(value)) Object.values(Object.freeze(value)).forEach(freeze);
  return value;
};

const EVENTS = [
  event("show.state", { state: "paused", started_at_ms: 1, ended_at_ms: null, publishing: true }),
  event("show.lineup", { lineup: [product("lamp", 2), product("vase", 1)] }),
  event("product.pinned", { pin_id: "p1", product: product("lamp", 2, 900), pinned_at_ms: 5 }),
  event("product.changed", { product: product("lamp", 9, 800) }),
  event("product.sold_out", { sku: "lamp-1" }),
  event("product.restocked", { sku: "lamp-1", available: 4 }),
  event("chat.message", message("03", "v2")),
  event("chat.deleted", { id: "01" }),
  event("chat.cleared", { viewer_id: "v2" }),
  event("chat.mode", { slow_s: 10 }),
  event("product.unpinned", { pin_id: "p1" }),
];

test("a snapshot is taken over whole", () => {
  const state = after();
  assert.equal(state.show.title, "Demo");
  assert.equal(state.viewers, 7);
  assert.deepEqual(state.stock, { "cup-1": 5, "lamp-1": 3 });
  assert.deepEqual(state.chat.messages.map(({ id }) => id), ["01", "02"]);
});

test("every event may come twice, and none changes the state it was given", () => {
  let state = freeze(after());
  for (const one of EVENTS) {
    const once = freeze(reduce(state, one));
    const { stock: _, ...twice } = reduce(once, one);
    const { stock: __, ...first } = once;
    assert.deepEqual(twice, first, one.name);
    state = once;
  }
});

test("a product's change reaches lineup, pin and stock", () => {
  const state = after(EVENTS[2], EVENTS[3]);
  assert.equal(state.pin.product.variants[0].price_minor, 800);
  assert.equal(state.lineup[1].variants[0].price_minor, 800);
  assert.equal(available(state, state.pin.product), 9);
});

test("the end of an older pin does not take a newer one away", () => {
  const state = after(event("product.pinned", { pin_id: "p2", product: product("cup"), pinned_at_ms: 9 }), event("product.unpinned", { pin_id: "p1" }));
  assert.equal(state.pin.pin_id, "p2");
});

test("stock is what the newest message says, whatever the product said", () => {
  const state = after({ type: "state", name: "stock", key: "cup-1", data: { sku: "cup-1", available: 1 } });
  assert.equal(available(state, state.lineup[0]), 1);
  assert.equal(available(reduce(state, event("product.sold_out", { sku: "cup-1" })), state.lineup[0], "cup-1"), 0);
});

test("messages stand in the order of the log", () => {
  const state = after(event("chat.message", message("05")), event("chat.message", message("04")));
  assert.deepEqual(state.chat.messages.map(({ id }) => id), ["01", "02", "04", "05"]);
});

test("a hold that ran out is remembered until it is back, forgiven, or ordered", () => {
  const own = after({ type: "notice", name: "cart.changed", data: { cart: cartOf(line("cup-1", Date.now() - 1), line("lamp-1", Date.now() + 60_000)), reason: "changed" } });
  assert.equal(cartCount(own), 2);
  assert.equal(lineOf(own, "cup-1").sku, "cup-1");
  const gone = reduce(own, { type: "notice", name: "cart.changed", data: { cart: cartOf(line("lamp-1", Date.now() + 60_000)), reason: "hold_expired" } });
  assert.deepEqual(gone.expired.map(({ sku }) => sku), ["cup-1"]);
  assert.deepEqual(reduce(gone, { type: "forgive", sku: "cup-1" }).expired, []);
  assert.deepEqual(reduce(gone, { type: "cart", cart: cartOf(line("cup-1", Date.now() + 9e5)) }).expired, []);
  assert.deepEqual(reduce(gone, { type: "notice", name: "cart.changed", data: { cart: cartOf(), reason: "ordered" } }).expired, []);
  const removed = reduce(own, { type: "notice", name: "cart.changed", data: { cart: cartOf(), reason: "changed" } });
  assert.deepEqual(removed.expired, []);
});

test("a cart that shrank while we were away is explained", () => {
  const own = after({ type: "cart", cart: cartOf(line("cup-1", Date.now() - 5000)) });
  assert.deepEqual(reduce(own, connected()).expired.map(({ sku }) => sku), ["cup-1"]);
});

test("a recovery keeps what is known", () => {
  const state = reduce(after(EVENTS[2]), { type: "connected", viewer: { id: "v1", name: "Mia", role: "viewer" }, recovered: true, time_ms: Date.now(), snapshot: null, personal: { cart: cartOf(), chat: { muted: { until_ms: null, reason: "" } } } });
  assert.equal(state.pin.pin_id, "p1");
  assert.deepEqual(state.mute, { until_ms: null, reason: "" });
});

test("figures, video, viewers and mutes", () => {
  const state = after({ type: "state", name: "figures", data: { carts: 2 } }, { type: "state", name: "video", data: { fps: 30 } }, { type: "state", name: "viewers", data: { count: 9 } }, { type: "notice", name: "chat.muted", data: { until_ms: 5, reason: "" } });
  assert.deepEqual([state.figures.carts, state.video.fps, state.viewers, state.mute.until_ms], [2, 30, 9, 5]);
});

test("what a newer server tells is left alone", () => {
  const state = after();
  for (const type of ["event", "state", "notice"]) assert.equal(reduce(state, { type, name: "poll.opened", data: {} }), state);
  assert.equal(reduce(state, { type: "riddle" }), state);
});

test("a show is over when it has ended, with or without a replay", () => {
  assert.equal(over(initial()), false);
  for (const state of ["draft", "scheduled", "lobby", "live", "paused", "ended", "replayable"]) assert.equal(over({ show: { state } }), state === "ended" || state === "replayable", state);
});

test("the cover for every state of a show", () => {
  const show = (fields) => ({ ...after(), show: { ...snapshot().show, ...fields } });
  assert.equal(cover(initial()), "connecting");
  assert.equal(cover({ ...initial(), reason: "full" }), "full");
  assert.equal(cover({ ...initial(), status: "closed", reason: "unknown_show" }), "unknown");
  assert.equal(cover({ ...initial(), status: "closed", reason: "refused" }), "refused");
  const expected = { draft: "before", scheduled: "before", lobby: "waiting", live: null, paused: "paused", ended: "ended", replayable: "ended" };
  for (const [state, name] of Object.entries(expected)) assert.equal(cover(show({ state })), name);
  assert.equal(cover(show({ publishing: false })), "away");
});

test("a watcher hears of its members only, until it stops", () => {
  const store = new Store();
  const heard = [];
  const stop = store.watch(["viewers"], (state) => heard.push(state.viewers));
  store.dispatch(connected());
  store.dispatch(event("chat.mode", { slow_s: 5 }));
  store.dispatch({ type: "state", name: "viewers", data: { count: 8 } });
  stop();
  store.dispatch({ type: "state", name: "viewers", data: { count: 9 } });
  assert.deepEqual(heard, [null, 7, 8]);
});

test("a price that the server would not charge at is replaced everywhere", () => {
  const old = after(event("product.pinned", { pin_id: "p1", product: { ...product("cup"), variants: [{ ...product("cup").variants[0], list_price_minor: 2000 }] }, pinned_at_ms: 5 }));
  freeze(old);
  const next = reduce(old, { type: "price", sku: "cup-1", price_minor: 1200 });
  for (const item of [next.lineup[0], next.pin.product]) {
    assert.equal(item.variants[0].price_minor, 1200);
    assert.equal(item.variants[0].list_price_minor, null, "not reduced as far as we know");
  }
  assert.equal(next.lineup[1], old.lineup[1]);
  assert.equal(next.stock, old.stock);
  const same = reduce(old, { type: "price", sku: "cup-1", price_minor: 1000 });
  assert.deepEqual(same.pin, old.pin);
  assert.equal(reduce(after(), { type: "price", sku: "cup-1", price_minor: 1 }).pin, null);
});

test("what was left out of viewers' screens stands among the rest, for its author and the staff", () => {
  const own = { ...message("015", "v1", "mine"), shown: false };
  const ids = (state) => state.chat.messages.map(({ id }) => id).join();
  const written = reduce(after(), { type: "written", message: own });
  assert.equal(ids(written), "01,015,02");
  assert.equal(ids(reduce(written, connected({ personal: {} }))), "01,015,02"); // a resync has nothing personal
  assert.equal(ids(reduce(written, connected({ personal: { chat: { muted: null } } }))), "01,02");
  assert.equal(ids(reduce(after(), connected({ snapshot: null, personal: { chat: { muted: null, left_out: [own] } } }))), "01,015,02");
  const told = reduce(written, { type: "notice", name: "chat.left_out", data: { messages: [own, { ...message("03"), shown: false }] } });
  assert.equal(ids(told), "01,015,02,03");
  assert.equal(ids(reduce(told, event("chat.deleted", { id: "015" }))), "01,02,03");
  assert.equal(ids(reduce(told, event("chat.cleared", { viewer_id: "v1" }))), "");
});

test("reactions are the newest totals, and a fast chat says until when", () => {
  const state = (name, data) => ({ type: "state", name, key: "", data });
  assert.equal(after().reactions, null);
  assert.deepEqual(reduce(initial(), connected({ snapshot: { ...snapshot(), reactions: { heart: 3 } } })).reactions, { heart: 3 });
  assert.deepEqual(after(state("reactions", { heart: 4 })).reactions, { heart: 4 });
  assert.equal(after(state("chat.fast", { until_ms: 9 })).fastUntilMs, 9);
});
