/* A show as an entry for the viewer's own calendar. */
import { h } from "../dom.js";

/** Hands the browser a calendar entry (RFC 5545) of one hour. */
export function save(show) {
  const stamp = (ms) => new Date(ms).toISOString().replace(/[-:]|\.\d+/g, "");
  const plain = (text) => text.replace(/[\\,;]/g, "\\$&").replace(/\s+/g, " ");
  const lines = [
    "BEGIN:VCALENDAR", "VERSION:2.0", "PRODID:-//Showcart//EN", "BEGIN:VEVENT", `UID:${show.id}@${location.host}`, `DTSTAMP:${stamp(Date.now())}`,
    `DTSTART:${stamp(show.scheduled_at_ms)}`, `DTEND:${stamp(show.scheduled_at_ms + 3_600_000)}`, `SUMMARY:${plain(show.title)}`, `URL:${location.href}`,
    "END:VEVENT", "END:VCALENDAR", "",
  ];
  const url = URL.createObjectURL(new Blob([lines.join("\r\n")], { type: "text/calendar" }));
  h("a", { href: url, download: `${show.id}.ics` }).click();
  setTimeout(() => URL.revokeObjectURL(url), 10_000);
}
