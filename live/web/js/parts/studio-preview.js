/* <studio-preview>: what the host will look like, and the way on and off the air. */
import { announce, h, icon } from "../dom.js";
import { has, number, percent, problemText, t } from "../i18n.js";
import { Capture, QUALITIES } from "../capture.js";
import { judge } from "../health.js";
import { Publisher } from "../whip.js";
import { toast } from "../toast.js";
import { confirm } from "./confirm.js";
import "./hold-button.js";

const METER_MS = 60;
const RAMP_MS = 4000; // every stream starts small
const BEFORE = ["draft", "scheduled", "lobby"];
const OVER = ["ended", "replayable"];

customElements.define("studio-preview", class extends HTMLElement {
  figures = null;
  sending = "off";

  /** `onHealth` takes {judgement, figures, level} once a second. */
  connect({ store, socket, show, token, onHealth }) {
    Object.assign(this, { store, socket, onHealth });
    this.capture = new Capture();
    this.publisher = new Publisher({
      show, token,
      onAir: () => this.store.state.status === "open" && this.store.state.show.publishing,
      onState: (state) => { this.sending = state; this.since = performance.now(); this.figures = null; this.#controls(); },
      onProblem: (problem) => toast(problemText(problem)),
      onFigures: (figures) => { if (performance.now() - this.since > RAMP_MS) this.figures = figures; this.#health(); },
    });
    this.#build();
    this.capture.addEventListener("track", ({ detail }) => this.publisher.active && this.publisher.replace(detail));
    this.capture.addEventListener("change", () => this.#shown());
    store.watch(["show", "status"], () => this.#controls());
    store.watch(["leaving"], ({ leaving }) => leaving && this.publisher.move(leaving));
    addEventListener("pointerdown", () => this.capture.resume());
    addEventListener("beforeunload", (event) => { if (this.publisher.active) event.preventDefault(); });
    setInterval(() => this.#meter(), METER_MS);
    setInterval(() => this.onHealth({ judgement: judge(this.#measured()), figures: this.#measured(), level: this.#peak() }), 1000);
    this.#open();
  }

  #build() {
    this.video = h("video", { class: "preview", autoplay: true, playsinline: true, "data-testid": "preview" });
    this.video.muted = true;
    this.badge = h("span", { class: "badge preview-badge" });
    this.slate = h("div", { class: "preview-slate", role: "status" });
    this.meter = h("meter", { class: "level", min: 0, max: 1, low: 0.08, high: 0.92, optimum: 0.5, value: 0, "aria-label": t("preview.level"), "data-testid": "level" });
    this.health = h("p", { class: "health small", "data-testid": "health", role: "status" });
    this.camera = this.#select("camera", (camera) => ({ camera }));
    this.mic = this.#select("mic", (mic) => ({ mic }));
    this.quality = this.#select("quality", (quality) => ({ quality }));
    this.quality.append(...Object.keys(QUALITIES).map((name) => new Option(t(`preview.quality.${name}`), name, false, name === this.capture.choice.quality)));
    this.share = h("button", { class: "button", type: "button", "aria-pressed": "false", "data-testid": "screen", onclick: () => this.#screen() }, icon("screen"), h("span", { text: t("preview.screen") }));
    this.go = h("hold-button", { id: "go", "data-testid": "go-live" });
    this.pause = h("button", { class: "button wide", type: "button", "data-testid": "pause", onclick: () => this.#pause() });
    this.end = h("button", { class: "button outline wide end", type: "button", "data-testid": "end", onclick: () => this.#end() }, icon("stop"), h("span", { text: t("air.end") }));
    this.onAir = h("div", { class: "row air" }, this.pause, this.end);
    this.over = h("p", { class: "notice good", "data-testid": "over" }, icon("check"), h("span", { text: t("air.over") }));
    this.append(
      h("div", { class: "preview-box" }, this.video, this.slate, this.badge),
      h("div", { class: "row meter-row" }, icon("mic"), this.meter),
      this.health,
      h("div", { class: "devices" }, this.#labelled("camera", this.camera), this.#labelled("mic", this.mic), this.#labelled("quality", this.quality), this.share),
      h("div", { class: "air-box" }, this.go, this.onAir, this.over));
    const ask = async () => { if (await confirm({ title: t("air.ask"), text: t("air.ask.more"), yes: t("air.go"), testid: "confirm-live" })) this.#goLive(); };
    this.go.connect({ run: () => this.#goLive(), hint: t("air.hold"), confirm: ask });
  }

  #select(name, change) {
    return h("select", { class: "input", id: `device-${name}`, "data-testid": name, onchange: async ({ target }) => {
      try {
        await this.capture.choose(change(target.value));
      } catch (error) {
        toast(this.#reason(error));
        this.#devices();
      }
    } });
  }

  #labelled(name, select) {
    return h("div", { class: "field" }, h("label", { class: "tiny", for: select.id, text: t(`preview.${name}`) }), select);
  }

  async #open() {
    if (!Capture.possible) return this.#slate(t("preview.insecure"));
    this.#slate(t("preview.asking"));
    try {
      await this.capture.open();
      this.#devices();
      navigator.mediaDevices.ondevicechange = () => this.#devices();
    } catch (error) {
      this.#slate(this.#reason(error), true);
    }
  }

  #reason(error) {
    return t(has(`preview.${error.name}`) ? `preview.${error.name}` : "preview.failed");
  }

  #slate(text, retry = false) {
    this.slate.hidden = false;
    this.slate.replaceChildren(icon("camera"), h("p", { text }), retry ? h("button", { class: "button", type: "button", text: t("cover.reload"), onclick: () => this.#open() }) : "");
  }

  #shown() {
    this.slate.hidden = this.capture.stream.getVideoTracks().length > 0;
    this.video.srcObject = this.capture.stream;
    this.video.classList.toggle("mirrored", !this.capture.screen);
    this.share.setAttribute("aria-pressed", String(this.capture.screen));
    this.share.lastChild.textContent = t(this.capture.screen ? "preview.screenOff" : "preview.screen");
    this.#controls();
  }

  async #devices() {
    const { cameras, mics } = await this.capture.devices();
    const used = (kind) => this.capture.stream.getTracks().find((track) => track.kind === kind)?.getSettings().deviceId;
    const fill = (select, devices, name, current) => select.replaceChildren(...devices.map((device, index) => new Option(device.label || `${t(`preview.${name}`)} ${index + 1}`, device.deviceId, false, device.deviceId === current)));
    fill(this.camera, cameras, "camera", this.capture.choice.camera || used("video"));
    fill(this.mic, mics, "mic", this.capture.choice.mic || used("audio"));
  }

  async #screen() {
    try {
      await (this.capture.screen ? this.capture.stopScreen() : this.capture.shareScreen());
    } catch (error) {
      if (error.name !== "NotAllowedError") toast(this.#reason(error)); // the host closed the browser's own dialog
    }
  }

  /** The loudest instant since it was last asked for: speech has pauses. */
  #peak() {
    const { peak } = this;
    this.peak = this.capture.level();
    return peak;
  }

  #meter() {
    const heard = this.capture.level();
    if (heard !== null) this.peak = Math.max(this.peak ?? 0, heard);
    const level = heard ?? 0;
    this.meter.value = Math.max(level, this.meter.value - 0.03); // falls slowly, as a needle does
  }

  #controls() {
    const { show, status } = this.store.state;
    if (!show) return;
    const foreign = show.publishing && !this.publisher.active;
    const over = OVER.includes(show.state);
    const air = show.state === "live" || show.state === "paused";
    const ready = foreign || this.capture.stream.getVideoTracks().length > 0;
    const waiting = this.sending === "connecting" || status !== "open" || !ready;
    this.go.hidden = over || (air && (this.publisher.active || foreign));
    this.go.busy = waiting;
    this.go.text = this.sending === "connecting" ? t("air.connecting") : air ? t("air.again") : foreign ? t("air.foreign") : t("air.go");
    this.onAir.hidden = !air;
    this.over.hidden = !over;
    const paused = show.state === "paused";
    this.pause.replaceChildren(icon(paused ? "play" : "pause"), h("span", { text: t(paused ? "air.resume" : "air.pause") }));
    this.pause.dataset.state = show.state;
    this.capture.setQuiet(paused && this.publisher.active);
    const live = show.state === "live" && show.publishing;
    const key = over ? "over" : this.sending === "reconnecting" ? "reconnecting" : paused ? "paused" : live ? (foreign ? "foreign" : "live") : "preview";
    this.badge.textContent = t(`air.badge.${key}`);
    this.badge.className = `badge preview-badge ${live && key !== "reconnecting" ? "live" : key === "reconnecting" ? "warn" : ""}`;
    this.classList.toggle("on-air", live);
    if (over && this.publisher.active) this.publisher.stop(true);
    this.#health();
  }

  /** In a break nothing is sent on purpose; that is no alarm. */
  #measured() {
    return this.store.state.show?.state === "paused" ? null : this.figures;
  }

  #health() {
    const { grade } = judge(this.#measured());
    const remote = this.store.state.video;
    const foreign = this.store.state.show?.publishing && !this.publisher.active && remote;
    this.health.className = `health small ${grade}`;
    if (this.store.state.show?.state === "paused") this.health.textContent = t("health.paused");
    else if (this.figures) {
      const { bitrate, fps, loss, height, codec } = this.figures;
      this.health.textContent = t("health.line", { grade: t(`health.${grade}`), bitrate: number(bitrate / 1e6, { maximumFractionDigits: 1 }), fps: Math.round(fps), loss: percent(loss), height: String(height), codec });
    } else if (foreign) {
      this.health.textContent = t("health.foreign", { bitrate: number((remote.bitrate_bps ?? 0) / 1e6, { maximumFractionDigits: 1 }), fps: Math.round(remote.fps ?? 0), loss: percent(remote.loss ?? 0) });
    } else this.health.textContent = t(OVER.includes(this.store.state.show?.state) ? "health.over" : this.sending === "off" ? "health.off" : "health.starting");
  }

  async #command(to) {
    try {
      await this.socket.command("show.go", { to });
      announce(t(`air.told.${to}`));
      return true;
    } catch (problem) {
      toast(problemText(problem));
      return false;
    }
  }

  async #goLive() {
    const { show } = this.store.state;
    const foreign = show.publishing && !this.publisher.active;
    if (!foreign) await this.publisher.start(this.capture.stream);
    if (!foreign && !this.publisher.active) return; // refused; the reason has been shown
    if (BEFORE.includes(show.state)) await this.#command("live"); // it may be on air already by `auto_live`: nothing changes then
  }

  #pause() {
    return this.#command(this.store.state.show.state === "paused" ? "live" : "paused");
  }

  async #end() {
    if (!await confirm({ title: t("air.endAsk"), text: t("air.endAsk.more"), yes: t("air.end"), danger: true, testid: "confirm-end" })) return;
    if (await this.#command("ended")) this.publisher.stop(true);
  }
});
