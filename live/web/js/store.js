/*
 * What the page knows: a pure reducer over the server's messages, and a holder that tells who watches.
 * EVENTS mirrors live/timeline.py; stock is kept per SKU, because states of stock and events of products cross.
 */

const CHAT_KEPT = 200;

export function initial() {
  return {
    status: "connecting", reason: "", skewMs: 0, viewer: null, show: null, lineup: [], pin: null,
    chat: { messages: [], slow_s: 0 }, viewers: null, stock: {}, cart: { lines: [], total_minor: 0, currency: "EUR" },
    expired: [], mute: null, figures: null, video: null, leaving: null, ships: [], own: false, drops: {}, places: {}, queues: {},
  };
}

/** The state after `message` (a message of the server, or {type: "status"}); never changes `state` itself. */
export function reduce(state, message) {
  switch (message.type) {
    case "status": return { ...state, status: message.status, reason: message.reason };
    case "connected": return connected(state, message);
    case "event": return EVENTS[message.name]?.(state, message.data) ?? state;
    case "state": return STATES[message.name]?.(state, message.data) ?? state;
    case "notice": return NOTICES[message.name]?.(state, message.data) ?? state;
    case "cart": return withCart(state, message.cart, "changed");
    case "price": return withPrice(state, message);
    case "forgive": return { ...state, expired: state.expired.filter((line) => line.sku !== message.sku) };
    case "written": return EVENTS["chat.message"](state, message.message);
    case "place": return withPlace(state, message);
    case "ships": return { ...state, ships: message.ships };
    case "viewer": return { ...state, viewer: message.viewer };
    default: return state;
  }
}

function connected(state, message) {
  const next = { ...state, viewer: message.viewer };
  if (message.time_ms) next.skewMs = message.time_ms - Date.now();
  const { snapshot, personal } = message;
  if (snapshot) {
    next.show = snapshot.show;
    next.lineup = snapshot.lineup;
    next.pin = snapshot.pin;
    // Snapshots hold what viewers are shown; what was left out is personal, and kept when the server sends nothing personal.
    const leftOut = state.chat.messages.filter((message) => message.shown === false && !personal?.chat);
    next.chat = { messages: merged(leftOut, snapshot.chat.messages), slow_s: snapshot.chat.slow_s };
    next.reactions = snapshot.reactions ?? null;
    next.viewers = snapshot.viewers;
    next.drops = bySku(snapshot.drops);
    next.stock = stockOf([...snapshot.lineup, ...(snapshot.pin ? [snapshot.pin.product] : [])]);
  }
  if (personal?.chat) next.mute = personal.chat.muted;
  if (personal?.chat?.left_out) next.chat = { ...next.chat, messages: merged(next.chat.messages, personal.chat.left_out) };
  if (personal?.cart) next.places = bySku(personal.waitlist);
  if (personal?.queues) next.queues = { ...state.queues, ...bySku(personal.queues) };
  next.own ||= Boolean(personal?.prices?.length); // prices that are not everybody's
  for (const price of personal?.prices ?? []) Object.assign(next, EVENTS["product.price"](next, price));
  return personal?.cart ? withCart(next, personal.cart, state.cart.lines.length ? "hold_expired" : "changed") : next;
}

const bySku = (list = []) => Object.fromEntries(list.map((one) => [one.sku, one]));

/** `place` null: none any more. */
function withPlace(state, { sku, place }) {
  const { [sku]: _, ...others } = state.places;
  return { ...state, places: place ? { ...others, [sku]: place } : others };
}

function withDrop(state, { sku, drop }) {
  const { [sku]: _, ...others } = state.drops;
  return { ...state, drops: drop ? { ...others, [sku]: drop } : others };
}

function stockOf(products, before = {}) {
  const stock = { ...before };
  for (const product of products) for (const variant of product.variants) stock[variant.sku] = variant.available;
  return stock;
}

/** Lines that a hold's expiry took away are remembered, so that one tap can put them back. */
function withCart(state, cart, reason) {
  const kept = new Set(cart.lines.map((line) => line.sku));
  const now = Date.now() + state.skewMs;
  const gone = reason === "hold_expired" ? state.cart.lines.filter((line) => !kept.has(line.sku) && line.expires_at_ms <= now + 2000) : [];
  const expired = [...state.expired, ...gone].filter((line, index, all) => !kept.has(line.sku) && all.findIndex((other) => other.sku === line.sku) === index);
  return { ...state, cart, expired: reason === "ordered" ? [] : expired };
}

const setStock = (state, sku, available) => (state.stock[sku] === available ? state : { ...state, stock: { ...state.stock, [sku]: available } });
const withMessages = (state, messages) => ({ ...state, chat: { ...state.chat, messages } });

/** Ids are ordered by time: messages that crossed on their way stand in the order of the log. */
function merged(messages, more) {
  const ids = new Set(more.map((message) => message.id));
  return [...messages.filter((message) => !ids.has(message.id)), ...more].sort((a, b) => (a.id < b.id ? -1 : 1)).slice(-CHAT_KEPT);
}

/** `product` wherever the product of this id stands. */
function withProduct(state, product) {
  return {
    ...state,
    lineup: state.lineup.map((other) => (other.id === product.id ? product : other)),
    pin: state.pin?.product.id === product.id ? { ...state.pin, product } : state.pin,
    stock: stockOf([product], state.stock),
  };
}

