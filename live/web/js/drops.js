/* When a drop can be bought, and what is told of it. Values and the server's time in, values out. */

/** "before", "open" or "over" at `now`; null: there is no drop, it sells as usual. */
export function phaseOf(drop, now) {
  if (!drop) return null;
  if (now < drop.opens_at_ms) return "before";
  return drop.closes_at_ms !== null && now >= drop.closes_at_ms ? "over" : "open";
}

/** Milliseconds until what is shown changes: the next full second of a countdown, and exactly its end; null: never. */
export function nextMs(drop, now) {
  const phase = phaseOf(drop, now);
  const end = phase === "before" ? drop.opens_at_ms : phase === "open" ? drop.closes_at_ms : null;
  return end === null ? null : (end - now) % 1000 || 1000;
}

/** Whether the offer that a place is about stands: a line of the cart is that hold. */
export const offered = (place, lines) => place?.offer != null && lines.some(({ hold_id: id }) => id === place.offer.hold_id);
