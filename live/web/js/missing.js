/* The page for an address that does not exist. */
import { loadTexts, t } from "./i18n.js";

await loadTexts("window");
document.title = `${t("missing.title")} · Showcart`;
