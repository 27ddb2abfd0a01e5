/* The page for an address that does not exist. */
import { loadTexts } from "./i18n.js";

await loadTexts("window");
