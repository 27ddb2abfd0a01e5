/* A price that changed is never charged silently: the new one is shown, and asked for. Loaded when it happens. */
import { money, moreTexts, t } from "../i18n.js";
import { lineOf } from "../store.js";
import { toast } from "../toast.js";
import { confirm } from "./confirm.js";

const ASK_MS = 30_000;

export async function priceChanged({ sku, price_minor: price, currency, quote }, { store, buying, from }) {
  await moreTexts("later");
  const { lineup, pin } = store.state;
  const product = [...lineup, ...(pin ? [pin.product] : [])].find((other) => other.variants.some((variant) => variant.sku === sku));
  const line = lineOf(store.state, sku);
  store.dispatch({ type: "price", sku, price_minor: price, quote });
  const words = { title: product?.title ?? line?.title ?? sku, price: money(price, currency) };
  if (line) return toast(t("buy.oldPrice", words), null, ASK_MS);
  if (await confirm({ title: t("buy.changed"), text: t("buy.newPrice", words), yes: t("buy.addAt", words), testid: "confirm-price" })) return buying.add(sku, { from, price });
  return false;
}
