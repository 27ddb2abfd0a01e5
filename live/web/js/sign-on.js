/* Signs a shopper in with the shop's token, which comes in the address's fragment and leaves it at once. */
import { errorTexts, problemText, t } from "./i18n.js";
import { newKey } from "./wire.js";
import { toast } from "./toast.js";

/** Changes the token in `tokens` for the shopper's own; a token that is refused leaves a guest a guest, and says why. */
export async function signOn(tokens) {
  const token = new URLSearchParams(location.hash.slice(1)).get("sign-on");
  history.replaceState(null, "", location.pathname + location.search);
  if (!token) return;
  const post = (guest) => fetch("/api/sign-on", {
    method: "POST", headers: { "Content-Type": "application/json", "Idempotency-Key": newKey() }, body: JSON.stringify({ token, ...(guest && { guest }) }),
  });
  const guest = tokens.customer() ? null : tokens.read(); // who was signed in before is no guest to merge with
  try {
    let answer = await post(guest);
    let told = await answer.json();
    if (guest && ["token_invalid", "token_expired", "role_forbidden"].includes(told.name)) told = await (answer = await post(null)).json();
    if (!answer.ok) throw told;
    tokens.write(told.token);
    tokens.signed(told.viewer.name);
  } catch (problem) {
    await errorTexts();
    toast(problem.name?.startsWith("sign_on_") ? t("error.sign_on") : problemText(problem.name ? problem : { name: "disconnected" }));
  }
}
