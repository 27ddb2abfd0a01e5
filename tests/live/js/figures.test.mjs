import assert from "node:assert/strict";
import test from "node:test";
import { Steady, judge } from "../../../live/web/js/health.js";
import { clock, pick } from "../../../live/web/js/i18n.js";
import { preferred } from "../../../live/web/js/whip.js";

const good = { fps: 30, bitrate: 2e6, loss: 0, rtt: 0.02, limited: "none" };

test("a stream's health in words", () => {
  assert.deepEqual(judge(null), { grade: "off", alarms: [] });
  assert.deepEqual(judge(good), { grade: "good", alarms: [] });
  assert.deepEqual(judge({ ...good, rtt: 0.5 }), { grade: "fair", alarms: [] });
  assert.deepEqual(judge({ ...good, fps: 12 }), { grade: "fair", alarms: ["frames"] });
  assert.deepEqual(judge({ ...good, fps: 12, limited: "cpu" }), { grade: "fair", alarms: ["cpu"] });
  assert.deepEqual(judge({ ...good, bitrate: 1e5 }), { grade: "good", alarms: [] });
  assert.deepEqual(judge({ ...good, bitrate: 3e5, limited: "bandwidth" }), { grade: "fair", alarms: ["bitrate"] });
  assert.deepEqual(judge({ ...good, loss: 0.2, bitrate: 2e4 }), { grade: "poor", alarms: ["loss", "bitrate"] });
});

test("an alarm is raised when it lasts and stays until it is over", () => {
  const steady = new Steady(3);
  const run = (...rounds) => rounds.map((alarms) => [...steady.update(alarms)].join());
  assert.deepEqual(run(["a"], ["a"], ["a"], ["a"]), ["", "", "a", "a"]);
  assert.deepEqual(run([], [], ["a"], []), ["a", "a", "a", "a"]);
  assert.deepEqual(run([], [], []).at(-1), "");
});

test("H.264 is offered first, what cannot be relayed not at all", () => {
  const codecs = ["video/VP8", "video/rtx", "video/AV1", "video/VP9", "video/H264", "video/H264", "video/red"].map((mimeType, index) => ({ mimeType, sdpFmtpLine: index === 5 ? "packetization-mode=1" : "packetization-mode=0", index }));
  assert.deepEqual(preferred(codecs).map(({ index }) => index), [5, 4, 0, 1, 6]);
});

test("countdowns and languages", () => {
  assert.deepEqual([clock(581_000), clock(580_001), clock(-5), clock(3_723_000)], ["9:41", "9:41", "0:00", "1:02:03"]);
  assert.deepEqual(pick(["fr-FR", "de-AT", "en"]), { language: "de", locale: "de-AT" });
  assert.deepEqual(pick(["fr"]), { language: "en", locale: "en" });
});
