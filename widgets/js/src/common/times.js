// Times and durations in words.

const DAY = 86400;

/**
 * A length of time in words that fit beside a mark.
 *
 * @param {number} seconds
 */
export function duration(seconds) {
  const size = Math.abs(seconds);
  if (size === 0) return "0 s";
  if (size < 0.0009995) return `${(seconds * 1e6).toFixed(0)} µs`;
  if (size < 1) return `${Number((seconds * 1000).toPrecision(3))} ms`;
  if (size < 120) return `${Number(seconds.toFixed(3))} s`;
  if (size < 7200) return `${Number((seconds / 60).toFixed(1))} min`;
  return `${Number((seconds / 3600).toFixed(1))} h`;
}

/**
 * A time in UTC.
 *
 * @param {number} seconds since 1970
 * @param {number} digits of the fraction of a second, 0 or 3
 */
export function utc(seconds, digits = 3) {
  const text = new Date(seconds * 1000).toISOString();
  return `${text.slice(0, digits ? 20 + digits : 19).replace("T", " ")} UTC`;
}

/**
 * By how many seconds local time is ahead of UTC.
 *
 * @param {number} seconds
 */
export const offsetOf = (seconds) => -new Date(seconds * 1000).getTimezoneOffset() * 60;

/**
 * The name of the local time zone, by its offset.
 *
 * @param {number} seconds
 */
export function zone(seconds) {
  const minutes = offsetOf(seconds) / 60;
  if (minutes === 0) return "UTC";
  const hours = Math.floor(Math.abs(minutes) / 60);
  const rest = Math.abs(minutes) % 60;
  const sign = minutes < 0 ? "−" : "+";
  return `UTC${sign}${hours}${rest ? `:${padded(rest)}` : ""}`;
}

/** @param {number} value */
const padded = (value, width = 2) => String(value).padStart(width, "0");

/**
 * A local time, as precise as ticks that are `step` seconds apart need it.
 *
 * @param {number} seconds
 * @param {number} step
 */
export function timeLabel(seconds, step) {
  const date = new Date(seconds * 1000);
  if (step >= DAY) {
    return `${date.getFullYear()}-${padded(date.getMonth() + 1)}-${padded(date.getDate())}`;
  }
  const minutes = `${padded(date.getHours())}:${padded(date.getMinutes())}`;
  if (step >= 60) return minutes;
  const digits = step >= 1 ? 0 : step >= 0.1 ? 1 : step >= 0.01 ? 2 : 3;
  const part = padded(date.getMilliseconds(), 3).slice(0, digits);
  return `${minutes}:${padded(date.getSeconds())}${part && `.${part}`}`;
}

const STEPS = [
  0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900,
  1800, 3600, 7200, 10800, 21600, 43200,
];

/**
 * As many ticks as their labels have room for; the two ends where no two round times have.
 *
 * @param {number} low
 * @param {number} high
 * @param {number} room in pixels
 * @param {(step: number) => number} widthOf a label with the space beside it, in pixels
 */
export function timeTicks(low, high, room, widthOf) {
  /** @param {number} step */
  const fits = (step) => ((high - low) / step) * widthOf(step) <= room;
  let step = STEPS.find(fits) ?? DAY;
  while (!fits(step)) step += DAY;
  const offset = offsetOf(high); // ticks fall on round local times
  const ticks = [];
  for (let index = Math.ceil((low + offset) / step); index * step - offset <= high; index++) {
    ticks.push(index * step - offset);
  }
  if (ticks.length > 1) return { ticks, step };
  return { ticks: [low, high], step: step < DAY ? Math.min(step, 1) : step };
}

/**
 * A moment in local time and in UTC, on a line each where they differ.
 *
 * @param {number} seconds
 */
export function moment(seconds) {
  if (zone(seconds) === "UTC") return utc(seconds, 0);
  return `${timeLabel(seconds, DAY)} ${timeLabel(seconds, 1)} ${zone(seconds)}\n${utc(seconds, 0)}`;
}
