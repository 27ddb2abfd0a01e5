/* Icons that the first paint of the watch page does without; whoever shows one imports this. */
import { ICONS } from "./dom.js";

Object.assign(ICONS, {
  trash: "M4.5 7h15M9.5 7V4.5h5V7M6.5 7l1 12.5h9l1-12.5M10 11v5M14 11v5",
  clock: "M12 3.5a8.5 8.5 0 1 0 0 17 8.5 8.5 0 0 0 0-17zM12 7.5V12l3 2",
  pause: "M8.5 5.5v13M15.5 5.5v13",
  stop: "M6.5 6.5h11v11h-11z",
  pin: "M9 4h6l-1 6 3.5 3.5h-11L10 10zM12 13.5V20",
  copy: "M9 9h10.5v10.5H9zM15 9V4.5H4.5V15H9",
  screen: "M3.5 5h17v11h-17zM9 20h6M12 16v4",
  camera: "M3.5 7h11.5v10H3.5zM15 11l5.5-3v8L15 13z",
  mic: "M12 3.5a2.5 2.5 0 0 0-2.5 2.5v5a2.5 2.5 0 0 0 5 0V6A2.5 2.5 0 0 0 12 3.5zM6 11a6 6 0 0 0 12 0M12 17v3.5",
  ban: "M12 3.5a8.5 8.5 0 1 0 0 17 8.5 8.5 0 0 0 0-17zM6 6l12 12",
});
