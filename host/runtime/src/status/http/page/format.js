// Numbers, times and sizes as a person reads them.

const UNITS = [
  [1e12, "T"],
  [1e9, "G"],
  [1e6, "M"],
  [1e4, "k", 1e3],
];

/** A count: 9999, 12.3k, 4.5M. */
export function count(number) {
  for (const [from, unit, by = from] of UNITS) {
    if (number >= from) return `${digits(number / by)}${unit}`;
  }
  return String(Math.round(number));
}

function digits(number) {
  return number >= 100 ? String(Math.round(number)) : number.toFixed(1).replace(/\.0$/, "");
}

/** So many a second. */
export function rate(number) {
  if (number === 0) return "0/s";
  if (number < 0.01) return "<0.01/s";
  return `${number < 10 ? String(Number(number.toFixed(2))) : count(number)}/s`;
}

/** Milliseconds as a duration with one unit or two. */
export function duration(ms) {
  if (ms === null || ms === undefined) return "–";
  if (ms === 0) return "0";
  if (ms < 1) return `${Math.round(ms * 1000)} µs`;
  if (ms < 1000) return `${digits(ms)} ms`;
  const seconds = ms / 1000;
  if (seconds < 10) return `${digits(seconds)} s`;
  if (seconds < 60) return `${Math.floor(seconds)} s`;
  if (seconds < 3600) return two(seconds, 60, "min", "s");
  if (seconds < 86400) return two(seconds / 60, 60, "h", "min");
  return two(seconds / 3600, 24, "d", "h");
}

function two(small, by, unit, rest) {
  const whole = Math.floor(small / by);
  const left = Math.floor(small - whole * by);
  return left > 0 && whole < 10 ? `${whole} ${unit} ${left} ${rest}` : `${whole} ${unit}`;
}

/** Microseconds. */
export function micros(us) {
  return us === null || us === undefined ? "–" : duration(us / 1000);
}

/** How long ago, by the host's clock. */
export function ago(atMs, nowMs) {
  const ms = nowMs - atMs;
  return ms < 2000 ? "now" : `${duration(Math.floor(ms / 1000) * 1000)} ago`;
}

const CLOCK = new Intl.DateTimeFormat(undefined, {
  hour: "2-digit",
  minute: "2-digit",
  second: "2-digit",
  hour12: false,
});
const MINUTE = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", hour12: false });
const DAY = new Intl.DateTimeFormat(undefined, {
  year: "numeric",
  month: "short",
  day: "numeric",
  hour: "2-digit",
  minute: "2-digit",
  second: "2-digit",
  hour12: false,
});

/** The time of day. */
export const clock = (ms) => CLOCK.format(ms);
/** The same without seconds. */
export const minute = (ms) => MINUTE.format(ms);
/** Day and time. */
export const day = (ms) => DAY.format(ms);

/** Bytes. */
export function bytes(number) {
  if (number < 1024) return `${number} B`;
  const units = ["KiB", "MiB", "GiB"];
  let unit = -1;
  while (number >= 1024 && unit < units.length - 1) {
    number /= 1024;
    unit += 1;
  }
  return `${digits(number)} ${units[unit]}`;
}

/** The beginning of a digest. */
export const digest = (digits) => digits.slice(0, 12);

/** A word with its number. */
export const plural = (number, one, many = `${one}s`) => `${count(number)} ${number === 1 ? one : many}`;

/** Whether it is only paused: the pause is told as a problem of the consumer. */
function isOnlyPaused(row) {
  return row.paused && Object.keys(row.problems).every((part) => part === "consumer");
}

/** How it is, as a class. */
export function kindOf(row) {
  if (isOnlyPaused(row)) return "warn";
  return Object.keys(row.problems).length ? "bad" : row.runs ? "good" : "warn";
}

/** How it is, in words. */
export function conditionOf(row) {
  const troubles = Object.keys(row.problems).length;
  if (isOnlyPaused(row)) return "paused";
  if (troubles) return plural(troubles, "problem");
  return row.runs ? (row.limited ? "runs at its limit" : "runs") : "does not run yet";
}
