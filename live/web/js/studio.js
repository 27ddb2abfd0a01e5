/* The studio: signs the host in and wires preview, run of show, chat and figures together. */
import { h, icon } from "./dom.js";
import "./icons.js";
import { clock, compact, loadTexts, money, number, problemText, t } from "./i18n.js";
import { Steady } from "./health.js";
import { ShowSocket, socketUrl } from "./socket.js";
import { staffTokens } from "./staff.js";
import { Store, available } from "./store.js";
import { toast } from "./toast.js";
import { Moderation } from "./parts/moderation.js";
import "./parts/show-chat.js";
import "./parts/reaction-bar.js";
import "./parts/run-of-show.js";
import "./parts/live-price.js";
import "./parts/pin-revenue.js";
import "./parts/studio-preview.js";
import "./parts/studio-ingest.js";
import "./parts/stream-figures.js";

const SLOW_S = [0, 5, 10, 30, 60];
const FLOOD_PER_S = 5;
const SILENT_S = 8;
const ALARMS_MAX = 2; // more than a host can act on at a time
const show = decodeURIComponent(location.pathname.split("/")[2] ?? "");
const id = (name) => document.getElementById(name);
const store = new Store();
let socket = null;
let built = false;

function signIn(problem = "") {
  id("desk").hidden = true;
  id("sign-in").hidden = false;
  id("sign-in-error").textContent = problem;
  id("token").focus();
}

function connect() {
  if (!staffTokens.read()) return signIn();
  const onStatus = (status, reason) => {
    store.dispatch({ type: "status", status, reason });
    if (status !== "closed" || reason === "stopped") return;
    if (reason === "unknown_show") return signIn(t("error.unknown_show"));
    staffTokens.drop();
    signIn(t(reason === "token_refused" ? "error.token_invalid" : "cover.refused"));
  };
  socket = new ShowSocket({ url: socketUrl(show), tokens: staffTokens, onMessage: received, onStatus });
  socket.start();
}

function received(message) {
  if (message.type === "connected" && message.viewer.role === "viewer") {
    socket.stop();
    staffTokens.drop();
    return signIn(t("error.role_forbidden"));
  }
  store.dispatch(message);
  if (message.type === "connected" && !built) build();
  if (message.type === "connected") id("prices-link").hidden = message.viewer.role !== "ops";
}

function build() {
  built = true;
  id("sign-in").hidden = true;
  id("desk").hidden = false;
  const token = () => staffTokens.read();
  const moderation = new Moderation(socket);
  const chat = document.querySelector("show-chat");
  chat.connect({ store, socket, tokens: staffTokens, decorate: moderation.decorate, times: true, fast: "mod.fast" });
  const reactions = document.querySelector("reaction-bar");
  chat.form.before(reactions);
  reactions.connect({ store });
  moderation.enter(chat.list);
  document.querySelector("run-of-show").connect({ store, socket, show, token });
  document.querySelector("live-price").connect({ store, show, token });
  document.querySelector("pin-revenue").connect({ store, show, token });
  document.querySelector("studio-ingest").connect({ show, token });
  const numbers = document.querySelector("stream-figures");
  const warn = alarms();
  numbers.connect();
  document.querySelector("studio-preview").connect({ store, socket, show, token, onHealth: (health) => {
    warn(health);
    numbers.update(health.figures, store.state.show.publishing ? store.state.video : null);
  } });
  top();
  chatTools(chat);
}

function top() {
  id("watch-link").href = `/watch/${encodeURIComponent(show)}`;
  store.watch(["show", "viewers", "figures", "status"], ({ show: known, viewers, figures, status }) => {
    id("title").textContent = known.title;
    document.title = `${known.title} · Studio`;
    id("state").textContent = t(`state.${known.state}`);
    id("state").dataset.state = known.state;
    id("state").className = `badge${known.state === "live" ? " live" : known.state === "paused" ? " warn" : ""}`;
    id("reconnecting").hidden = status !== "reconnecting";
    id("figures-viewers").textContent = viewers === null ? "–" : compact(viewers);
    if (!figures) return;
    id("figures-adds").textContent = number(figures.adds_per_minute ?? 0);
    id("figures-carts").textContent = number(figures.carts ?? 0);
    id("figures-orders").textContent = number(figures.orders ?? 0);
    id("figures-sales").textContent = money(figures.revenue_minor ?? 0, figures.currency || "EUR");
  });
  setInterval(() => {
    const { started_at_ms: start, ended_at_ms: end } = store.state.show;
    id("figures-time").textContent = start ? clock((end ?? store.now()) - start) : "–";
  }, 500);
}

function chatTools(chat) {
  const slow = id("slow-mode");
  slow.append(...SLOW_S.map((seconds) => new Option(seconds ? t("mod.slowEvery", { count: seconds }) : t("mod.slowOff"), seconds)));
  store.watch(["chat"], ({ chat: { slow_s: seconds } }) => {
    if (![...slow.options].some((option) => Number(option.value) === seconds)) slow.append(new Option(t("mod.slowEvery", { count: seconds }), seconds));
    slow.value = String(seconds);
  });
  slow.addEventListener("change", async () => {
    try {
      await socket.command("chat.slow", { seconds: Number(slow.value) });
    } catch (problem) {
      toast(problemText(problem));
      slow.value = String(store.state.chat.slow_s);
    }
  });
  const questions = id("questions");
  questions.addEventListener("click", () => {
    const on = chat.classList.toggle("only-questions");
    questions.setAttribute("aria-pressed", String(on));
  });
}

/** Once a second: what is wrong, and what to do about it. */
function alarms() {
  const steady = new Steady();
  const times = [];
  let silent = 0;
  let shown = "";
  store.watch(["chat"], (state, before, message) => {
    const came = message?.name === "chat.message" ? 1 : message?.name === "chat.left_out" ? message.data.messages.length : 0;
    for (let one = 0; one < came; one++) times.push(Date.now());
  });
  return ({ judgement, figures, level }) => {
    const { show: known, pin, chat, video } = store.state;
    const now = [...judgement.alarms];
    silent = figures && known.state === "live" && level !== null && level < 0.02 ? silent + 1 : 0;
    if (silent > SILENT_S) now.push("silent");
    while (times.length && times[0] < Date.now() - 5000) times.shift();
    if (times.length > 5 * FLOOD_PER_S && !chat.slow_s) now.push("flood");
    if (known.state === "live" && !known.publishing) now.push("away");
    if (known.publishing && video?.rank === "backup") now.push("backup");
    const raised = [...steady.update(now)].slice(0, ALARMS_MAX);
    if (pin && available(store.state, pin.product) === 0) raised.push("out");
    const stamp = raised.join() + (pin?.product.id ?? "");
    if (stamp === shown) return;
    shown = stamp;
    id("alarms").replaceChildren(...raised.map((name) => h("li", { class: `notice${["out", "flood", "backup"].includes(name) ? "" : " bad"}`, "data-testid": `alarm-${name}` }, icon("warn"),
      h("div", {}, h("strong", { text: t(`alarm.${name}`, { title: pin?.product.title ?? "" }) }), h("p", { text: t(`alarm.${name}.do`) })))));
  };
}

await loadTexts("errors", "staff");
staffTokens.take();
id("sign-in-form").addEventListener("submit", (event) => {
  event.preventDefault();
  staffTokens.write(id("token").value.trim());
  if (built) location.reload();
  else connect();
});
connect();
