/* A drop of a product in the studio: made by a form in a dialog, looked at and cancelled there. */
import { announce, h } from "../dom.js";
import { errorTexts, number, problemText, t, timeOfDay } from "../i18n.js";
import { phaseOf } from "../drops.js";
import { newKey } from "../wire.js";
import { field } from "./field.js";

const OPENS_MIN = [0, 1, 2, 5, 10, 30];
const LASTS_MIN = [0, 1, 2, 5, 10, 15, 30, 60];
const EACH_MAX = 100; // units of a cart's line
const FIELDS = { opens_at_ms: "opens", closes_at_ms: "lasts", total_limit: "total", per_customer_limit: "each", sku: "sku" };

async function ask(url, method, token, body = null) {
  const headers = { Authorization: `Bearer ${token()}`, "Idempotency-Key": newKey(), ...(body && { "Content-Type": "application/json" }) };
  const answer = await fetch(url, { method, headers, ...(body && { body: JSON.stringify(body) }) }).catch(() => null);
  if (answer?.ok) return;
  await errorTexts();
  throw answer ? await answer.json().catch(() => ({ name: "internal" })) : { name: "disconnected" };
}

/** What a drop is, in one line, for the host's row. */
export function dropWords(drop, now) {
  const phase = phaseOf(drop, now);
  const when = phase === "before" ? t("plan.before", { time: timeOfDay(drop.opens_at_ms) }) : phase === "over" ? t("plan.over") : drop.closes_at_ms === null ? t("plan.open") : t("plan.until", { time: timeOfDay(drop.closes_at_ms) });
  return [when, drop.total_limit === null ? "" : t("plan.left", { left: number(drop.left), total: number(drop.total_limit) })].filter(Boolean).join(" · ");
}

/** Opens the dialog of `product`. */
export function planDrop({ store, show, token, product }) {
  const url = `/api/shows/${encodeURIComponent(show)}/drops`;
  const named = new Map(product.variants.map(({ sku, title }) => [sku, title]));
  const counts = (name, attributes) => field(`drop-${name}`, t(`plan.${name}`), { inputmode: "numeric", autocomplete: "off", maxlength: "9", placeholder: t("plan.any"), ...attributes });
  const select = (name, options) => {
    const one = field(`drop-${name}`, t(`plan.${name}`), {}, "select");
    one.input.append(...options.map(([text, value]) => new Option(text, value)));
    return one;
  };
  const fields = {
    sku: select("sku", []), opens: select("opens", OPENS_MIN.map((min) => [min ? t("plan.in", { count: min }) : t("plan.now"), min])),
    lasts: select("lasts", LASTS_MIN.map((min) => [min ? t("plan.for", { count: min }) : t("plan.endless"), min])), total: counts("total"), each: counts("each"),
  };
  const error = h("p", { class: "error", role: "alert", "data-testid": "drop-error" });
  const running = h("ul", { class: "stack drop-running" });
  const submit = h("button", { class: "button primary", type: "submit", text: t("plan.create"), "data-testid": "drop-create" });
  let busy = false;

  const run = async (work, told) => {
    if (busy) return;
    busy = true;
    error.textContent = "";
    for (const one of Object.values(fields)) one.tell("");
    try {
      await work();
      announce(told);
      dialog.close();
    } catch (problem) {
      const at = problem.name === "invalid_field" && fields[FIELDS[problem.field]];
      if (at) (at.tell(problem.detail), at.input.focus());
      else error.textContent = problemText(problem);
    } finally {
      busy = false;
    }
  };
  const wish = () => {
    const opens = Math.ceil(store.now()) + 60_000 * fields.opens.input.value;
    const whole = (name) => (fields[name].input.value.trim() ? Number(fields[name].input.value) : null);
    const bad = ["total", "each"].find((name) => whole(name) !== null && !(Number.isInteger(whole(name)) && whole(name) > 0));
    if (bad) return (fields[bad].tell(t("plan.wrong")), fields[bad].input.focus(), null);
    if (whole("each") > Math.min(EACH_MAX, whole("total") ?? EACH_MAX)) return (fields.each.tell(t("plan.wrongEach", { most: number(EACH_MAX) })), fields.each.input.focus(), null);
    const lasts = 60_000 * fields.lasts.input.value;
    return { sku: fields.sku.input.value, opens_at_ms: opens, closes_at_ms: lasts ? opens + lasts : null, total_limit: whole("total"), per_customer_limit: whole("each") };
  };
  const form = h("form", { class: "stack", novalidate: true, onsubmit: (event) => {
    event.preventDefault();
    const body = wish();
    if (body) run(() => ask(url, "POST", token, body), t("plan.made", { title: product.title }));
  } }, fields.sku.element, h("div", { class: "pair" }, fields.opens.element, fields.lasts.element), h("div", { class: "pair" }, fields.total.element, fields.each.element), submit);
  const dialog = h("dialog", { class: "dialog drop-dialog", "aria-labelledby": "drop-title", "data-testid": "drop-dialog", onclose: () => { stop(); dialog.remove(); } },
    h("div", { class: "stack" }, h("h2", { id: "drop-title", text: t("plan.title", { title: product.title }) }), running, form, error,
      h("button", { class: "button", type: "button", text: t("cancel"), onclick: () => dialog.close() })));

  const draw = ({ drops }) => {
    const now = store.now();
    const standing = product.variants.flatMap(({ sku }) => (drops[sku] && phaseOf(drops[sku], now) !== "over" ? [drops[sku]] : []));
    running.replaceChildren(...standing.map((drop) => h("li", { class: "row" }, h("span", { class: "grow" }, h("strong", { text: named.get(drop.sku) || product.title }), h("span", { class: "small muted drop-when", text: dropWords(drop, now) })),
      h("button", { class: "button danger", type: "button", text: t("plan.cancel"), "data-testid": `drop-cancel-${drop.sku}`, onclick: () => run(() => ask(`${url}/${drop.id}`, "DELETE", token), t("plan.gone", { title: product.title })) }))));
    const free = product.variants.filter(({ sku }) => !standing.some((drop) => drop.sku === sku));
    const chosen = fields.sku.input.value;
    fields.sku.input.replaceChildren(...free.map(({ sku, title }) => new Option(title || product.title, sku)));
    if (free.some(({ sku }) => sku === chosen)) fields.sku.input.value = chosen;
    fields.sku.element.hidden = product.variants.length < 2;
    form.hidden = free.length === 0;
  };
  const stop = store.watch(["drops"], draw);
  document.body.append(dialog);
  dialog.showModal();
}
