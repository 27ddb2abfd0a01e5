/* "It is your turn": told wherever the viewer is on the page, seen, heard and read out; and why a place has ended. */
import { announce } from "../dom.js";
import { clock, has, t } from "../i18n.js";
import { toast } from "../toast.js";

const SHOWN_MS = 60_000;
const TONES_HZ = [660, 880];

const titleOf = ({ lineup, pin, cart }, sku) =>
  [...lineup, ...(pin ? [pin.product] : [])].find(({ variants }) => variants.some((variant) => variant.sku === sku))?.title ?? cart.lines.find((line) => line.sku === sku)?.title ?? sku;

/** Two soft tones; none when the show's sound is off, or the browser does not let us. */
function chime() {
  if (document.querySelector("[data-testid=video]")?.muted || !navigator.userActivation?.hasBeenActive) return;
  const audio = new AudioContext();
  TONES_HZ.forEach((hz, index) => {
    const [tone, gain] = [audio.createOscillator(), audio.createGain()];
    const start = audio.currentTime + 0.18 * index;
    tone.frequency.value = hz;
    gain.gain.setValueAtTime(0.0001, start);
    gain.gain.exponentialRampToValueAtTime(0.2, start + 0.02);
    gain.gain.exponentialRampToValueAtTime(0.0001, start + 0.4);
    tone.connect(gain).connect(audio.destination);
    tone.start(start);
    tone.stop(start + 0.42);
    if (index === TONES_HZ.length - 1) tone.onended = () => audio.close();
  });
}

/** Tells of turns; `open` opens the cart. */
export function tellOfTurns({ store, open }) {
  store.watch(["places"], (state, before, message) => {
    if (message?.type !== "notice") return;
    const { sku, expires_at_ms: end, reason } = message.data;
    const title = titleOf(state, sku);
    if (message.name === "waitlist.offered") {
      const left = end - store.now();
      const words = t("wait.offered", { title, clock: clock(left) });
      announce(words, true);
      toast(words, { text: t("cart.toCheckout"), run: open }, Math.max(6000, Math.min(SHOWN_MS, left)));
      navigator.vibrate?.(200);
      chime();
    } else if (message.name === "waitlist.changed" && has(`wait.ended.${reason}`)) {
      const words = t(`wait.ended.${reason}`, { title });
      announce(words);
      toast(words, null, 15_000);
    }
  });
}
