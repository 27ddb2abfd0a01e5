/* Every visible text is a key in text/<language>.json; numbers, money and times are formatted by Intl. */

const LANGUAGES = ["en", "de"];
let language = "en";
let locale = "en";
let texts = {};
let plural = new Intl.PluralRules("en");

/** The first of the reader's languages that we have; English otherwise. */
export function pick(wanted, offered = LANGUAGES) {
  for (const tag of wanted) {
    const short = tag.toLowerCase().split("-")[0];
    if (offered.includes(short)) return { language: short, locale: tag };
  }
  return { language: "en", locale: "en" };
}

/** Loads the texts, those of the watch page and of further files, and translates the static markup. */
export async function loadTexts(...further) {
  ({ language, locale } = pick(navigator.languages ?? [navigator.language]));
  await Promise.all([read(language), ...further.map(moreTexts)]);
  plural = new Intl.PluralRules(locale);
  document.documentElement.lang = language;
  translate(document);
}

async function read(name) {
  const found = await (await fetch(`/static/text/${name}.json`)).json();
  texts = { ...texts, ...found }; // after the wait: another file may have arrived meanwhile
}

const asked = new Map();
/** Loads one more file of texts, once; what could not be had is asked for again. */
export function moreTexts(name) {
  if (!asked.has(name)) asked.set(name, read(`${language}.${name}`).catch((problem) => { asked.delete(name); throw problem; }));
  return asked.get(name);
}

/** Waits for the words of refusals; those of a network that is away are there from the beginning. */
export const errorTexts = () => moreTexts("errors").catch(() => {});

/** The text of `key`, `{name}` replaced by `values.name`; `values.count` chooses `key.one` or `key.other`. */
export function t(key, values = {}) {
  const form = typeof values.count === "number" ? `${key}.${plural.select(values.count)}` : key;
  const text = texts[form] ?? texts[`${key}.other`] ?? texts[key] ?? key;
  return text.replace(/\{(\w+)\}/g, (whole, name) => {
    const value = values[name];
    return value == null ? whole : typeof value === "number" ? number(value) : value;
  });
}

export const has = (key) => key in texts;

/** data-text="key" sets the text, data-label the accessible name, data-hint the placeholder. */
export function translate(root) {
  for (const element of root.querySelectorAll("[data-text]")) element.textContent = t(element.dataset.text);
  for (const element of root.querySelectorAll("[data-label]")) element.setAttribute("aria-label", t(element.dataset.label));
  for (const element of root.querySelectorAll("[data-hint]")) element.placeholder = t(element.dataset.hint);
}

/** A refusal in the reader's words; the server's own detail when we have none. */
export function problemText(error) {
  const seconds = error?.retry_after_s;
  if (error?.name && has(`error.${error.name}`)) return t(`error.${error.name}`, { seconds: seconds ?? "" });
  return error?.detail ?? t("error.internal");
}

const formats = new Map();
function format(Kind, options) {
  const name = Kind.name + JSON.stringify(options) + locale;
  if (!formats.has(name)) formats.set(name, new Kind(locale, options));
  return formats.get(name);
}

export const number = (value, options = {}) => format(Intl.NumberFormat, options).format(value);
export const compact = (value) => number(value, value < 10_000 ? { maximumFractionDigits: 0 } : { notation: "compact", maximumFractionDigits: 1 });
export const percent = (value) => number(value, { style: "percent", maximumFractionDigits: 1 }).replace("-", "\u2212"); // as wide as a digit

/** Money from minor units, with as many places as the currency has. */
export function money(minor, currency) {
  const formatter = format(Intl.NumberFormat, { style: "currency", currency });
  return formatter.format(minor / 10 ** formatter.resolvedOptions().maximumFractionDigits);
}

/** 9:41, or 1:02:03 from an hour on; never below zero. */
export function clock(ms) {
  const all = Math.max(0, Math.ceil(ms / 1000));
  const [hours, minutes, seconds] = [Math.floor(all / 3600), Math.floor(all / 60) % 60, all % 60];
  const tail = `${hours ? String(minutes).padStart(2, "0") : minutes}:${String(seconds).padStart(2, "0")}`;
  return hours ? `${hours}:${tail}` : tail;
}

export const moment = (ms) => format(Intl.DateTimeFormat, { weekday: "long", day: "numeric", month: "long", hour: "2-digit", minute: "2-digit" }).format(ms);
export const timeOfDay = (ms) => format(Intl.DateTimeFormat, { hour: "numeric", minute: "2-digit" }).format(ms);
