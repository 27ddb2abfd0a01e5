import assert from "node:assert/strict";
import test from "node:test";

globalThis.customElements = { get: () => true };
globalThis.history = { replaceState: (_, __, url) => { globalThis.left = url; } };
const { signOn } = await import("../../../live/web/js/sign-on.js");

const WHOM = { viewer_id: "c7", name: "Mia", customer: "customer-7", issuer: "https://shop.example" };

/** A browser that follows a link with a token: what is asked of the server and of the shopper. */
function browser({ kept = null, customer = null, person = null, whom = WHOM, says = true, refuses = {} } = {}) {
  const seen = { sent: [], asked: [], kept, signed: null, handoff: "a link to the check-out of who is here" };
  globalThis.sessionStorage = { removeItem: (key) => { if (key === "showcart.handoff") seen.handoff = null; } };
  globalThis.location = { hash: "#sign-on=jwt", pathname: "/watch/demo", search: "" };
  const tokens = { read: () => seen.kept, write: (token) => { seen.kept = token; }, customer: () => customer, person: () => person, signed: (viewer) => { seen.signed = viewer; } };
  globalThis.fetch = async (path, { body }) => {
    seen.sent.push([path, JSON.parse(body)]);
    const refused = refuses[seen.sent.length];
    const told = refused ?? (path.endsWith("/whom") ? whom : { token: "ours", viewer: { id: whom.viewer_id, name: "Mia" } });
    return { ok: !refused, json: async () => told };
  };
  const follow = (from) => signOn(tokens, from, async (...asked) => (seen.asked.push(asked), says));
  return { seen, follow };
}

test("who comes by a link from anywhere is asked, and stays who they are when it is not them", async () => {
  for (const from of [undefined, "", "https://evil.example/", "https://shop.example.evil.example/", "http://shop.example/", "about:blank"]) {
    const { seen, follow } = browser({ kept: "guest", says: false });
    assert.equal(await follow(from), false);
    assert.deepEqual(seen.asked, [[WHOM, null]]);
    assert.deepEqual(seen.sent, [["/api/sign-on/whom", { token: "jwt" }]], from);
    assert.deepEqual([seen.kept, seen.signed, globalThis.left], ["guest", null, "/watch/demo"]);
    assert.ok(seen.handoff);
  }
});

test("who says yes is signed in, and what the guest has goes along", async () => {
  const { seen, follow } = browser({ kept: "guest" });
  assert.equal(await follow(), true);
  assert.deepEqual(seen.sent.at(-1), ["/api/sign-on", { token: "jwt", guest: "guest" }]);
  assert.deepEqual([seen.kept, seen.signed], ["ours", { id: "c7", name: "Mia" }]);
  assert.equal(seen.handoff, null, "what was handed over stays with who did it");
});

test("another person is asked too, and is no guest to merge with", async () => {
  const { seen, follow } = browser({ kept: "theirs", customer: "Anna", person: "c8" });
  assert.equal(await follow(), true);
  assert.deepEqual(seen.asked, [[WHOM, "Anna"]]);
  assert.deepEqual(seen.sent.at(-1), ["/api/sign-on", { token: "jwt" }]);
});

test("nobody is asked who is this customer already, or whom the shop's own page sends", async () => {
  for (const [known, from] of [[{ customer: "Mia", person: "c7" }, ""], [{}, "https://shop.example/account?tab=live"]]) {
    const { seen, follow } = browser({ kept: "guest", says: false, ...known });
    assert.equal(await follow(from), true);
    assert.deepEqual([seen.asked, seen.kept, seen.handoff !== null], [[], "ours", known.person === "c7"]);
  }
});

test("a shop that is called otherwise than its pages has everybody asked", async () => {
  for (const issuer of ["my shop", "urn:shop", "data:text/html,shop"]) {
    const { seen, follow } = browser({ whom: { ...WHOM, issuer } });
    await follow(issuer);
    assert.equal(seen.asked.length, 1, issuer);
  }
});

test("a guest whose token is too old is signed in without what they had", async () => {
  const { seen, follow } = browser({ kept: "old", refuses: { 2: { name: "token_invalid" } } });
  assert.equal(await follow(), true);
  assert.deepEqual(seen.sent.map(([, body]) => body), [{ token: "jwt" }, { token: "jwt", guest: "old" }, { token: "jwt" }]);
});

test("an empty token changes nothing", async () => {
  const { seen, follow } = browser();
  globalThis.location.hash = "#sign-on=";
  assert.equal(await follow(), false);
  assert.deepEqual(seen.sent, []);
});
