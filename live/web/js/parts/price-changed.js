/* A price that changed is never charged silently: the new one is shown, and asked for again. Loaded when it happens. */
import { toast } from "../dom.js";
import { money, t } from "../i18n.js";
import { lineOf } from "../store.js";

const ASK_MS = 30_000;

export function priceChanged({ sku, price_minor: price, currency }, { store, buying, from }) {
  const { lineup, pin } = store.state;
  const product = [...lineup, ...(pin ? [pin.product] : [])].find((other) => other.variants.some((variant) => variant.sku === sku));
  const line = lineOf(store.state, sku);
  store.dispatch({ type: "price", sku, price_minor: price });
  const words = { title: product?.title ?? line?.title ?? sku, price: money(price, currency) };
  if (line) return toast(t("buy.oldPrice", words), null, ASK_MS);
  return toast(t("buy.newPrice", words), { text: t("buy.addAt", words), run: () => buying.add(sku, { from, price }) }, ASK_MS);
}
