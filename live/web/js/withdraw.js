/* The withdrawal function: names an order, shows what would be withdrawn from, and declares it. Nobody signs in. */
import { h, icon } from "./dom.js";
import { loadTexts, moment, problemText, t } from "./i18n.js";
import { field } from "./parts/field.js";

const step = document.getElementById("step");

async function post(path, body) {
  const answer = await fetch(path, { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) }).catch(() => null);
  if (!answer) throw { name: "disconnected" };
  const told = await answer.json().catch(() => ({ name: "internal" }));
  if (!answer.ok) throw told;
  return told;
}

/** A form of `fields` by name; `send(values)` does it. */
function form(fields, { text, parts = [], button, send, quiet = null }) {
  const error = h("p", { class: "error", role: "alert", "data-testid": "withdraw-error" });
  const submit = h("button", { class: "button primary wide", type: "submit", text: button, "data-testid": "withdraw-submit" });
  let sending = false;
  const run = async (event) => {
    event.preventDefault();
    if (sending) return;
    error.textContent = "";
    const wrong = Object.values(fields).filter(({ input }) => !input.value.trim() || !input.validity.valid);
    for (const one of wrong) one.tell(t("withdraw.fill"));
    if (wrong.length) return wrong[0].input.focus();
    sending = true;
    submit.setAttribute("aria-disabled", "true");
    try {
      await send(Object.fromEntries(Object.entries(fields).map(([name, { input }]) => [name, input.value.trim()])));
    } catch (problem) {
      if (problem.name === "withdrawal_expired") first(problemText(problem));
      else if (fields[problem.field] && problem.name === "invalid_field") (fields[problem.field].tell(t("withdraw.fill")), fields[problem.field].input.focus());
      else error.textContent = problemText(problem);
    } finally {
      sending = false;
      submit.removeAttribute("aria-disabled");
    }
  };
  const element = h("form", { class: "stack", novalidate: true, onsubmit: run }, h("p", { text }), ...parts, ...Object.values(fields).map((one) => one.element), error, submit, quiet);
  step.replaceChildren(element);
  return error;
}

const email = (value) => field("withdraw-email", t("withdraw.email"), { type: "email", autocomplete: "email", inputmode: "email", maxlength: "254", required: true, value });

function first(problem = "", known = {}) {
  const number = field("withdraw-number", t("withdraw.number"), { autocomplete: "off", autocapitalize: "characters", maxlength: "40", required: true, value: known.number ?? "" });
  const error = form({ number, email: email(known.email ?? "") }, {
    text: t("withdraw.how"), button: t("withdraw.next"),
    send: async (values) => second(await post("/api/withdrawals", values), values.email),
  });
  error.textContent = problem;
}

function second(begun, address) {
  const counts = begun.lines.map((line) => {
    const select = h("select", { class: "input", "aria-label": t("withdraw.countOf", { title: line.title }), "data-testid": `withdraw-count-${line.sku}` });
    for (let count = line.quantity; count >= 0; count--) select.append(new Option(String(count), count));
    return { line, select };
  });
  const list = h("ul", { class: "withdraw-lines" }, counts.map(({ line, select }) => h("li", { class: "row" }, h("span", { class: "grow", text: [line.title, line.variant].filter(Boolean).join(" · ") }), select)));
  const name = field("withdraw-name", t("withdraw.name"), { autocomplete: "name", maxlength: "100", required: true, value: begun.name });
  const error = form({ name, email: email(address) }, {
    text: t("withdraw.what", { number: begun.number, date: moment(begun.placed_at_ms) }), parts: [list], button: t("withdraw.confirm"),
    quiet: h("button", { class: "button quiet wide", type: "button", text: t("withdraw.back"), onclick: () => first("", { number: begun.number, email: address }) }),
    send: async (values) => {
      const lines = counts.map(({ line, select }) => ({ sku: line.sku, quantity: Number(select.value) })).filter(({ quantity }) => quantity > 0);
      if (!lines.length) {
        error.textContent = t("withdraw.none");
        return;
      }
      const all = counts.every(({ line, select }) => Number(select.value) === line.quantity);
      done((await post("/api/withdrawals/confirm", { token: begun.token, ...values, lines: all ? null : lines, language: document.documentElement.lang })).withdrawal);
    },
  });
  name.input.focus();
}

function done({ number, email: address, at_ms: at }) {
  const box = h("div", { class: "stack withdraw-done", role: "status", tabindex: "-1", "data-testid": "withdraw-done" }, h("span", { class: "badge good" }, icon("check", "tiny"), t("withdraw.done")),
    h("p", { text: t("withdraw.received", { number, time: moment(at) }) }), h("p", { class: "muted", text: t("withdraw.mailed", { email: address }) }));
  step.replaceChildren(box);
  box.focus();
}

await loadTexts("errors", "withdraw");
document.title = `${t("nav.withdraw")} · Showcart`;
const known = Object.fromEntries(new URLSearchParams(location.hash.slice(1)));
history.replaceState(null, "", location.pathname); // with both of them anybody may withdraw: they stay in no history
first("", known);
