/*
 * Signs a shopper in with the shop's token, which comes in the address's fragment and leaves it at once.
 *
 * Anybody may send a link with a token of their own, to have what others buy in their account. So whoever does not come
 * from the shop's own page, which knows whom it sends, is asked first, unless the page knows this very customer. A link to
 * the page that is open already comes from who knows where.
 */
import { errorTexts, moreTexts, problemText, t } from "./i18n.js";
import { newKey } from "./wire.js";
import { toast } from "./toast.js";

/**
 * Changes the token in `tokens` for the shopper's own; whether it did. A token that is refused leaves everybody who
 * they are, and says why. `from`: the address of the page that linked here, "": nobody knows; `ask` is replaced in tests.
 */
export async function signOn(tokens, from = "", ask = question) {
  const token = new URLSearchParams(location.hash.slice(1)).get("sign-on");
  history.replaceState(null, "", location.pathname + location.search);
  if (!token) return false;
  const post = async (path, body) => {
    const answer = await fetch(path, { method: "POST", headers: { "Content-Type": "application/json", "Idempotency-Key": newKey() }, body: JSON.stringify(body) });
    const told = await answer.json();
    if (!answer.ok) throw told;
    return told;
  };
  try {
    const whom = await post("/api/sign-on/whom", { token });
    const known = whom.viewer_id === tokens.person();
    const sure = known || (origin(from) !== null && origin(from) === origin(whom.issuer));
    if (!sure && !await ask(whom, tokens.customer())) return false;
    const guest = tokens.customer() ? null : tokens.read(); // who was signed in before is no guest to merge with
    const told = await post("/api/sign-on", { token, ...(guest && { guest }) }).catch((problem) => {
      if (guest && ["token_invalid", "token_expired", "role_forbidden"].includes(problem.name)) return post("/api/sign-on", { token });
      throw problem;
    });
    tokens.write(told.token);
    tokens.signed(told.viewer);
    if (!known) sessionStorage.removeItem("showcart.handoff"); // the way to the check-out of who was here before
    return true;
  } catch (problem) {
    await errorTexts();
    toast(problem.name?.startsWith("sign_on_") ? t("error.sign_on") : problemText(problem.name ? problem : { name: "disconnected" }));
    return false;
  }
}

/** The scheme, host and port of an address; null: it is none of a page. */
function origin(address) {
  try {
    const found = new URL(address).origin;
    return found === "null" ? null : found;
  } catch {
    return null;
  }
}

/** Whether the shopper wants to be `whom`. `before`: as whom they are signed in, null: a guest. */
async function question({ name, customer, issuer }, before) {
  const [{ confirm }] = await Promise.all([import("./parts/confirm.js"), moreTexts("later")]);
  return confirm({
    title: name ? t("signOn.name", { name }) : t("signOn.customer", { customer }),
    text: t(before ? "signOn.another" : "signOn.guest", { before, shop: origin(issuer) ? new URL(issuer).host : issuer }),
    yes: t("signOn.yes"), no: before ? t("signOn.stay", { before }) : t("signOn.no"), testid: "confirm-sign-on",
  });
}
