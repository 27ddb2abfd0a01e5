/* The charts of the ops page: one question each, with the lines that answer it. */
import { compact, number, percent, t } from "./i18n.js";

const LAG_LIMIT_S = 0.05;
const DELIVERY_LIMIT_S = 0.25;
const CPU_LIMIT = 0.7;
const DROPPED = ["frame_dropped", "overload_dropped", "send_full", "send_failed", "protect_refused"];

export const ms = (value) => t("ops.ms", { value: number(1000 * value, { maximumFractionDigits: value < 0.01 ? 1 : 0 }) });
export const perSecond = (value) => t("ops.perSecond", { value: number(value, { maximumFractionDigits: value < 10 ? 1 : 0, notation: value < 10_000 ? "standard" : "compact" }) });
export const megabytes = (value) => t("ops.mb", { value: number(value / 1e6, { maximumFractionDigits: 0 }) });
const few = (value) => number(value, { maximumFractionDigits: 1 });
const both = (a, b) => (a === null || b === null ? null : a + b);

/** The loop's lag; the worst of all is known better than by its bucket. */
export function loop(reading) {
  const [lag, worst] = [reading.quantile("showcart_loop_lag_seconds", 0.99), reading.max("showcart_loop_lag_max_seconds")];
  return lag === null || worst === null ? lag : Math.min(lag, worst);
}

/** Commands of a lane's committed batches, each. */
function batch(reading, lane) {
  const batches = reading.increase("showcart_lane_batch_commands_bucket", { lane, le: "+Inf" });
  return batches ? reading.increase("showcart_lane_batch_commands_sum", { lane }) / batches : null;
}

/** Each line is a function of a reading (see recent.js); null leaves a hole. `limit` may depend on how many workers. */
export const CHARTS = [
  { key: "here", format: compact, floor: 10, lines: {
    sockets: (r) => r.sum("showcart_sockets"),
    watching: (r) => r.sum("showcart_media_sessions", { role: "subscriber" }),
    publishing: (r) => r.sum("showcart_media_sessions", { role: "publisher" }),
  } },
  { key: "joining", format: perSecond, floor: 5, lines: {
    new: (r) => r.rate("showcart_joins_total", { how: "new" }),
    recovered: (r) => r.rate("showcart_joins_total", { how: "recovered" }),
    afresh: (r) => r.rate("showcart_joins_total", { how: "not_recovered" }),
  } },
  { key: "messages", format: perSecond, floor: 10, lines: {
    events: (r) => r.rate("showcart_events_total", { what: "delivered" }),
    sent: (r) => r.rate("showcart_frames_total"),
  } },
  { key: "delivery", format: ms, floor: 0.05, limit: () => DELIVERY_LIMIT_S, lines: {
    broadcast99: (r) => r.quantile("showcart_broadcast_seconds", 0.99),
    broadcast50: (r) => r.quantile("showcart_broadcast_seconds", 0.5),
  } },
  { key: "bus", format: ms, floor: 0.02, limit: () => LAG_LIMIT_S, lines: {
    bus99: (r) => r.quantile("showcart_bus_lag_seconds", 0.99),
    bus50: (r) => r.quantile("showcart_bus_lag_seconds", 0.5),
  } },
  { key: "fast", format: ms, floor: 0.02, limit: () => LAG_LIMIT_S, lines: {
    p99: loop,
    worst: (r) => r.max("showcart_loop_lag_max_seconds"),
  } },
  { key: "commands", format: perSecond, floor: 5, lines: {
    done: (r) => r.rate("showcart_commands_total", { outcome: "done" }),
    refused: (r) => both(r.rate("showcart_commands_total", { outcome: "refused" }), r.rate("showcart_messages_throttled_total")),
    failed: (r) => r.rate("showcart_commands_total", { outcome: "failed" }),
  } },
  { key: "answer", format: ms, floor: 0.05, limit: () => 0.3, lines: {
    answer99: (r) => r.quantile("showcart_command_seconds", 0.99),
    answer50: (r) => r.quantile("showcart_command_seconds", 0.5),
  } },
  { key: "lanes", format: few, floor: 4, lines: {
    cartBatch: (r) => batch(r, "cart"),
    chatBatch: (r) => batch(r, "chat"),
    waiting: (r) => r.sum("showcart_lane_waiting"),
  } },
  { key: "losing", format: perSecond, floor: 5, lines: {
    dropped: (r) => DROPPED.map((what) => r.rate("showcart_media_packets_total", { what })).reduce(both),
    again: (r) => r.rate("showcart_media_packets_total", { what: "retransmitted" }),
    skipped: (r) => r.rate("showcart_events_total", { what: "skipped" }),
  } },
  { key: "slow", format: compact, floor: 10, lines: {
    slow: (r) => r.sum("showcart_slow_viewers"),
    slowClosed: (r) => r.increase("showcart_slow_viewers_closed_total"),
  } },
  { key: "closes", format: perSecond, floor: 1, lines: {
    closed: (r) => r.rate("showcart_sockets_closed_total"),
    ended: (r) => r.rate("showcart_media_sessions_ended_total"),
    turned: (r) => r.rate("showcart_handshakes_refused_total"),
  } },
  { key: "video", format: perSecond, floor: 100, lines: {
    packets: (r) => r.rate("showcart_media_packets_total", { what: "sent" }),
  } },
  { key: "cpu", format: percent, floor: 1, limit: (workers) => CPU_LIMIT * workers, lines: {
    cpu: (r) => r.rate("process_cpu_seconds_total"),
  } },
  { key: "memory", format: megabytes, floor: 100e6, lines: {
    memory: (r) => r.sum("process_resident_memory_bytes"),
  } },
];

/** What is told as a list: counters by a label. */
export const LISTS = [
  { key: "codes", name: "showcart_sockets_closed_total", label: "code" },
  { key: "refusals", name: "showcart_handshakes_refused_total", label: "reason" },
  { key: "cut", name: "showcart_sockets_cut_total", label: "reason" },
  { key: "connections", name: "showcart_connections_refused_total", label: "reason" },
];
