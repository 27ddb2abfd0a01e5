/* The page of price rules: what is in force, a form for a new rule, and how to end one. For ops. */
import { h } from "./dom.js";
import { loadTexts, moment, money, percent, problemText, t } from "./i18n.js";
import { partsOf } from "./promotions.js";
import { staffTokens } from "./staff.js";
import { newKey } from "./wire.js";
import { toast } from "./toast.js";
import { confirm } from "./parts/confirm.js";
import { RuleForm } from "./parts/rule-form.js";

const id = (name) => document.getElementById(name);
const SETS = "/api/rulesets";
let form = null;
let titles = new Map(); // of products, by id

async function ask(path, { method = "GET", body = null } = {}) {
  const headers = { Authorization: `Bearer ${staffTokens.read()}`, ...(method !== "GET" && { "Idempotency-Key": newKey() }), ...(body && { "Content-Type": "application/json" }) };
  const answer = await fetch(path, { method, headers, ...(body && { body: JSON.stringify(body) }) }).catch(() => null);
  if (!answer) throw { name: "disconnected" };
  const told = await answer.json().catch(() => ({ name: "internal" }));
  if (!answer.ok) throw told;
  return told;
}

/** The ruleset that prices are made by; null: none. */
async function inForce() {
  const { in_force: number } = await ask(SETS);
  return number ? (await ask(`${SETS}/${number}`)).ruleset : null;
}

/** What is in force now with `change` made to it: others may have published meanwhile, and nothing of theirs is lost. */
async function publish(change, note) {
  for (let tries = 1; ; tries++) {
    const now = await inForce();
    const { ruleset } = await ask(SETS, { method: "POST", body: { rules: change(now?.rules ?? []), note } });
    try {
      await ask(`${SETS}/${ruleset.number}/publish?in_force=${now?.number ?? 0}`, { method: "POST" });
      return await show();
    } catch (problem) {
      if (problem.name !== "rules_changed" || tries === 3) throw problem;
    }
  }
}

function signIn(problem = "") {
  id("force").hidden = id("new").hidden = true;
  id("sign-in").hidden = false;
  id("sign-in-error").textContent = problem;
  id("token").focus();
}

async function enter() {
  if (!staffTokens.read()) return signIn();
  try {
    await show();
  } catch (problem) {
    if (["token_missing", "token_invalid", "token_expired", "role_forbidden", "show_forbidden"].includes(problem.name)) staffTokens.drop();
    return signIn(problem.name === "role_forbidden" ? t("rules.ops") : problemText(problem));
  }
  id("sign-in").hidden = true;
  id("force").hidden = id("new").hidden = false;
  if (form) return;
  const products = [];
  for (let after = "", pages = 0; after !== null && pages < 5; pages++) { // a form to choose from is no catalogue
    const page = await ask(`/api/products?after=${encodeURIComponent(after)}`).catch(() => ({ products: [], next: null }));
    products.push(...page.products);
    after = page.next;
  }
  titles = new Map(products.map((product) => [product.id, product.title]));
  form = new RuleForm({ products, save: (rule) => publish((rules) => [...rules, rule], t("rules.note.new", { label: rule.label })).then(() => toast(t("rules.saved", { label: rule.label }))) });
  id("new").append(form.element);
  await show();
}

async function show() {
  const now = await inForce();
  id("force-who").textContent = now ? t("rules.by", { number: String(now.number), when: moment(now.published_at_ms) }) : t("rules.none");
  id("rules").replaceChildren(...(now?.rules ?? []).map(card));
}

function card(rule) {
  const parts = partsOf(rule);
  const end = h("button", { class: "button outline push", type: "button", text: t("rules.end"), "aria-label": t("rules.endOf", { label: rule.label }), "data-testid": `rule-end-${rule.id}`, onclick: () => over(rule) });
  return h("li", { class: "card rule", "data-testid": `rule-${rule.id}` },
    h("div", { class: "grow rule-words" }, h("h3", { text: rule.label }), h("p", {}, ...what(parts)), h("p", { class: "small muted", text: where(parts).join(" · ") })), end);
}

function what({ off, lane, currency, code, from, products, categories, more }) {
  const value = off.bp !== undefined ? (lane === "shipping" && off.bp === 10_000 ? t("rules.free") : t("rules.off", { value: percent(off.bp / 10_000) }))
    : off.minor !== undefined ? t("rules.off", { value: money(off.minor, currency) })
      : off.price !== undefined ? t("rules.costs", { value: money(off.price, currency) }) : t("rules.other");
  const named = [...products.map((one) => titles.get(one) ?? one), ...categories];
  const words = [value, lane === "price" && !named.length ? t("rules.all") : "", named.length ? t("rules.on", { what: named.join(", ") }) : "", from === null ? "" : t("rules.from", { value: money(from, currency) }), more ? t("rules.more") : ""].filter(Boolean).join(", ");
  return [words, ...(code ? [" · ", h("span", { class: "rule-code", text: code })] : [])];
}

function where({ begins, ends, limit, each, show: place, segments, channels }) {
  return [
    begins === null ? "" : t("rules.begins", { time: moment(begins) }), ends === null ? "" : t("rules.ends", { time: moment(ends) }),
    limit === null ? "" : t("rules.limit", { count: limit }), each === null ? "" : t("rules.each", { count: each }),
    place === null ? "" : t("rules.show", { show: place }), segments.length ? t("rules.segments", { names: segments.join(", ") }) : "",
    channels.length ? t("rules.channels", { names: channels.join(", ") }) : "", ends === null && limit === null && place === null ? t("rules.standing") : "",
  ].filter(Boolean);
}

async function over(rule) {
  if (!await confirm({ title: t("rules.endAsk", { label: rule.label }), text: t("rules.endAsk.more"), yes: t("rules.end"), danger: true, testid: "rule-end" })) return;
  try {
    await publish((rules) => rules.filter((other) => other.id !== rule.id), t("rules.note.end", { label: rule.label }));
    toast(t("rules.ended", { label: rule.label }));
    id("force-title").focus();
  } catch (problem) {
    toast(problemText(problem));
  }
}

await loadTexts("errors", "rules");
document.title = `${t("rules.title")} · Showcart`;
id("force-title").tabIndex = -1;
staffTokens.take();
id("sign-in").addEventListener("submit", (event) => {
  event.preventDefault();
  staffTokens.write(id("token").value.trim());
  enter();
});
enter();
