/* Camera, microphone and screen of the host, and how loud it is. */

export const QUALITIES = {
  "540p": { width: { ideal: 960 }, height: { ideal: 540 }, frameRate: { ideal: 30 } },
  "720p": { width: { ideal: 1280 }, height: { ideal: 720 }, frameRate: { ideal: 30 } },
  "1080p": { width: { ideal: 1920 }, height: { ideal: 1080 }, frameRate: { ideal: 30 } },
  upright: { width: { ideal: 720 }, height: { ideal: 1280 }, frameRate: { ideal: 30 } },
};
const SOUND = { echoCancellation: true, noiseSuppression: true, autoGainControl: true };

export class Capture extends EventTarget {
  stream = new MediaStream();
  screen = false;
  choice = { camera: "", mic: "", quality: "720p" };
  #camera = null;
  #analyser = null;
  #source = null;
  #samples = new Float32Array(1024);

  static get possible() {
    return Boolean(navigator.mediaDevices?.getUserMedia);
  }

  /** Opens camera and microphone; rejects as getUserMedia does, also when there is only one of them. */
  async open() {
    const { camera, mic, quality } = this.choice;
    const video = { ...QUALITIES[quality], ...(camera && { deviceId: { exact: camera } }) };
    const audio = { ...SOUND, ...(mic && { deviceId: { exact: mic } }) };
    const taken = await navigator.mediaDevices.getUserMedia({ video, audio });
    const [picture] = taken.getVideoTracks();
    this.#camera?.stop();
    this.#camera = picture;
    this.#put(taken.getAudioTracks()[0]);
    if (this.screen) this.#changed();
    else this.#put(picture);
    this.#listen();
  }

  async devices() {
    const all = await navigator.mediaDevices.enumerateDevices();
    return { cameras: all.filter((device) => device.kind === "videoinput"), mics: all.filter((device) => device.kind === "audioinput") };
  }

  /** Another camera, microphone or quality. */
  async choose(change) {
    const before = this.choice;
    this.choice = { ...before, ...change };
    try {
      await this.open();
    } catch (error) {
      this.choice = before;
      throw error;
    }
  }

  async shareScreen() {
    const taken = await navigator.mediaDevices.getDisplayMedia({ video: { frameRate: { ideal: 30 } }, audio: false });
    const [track] = taken.getVideoTracks();
    track.contentHint = "detail";
    track.addEventListener("ended", () => this.stopScreen());
    this.screen = true;
    this.#put(track);
  }

  async stopScreen() {
    if (!this.screen) return;
    this.screen = false;
    if (this.#camera?.readyState === "live") this.#put(this.#camera);
    else await this.open();
  }

  /** Nothing of the host is seen or heard in a break. */
  setQuiet(quiet) {
    this.quiet = quiet;
    for (const track of this.stream.getTracks()) track.enabled = !quiet;
  }

  /** 0 to 1, of the last instant; null: not known yet (browsers start sound with the first click). */
  level() {
    if (!this.#analyser || this.context.state !== "running") return null;
    this.#analyser.getFloatTimeDomainData(this.#samples);
    let sum = 0;
    for (const sample of this.#samples) sum += sample * sample;
    const decibels = 10 * Math.log10(sum / this.#samples.length + 1e-12);
    return Math.min(1, Math.max(0, (decibels + 60) / 54));
  }

  resume() {
    if (this.context?.state === "suspended") this.context.resume();
  }

  #put(track) {
    for (const old of this.stream.getTracks()) {
      if (old.kind !== track.kind || old === track) continue;
      this.stream.removeTrack(old);
      if (old !== this.#camera) old.stop();
    }
    this.stream.addTrack(track);
    track.enabled = !this.quiet;
    this.dispatchEvent(new CustomEvent("track", { detail: track }));
    this.#changed();
  }

  #changed() {
    this.dispatchEvent(new Event("change"));
  }

  #listen() {
    this.context ??= new AudioContext();
    this.#source?.disconnect();
    this.#source = this.context.createMediaStreamSource(new MediaStream(this.stream.getAudioTracks()));
    this.#analyser ??= Object.assign(this.context.createAnalyser(), { fftSize: 1024 });
    this.#source.connect(this.#analyser);
  }
}
