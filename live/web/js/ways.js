/* Whether shipping comes on top of prices: told by the shop's ways of shipping, asked for once the page stands. */
const SPREAD_MS = 2000; // a crowd that comes at once must not ask at once

/** The currencies in which some delivery costs something. */
export const feesOf = (methods) => [...new Set(methods.filter(({ kind, active }) => kind === "delivery" && active !== false).flatMap(({ rates }) => rates.filter(({ price_minor: price }) => price > 0).map(({ currency }) => currency)))];

/** Tells the store in which currencies shipping comes on top; an address that does not answer is asked no more. */
export function tellShipping(store) {
  setTimeout(async () => {
    const answer = await fetch("/api/shipping-methods").catch(() => null);
    if (answer?.ok) store.dispatch({ type: "ships", ships: feesOf((await answer.json()).methods) });
  }, Math.random() * SPREAD_MS);
}
