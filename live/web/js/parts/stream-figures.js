/* <stream-figures>: the stream in numbers, for a host who wants to know; folded away until then. */
import { h, icon } from "../dom.js";
import { number, percent, t } from "../i18n.js";

const NONE = "–";
const whole = { maximumFractionDigits: 0 };

/** 1.9 Mbit/s, or 140 kbit/s. */
export const rate = (bits) => (bits >= 1e6 ? t("stream.mbit", { value: number(bits / 1e6, { maximumFractionDigits: 1 }) }) : t("stream.kbit", { value: number(bits / 1000, whole) }));
const milliseconds = (ms) => t("stream.ms", { value: number(ms, { maximumFractionDigits: ms < 10 ? 1 : 0 }) });

/**
 * The layers, the best first, from what this browser sends (`figures`, null: it does not) and from what the server
 * receives (`video`, null: nothing is known): {rid, width, height, fps, bitrate, limited, viewers}; viewers null: not known.
 */
export function layersOf(figures, video) {
  const watching = video?.audience?.layers;
  const received = (video?.layers ?? []).map(({ rid = "", width = 0, height = 0, fps = 0, bitrate_bps: bitrate = 0 }) => ({ rid, width, height, fps, bitrate, limited: "none" }));
  received.sort((a, b) => b.width * b.height - a.width * a.height || b.bitrate - a.bitrate);
  const layers = figures?.layers ?? received;
  const only = layers.length === 1 && watching ? Object.values(watching).reduce((sum, count) => sum + count, 0) : null; // whatever it is called
  return layers.map((layer) => ({ ...layer, viewers: watching ? only ?? watching[layer.rid] ?? 0 : null }));
}

customElements.define("stream-figures", class extends HTMLElement {
  connect() {
    this.rows = h("tbody");
    this.note = h("p", { class: "notice", hidden: true });
    this.way = h("dl", { class: "numbers" });
    this.audience = h("dl", { class: "numbers" });
    const columns = ["size", "fps", "bitrate", "viewers"].map((name) => h("th", { scope: "col", text: t(`stream.${name}`) }));
    this.details = h("details", { class: "card fold", "data-testid": "stream-figures", ontoggle: () => this.#draw() },
      h("summary", { text: t("stream.title") }),
      h("div", { class: "stack fold-body" }, this.note,
        h("table", { class: "layers" }, h("caption", { class: "visually-hidden", text: t("stream.layers") }), h("thead", {}, h("tr", {}, columns)), this.rows),
        h("h3", { class: "small", text: t("stream.way") }), this.way,
        h("h3", { class: "small", text: t("stream.audience") }), this.audience));
    this.append(this.details);
  }

  /** `figures` of this browser's publisher or null; `video` is the show's state of that name or null. */
  update(figures, video) {
    this.last = [figures, video];
    this.#draw();
  }

  #draw() {
    if (!this.details.open || !this.last) return;
    const [figures, video] = this.last;
    this.#layers(layersOf(figures, video), figures);
    const audience = video?.audience ?? {};
    this.#list(this.way, [
      ["loss", video?.loss, percent], ["left", video?.loss_repaired, percent], ["jitter", video?.jitter_ms, milliseconds],
      ["rtt", video?.host_rtt_ms ?? (figures?.rtt == null ? null : 1000 * figures.rtt), milliseconds],
      ["nacks", video?.nacks, number], ["plis", video?.plis, number], ["remb", video?.remb_bps, rate],
    ]);
    this.#list(this.audience, [
      ["watching", video?.subscribers, number], ["sound", audience.audio_only, number], ["waiting", audience.waiting, number], ["limited", audience.limited, number],
      ["loss", audience.loss, percent, audience.loss_p95], ["rtt", audience.rtt_ms ?? video?.rtt_ms, milliseconds, audience.rtt_p95_ms],
      ["jitter", audience.jitter_ms, milliseconds], ["frozen", audience.frozen, number], ["freezes", audience.freezes, number],
      ["again", audience.retransmitted, number], ["nacks", audience.nacks, number], ["plis", audience.plis, number],
      ["dropped", audience.dropped, number], ["out", audience.bitrate_bps, rate],
    ]);
  }

  #layers(layers, figures) {
    const cell = (text) => h("td", { text });
    this.rows.replaceChildren(...layers.map(({ width, height, fps, bitrate, viewers }) => h("tr", { class: bitrate > 0 ? "" : "muted", "data-testid": "layer" },
      h("th", { scope: "row", text: bitrate === 0 && figures ? t("stream.off") : width ? `${width} × ${height}` : NONE }), cell(bitrate > 0 ? number(fps, whole) : NONE),
      cell(bitrate > 0 ? rate(bitrate) : NONE), cell(viewers === null ? NONE : number(viewers)))));
    if (!layers.length) this.rows.append(h("tr", { class: "muted" }, h("td", { colspan: 4, text: t("stream.nothing") })));
    const reason = ["cpu", "bandwidth"].find((name) => name === figures?.limited);
    this.note.hidden = !reason;
    if (reason) this.note.replaceChildren(icon("warn"), h("span", { text: t(`stream.limited.${reason}`) }));
  }

  /** Only what is known: an older server tells less. `worst` stands behind the value when it is another one. */
  #list(list, entries) {
    const known = entries.filter(([, value]) => value != null);
    list.replaceChildren(...known.map(([name, value, format, worst]) => h("div", {}, h("dt", { text: t(`stream.${name}`) }),
      h("dd", { text: worst == null || worst === value ? format(value) : t("stream.worst", { value: format(value), worst: format(worst) }) }))));
    if (!known.length) list.append(h("div", {}, h("dt", { text: t("stream.unknown") })));
  }
});
