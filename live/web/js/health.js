/* What the figures of a stream mean: in words for its host, and whether a viewer's line is too weak for it. */

export const FPS_MIN = 15;
export const BITRATE_MIN = 500_000; // when the line is what limits it; a still picture needs less
export const BITRATE_BARE = 60_000;
export const LOSS_MAX = 0.05;
export const RTT_MAX_S = 0.4;

/** {grade: "good" | "fair" | "poor", alarms: [...]} of one second's figures; null: not sending. */
export function judge(figures) {
  if (!figures) return { grade: "off", alarms: [] };
  const { fps, bitrate, loss, rtt, limited } = figures;
  const alarms = [];
  if (fps < FPS_MIN) alarms.push(limited === "cpu" ? "cpu" : "frames");
  if (loss > LOSS_MAX) alarms.push("loss");
  const least = limited === "bandwidth" ? BITRATE_MIN : BITRATE_BARE;
  if (bitrate < least) alarms.push("bitrate");
  const poor = fps < FPS_MIN / 2 || bitrate < least / 2 || loss > 2 * LOSS_MAX;
  const fair = alarms.length > 0 || limited === "bandwidth" || rtt > RTT_MAX_S;
  return { grade: poor ? "poor" : fair ? "fair" : "good", alarms };
}

/** Lets an alarm through when it has lasted; one bad second is no alarm, and one good second no all-clear. */
export class Steady {
  #counts = new Map();

  constructor(seconds = 4) {
    this.seconds = seconds;
  }

  update(alarms) {
    for (const alarm of alarms) if (!this.#counts.has(alarm)) this.#counts.set(alarm, 0);
    for (const [alarm, count] of this.#counts) {
      const next = alarms.includes(alarm) ? Math.min(count + 1, this.seconds) : count - 1;
      if (next < 0) this.#counts.delete(alarm);
      else this.#counts.set(alarm, next);
    }
    this.raised = new Set([...this.#counts].filter(([alarm, count]) => count >= this.seconds || (this.raised.has(alarm) && count > 0)).map(([alarm]) => alarm));
    return this.raised;
  }

  raised = new Set();
}

/** Follows what a viewer receives; weak is what was weak twice in a row. */
export class Reception {
  #before = null;
  #poor = 0;

  /** "good" or "poor", from one reading of `getStats`; `wanted`: whether a picture is, and not only sound. */
  update(reports, wanted = true) {
    const of = (kind) => reports.find((report) => report.type === "inbound-rtp" && report.kind === kind) ?? {};
    const { framesDecoded: frames = 0, packetsReceived = 0, packetsLost = 0 } = of("video");
    const { packetsReceived: heard = 0 } = of("audio");
    const before = this.#before;
    this.#before = { frames, packetsReceived, packetsLost, heard };
    if (before) {
      const [received, lost] = [packetsReceived - before.packetsReceived, packetsLost - before.packetsLost];
      const taken = before.frames > 0 && heard > before.heard; // on a very weak line the server leaves sound only
      const stalled = (received > 0 || taken) && frames === before.frames;
      const poor = wanted && (stalled || lost > 0.05 * (received + lost));
      this.#poor = poor ? Math.min(this.#poor + 1, 3) : Math.max(this.#poor - 1, 0);
    }
    return this.#poor >= 2 ? "poor" : "good";
  }
}
