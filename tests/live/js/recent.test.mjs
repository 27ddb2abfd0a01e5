import assert from "node:assert/strict";
import test from "node:test";
import { Recent, WINDOW_MS } from "../../../live/web/js/recent.js";

const telling = (...workers) => ({ interval_s: 2, workers: workers.map(([worker, series, rows, up = true]) => ({ worker, up, series, rows })) });

test("counters of workers become one rate, and a restart is no growth", () => {
  const recent = new Recent();
  recent.take(telling([0, ['a_total{what="sent",q="x\\"y"}'], [[100, 10], [102, 30]]], [1, ["b", 'a_total{what="sent",q="x"}'], [[100, 5, 7], [102, 5, 8], [104, 5, 2]]]));
  assert.deepEqual([recent.at(102_000).rate("a_total"), recent.at(102_000, 0).rate("a_total"), recent.at(102_000, 1).rate("a_total", { q: "x" })], [10.5, 10, 0.5]);
  assert.equal(recent.at(100_000).rate("a_total"), null, "there is no row before");
  assert.equal(recent.at(104_000, 1).rate("a_total"), 0);
  assert.deepEqual([recent.at(102_000).sum("b"), recent.at(102_000).sum("missing"), recent.at(999_000).sum("b")], [5, 0, null]);
  assert.deepEqual([recent.at(102_000).max("b"), recent.at(102_000).max("missing")], [5, null]);
  assert.deepEqual(recent.at(102_000).by("a_total", "what"), [["sent", 20], ["sent", 1]]);
});

test("a quantile of all workers", () => {
  const recent = new Recent();
  const series = ["0.1", "0.2", "+Inf"].map((le) => `lag_bucket{le="${le}"}`);
  recent.take(telling([0, series, [[100, 0, 0, 0], [102, 50, 100, 100], [104, 50, 100, 110], [106, 50, 100, 110]]], [1, series, [[100, 9, 9, 9], [102, 9, 9, 9]]]));
  assert.equal(recent.at(102_000).quantile("lag", 0.5), 0.1);
  assert.ok(Math.abs(recent.at(102_000).quantile("lag", 0.75) - 0.15) < 1e-9);
  assert.equal(recent.at(104_000).quantile("lag", 0.99), 0.2, "above the last bound");
  assert.deepEqual([recent.at(106_000).quantile("lag", 0.99), recent.at(106_000).quantile("missing", 0.5)], [null, null]);
});

test("a time is told when everybody has told it, or has had long enough", () => {
  const recent = new Recent();
  assert.deepEqual([recent.since, recent.times()], [0, []]);
  recent.take(telling([0, ["a"], [[100, 1], [102, 1]]], [1, ["a"], [[100, 1]]]));
  assert.deepEqual(recent.times(), [100_000]);
  assert.equal(recent.since, 100);
  recent.take(telling([0, ["a"], [[104, 1], [106, 1]]], [1, [], [], false]));
  assert.deepEqual(recent.times(100_000), [102_000, 104_000, 106_000], "who is away is not waited for");
  assert.equal(recent.since, 106);
  recent.take(telling([0, ["a"], [[108, 1], [110, 1]]], [1, ["b", "a"], [], true]));
  assert.deepEqual(recent.times(104_000), [106_000], "who is back and says nothing, for a while");
});

test("what is older than the window is forgotten", () => {
  const recent = new Recent();
  recent.take(telling([0, ["a"], [[100, 1]]]));
  recent.take(telling([0, ["a"], [[102 + WINDOW_MS / 1000, 1]]]));
  assert.equal(recent.times().length, 1);
});
