import assert from "node:assert/strict";
import test from "node:test";

const files = {
  "/static/text/en.json": [30, { "buy.add": "Add" }],
  "/static/text/en.staff.json": [0, { "run.pin": "Show" }],
};
Object.defineProperty(globalThis, "navigator", { value: { languages: ["en-GB"] }, configurable: true });
globalThis.document = { documentElement: {}, querySelectorAll: () => [] };
globalThis.fetch = async (url) => {
  const [ms, texts] = files[url];
  return { json: () => new Promise((resolve) => { setTimeout(resolve, ms, texts); }) };
};
const { loadTexts, t } = await import("../../../live/web/js/i18n.js");

test("two files of texts that arrive in any order are both there", async () => {
  await loadTexts("staff");
  assert.equal(t("buy.add"), "Add");
  assert.equal(t("run.pin"), "Show");
  [files["/static/text/en.json"][0], files["/static/text/en.staff.json"][0]] = [0, 30];
  await loadTexts("staff");
  assert.equal(t("buy.add"), "Add");
});
