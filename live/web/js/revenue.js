/* What each pin sold, as rows of a chart and of a table. Values in, values out: words are the part's. */

export const BARS_MAX = 10; // more than that is a table, not a chart

const amountOf = (revenue, currency) => revenue.find((one) => one.currency === currency) ?? { currency, gross_minor: 0, off_minor: 0, kept_minor: 0 };

/** The currency that most orders were made in, as far as sums tell; null: nothing was sold. */
export function currencyOf({ total }) {
  const [most = null] = [...total.revenue].sort((a, b) => b.gross_minor - a.gross_minor);
  return most?.currency ?? null;
}

/** One row for each part of what a show sold, the first pin first: {kind, sold, currency, gross, off, kept}. */
export function rowsOf(report) {
  const row = (kind, sold, currency, { gross_minor: gross, off_minor: off, kept_minor: kept }) => ({ kind, sold, currency, gross, off, kept });
  const main = currencyOf(report);
  const each = (kind, sold, revenue) => revenue.map((amount) => row(kind, sold, amount.currency, amount));
  const parts = (kind, sold) => (sold.revenue.length ? each(kind, sold, sold.revenue) : [row(kind, sold, main, amountOf([], main))]);
  return [
    ...(report.earlier_pins ? parts("earlier", report.earlier_pins) : []),
    ...report.pins.flatMap((pin) => parts("pin", pin)),
    ...(report.unpinned.adds || report.unpinned.orders ? parts("unpinned", report.unpinned) : []),
    ...each("shipping", null, report.shipping),
    ...each("goodwill", null, report.goodwill),
  ];
}

/** What is drawn: rows of `currency` that sold something, in their order; when there are too many, the best. */
export function barsOf(rows, currency, most = BARS_MAX) {
  const sold = rows.filter((row) => row.currency === currency && row.gross > 0);
  const best = new Set([...sold].sort((a, b) => b.kept - a.kept).slice(0, most));
  return sold.filter((row) => best.has(row));
}
