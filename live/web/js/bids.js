/* What a host asks for as a live price, read from what was typed. Values only. */

/** "20 %" or "20%": hundredths of a percent off; "15,99" or "15.99": minor units of a currency with `places`; null: neither. */
export function readBid(text, places) {
  const [, digits, part = "", percent] = /^\s*(\d{1,9})(?:[.,](\d+))?\s*(%?)\s*$/.exec(text) ?? [];
  if (digits === undefined) return null;
  if (percent) {
    const bp = part.length > 2 ? 0 : Number(digits) * 100 + Number(part.padEnd(2, "0"));
    return bp >= 1 && bp <= 10_000 ? { off_bp: bp } : null;
  }
  if (part.length > places) return null;
  return { price_minor: Number(digits) * 10 ** places + Number(part.padEnd(places, "0") || 0) };
}

/** The variant that a live price is running on; null: none is. */
export const running = (product) => product?.variants.find(({ deal }) => deal?.live) ?? null;
