/*
 * Prices of one's own: events tell what something costs everybody. Who pays less by what the shop knows of them asks
 * for quotes when such an event comes, together with others within a moment, and not all viewers at once.
 */
const SPREAD_MS = 400;
const LINES_MAX = 50; // of one request for quotes

/** The SKUs whose prices a message has set to those for everybody. */
export function pricedBy({ type, name, data }) {
  if (type !== "event") return [];
  const of = (products) => products.flatMap(({ variants }) => variants.map(({ sku }) => sku));
  switch (name) {
    case "product.price": return [data.sku];
    case "product.pinned": case "product.changed": return of([data.product]);
    case "show.lineup": return of(data.lineup);
    default: return [];
  }
}

/** Keeps the prices of `store` those of its viewer; `ask(skus)` resolves to their quotes. */
export function keepOwnPrices({ store, ask, spreadMs = SPREAD_MS, later = setTimeout }) {
  const due = new Set();
  let timer = null;
  const run = async () => {
    timer = null;
    const skus = [...due].slice(0, LINES_MAX);
    for (const sku of skus) due.delete(sku);
    try {
      for (const quote of await ask(skus)) if (!due.has(quote.sku)) store.dispatch({ type: "price", sku: quote.sku, price_minor: quote.unit_minor, quote });
    } catch {
      // The price for everybody stays on screen; an add at it is answered with the own one.
    }
    if (due.size) timer ??= later(run, Math.random() * spreadMs);
  };
  store.watch(["lineup", "pin"], ({ own }, before, message) => {
    if (!own || !message) return;
    for (const sku of pricedBy(message)) due.add(sku);
    if (due.size) timer ??= later(run, Math.random() * spreadMs);
  });
}

export const quotesOf = (show, tokens) => async (skus) => {
  const answer = await fetch(`/api/shows/${encodeURIComponent(show)}/quotes`, {
    method: "POST", headers: { Authorization: `Bearer ${tokens.read()}`, "Content-Type": "application/json" }, body: JSON.stringify({ lines: skus.map((sku) => ({ sku })) }),
  });
  if (!answer.ok) throw new Error(answer.statusText);
  return (await answer.json()).quotes;
};
