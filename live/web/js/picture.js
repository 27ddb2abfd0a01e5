/* The moving picture of the watch page, and its sound: the page is painted before. */
import { icon } from "./dom.js";
import { cover, over } from "./store.js";
import { Watcher } from "./whep.js";
import "./parts/show-video.js";

const id = (name) => document.getElementById(name);

/** Starts the picture of `show` and its sound; the watcher. */
export function picture(store, show) {
  const video = document.querySelector("show-video");
  sound(store, video);
  const watcher = new Watcher({
    show,
    onStream: (stream) => { if (stream) id("chip-full").hidden = true; video.attach(stream); },
    onFull: () => { id("chip-full").hidden = false; },
    onQuality: (quality) => { id("chip-poor").hidden = quality !== "poor"; },
  });
  store.watch(["show", "status"], ({ show: known }) => {
    if (!known) return;
    watcher.waits = !known.publishing; // the session stays: the picture comes back by itself
    if (known.state !== "live" && known.state !== "paused") watcher.stop(over(store.state)), id("chip-poor").hidden = true;
    else if (known.publishing) watcher.start();
  });
  store.watch(["leaving"], ({ leaving }) => leaving && watcher.move(leaving));
  return watcher;
}

function sound(store, video) {
  const button = id("sound");
  const draw = (muted, blocked) => {
    button.replaceChildren(icon(muted ? "muted" : "sound"));
    button.setAttribute("aria-pressed", String(!muted));
    id("sound-on").hidden = !blocked || cover(store.state) !== null;
  };
  video.addEventListener("sound", ({ detail }) => draw(detail.muted, detail.blocked));
  store.watch(["show"], () => draw(video.muted, video.blocked && video.muted));
  button.addEventListener("click", () => video.setMuted(!video.muted));
  id("sound-on").addEventListener("click", () => { video.setMuted(false); button.focus(); });
}
