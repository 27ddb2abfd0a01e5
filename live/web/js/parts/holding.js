/* What can be done with what is in the cart: more time, the order, what the server says it is. Not part of the first paint. */
import { lineOf } from "../store.js";

export const WARN_MS = 60_000;

/** The lines whose time is nearly over; none of a cart that was handed over, whose time cannot be changed here. */
export const ending = (buying) => (buying.handedUntilMs ? [] : buying.store.state.cart.lines.filter((line) => buying.left(line) > 0 && buying.left(line) <= WARN_MS));

/** Whether any of them can be held for longer. */
export const extendable = (buying) => ending(buying).some((line) => !buying.final.has(line.hold_id));

/** Holds them for a full time again; resolves to the milliseconds that are left then, 0 when none was extended. */
export async function extend(buying) {
  let left = 0;
  for (const { sku } of ending(buying)) if (await buying.run(sku, "cart.extend", { sku })) left = buying.left(lineOf(buying.store.state, sku));
  return left;
}

/** Resolves to the order; rejects with a problem. */
export async function checkout(buying, details) {
  const { order } = await buying.socket.command("cart.checkout", details);
  buying.store.dispatch({ type: "cart", cart: { lines: [], total_minor: 0, currency: order.currency ?? "" } });
  return order;
}

/** What the server says is in the cart. */
export async function refresh(buying) {
  const { cart } = await buying.socket.command("cart.get", {}, { key: null });
  buying.store.dispatch({ type: "cart", cart });
  return cart;
}