/** A price that the server refused to charge at: what was struck out beside the old one is not known to be true of it. */
function withPrice(state, { sku, price_minor, quote = null }) {
  return withVariant(state, sku, (variant) => (variant.price_minor === price_minor ? variant : { ...variant, price_minor, list_price_minor: null, ...(quote && quoted(quote)) }));
}

/** What a quote says of a unit's price, as a variant does. */
function quoted({ unit_minor: now, list_minor: was, lowest_30d_minor: lowest, unit_price, applied: [rule] }) {
  const off = lowest ? Math.floor((100 * (lowest - now)) / lowest) : 0;
  return { list_price_minor: was > now ? was : null, lowest_30d_minor: lowest, off_percent: off > 0 ? off : null, unit_price, deal: rule ? { label: rule.label, live: rule.rule.startsWith("live-"), until_ms: null } : null };
}

/** The variant `sku` as `change` makes it, wherever it stands. */
function withVariant(state, sku, change) {
  const changed = (variant) => (variant.sku === sku ? change(variant) : variant);
  const within = (product) => (product.variants.some((variant) => changed(variant) !== variant) ? { ...product, variants: product.variants.map(changed) } : product);
  return { ...state, lineup: state.lineup.map(within), pin: state.pin && { ...state.pin, product: within(state.pin.product) } };
}

const EVENTS = {
  "show.state": (state, data) => ({ ...state, show: { ...state.show, ...data } }),
  "show.lineup": (state, { lineup }) => lineup.reduce(withProduct, { ...state, lineup }),
  "product.pinned": (state, pin) => withProduct({ ...state, pin }, pin.product),
  "product.unpinned": (state, { pin_id }) => (state.pin?.pin_id === pin_id ? { ...state, pin: null } : state),
  "product.changed": (state, { product }) => withProduct(state, product),
  "product.price": (state, { product_id: _, sku, ...price }) => withVariant(state, sku, (variant) => ({ ...variant, ...price })),
  "product.sold_out": (state, { sku }) => setStock(state, sku, 0),
  "product.restocked": (state, { sku, available }) => setStock(state, sku, available),
  "drop.changed": withDrop,
  "chat.message": (state, message) => withMessages(state, merged(state.chat.messages, [message])),
  "chat.deleted": (state, { id }) => withMessages(state, state.chat.messages.filter((message) => message.id !== id)),
  "chat.cleared": (state, { viewer_id }) => withMessages(state, state.chat.messages.filter((message) => message.viewer.id !== viewer_id)),
  "chat.mode": (state, { slow_s }) => ({ ...state, chat: { ...state.chat, slow_s } }),
};

const STATES = {
  viewers: (state, { count }) => ({ ...state, viewers: count }),
  stock: (state, { sku, available }) => setStock(state, sku, available),
  drop: (state, { sku, left }) => (state.drops[sku] ? withDrop(state, { sku, drop: { ...state.drops[sku], left } }) : state),
  waitlist: (state, queue) => ({ ...state, queues: { ...state.queues, [queue.sku]: queue } }),
  figures: (state, figures) => ({ ...state, figures }),
  video: (state, video) => ({ ...state, video }),
  "media.leaving": (state, leaving) => ({ ...state, leaving }),
  reactions: (state, reactions) => ({ ...state, reactions }),
  "chat.fast": (state, { until_ms }) => ({ ...state, fastUntilMs: until_ms }),
};

const NOTICES = {
  "cart.changed": (state, { cart, reason }) => withCart(state, cart, reason),
  "waitlist.offered": withPlace,
  "waitlist.changed": withPlace,
  "chat.left_out": (state, { messages }) => withMessages(state, merged(state.chat.messages, messages)),
  "chat.muted": (state, mute) => ({ ...state, mute }),
};

/** Units of `product` that anyone may still take, over all its variants or of one. */
export function available(state, product, sku = null) {
  return product.variants.filter((variant) => sku === null || variant.sku === sku)
    .reduce((sum, variant) => sum + (state.stock[variant.sku] ?? variant.available), 0);
}

export const lineOf = (state, sku) => state.cart.lines.find((line) => line.sku === sku) ?? null;
export const cartCount = (state) => state.cart.lines.reduce((sum, line) => sum + line.quantity, 0);

/** Whether the show has ended: what is pinned was shown last, and can still be bought. */
export const over = ({ show }) => show?.state === "ended" || show?.state === "replayable";

/** What the watch page shows instead of the video; null: the video. */
export function cover(state) {
  if (state.status === "closed") return state.reason === "unknown_show" ? "unknown" : "refused";
  if (!state.show) return state.reason === "full" ? "full" : "connecting";
  switch (state.show.state) {
    case "draft": case "scheduled": return "before";
    case "lobby": return "waiting";
    case "live": return state.show.publishing ? null : "away";
    case "paused": return "paused";
    default: return "ended";
  }
}

export class Store {
  #watchers = new Set();
  state = initial();

  dispatch(message) {
    const before = this.state;
    this.state = reduce(before, message);
    if (this.state !== before) for (const watcher of [...this.#watchers]) watcher(this.state, before, message);
  }

  /** Calls `run(state, before, message)` now and whenever one of the named members changed; returns how to stop. */
  watch(members, run) {
    const watcher = (state, before, message) => {
      if (members.some((member) => state[member] !== before[member])) run(state, before, message);
    };
    this.#watchers.add(watcher);
    run(this.state, this.state, null);
    return () => this.#watchers.delete(watcher);
  }

  /** The server's clock. */
  now() {
    return Date.now() + this.state.skewMs;
  }
}
